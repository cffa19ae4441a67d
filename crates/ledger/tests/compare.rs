//! What is out of step is compared with its owner's log: forks, cursors beyond it, replicas that are rebuilt, and versions of the code.

use event::Record;
use millrace_ledger::{Compared, Due, Heads, Means, Outcome};
use proto::user::v1::UserUpdated;

use crate::shop::{Shop, brought, created, from_log, given_back, heads, order, part, processed, record, streamed};

on_both!(
    a_forged_event_is_not_applied,
    a_replica_that_followed_another_past_is_derived_anew,
    what_acted_on_another_past_is_parked_and_listed,
    a_cursor_beyond_its_owners_log_is_found_when_the_epoch_is_raised,
    a_replica_is_rebuilt_key_by_key,
    what_an_earlier_epoch_had_comes_too_late_once_it_is_known_to_be_raised,
    what_was_read_before_an_epoch_was_raised_compares_nothing,
    keys_that_are_compared_together_come_each_to_their_own,
    a_subscription_takes_nothing_in_of_a_log_that_it_has_not_met_itself,
    a_key_goes_on_whose_owner_has_written_the_same_again_in_an_earlier_epoch,
    an_audit_that_another_instance_has_overtaken_stores_nothing,
);

/// The key that is due.
async fn one_due(shop: &Shop) -> Due {
    let mut due = shop.due().await;
    assert_eq!(due.len(), 1, "{due:?}");
    due.remove(0)
}

/// The owner's log was restored to where it had but this event, and its epoch was raised.
async fn raise(shop: &Shop, subscription: &str, first: &Record) {
    let raised = Heads { epoch: first.epoch + 1, ..heads(1, &[first]) };
    assert!(shop.audited(subscription, &raised).await.unwrap());
}

/// What the owner's log has instead of an event, since its epoch was raised.
fn instead(steps: &str, of: &Record) -> Record {
    let record = created(of.key.id(), of.revision, steps);
    Record { epoch: of.epoch + 1, ..record }
}

async fn a_forged_event_is_not_applied(shop: &Shop) {
    let id = shop.id();
    let first = created(id, 1, "");
    shop.one(streamed(&first)).await;
    let mut forged = created(id, 2, "write forged");
    forged.history = first.history;
    assert_eq!(shop.one(streamed(&forged)).await, Outcome::Noted, "its past is not what was applied");
    let due = one_due(shop).await;
    assert!(due.compare);
    let second = created(id, 2, "");
    let compared = shop.compare("replica", &order(id), part(1, &[first, second.clone()])).await;
    assert_eq!(compared, Compared::Same);
    assert_eq!(shop.one(from_log(&second)).await, Outcome::Applied);
    assert_eq!((shop.seen(&order(id)).await, shop.notes().await), (vec![1, 2], vec![]));
}

async fn a_replica_that_followed_another_past_is_derived_anew(shop: &Shop) {
    let id = shop.id();
    let (first, lost) = (created(id, 1, ""), created(id, 2, "write lost"));
    shop.batch([streamed(&first), streamed(&lost)]).await;
    let new = instead("write new", &lost);
    assert_eq!(shop.one(streamed(&new)).await, Outcome::Noted);
    assert!(one_due(shop).await.compare);
    let compared = shop.compare("replica", &order(id), part(1, std::slice::from_ref(&new))).await;
    assert_eq!(compared, Compared::Anew);
    let due = one_due(shop).await;
    assert_eq!((due.revision, due.compare), (0, false));
    assert_eq!(shop.batch([from_log(&first), from_log(&new)]).await, vec![Outcome::Applied; 2]);
    assert_eq!(shop.notes().await, vec!["lost", "new"]);
    assert_eq!(shop.one(streamed(&lost)).await, Outcome::Duplicate, "what is in nobody's log any more");
}

/// The owner has lost it, and the key is compared already: nobody would compare it again.
async fn what_an_earlier_epoch_had_comes_too_late_once_it_is_known_to_be_raised(shop: &Shop) {
    let id = shop.id();
    let (first, lost) = (created(id, 1, ""), created(id, 2, "write lost"));
    assert_eq!(shop.one(streamed(&first)).await, Outcome::Applied);
    raise(shop, "replica", &first).await;
    assert_eq!(shop.one(streamed(&lost)).await, Outcome::Duplicate);
    assert_eq!(shop.one(from_log(&lost)).await, Outcome::Duplicate, "it was read before the log was restored");
    let noted = shop.ledger.note("replica", "order", 1, &heads(2, &[&lost]).heads).await.unwrap();
    assert_eq!((noted, shop.due().await), (0, vec![]), "so was what it is told of");
    assert_eq!((shop.seen(&order(id)).await, shop.notes().await), (vec![1], vec![]));
    // What the owner's log has is applied, however old it is.
    let kept = brought("replica", &created(id, 2, "write kept"), Means::Log { epoch: 2, absent: false });
    assert_eq!(shop.one(kept).await, Outcome::Applied);
    assert_eq!(shop.notes().await, vec!["kept"]);
}

