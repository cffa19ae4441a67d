//! What was heard is what happened, whatever the stream has lost: positions, heads, and the audit of cursors.

use millrace_ledger::{Ledger, Means, Outcome, Place, Since};
use sea_orm::TransactionTrait;

use crate::shop::{Shop, brought, command, created, ended, from_log, given_back, heads, order, reason, streamed};
use crate::toy::lock;

on_both!(
    an_owner_lists_each_key_once_at_its_newest_revision,
    an_audit_goes_on_where_it_ended,
    a_last_event_that_the_stream_has_lost_is_noted_and_read,
    what_is_on_its_way_is_not_noted,
    a_key_that_nobody_has_heard_of_is_found,
    events_of_another_log_are_dropped,
    a_log_that_is_another_one_is_not_audited,
    what_happened_before_a_mailer_was_added_is_not_mailed,
    a_log_that_lacks_what_was_read_of_it_does_nothing_until_its_epoch_is_raised,
    what_was_found_of_an_epoch_that_is_over_suspends_nobody,
    effects_are_asked_for_first_after_an_epoch_was_raised,
);

const ALL: u64 = 1000;

fn counters() -> Vec<String> {
    vec!["counter".to_owned()]
}

/// What the toy's own log lists after a place, as pairs of revisions and times.
async fn listed(ledger: &Ledger, place: Place, limit: u64) -> (Vec<i64>, Place, bool) {
    let since = Since { log_id: Some(ledger.log_id()), epoch: 1, place };
    let heads = ledger.heads(&counters(), &since, limit).await.unwrap();
    let mut revisions: Vec<_> = heads.heads.iter().map(|head| head.revision).collect();
    revisions.sort_unstable();
    (revisions, heads.place, heads.more)
}

async fn an_owner_lists_each_key_once_at_its_newest_revision(shop: &Shop) {
    let (one, _) = (shop.counter(5).await, shop.counter(3).await);
    shop.act(one, format!("sell 1 {one}; sell 1 {one}")).await;
    let (revisions, place, more) = listed(&shop.ledger, Place::default(), ALL).await;
    assert_eq!((revisions, place.position, more), (vec![1, 3], 4, false));
    let since = Since::default();
    assert!(shop.ledger.heads(&["order".to_owned()], &since, ALL).await.unwrap().heads.is_empty());
}

async fn an_audit_goes_on_where_it_ended(shop: &Shop) {
    for units in 1..=3 {
        shop.counter(units).await;
    }
    let (first, place, more) = listed(&shop.ledger, Place::default(), 2).await;
    assert_eq!((first.len(), more), (2, true));
    let (rest, place, more) = listed(&shop.ledger, place, 2).await;
    assert_eq!((rest.len(), more), (1, false));
    let late = shop.counter(4).await;
    shop.act(late, format!("sell 1 {late}")).await;
    assert_eq!(listed(&shop.ledger, place, ALL).await.0, vec![2]);
}

async fn a_last_event_that_the_stream_has_lost_is_noted_and_read(shop: &Shop) {
    let id = shop.id();
    let (first, last) = (created(id, 1, ""), created(id, 2, ""));
    shop.one(streamed(&first)).await;
    let told = heads(2, &[&last]);
    let behind = shop.ledger.behind_of("replica", told.heads.clone()).await.unwrap();
    assert_eq!(shop.ledger.note("replica", "order", 1, &behind).await.unwrap(), 1, "what it has not heard of is noted");
    shop.audited("replica", &told).await.unwrap();
    let due = shop.due().await;
    assert_eq!((due.len(), &due[0].key, due[0].revision, due[0].compare), (1, &order(id), 1, false));
    assert_eq!(shop.one(from_log(&last)).await, Outcome::Applied);
    assert_eq!(shop.seen(&order(id)).await, vec![1, 2]);
    assert!(shop.ledger.behind_of("replica", told.heads.clone()).await.unwrap().is_empty());
    let since = shop.ledger.followed("replica", "order").await.unwrap().since;
    assert_eq!((since.place, since.epoch), (told.place, 1));
}

async fn what_is_on_its_way_is_not_noted(shop: &Shop) {
    let id = shop.id();
    let first = created(id, 1, "");
    let behind = shop.ledger.behind_of("replica", heads(1, &[&first]).heads).await.unwrap();
    assert_eq!(shop.one(streamed(&first)).await, Outcome::Applied);
    assert_eq!(shop.ledger.note("replica", "order", 1, &behind).await.unwrap(), 0);
    assert!(shop.due().await.is_empty());
}

async fn a_key_that_nobody_has_heard_of_is_found(shop: &Shop) {
    let id = shop.id();
    let events = [created(id, 1, ""), created(id, 2, ""), created(id, 3, "")];
    let behind = shop.ledger.behind_of("replica", heads(3, &[&events[2]]).heads).await.unwrap();
    shop.ledger.note("replica", "order", 1, &behind).await.unwrap();
    assert_eq!(shop.due().await[0].revision, 0);
    assert_eq!(shop.batch(events.iter().map(from_log)).await, vec![Outcome::Applied; 3]);
    assert_eq!(shop.one(streamed(&created(id, 4, ""))).await, Outcome::Applied);
}

async fn events_of_another_log_are_dropped(shop: &Shop) {
    let mut stranger = created(shop.id(), 1, "");
    stranger.source = shop.id();
    assert_eq!(shop.one(streamed(&stranger)).await, Outcome::Stranger, "it is of another log");
    assert_eq!(shop.seen(&stranger.key).await, Vec::<i64>::new());
}

