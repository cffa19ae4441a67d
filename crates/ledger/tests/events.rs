//! A subscription's cursor is its fence: each revision of a key is applied once, in order, whatever the broker does.

use event::Key;
use millrace_ledger::{Means, Outcome};
use proto::order::v1::OrderPaymentChanged;

use crate::shop::{
    HOUR, SECOND, Shop, brought, created, from_log, given_back, late, of_type, order, processed, record, redelivered,
    streamed,
};

on_both!(
    a_duplicate_is_dropped,
    a_duplicate_in_one_batch_is_dropped,
    reordered_events_are_applied_in_their_order,
    a_gap_that_the_stream_does_not_fill_is_healed_from_the_log,
    what_comes_while_a_gap_is_healed_is_noted,
    a_consumer_that_was_reset_to_the_start_changes_nothing,
    a_storm_of_redeliveries_changes_nothing,
    a_type_of_a_later_version_is_given_back_and_stops_only_its_key,
    a_type_without_a_handler_is_skipped_and_the_cursor_moves,
    subscriptions_have_cursors_of_their_own,
    an_event_that_comes_before_its_replica_waits_and_goes_on,
    an_event_whose_replica_never_comes_goes_on_without_it,
    waiting_is_not_failing,
    a_key_that_is_due_is_taken_once,
    an_event_that_acts_is_applied_once_with_its_cause,
);

async fn a_duplicate_is_dropped(shop: &Shop) {
    let id = shop.id();
    let first = created(id, 1, "write once");
    assert_eq!(shop.one(streamed(&first)).await, Outcome::Applied);
    assert_eq!(shop.one(streamed(&first)).await, Outcome::Duplicate);
    assert_eq!(shop.one(from_log(&first)).await, Outcome::Duplicate);
    assert_eq!(shop.seen(&order(id)).await, [1]);
}

async fn a_duplicate_in_one_batch_is_dropped(shop: &Shop) {
    let id = shop.id();
    let (first, second) = (created(id, 1, ""), created(id, 2, ""));
    let outcomes = shop.batch([&first, &first, &second, &first, &second].map(streamed)).await;
    let [applied, dropped] = [Outcome::Applied, Outcome::Duplicate];
    assert_eq!(outcomes, [applied.clone(), dropped.clone(), applied, dropped.clone(), dropped]);
    assert_eq!(shop.seen(&order(id)).await, [1, 2]);
}

async fn reordered_events_are_applied_in_their_order(shop: &Shop) {
    let id = shop.id();
    let (first, second, third) = (created(id, 1, ""), created(id, 2, ""), created(id, 3, ""));
    let outcomes = shop.batch([&third, &first, &second].map(streamed)).await;
    assert_eq!(outcomes, [Outcome::Gap, Outcome::Applied, Outcome::Applied], "what is missing is waited for");
    assert_eq!(shop.one(late(&third)).await, Outcome::Applied);
    assert_eq!(shop.seen(&order(id)).await, [1, 2, 3]);
}

async fn a_gap_that_the_stream_does_not_fill_is_healed_from_the_log(shop: &Shop) {
    let id = shop.id();
    let events = [1, 2, 3].map(|revision| created(id, revision, ""));
    assert_eq!(shop.one(streamed(&events[2])).await, Outcome::Gap);
    assert!(shop.due().await.is_empty(), "the stream may still bring what is missing");
    assert_eq!(shop.one(late(&events[2])).await, Outcome::Noted);
    let due = shop.due().await;
    assert_eq!((&due[0].key, due[0].revision, due.len()), (&order(id), 0, 1));
    assert_eq!(shop.batch(events.iter().map(from_log)).await, [Outcome::Applied, Outcome::Applied, Outcome::Applied]);
    assert_eq!(shop.one(streamed(&created(id, 4, ""))).await, Outcome::Applied, "it flows again");
    assert_eq!(shop.seen(&order(id)).await, [1, 2, 3, 4]);
    shop.forward(HOUR);
    assert!(shop.due().await.is_empty());
}

