//! What fails again and again is set aside, and costs nobody else anything.

use millrace_ledger::Outcome;
use proto::order::v1::OrderPaymentChanged;

use crate::shop::{
    HOUR, SECOND, Shop, answer, command, created, failed, from_log, given_back, killed_when, late, order, record,
    redelivered, streamed,
};

on_both!(
    a_poison_event_is_tried_with_growing_delays_and_parks_only_its_key,
    other_keys_flow_on_in_the_batch_of_a_poison_event,
    a_poison_event_that_is_repaired_in_time_is_applied_in_order,
    a_panic_is_a_failure,
    an_event_that_kills_the_process_is_counted_and_parks_its_key,
    a_command_that_kills_the_process_is_counted_and_fails,
    what_the_broker_has_delivered_three_times_is_counted_before_it_is_tried,
    a_failing_command_ends_failed_and_changes_nothing,
    a_command_that_recovers_is_done_once,
    what_passes_by_itself_is_never_counted,
    a_row_that_exists_already_is_a_failure_in_the_end,
    an_event_that_is_refused_is_a_failure,
    a_parked_key_stays_where_it_is_even_before_an_event_that_nobody_handles,
    a_reason_that_the_database_cannot_hold_parks_all_the_same,
);

/// Brings the event from the log whenever it is due, until its key is parked; after how many milliseconds it was tried.
async fn until_parked(shop: &Shop, event: &event::Record) -> Vec<u128> {
    let begin = shop.now();
    let mut tried = Vec::new();
    for _ in 0..100 {
        if !shop.due().await.is_empty() {
            tried.push(shop.now().since(begin).as_millis());
            assert_eq!(shop.one(from_log(event)).await, Outcome::Noted);
        }
        shop.forward(SECOND / 20);
    }
    shop.forward(HOUR);
    assert_eq!(shop.due().await, [], "it is not tried any more");
    tried
}

async fn a_poison_event_is_tried_with_growing_delays_and_parks_only_its_key(shop: &Shop) {
    let (id, other) = (shop.id(), shop.id());
    let poison = created(id, 1, "write something; fail");
    assert_eq!(shop.one(streamed(&poison)).await, Outcome::Noted);
    let tried = until_parked(shop, &poison).await;
    assert_eq!((tried.len(), shop.world.times("fail")), (4, 5), "tried at {tried:?} ms");
    let pauses: Vec<u128> = [0].iter().chain(&tried).zip(&tried).map(|(one, next)| next - one).collect();
    assert!(pauses.windows(2).all(|pair| pair[1] > pair[0]), "{pauses:?}");
    assert_eq!(shop.one(streamed(&created(id, 2, ""))).await, Outcome::Noted, "it is parked");
    assert_eq!(shop.one(from_log(&poison)).await, Outcome::Noted);
    assert_eq!(shop.world.times("fail"), 5, "nobody tries it any more");
    assert_eq!(shop.one(streamed(&created(other, 1, ""))).await, Outcome::Applied);
    assert_eq!((shop.seen(&order(id)).await, shop.notes().await), (vec![], vec![]));
}

async fn other_keys_flow_on_in_the_batch_of_a_poison_event(shop: &Shop) {
    let ids: Vec<_> = (0..5).map(|_| shop.id()).collect();
    let event = |revision| ids.iter().map(move |id| (*id, revision)).collect::<Vec<_>>();
    let batch = event(1).into_iter().chain(event(2)).map(|(id, revision)| {
        streamed(&created(id, revision, if id == ids[2] && revision == 1 { "panic" } else { "" }))
    });
    let outcomes = shop.batch(batch).await;
    for (index, outcome) in outcomes.iter().enumerate() {
        assert_eq!(*outcome, if index % 5 == 2 { Outcome::Noted } else { Outcome::Applied }, "{index}");
    }
    assert_eq!(shop.seen(&order(ids[4])).await, [1, 2]);
}