/// It would be found to be the same as what its owner has no longer, and nobody would compare it again.
async fn what_was_read_before_an_epoch_was_raised_compares_nothing(shop: &Shop) {
    let id = shop.id();
    let (first, lost) = (created(id, 1, ""), created(id, 2, "write lost"));
    shop.batch([streamed(&first), streamed(&lost)]).await;
    raise(shop, "replica", &first).await;
    assert_eq!(shop.ledger.compare_next("replica", "order", &["order"], 100).await.unwrap(), 1);
    assert!(one_due(shop).await.compare);
    let compare = async |epoch, events: &[Record]| shop.compare("replica", &order(id), part(epoch, events)).await;
    assert_eq!(compare(1, &[first.clone(), lost]).await, Compared::Elsewhere);
    assert_eq!(compare(2, &[first]).await, Compared::Anew);
}

async fn keys_that_are_compared_together_come_each_to_their_own(shop: &Shop) {
    let ids = [shop.id(), shop.id(), shop.id()];
    let firsts = ids.map(|id| processed(id, 1, ""));
    for first in &firsts {
        assert_eq!(shop.one(brought("clerk", first, Means::Stream)).await, Outcome::Applied);
    }
    shop.audited("clerk", &heads(3, &[&firsts[0]])).await.unwrap();
    shop.ledger.begin_comparison("clerk", false).await.unwrap();
    assert_eq!(shop.ledger.compare_next("clerk", "order", &["order"], 100).await.unwrap(), 3);
    let (same, other) = (part(1, &firsts[..1]), part(1, &[processed(ids[1], 1, "write other")]));
    let of_no_cursor = order(shop.id());
    let parts = [(order(ids[0]), &same), (order(ids[1]), &other), (of_no_cursor.clone(), &other)];
    let compared = shop.ledger.compare("clerk", "order", &parts).await.unwrap();
    assert_eq!((&compared[&order(ids[0])], &compared[&of_no_cursor]), (&Compared::Same, &Compared::Elsewhere));
    assert!(matches!(compared[&order(ids[1])], Compared::Diverged(_)), "{compared:?}");
    let due = one_due(shop).await;
    assert_eq!((due.key, due.compare), (order(ids[2]), true), "the third was not among them");
}

/// What one subscription knows of an owner's log another may not: its cursors would never be compared.
async fn a_subscription_takes_nothing_in_of_a_log_that_it_has_not_met_itself(shop: &Shop) {
    let event = record(shop.id(), 1, &UserUpdated::default());
    assert!(given_back(&shop.one(brought("newcomer", &event, Means::Stream)).await));
    shop.ledger.meet("replica", "user", event.source, 1).await.unwrap();
    assert!(given_back(&shop.one(brought("newcomer", &event, Means::Stream)).await));
    shop.ledger.meet("newcomer", "user", event.source, 1).await.unwrap();
    assert_eq!(shop.one(brought("newcomer", &event, Means::Stream)).await, Outcome::Applied);
}

/// Its database was restored twice from one copy, and something was appended before the epoch was raised again.
async fn a_key_goes_on_whose_owner_has_written_the_same_again_in_an_earlier_epoch(shop: &Shop) {
    let id = shop.id();
    let (again, next) = (created(id, 1, ""), created(id, 2, ""));
    let first = Record { epoch: 2, ..again.clone() };
    assert_eq!(shop.one(streamed(&first)).await, Outcome::Applied);
    shop.one(streamed(&Record { epoch: 3, ..created(id, 1, "write other") })).await;
    assert!(one_due(shop).await.compare);
    let compared = shop.compare("replica", &order(id), part(1, &[again, next.clone()])).await;
    assert_eq!(compared, Compared::Same);
    assert_eq!(shop.one(from_log(&next)).await, Outcome::Applied);
}

/// It was asked before the owner's epoch was raised, and what it was told begins far behind what is to be audited now.
async fn an_audit_that_another_instance_has_overtaken_stores_nothing(shop: &Shop) {
    let first = created(shop.id(), 1, "");
    shop.audited("replica", &heads(7, &[&first])).await.unwrap();
    let before = shop.ledger.followed("replica", "order").await.unwrap().since;
    let raised = Heads { epoch: 2, ..heads(7, &[&first]) };
    assert!(shop.audited("replica", &raised).await.unwrap(), "everything is audited from the beginning");
    assert!(shop.ledger.audited("replica", "order", &before, &raised).await.unwrap(), "there is more to audit");
    let since = shop.ledger.followed("replica", "order").await.unwrap().since;
    assert_eq!((since.epoch, since.place.position), (2, 0));
}