async fn what_comes_while_a_gap_is_healed_is_noted(shop: &Shop) {
    let id = shop.id();
    let events = [1, 2, 3, 4].map(|revision| created(id, revision, ""));
    shop.one(late(&events[1])).await;
    assert_eq!(shop.one(streamed(&events[0])).await, Outcome::Noted, "a key that waits is read in order");
    assert_eq!(shop.one(streamed(&events[3])).await, Outcome::Noted);
    assert_eq!(shop.due().await.len(), 1);
    shop.batch(events[..2].iter().map(from_log)).await;
    let due = shop.due().await;
    assert_eq!(due[0].revision, 2, "more was noted, so it is due at once");
    shop.batch(events[2..].iter().map(from_log)).await;
    assert_eq!(shop.seen(&order(id)).await, [1, 2, 3, 4]);
    shop.forward(HOUR);
    assert!(shop.due().await.is_empty());
}

async fn a_consumer_that_was_reset_to_the_start_changes_nothing(shop: &Shop) {
    let ids = [shop.id(), shop.id(), shop.id()];
    let events: Vec<_> = (1..=4).flat_map(|revision| ids.map(|id| created(id, revision, ""))).collect();
    shop.batch(events.iter().map(streamed)).await;
    let again = shop.batch(events.iter().map(streamed)).await;
    assert!(again.iter().all(|outcome| *outcome == Outcome::Duplicate), "{again:?}");
    for id in ids {
        assert_eq!(shop.seen(&order(id)).await, [1, 2, 3, 4]);
    }
}

async fn a_storm_of_redeliveries_changes_nothing(shop: &Shop) {
    let id = shop.id();
    let events = [1, 2, 3].map(|revision| created(id, revision, ""));
    let mut applied = 0;
    for delivered in 1..8 {
        let storm = events.iter().rev().chain(&events).map(|event| redelivered(delivered, streamed(event)));
        applied += shop.batch(storm).await.iter().filter(|outcome| **outcome == Outcome::Applied).count();
    }
    assert_eq!((applied, shop.seen(&order(id)).await), (3, vec![1, 2, 3]));
}

async fn a_type_of_a_later_version_is_given_back_and_stops_only_its_key(shop: &Shop) {
    let (id, other) = (shop.id(), shop.id());
    let newer = of_type("millrace.order.v1.OrderWrapped", created(id, 1, ""));
    let outcomes =
        shop.batch([streamed(&newer), streamed(&created(id, 2, "")), streamed(&created(other, 1, ""))]).await;
    assert!(given_back(&outcomes[0]), "{outcomes:?}");
    assert_eq!(outcomes[1..], [Outcome::Gap, Outcome::Applied]);
    for delivered in 2..20 {
        assert!(given_back(&shop.one(redelivered(delivered, streamed(&newer))).await));
    }
    // The instance that knows it takes it at the first attempt, and may fail as often as ever.
    let failing = created(id, 1, "fail");
    for _ in 0..4 {
        assert_eq!(shop.one(from_log(&failing)).await, Outcome::Noted);
    }
    shop.world.repair();
    assert_eq!(shop.one(from_log(&failing)).await, Outcome::Applied);
}

async fn a_type_without_a_handler_is_skipped_and_the_cursor_moves(shop: &Shop) {
    let id = shop.id();
    let skipped = record(id, 1, &OrderPaymentChanged::default());
    let outcomes = shop.batch([streamed(&skipped), streamed(&created(id, 2, ""))]).await;
    assert_eq!(outcomes, [Outcome::Skipped, Outcome::Applied]);
    assert_eq!(shop.one(streamed(&skipped)).await, Outcome::Duplicate);
    assert_eq!(shop.ledger.revision_of("replica", &order(id)).await.unwrap(), 2);
}

async fn subscriptions_have_cursors_of_their_own(shop: &Shop) {
    let id = shop.id();
    let event = created(id, 1, "");
    assert_eq!(shop.one(streamed(&event)).await, Outcome::Applied);
    assert_eq!(shop.one(brought("clerk", &event, Means::Stream)).await, Outcome::Skipped);
    assert_eq!(shop.ledger.revision_of("clerk", &order(id)).await.unwrap(), 1);
}