async fn a_poison_event_that_is_repaired_in_time_is_applied_in_order(shop: &Shop) {
    let id = shop.id();
    let (poison, next) = (created(id, 1, "fail"), created(id, 2, ""));
    let outcomes = shop.batch([streamed(&poison), streamed(&next)]).await;
    assert_eq!(outcomes, [Outcome::Noted, Outcome::Noted], "what comes behind it waits");
    shop.world.repair();
    shop.forward(SECOND);
    assert_eq!(shop.due().await[0].revision, 0);
    assert_eq!(shop.batch([from_log(&poison), from_log(&next)]).await, [Outcome::Applied, Outcome::Applied]);
    assert_eq!(shop.seen(&order(id)).await, [1, 2]);
    assert_eq!(shop.one(streamed(&created(id, 3, "fail; "))).await, Outcome::Applied);
}

async fn a_panic_is_a_failure(shop: &Shop) {
    let id = shop.id();
    let poison = created(id, 1, "write something; panic");
    assert_eq!(shop.one(streamed(&poison)).await, Outcome::Noted);
    assert_eq!(until_parked(shop, &poison).await.len(), 4);
    let outcome = shop.until_done(command(shop.id(), id, "write something; panic")).await;
    assert!(failed(&outcome), "{outcome:?}");
    assert_eq!(shop.notes().await, Vec::<String>::new());
}

async fn an_event_that_kills_the_process_is_counted_and_parks_its_key(shop: &Shop) {
    let id = shop.id();
    let poison = created(id, 1, "write something; hang");
    let mut delivered = 0;
    // It may kill the process twice before it is suspected, and then as often as anything may fail.
    for kills in 1..=7 {
        delivered += 1;
        let processing = shop.batch([redelivered(delivered, streamed(&poison)), streamed(&created(shop.id(), 1, ""))]);
        killed_when(processing, || shop.world.times("hang") == kills).await;
    }
    let outcomes = shop.batch([redelivered(8, streamed(&poison)), streamed(&created(shop.id(), 1, ""))]).await;
    assert_eq!(outcomes, [Outcome::Noted, Outcome::Applied]);
    assert_eq!(shop.world.times("hang"), 7, "it is parked before it can kill again");
    shop.forward(HOUR);
    assert_eq!((shop.due().await, shop.notes().await), (vec![], vec![]));
}

async fn a_command_that_kills_the_process_is_counted_and_fails(shop: &Shop) {
    let (id, counter) = (shop.id(), shop.counter(1).await);
    let poison = command(id, counter, format!("sell 1 {counter}; hang"));
    for kills in 1..=7 {
        let delivered = u32::try_from(kills).unwrap();
        killed_when(shop.one(redelivered(delivered, poison.clone())), || shop.world.times("hang") == kills).await;
    }
    let outcome = shop.one(redelivered(8, poison.clone())).await;
    assert!(failed(&outcome), "{outcome:?}");
    shop.world.repair();
    assert!(failed(&shop.one(poison).await), "it stays so until it is driven again");
    assert_eq!((shop.told(counter).await.units, shop.world.times("hang")), (1, 7));
}

async fn what_the_broker_has_delivered_three_times_is_counted_before_it_is_tried(shop: &Shop) {
    let id = shop.id();
    let event = created(id, 1, "hang");
    killed_when(shop.one(redelivered(3, streamed(&event))), || shop.world.times("hang") == 1).await;
    // Though the broker says that it is the first time: what is counted is done alone from now on.
    let together = shop.batch([streamed(&event), streamed(&created(shop.id(), 1, ""))]);
    killed_when(together, || shop.world.times("hang") == 2).await;
    shop.world.repair();
    assert_eq!(shop.one(redelivered(4, streamed(&event))).await, Outcome::Applied);
    assert_eq!(shop.seen(&order(id)).await, [1]);
}

