//! Whether replicas have seen what a caller has seen.

use event::{Key, Seen};
use millrace_ledger::{Means, Outcome};

use crate::shop::{Shop, brought, created, order, streamed};

on_both!(
    what_every_follower_applied_has_been_passed_and_nothing_more,
    what_waits_has_not_been_passed,
    what_nobody_follows_cannot_be_behind,
    an_epoch_counts_more_than_any_revision,
);

fn seen(key: &Key, epoch: i64, revision: i64) -> Seen {
    Seen { key: key.clone(), epoch, revision }
}

async fn what_every_follower_applied_has_been_passed_and_nothing_more(shop: &Shop) {
    let id = shop.id();
    let (event, first, second) = (created(id, 1, ""), seen(&order(id), 1, 1), seen(&order(id), 1, 2));
    assert!(!passed(shop, std::slice::from_ref(&first)).await);
    shop.one(streamed(&event)).await;
    assert!(!passed(shop, std::slice::from_ref(&first)).await, "the clerk follows orders, too");
    assert_eq!(shop.one(brought("clerk", &event, Means::Stream)).await, Outcome::Skipped);
    assert_eq!(shop.one(brought("mailer", &event, Means::Stream)).await, Outcome::Applied);
    assert!(passed(shop, std::slice::from_ref(&first)).await);
    assert!(!passed(shop, &[second, first.clone()]).await, "of two revisions of a key the newer one counts");
    assert!(!passed(shop, &[first, seen(&order(shop.id()), 1, 1)]).await, "every key counts");
}

async fn what_waits_has_not_been_passed(shop: &Shop) {
    let id = shop.id();
    all_hear(shop, id, 1).await;
    for subscription in ["replica", "clerk"] {
        assert_eq!(shop.one(brought(subscription, &created(id, 3, ""), Means::StreamLate)).await, Outcome::Noted);
    }
    assert!(!passed(shop, &[seen(&order(id), 1, 3)]).await, "it was noted, not applied");
}

async fn what_nobody_follows_cannot_be_behind(shop: &Shop) {
    let (own, strange) = (shop.counter(1).await, Key::new("planet", shop.id()));
    assert!(passed(shop, &[seen(&Key::new("counter", own), 1, 1), seen(&strange, 1, 1)]).await);
    assert!(passed(shop, &[]).await);
}

async fn an_epoch_counts_more_than_any_revision(shop: &Shop) {
    let id = shop.id();
    all_hear(shop, id, 1).await;
    assert!(!passed(shop, &[seen(&order(id), 2, 1)]).await);
    assert!(passed(shop, &[seen(&order(id), 0, 9)]).await);
}

async fn all_hear(shop: &Shop, id: event::Id, revision: i64) {
    for subscription in ["replica", "clerk", "mailer"] {
        shop.one(brought(subscription, &created(id, revision, ""), Means::Stream)).await;
    }
}

async fn passed(shop: &Shop, seen: &[Seen]) -> bool {
    shop.ledger.has_passed(seen).await.unwrap()
}