async fn what_acted_on_another_past_is_parked_and_listed(shop: &Shop) {
    let id = shop.id();
    let first = processed(id, 1, "");
    let clerk = |record: &Record| brought("clerk", record, Means::Stream);
    assert_eq!(shop.one(clerk(&first)).await, Outcome::Applied);
    let other = Record { epoch: 2, ..processed(id, 1, "write again") };
    assert_eq!(shop.one(clerk(&other)).await, Outcome::Noted);
    one_due(shop).await;
    let compared = shop.compare("clerk", &order(id), part(1, std::slice::from_ref(&other))).await;
    assert!(matches!(&compared, Compared::Diverged(reason) if reason.contains("another past")), "{compared:?}");
    let next = Record { epoch: 2, ..processed(id, 2, "") };
    assert_eq!(shop.one(clerk(&next)).await, Outcome::Noted);
    assert!(shop.due().await.is_empty() && shop.notes().await.is_empty());
}

async fn a_cursor_beyond_its_owners_log_is_found_when_the_epoch_is_raised(shop: &Shop) {
    let id = shop.id();
    let events = [processed(id, 1, ""), processed(id, 2, ""), processed(id, 3, "")];
    for event in &events {
        shop.one(brought("clerk", event, Means::Stream)).await;
    }
    shop.audited("clerk", &heads(3, &[&events[2]])).await.unwrap();
    // The owner was restored to where it had but the first, and said so by a new epoch.
    let mut raised = heads(1, &[&events[0]]);
    raised.epoch = 2;
    shop.audited("clerk", &raised).await.unwrap();
    let followed = shop.ledger.followed("clerk", "order").await.unwrap();
    assert_eq!(
        (followed.since.place.position, followed.since.epoch, followed.compared_to.as_deref()),
        (0, 2, Some(""))
    );
    assert_eq!(shop.ledger.compare_next("clerk", "order", &["order"], 100).await.unwrap(), 1);
    assert!(one_due(shop).await.compare);
    let compared = shop.compare("clerk", &order(id), part(2, &events[..1])).await;
    assert!(matches!(&compared, Compared::Diverged(reason) if reason.contains("ends at revision 1")), "{compared:?}");
    assert_eq!(shop.ledger.followed("clerk", "order").await.unwrap().compared_to, None);
}

async fn a_replica_is_rebuilt_key_by_key(shop: &Shop) {
    let (one, two) = (shop.id(), shop.id());
    let events = [created(one, 1, ""), created(one, 2, ""), created(two, 1, "")];
    shop.batch(events.iter().map(streamed)).await;
    shop.audited("replica", &heads(3, &[&events[1], &events[2]])).await.unwrap();
    shop.ledger.begin_comparison("replica", true).await.unwrap();
    assert_eq!(shop.ledger.compare_next("replica", "order", &["order"], 1).await.unwrap(), 1);
    assert_eq!(one_due(shop).await.revision, 0);
    assert_eq!(shop.one(streamed(&created(two, 2, ""))).await, Outcome::Applied, "the others serve meanwhile");
    assert_eq!(shop.batch(events[..2].iter().map(from_log)).await, vec![Outcome::Applied; 2]);
    assert_eq!(shop.ledger.compare_next("replica", "order", &["order"], 100).await.unwrap(), 1);
    assert_eq!(shop.ledger.compare_next("replica", "order", &["order"], 100).await.unwrap(), 0);
    assert_eq!(shop.number("select count(*) from seen where times = 2").await, 2);
}

#[tokio::test]
async fn a_raised_version_takes_over_and_compares() {
    let shop = &Shop::on_postgres().await;
    let id = shop.id();
    let events = [created(id, 1, ""), created(id, 2, "fail")];
    shop.one(streamed(&events[0])).await;
    shop.audited("replica", &heads(2, &[&events[1]])).await.unwrap();
    for _ in 0..5 {
        shop.one(from_log(&events[1])).await;
    }
    assert!(shop.due().await.is_empty(), "it is parked");
    let new = shop.another_version(2).await;
    assert!(given_back(&shop.one(streamed(&created(shop.id(), 1, ""))).await), "the old version stops");
    assert!(!shop.ledger.owned("replica") && new.ledger.owned("replica"));
    assert_eq!(new.ledger.compare_next("replica", "order", &["order"], 100).await.unwrap(), 1);
    new.world.repair();
    assert!(one_due(&new).await.compare);
    assert_eq!(new.compare("replica", &order(id), part(1, &events)).await, Compared::Same);
    assert_eq!(new.one(from_log(&events[1])).await, Outcome::Applied, "what was parked is tried by the new version");
}

#[tokio::test]
async fn a_subscription_that_is_handed_back_goes_on() {
    let shop = &Shop::on_postgres().await;
    let new = shop.another_version(2).await;
    assert!(!shop.ledger.owns("replica").await.unwrap());
    new.ledger.hand_over("replica", 1).await.unwrap();
    assert!(shop.ledger.owns("replica").await.unwrap());
    assert!(given_back(&new.one(streamed(&created(shop.id(), 1, ""))).await));
    assert_eq!(shop.one(streamed(&created(shop.id(), 1, ""))).await, Outcome::Applied);
}
