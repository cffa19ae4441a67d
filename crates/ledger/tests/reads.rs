//! What handlers declare that they will read is read for what will come to a handler, and for nothing else: what fails there would be
//! counted against an event that was never to be tried. Each event here declares a table that is not there.

use event::Record;
use millrace_ledger::{Delivery, Means, Outcome};
use proto::user::v1::UserUpdated;

use crate::shop::{
    Shop, brought, created, from_log, given_back, late, of_type, order, other, record, redelivered, streamed,
};

on_both!(
    what_cannot_be_read_for_an_event_is_that_event_s_failure,
    an_event_of_a_log_that_is_not_known_is_given_back_and_not_counted,
    an_event_of_another_log_is_dropped_and_not_counted,
    a_missing_revision_is_waited_for,
    an_event_from_before_a_mailer_s_start_is_skipped,
    one_that_fails_costs_nobody_else_in_its_batch_anything,
);

fn poison(shop: &Shop) -> Record {
    created(shop.id(), 1, "read-lost")
}

/// How many failures are written down, and how many cursors there are at all.
async fn counted(shop: &Shop) -> (i64, i64) {
    (shop.number("select coalesce(sum(attempts), 0) from cursor").await, shop.count("cursor").await)
}

async fn what_cannot_be_read_for_an_event_is_that_event_s_failure(shop: &Shop) {
    let poison = poison(shop);
    assert_eq!(shop.one(streamed(&poison)).await, Outcome::Noted);
    assert_eq!(shop.one(from_log(&poison)).await, Outcome::Noted);
    assert_eq!((counted(shop).await, shop.seen(&poison.key).await), ((2, 1), vec![]));
}

async fn an_event_of_a_log_that_is_not_known_is_given_back_and_not_counted(shop: &Shop) {
    let update = |steps: &str| UserUpdated { display_name: steps.to_owned(), ..Default::default() };
    let event = record(shop.id(), 1, &update("read-lost"));
    let streamed = || brought("newcomer", &event, Means::Stream);
    let another = brought("newcomer", &record(shop.id(), 1, &update("")), Means::Stream);
    for delivered in 1..=6 {
        assert!(given_back(&shop.one(redelivered(delivered, streamed())).await));
    }
    assert!(shop.batch([streamed(), another.clone()]).await.iter().all(given_back));
    assert_eq!(counted(shop).await, (0, 0));
    shop.ledger.meet("newcomer", "user", other(), 1).await.unwrap();
    assert_eq!(shop.batch([streamed(), another]).await, [Outcome::Noted, Outcome::Applied]);
    assert_eq!(counted(shop).await, (1, 2));
}

async fn an_event_of_another_log_is_dropped_and_not_counted(shop: &Shop) {
    let stranger = Record { source: shop.id(), ..poison(shop) };
    assert_eq!(shop.one(streamed(&stranger)).await, Outcome::Stranger);
    assert_eq!(counted(shop).await, (0, 0));
}

async fn a_missing_revision_is_waited_for(shop: &Shop) {
    let id = shop.id();
    let (first, second) = (created(id, 1, ""), created(id, 2, "read-lost"));
    assert_eq!(shop.one(streamed(&second)).await, Outcome::Gap);
    assert_eq!(shop.one(late(&second)).await, Outcome::Noted);
    assert_eq!((shop.due().await[0].revision, counted(shop).await.0), (0, 0));
    assert_eq!(shop.batch([from_log(&first), from_log(&second)]).await, [Outcome::Applied, Outcome::Noted]);
    assert_eq!((shop.seen(&order(id)).await, counted(shop).await.0), (vec![1], 1));
}

async fn an_event_from_before_a_mailer_s_start_is_skipped(shop: &Shop) {
    let mut past = poison(shop);
    past.time.0 -= 1;
    let newer = of_type("millrace.order.v1.OrderOfALaterVersion", created(past.key.id(), 2, ""));
    let to_mailer = |event: &Record| brought("mailer", event, Means::Stream);
    assert_eq!(shop.one(to_mailer(&past)).await, Outcome::Skipped);
    assert!(given_back(&shop.one(to_mailer(&newer)).await), "what happened since is still judged by its type");
}

async fn one_that_fails_costs_nobody_else_in_its_batch_anything(shop: &Shop) {
    let (poison, id) = (poison(shop), shop.id());
    let batch = [poison, created(id, 1, ""), created(id, 2, "")];
    let outcomes = shop.batch(batch.iter().map(streamed).collect::<Vec<Delivery>>()).await;
    assert_eq!(outcomes, [Outcome::Noted, Outcome::Applied, Outcome::Applied]);
    assert_eq!(shop.seen(&order(id)).await, [1, 2]);
}
