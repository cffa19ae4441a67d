//! Transactions on one Postgres database that overlap: with what commits in another order, with what is being written for the first time,
//! with a version of the code that takes over, and with an instance that has stalled.

use event::{Id, Key};
use millrace_ledger::{Outcome, Place, Since};
use sea_orm::DatabaseTransaction;
use testkit::eventually;
use tokio::{join, select};

use crate::interleavings::{holding, waiting};
use crate::shop::{HOUR, SECOND, Shop, answer, command, created, given_back, order, streamed};

on_two_instances!(
    what_commits_in_reverse_is_listed_and_published_and_what_is_rolled_back_is_not,
    the_first_revision_of_a_key_is_applied_by_one,
    a_timer_is_taken_by_one,
    a_subscription_is_taken_over_between_batches_and_not_within_one,
    an_instance_that_stalls_within_a_batch_is_cut_off_and_another_goes_on,
);

async fn what_commits_in_reverse_is_listed_and_published_and_what_is_rolled_back_is_not(one: &Shop, two: &Shop) {
    let mut open = Vec::new();
    for _ in 0..4 {
        let id = one.counter(1).await;
        open.push((id, appending(one, id).await));
    }
    one.forward(HOUR);
    one.ledger.mark_published(one.ledger.unpublished(SECOND, 10).await.unwrap().iter().map(|record| record.id));
    one.ledger.write_marks().await.unwrap();
    let (_, mut place) = listed_after(one, Place::default()).await;
    let mut published = Vec::new();
    for (nth, (id, transaction)) in open.into_iter().enumerate().rev() {
        if nth == 2 {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
            published.push(id);
        }
        // Whichever instance looks: it sees what has been committed since, and gives it the next positions.
        let (listed, next) = listed_after(if nth % 2 == 0 { one } else { two }, place).await;
        assert_eq!(listed, if nth == 2 { vec![] } else { vec![Key::new("counter", id)] });
        place = next;
    }
    assert_eq!(place.position, 4 + 3, "no position is left out");
    let unpublished = two.ledger.unpublished(SECOND, 10).await.unwrap();
    let mut found: Vec<_> = unpublished.iter().map(|record| record.key.id()).collect();
    found.sort_unstable();
    published.sort_unstable();
    assert_eq!(found, published);
}

/// A transaction of somebody else's that has appended to a counter, and not ended.
async fn appending(shop: &Shop, id: Id) -> DatabaseTransaction {
    let sql = format!(
        "insert into event_log select key, 2, epoch, history, gen_random_uuid(), type_name, body, time, principal, command_id, \
         cause_id, traceparent, tracestate, null, null from event_log where key = 'counter/{id}'"
    );
    holding(&shop.connection().await, &sql).await
}

async fn listed_after(shop: &Shop, place: Place) -> (Vec<Key>, Place) {
    let since = Since { log_id: Some(shop.ledger.log_id()), epoch: 1, place };
    let heads = shop.ledger.heads(&["counter".to_owned()], &since, 100).await.unwrap();
    (heads.heads.into_iter().map(|head| head.key).collect(), heads.place)
}

async fn the_first_revision_of_a_key_is_applied_by_one(one: &Shop, two: &Shop) {
    let (id, connection) = (one.id(), one.connection().await);
    let cursor = format!(
        "insert into cursor (subscription, key, epoch, revision, history, state, noted, attempts) \
         values ('replica', '{}', 1, 1, '', 0, 1, 0)",
        order(id)
    );
    let holder = holding(&connection, &cursor).await;
    let event = streamed(&created(id, 1, ""));
    let release = async {
        eventually("both instances wait", async || waiting(one).await == 2).await;
        holder.rollback().await.unwrap();
    };
    let (first, second, ()) = join!(one.one(event.clone()), two.one(event), release);
    assert!(
        matches!((&first, &second), (Outcome::Applied, Outcome::Duplicate) | (Outcome::Duplicate, Outcome::Applied)),
        "{first:?} {second:?}"
    );
    assert_eq!(one.seen(&order(id)).await, [1]);
}

async fn a_timer_is_taken_by_one(one: &Shop, two: &Shop) {
    let (held, free) = (one.counter(5).await, one.counter(5).await);
    for counter in [held, free] {
        one.act(counter, format!("remind 60 {counter} sell 1 {counter}")).await;
    }
    one.forward(HOUR);
    let connection = one.connection().await;
    let holder = holding(&connection, &format!("select 1 from timer where key = 'counter/{held}' for update")).await;
    let (first, second) = join!(one.ring(one.now()), two.ring(two.now()));
    assert_eq!(first.len() + second.len(), 1, "the other one is passed over, not waited for");
    holder.commit().await.unwrap();
    let (third, fourth) = join!(one.ring(one.now()), two.ring(two.now()));
    assert_eq!(third.len() + fourth.len(), 1);
    for timer in [first, second, third, fourth].into_iter().flatten() {
        assert_eq!(two.one(timer).await, Outcome::Applied);
    }
    assert_eq!((one.told(held).await.sold, one.told(free).await.sold), (1, 1));
}

async fn a_subscription_is_taken_over_between_batches_and_not_within_one(one: &Shop, two: &Shop) {
    let id = one.id();
    let taking_over = async {
        eventually("the batch is in the middle", async || one.world.times("meet") == 1).await;
        let release = async {
            eventually("the new version waits", async || waiting(one).await == 1).await;
            assert!(two.ledger.owns("replica").await.unwrap(), "the batch was begun before");
            two.act(two.id(), "meet").await;
        };
        join!(one.another_version(2), release).0
    };
    let (outcome, new) = join!(one.one(streamed(&created(id, 1, "meet"))), taking_over);
    assert_eq!((outcome, one.seen(&order(id)).await), (Outcome::Applied, vec![1]));
    assert!(new.ledger.owns("replica").await.unwrap() && !two.ledger.owns("replica").await.unwrap());
    assert!(given_back(&one.one(streamed(&created(id, 2, ""))).await), "no batch of the old version comes after it");
    assert_eq!(new.one(streamed(&created(id, 2, ""))).await, Outcome::Applied);
}

/// It is the only test that waits for a time of production's own: that after which Postgres ends a transaction in which nothing is done.
async fn an_instance_that_stalls_within_a_batch_is_cut_off_and_another_goes_on(one: &Shop, two: &Shop) {
    let counter = one.counter(5).await;
    let stalls = command(one.id(), counter, format!("sell 1 {counter}; write lost; hang"));
    let mut stalled = Box::pin(one.one(stalls.clone()));
    select! { biased;
        outcome = &mut stalled => panic!("it does not hang: {outcome:?}"),
        () = eventually("it hangs", async || one.world.times("hang") == 1) => {}
    }
    let sell = command(two.id(), counter, format!("sell 2 {counter}"));
    assert!(given_back(&two.one(sell.clone()).await), "its lock is held");
    eventually("the other instance goes on", async || !given_back(&two.one(sell.clone()).await)).await;
    assert_eq!((two.told(counter).await.units, two.notes().await), (3, vec![]), "what it had done is undone");
    two.world.repair();
    answer(&two.one(stalls).await);
    assert_eq!((two.told(counter).await.units, two.notes().await), (2, vec!["lost".to_owned()]));
    drop(stalled);
}
