//! How much is still to be done, as it is measured.

use millrace_ledger::{Counted, Totals};

use crate::shop::{HOUR, Shop, command, created, failed, from_log, late};

on_both!(what_is_not_done_is_counted, where_all_is_done_nothing_is_counted);

async fn what_is_not_done_is_counted(shop: &Shop) {
    let counter = shop.counter(1).await;
    shop.act(counter, format!("charge 7 {counter}")).await;
    let began = shop.now();
    shop.forward(HOUR);
    let (parked, rejected) = (created(shop.id(), 1, "fail"), command(shop.id(), counter, "fail"));
    shop.one(late(&created(shop.id(), 2, ""))).await;
    for _ in 0..shop.ledger.retry().attempts {
        shop.one(from_log(&parked)).await;
    }
    while !failed(&shop.one(rejected.clone()).await) {}

    let backlog = shop.ledger.backlog().await.unwrap();
    let expected = Totals {
        unpublished: 2,
        oldest_unpublished: Some(began.0),
        effects: 1,
        next_effect: Some(began.0),
        timers: 0,
        next_timer: None,
    };
    assert_eq!((backlog.totals, backlog.now), (expected, shop.now()));
    assert_eq!(backlog.keys, [counted("replica", "waiting"), counted("replica", "parked")]);
    assert_eq!(sorted(backlog.parked), [counted("command", "parked"), counted("event", "parked")]);
}

async fn where_all_is_done_nothing_is_counted(shop: &Shop) {
    let counter = shop.counter(1).await;
    shop.one(from_log(&created(shop.id(), 1, ""))).await;
    shop.ledger.mark_published(shop.log(counter).await.iter().map(|record| record.id));
    shop.ledger.write_marks().await.unwrap();
    let backlog = shop.ledger.backlog().await.unwrap();
    let nothing =
        Totals { unpublished: 0, oldest_unpublished: None, effects: 0, next_effect: None, timers: 0, next_timer: None };
    assert_eq!((backlog.totals, backlog.keys, backlog.parked), (nothing, Vec::new(), Vec::new()));
}

/// One of them.
fn counted(name: &str, state: &str) -> Counted {
    Counted { name: name.to_owned(), state: state.to_owned(), count: 1 }
}

fn sorted(mut counted: Vec<Counted>) -> Vec<Counted> {
    counted.sort_by(|one, other| one.name.cmp(&other.name));
    counted
}