async fn a_failing_command_ends_failed_and_changes_nothing(shop: &Shop) {
    let counter = shop.counter(2).await;
    let failing = command(shop.id(), counter, format!("sell 1 {counter}; write something; fail"));
    let outcome = shop.until_done(failing.clone()).await;
    assert!(failed(&outcome), "{outcome:?}");
    assert_eq!(shop.world.times("fail"), 5);
    shop.world.repair();
    assert!(failed(&shop.one(failing).await), "its outcome is remembered");
    assert_eq!((shop.told(counter).await.units, shop.notes().await), (2, vec![]));
}

async fn a_command_that_recovers_is_done_once(shop: &Shop) {
    let counter = shop.counter(2).await;
    let failing = command(shop.id(), counter, format!("sell 1 {counter}; fail"));
    assert!(given_back(&shop.one(failing.clone()).await));
    assert!(given_back(&shop.one(failing.clone()).await));
    shop.world.repair();
    let outcomes = shop.batch([failing.clone(), failing]).await;
    assert_eq!(answer(&outcomes[0]), answer(&outcomes[1]));
    assert_eq!(shop.told(counter).await.units, 1);
}

async fn what_passes_by_itself_is_never_counted(shop: &Shop) {
    let (id, counter) = (shop.id(), shop.counter(2).await);
    let event = created(id, 1, "write something; be-away; fail");
    let sell = command(shop.id(), counter, format!("sell 1 {counter}; be-away"));
    for delivered in 1..20 {
        let outcomes = shop.batch([streamed(&event), sell.clone()].map(|one| redelivered(delivered, one))).await;
        assert!(outcomes.iter().all(given_back), "{outcomes:?}");
    }
    assert_eq!(shop.one(streamed(&created(id, 2, ""))).await, Outcome::Gap, "its key flows");
    shop.world.repair();
    let outcomes = shop.batch([redelivered(20, streamed(&event)), redelivered(20, sell)]).await;
    assert_eq!(outcomes[0], Outcome::Applied);
    answer(&outcomes[1]);
    assert_eq!((shop.notes().await.len(), shop.told(counter).await.units), (1, 1));
}

async fn a_row_that_exists_already_is_a_failure_in_the_end(shop: &Shop) {
    let id = shop.id();
    shop.act(shop.id(), "write taken").await;
    assert_eq!(shop.one(streamed(&created(id, 1, "write taken"))).await, Outcome::Noted);
    assert_eq!(until_parked(shop, &created(id, 1, "write taken")).await.len(), 4);
    assert_eq!(shop.one(late(&created(id, 2, ""))).await, Outcome::Noted);
}

async fn an_event_that_is_refused_is_a_failure(shop: &Shop) {
    let refused = created(shop.id(), 1, "refuse");
    assert_eq!(shop.one(streamed(&refused)).await, Outcome::Noted);
    assert_eq!(until_parked(shop, &refused).await.len(), 4);
}

async fn a_parked_key_stays_where_it_is_even_before_an_event_that_nobody_handles(shop: &Shop) {
    let id = shop.id();
    let poison = created(id, 1, "fail");
    shop.one(streamed(&poison)).await;
    until_parked(shop, &poison).await;
    let skipped = record(id, 2, &OrderPaymentChanged::default());
    assert_eq!(shop.batch([streamed(&skipped), late(&skipped)]).await, [Outcome::Noted, Outcome::Noted]);
    assert_eq!(shop.one(from_log(&skipped)).await, Outcome::Noted);
    assert_eq!(shop.ledger.revision_of("replica", &order(id)).await.unwrap(), 0, "the poison is still the next");
}

async fn a_reason_that_the_database_cannot_hold_parks_all_the_same(shop: &Shop) {
    let id = shop.id();
    let poison = created(id, 1, &format!("fail {}\0", "x".repeat(100_000)));
    assert_eq!(shop.one(streamed(&poison)).await, Outcome::Noted);
    assert_eq!(until_parked(shop, &poison).await.len(), 4);
}