async fn a_log_that_is_another_one_is_not_audited(shop: &Shop) {
    let first = created(shop.id(), 1, "");
    shop.audited("replica", &heads(1, &[&first])).await.unwrap();
    let mut another = heads(9, &[&first]);
    another.log_id = shop.id();
    let refused = shop.audited("replica", &another).await.unwrap_err().to_string();
    assert!(refused.contains("order has another log"), "{refused}");
    assert_eq!(shop.ledger.followed("replica", "order").await.unwrap().since.place.position, 1);
}

async fn what_happened_before_a_mailer_was_added_is_not_mailed(shop: &Shop) {
    let (old, new) = (shop.id(), shop.id());
    let mut past = created(old, 1, "write mailed");
    past.time.0 -= 1;
    assert_eq!(shop.one(brought("mailer", &past, Means::Stream)).await, Outcome::Skipped);
    assert_eq!(shop.one(brought("mailer", &created(new, 1, "write mailed"), Means::Stream)).await, Outcome::Applied);
    assert_eq!(shop.notes().await, vec!["mailed"]);
    // What the audit finds of the past need not even be read.
    let mut forgotten = created(shop.id(), 1, "");
    forgotten.time.0 -= 1;
    shop.ledger.note("mailer", "order", 1, &heads(3, &[&forgotten]).heads).await.unwrap();
    assert!(shop.due().await.is_empty());
    assert_eq!(shop.ledger.revision_of("mailer", &forgotten.key).await.unwrap(), 1);
}

async fn a_log_that_lacks_what_was_read_of_it_does_nothing_until_its_epoch_is_raised(shop: &Shop) {
    let counter = shop.counter(5).await;
    let (_, place, _) = listed(&shop.ledger, Place::default(), ALL).await;
    let lost = Place { position: place.position, event_id: Some(created(shop.id(), 1, "").id) };
    let since = Since { log_id: Some(shop.ledger.log_id()), epoch: 1, place: lost };
    let refused =
        shop.ledger.heads(&counters(), &since, ALL).await.expect_err("it lacks what was read of it").to_string();
    assert!(refused.contains("older than what others have read"), "{refused}");
    let sell = command(shop.id(), counter, format!("sell 1 {counter}"));
    assert!(given_back(&shop.one(sell.clone()).await));
    assert!(shop.ledger.behind().await.unwrap().is_some());
    assert_eq!(shop.ledger.raise_epoch(1).await.unwrap(), 2);
    ended(&shop.one(sell).await);
    let log = shop.log(counter).await;
    assert_eq!((log[0].epoch, log[1].epoch, shop.told(counter).await.units), (1, 2, 4));
    // Whoever has read the earlier epoch is told of the new one, and begins anew.
    assert_eq!(shop.ledger.heads(&counters(), &since, ALL).await.unwrap().epoch, 2);
}

/// An instance may have begun to judge the log before the epoch was raised, and come to its end afterwards.
async fn what_was_found_of_an_epoch_that_is_over_suspends_nobody(shop: &Shop) {
    assert_eq!(shop.ledger.raise_epoch(1).await.unwrap(), 2);
    let late = shop.ledger.suspend(1, "its stream has an event that the log lacks").await.unwrap_err().to_string();
    assert!(late.contains("the epoch was raised"), "{late}");
    assert_eq!(shop.ledger.behind().await.unwrap(), None);
    shop.ledger.suspend(2, "its stream has an event that the log lacks").await.unwrap_err();
    assert!(shop.ledger.behind().await.unwrap().is_some());
}

async fn effects_are_asked_for_first_after_an_epoch_was_raised(shop: &Shop) {
    let counter = shop.counter(5).await;
    shop.act(counter, format!("charge 7 {counter}")).await;
    shop.ledger.raise_epoch(1).await.unwrap();
    assert_eq!(shop.work().await.len(), 1);
    shop.act(counter, format!("charge 1 {counter}")).await;
    assert_eq!(shop.work().await.len(), 1);
    let asked: Vec<_> = lock(&shop.world.calls).iter().map(|(_, asked)| *asked).collect();
    assert_eq!(asked, [true, true], "the part of the log that was lost may have done either");
    let withdrawn = shop.batch([
        command(shop.id(), counter, format!("charge 2 {counter}")),
        command(shop.id(), counter, format!("withdraw {counter}")),
    ]);
    assert_eq!(reason(&withdrawn.await[1]), "BEGUN", "it may have been done before");
    assert_eq!(shop.work().await.len(), 1);
}

/// Positions are given after the commit, so that what commits late gets a later one.
mod a_transaction_that_commits_late_is_not_missed {
    use super::{ALL, Place, Shop, TransactionTrait, listed};
    use sea_orm::ConnectionTrait as _;

    #[tokio::test]
    async fn on_postgres() {
        let shop = Shop::on_postgres().await;
        let counter = shop.counter(5).await;
        let other = shop.connection().await;
        let late = other.begin().await.unwrap();
        let sql = "insert into event_log select key, 2, epoch, history, gen_random_uuid(), type_name, body, time - 1, principal, \
                   command_id, cause_id, traceparent, tracestate, published_at, null from event_log where revision = 1";
        late.execute_unprepared(sql).await.unwrap();
        shop.counter(1).await;
        let (seen, place, _) = listed(&shop.ledger, Place::default(), ALL).await;
        assert_eq!((seen, place.position), (vec![1, 1], 2));
        late.commit().await.unwrap();
        assert_eq!(listed(&shop.ledger, place, ALL).await.0, vec![2], "of {counter}");
    }
}