async fn an_event_that_comes_before_its_replica_waits_and_goes_on(shop: &Shop) {
    let (id, early) = (shop.id(), shop.id());
    let event = created(id, 1, &format!("wait {}; write done", order(early)));
    assert_eq!(shop.one(streamed(&event)).await, Outcome::Noted);
    assert_eq!(shop.one(streamed(&created(id, 2, ""))).await, Outcome::Noted);
    shop.forward(SECOND);
    let due = shop.due().await;
    assert_eq!(due[0].waits_for.as_ref().map(|(key, _)| key), Some(&order(early)));
    assert_eq!(shop.seen(&order(id)).await, Vec::<i64>::new(), "what it wrote before it had to wait is undone");
    shop.one(streamed(&created(early, 1, ""))).await;
    assert_eq!(
        shop.batch([from_log(&event), from_log(&created(id, 2, ""))]).await,
        [Outcome::Applied, Outcome::Applied]
    );
    assert_eq!((shop.seen(&order(id)).await, shop.notes().await), (vec![1, 2], vec!["done".to_owned()]));
}

async fn an_event_whose_replica_never_comes_goes_on_without_it(shop: &Shop) {
    let (id, never) = (shop.id(), shop.id());
    let event = created(id, 1, &format!("wait {}", order(never)));
    shop.one(streamed(&event)).await;
    let mut looks = 0;
    let waited = loop {
        shop.forward(5 * SECOND);
        if let Some((_, since)) = shop.due().await.pop().and_then(|due| due.waits_for) {
            looks += 1;
            let waited = shop.now().since(since);
            if waited > shop.ledger.retry().absent_after {
                break waited;
            }
            assert_eq!(shop.one(from_log(&event)).await, Outcome::Noted);
        }
    };
    assert!(
        waited < HOUR && looks < 40,
        "the longer it waits, the more seldom it is looked for: {looks} times in {waited:?}"
    );
    assert_eq!(shop.one(brought("replica", &event, Means::Log { epoch: 1, absent: true })).await, Outcome::Applied);
    assert_eq!(shop.notes().await, [format!("went on without {}", order(never))]);
}

async fn waiting_is_not_failing(shop: &Shop) {
    let (id, early) = (shop.id(), shop.id());
    let event = created(id, 1, &format!("wait {}; fail", order(early)));
    for delivered in 1..20 {
        assert_eq!(shop.one(redelivered(delivered, from_log(&event))).await, Outcome::Noted);
        shop.forward(60 * SECOND);
    }
    shop.one(streamed(&created(early, 1, ""))).await;
    for _ in 0..4 {
        assert_eq!(shop.one(from_log(&event)).await, Outcome::Noted);
    }
    shop.world.repair();
    assert_eq!(shop.one(from_log(&event)).await, Outcome::Applied, "four failures do not park a key");
}

async fn a_key_that_is_due_is_taken_once(shop: &Shop) {
    let id = shop.id();
    shop.one(late(&created(id, 2, ""))).await;
    assert_eq!(shop.due().await.len(), 1);
    assert_eq!(shop.due().await, []);
    shop.forward(60 * SECOND);
    assert_eq!(shop.due().await.len(), 1, "whoever took it may have been killed");
}

async fn an_event_that_acts_is_applied_once_with_its_cause(shop: &Shop) {
    let counter = shop.counter(3).await;
    let event = processed(counter, 1, &format!("sell 1 {counter}"));
    let outcomes = shop.batch([brought("clerk", &event, Means::Stream), brought("clerk", &event, Means::Stream)]).await;
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Duplicate]);
    let sold = shop.log(counter).await.pop().unwrap();
    assert_eq!(sold.key, Key::new("counter", counter));
    assert_eq!(
        (sold.principal.as_str(), sold.command_id, sold.cause_id),
        ("user/customer", event.command_id, Some(event.id))
    );
    assert_eq!(shop.told(counter).await.units, 2);
}
