//! Whatever is dropped, wherever it is dropped: all of it was committed, or nothing.

use event::Id;
use millrace_ledger::Outcome;

use crate::shop::{Shop, answer, command, created, order, polled, redelivered, streamed};

on_both!(
    a_batch_dropped_at_any_await_leaves_all_or_nothing_and_is_completed_once,
    one_delivery_dropped_at_any_await_is_completed_once,
    an_answer_dropped_at_any_await_is_taken_in_once,
);

/// After how many polls it is dropped. What is ready at once is no place to drop it at, and that depends on how busy the machine is: so each
/// is done twice, and there are more than any of it should need.
fn drops() -> impl Iterator<Item = usize> {
    (1..40).chain(1..40)
}

/// The rows that a batch writes; seen at one moment.
async fn rows_of(shop: &Shop, counter: Id, order: &event::Key) -> i64 {
    let sql = format!(
        "select (select count(*) from event_log where key = 'counter/{counter}') \
         + (select count(*) from note where text = '{counter}') + (select count(*) from effect where key = 'counter/{counter}') \
         + (select count(*) from shelf where id = '{counter}') + (select count(*) from head where key = 'counter/{counter}') \
         + (select count(*) from seen where key = '{order}') + (select count(*) from cursor where key = '{order}') \
         + (select count(*) from receipt where principal = 'user/{counter}')"
    );
    shop.number(&sql).await
}

async fn a_batch_dropped_at_any_await_leaves_all_or_nothing_and_is_completed_once(shop: &Shop) {
    for polls in drops() {
        let (counter, id) = (shop.id(), shop.id());
        let charge = command(shop.id(), counter, format!("stock 5 {counter}; charge 7 {counter}; write {counter}"));
        let charge = crate::shop::changed(charge, |command| command.caller.name = format!("user/{counter}"));
        let batch = vec![charge, streamed(&created(id, 1, "")), streamed(&created(id, 2, ""))];
        polled(shop.batch(batch.clone()), polls).await;
        let rows = rows_of(shop, counter, &order(id)).await;
        assert!([0, 10].contains(&rows), "{rows} rows after {polls} polls");
        let outcomes = shop.batch(batch).await;
        answer(&outcomes[0]);
        assert!(
            outcomes[1..].iter().all(|outcome| matches!(outcome, Outcome::Applied | Outcome::Duplicate)),
            "{outcomes:?}"
        );
        assert_eq!((rows_of(shop, counter, &order(id)).await, shop.seen(&order(id)).await), (10, vec![1, 2]));
        assert_eq!((shop.told(counter).await.units, shop.log(counter).await.len()), (5, 2));
    }
}

/// With all its transactions: a batch that aborts, an attempt that is counted, a refusal after a write.
async fn one_delivery_dropped_at_any_await_is_completed_once(shop: &Shop) {
    for polls in drops() {
        let (counter, id) = (shop.counter(5).await, shop.id());
        let refused = command(shop.id(), counter, format!("sell 1 {counter}; reject"));
        let sell = redelivered(3, command(shop.id(), counter, format!("sell 1 {counter}")));
        let event = redelivered(3, streamed(&created(id, 1, "")));
        let batch = vec![refused, sell, event];
        polled(shop.batch(batch.clone()), polls).await;
        let outcomes = shop.batch(batch).await;
        assert_eq!(crate::shop::reason(&outcomes[0]), "REJECTED");
        answer(&outcomes[1]);
        assert!(matches!(outcomes[2], Outcome::Applied | Outcome::Duplicate), "{outcomes:?}");
        assert_eq!((shop.told(counter).await.units, shop.seen(&order(id)).await), (4, vec![1]));
    }
}

async fn an_answer_dropped_at_any_await_is_taken_in_once(shop: &Shop) {
    for polls in drops() {
        let counter = shop.counter(1).await;
        shop.act(counter, format!("charge 7 {counter}")).await;
        let answer = shop.work().await.remove(0);
        polled(shop.one(answer.clone()), polls).await;
        let paid = shop.told(counter).await.paid;
        assert!(paid == 0 || paid == 7);
        assert!(matches!(shop.one(answer).await, Outcome::Applied | Outcome::Duplicate));
        assert_eq!((shop.told(counter).await.paid, shop.log(counter).await.len()), (7, 3));
    }
}
