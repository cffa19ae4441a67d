//! The log of an aggregate: loaded under its lock, appended to without a gap, folded into its state.

use event::{History, Key};
use millrace_ledger::{Chance, Outcome};

use crate::shop::{HOUR, SECOND, START, Shop, answer, command, failed, killed_when};
use crate::toy::Counter;

on_both!(
    what_was_loaded_before_another_append_cannot_be_appended_to,
    a_handler_may_append_twice,
    an_event_is_never_before_its_predecessor,
    the_history_fingerprints_the_whole_past,
    the_projection_shows_the_last_state_of_a_batch,
    a_raised_fold_folds_anew,
    a_state_of_a_later_version_is_not_lost_on_an_earlier_one,
    the_kept_state_is_the_fold_of_the_log,
    many_units_are_not_sold_twice_in_one_batch,
    what_is_committed_is_published_until_it_is_marked,
    marks_ride_in_the_next_batch,
    the_log_is_read_after_a_revision,
);

async fn what_was_loaded_before_another_append_cannot_be_appended_to(shop: &Shop) {
    let counter = shop.counter(1).await;
    let outcome = shop.until_done(command(shop.id(), counter, format!("append-stale {counter}"))).await;
    assert!(failed(&outcome), "{outcome:?}");
    assert_eq!(shop.log(counter).await.len(), 1);
}

async fn a_handler_may_append_twice(shop: &Shop) {
    let id = shop.id();
    shop.act(id, format!("stock-twice 3 {id}; stock 1 {id}")).await;
    let revisions: Vec<i64> = shop.log(id).await.iter().map(|record| record.revision).collect();
    assert_eq!((revisions, shop.told(id).await.units, shop.shown(id).await), (vec![1, 2, 3], 7, Some((7, 3))));
}

async fn an_event_is_never_before_its_predecessor(shop: &Shop) {
    shop.forward(HOUR);
    let counter = shop.counter(1).await;
    shop.back(HOUR);
    shop.act(counter, format!("stock 1 {counter}")).await;
    shop.forward(2 * HOUR);
    shop.act(counter, format!("stock 1 {counter}")).await;
    let times: Vec<_> = shop.log(counter).await.iter().map(|record| record.time).collect();
    assert_eq!(times, [START.plus(HOUR), START.plus(HOUR), START.plus(2 * HOUR)]);
}

async fn the_history_fingerprints_the_whole_past(shop: &Shop) {
    let counter = shop.counter(1).await;
    shop.act(counter, format!("stock-twice 2 {counter}")).await;
    let mut history = History::default();
    for record in shop.log(counter).await {
        history = history.then(&record.type_name, &record.body);
        assert_eq!(record.history, history, "revision {}", record.revision);
    }
}

async fn the_projection_shows_the_last_state_of_a_batch(shop: &Shop) {
    let (one, two) = (shop.counter(5).await, shop.counter(5).await);
    let sell = |id| command(shop.id(), id, format!("sell 1 {id}"));
    shop.batch([sell(one), sell(two), sell(one), sell(one)]).await;
    assert_eq!((shop.shown(one).await, shop.shown(two).await), (Some((2, 4)), Some((4, 2))));
}

async fn a_raised_fold_folds_anew(shop: &Shop) {
    let counter = shop.counter(5).await;
    let batch = [format!("sell 1 {counter}"), format!("stock-twice 2 {counter}; recount {counter}")];
    for outcome in shop.batch(batch.map(|steps| command(shop.id(), counter, steps))).await {
        answer(&outcome);
    }
    assert_eq!(shop.notes().await, ["counted 4 events, 8 units"]);
}

async fn a_state_of_a_later_version_is_not_lost_on_an_earlier_one(shop: &Shop) {
    let counter = shop.counter(5).await;
    shop.act(counter, format!("restock 1 {counter}")).await;
    shop.act(counter, format!("sell 6 {counter}")).await;
    shop.act(counter, format!("recount {counter}")).await;
    assert_eq!(shop.notes().await, ["counted 3 events, 0 units"]);
}

async fn the_kept_state_is_the_fold_of_the_log(shop: &Shop) {
    let chance = Chance::seeded([42; 32]);
    let counters: Vec<_> = (0..4).map(|_| shop.id()).collect();
    let mut model = [Counter::default(), Counter::default(), Counter::default(), Counter::default()];
    for _ in 0..30 {
        let mut batch = Vec::new();
        for _ in 0..=chance.below(8) {
            let (index, units) = (usize::try_from(chance.below(4)).unwrap(), i64::try_from(chance.below(9)).unwrap());
            let counter = &mut model[index];
            let steps = match chance.below(4) {
                0 if counter.units >= units => {
                    (counter.units, counter.sold) = (counter.units - units, counter.sold + units);
                    "sell"
                }
                0 | 1 => {
                    counter.units += units;
                    "stock"
                }
                2 => "fail; stock",
                _ => "write nothing; refuse; stock",
            };
            batch.push(command(shop.id(), counters[index], format!("{steps} {units} {}", counters[index])));
        }
        shop.batch(batch).await;
        shop.forward(SECOND);
    }
    for (id, counter) in counters.iter().zip(model) {
        assert_eq!(shop.told(*id).await, counter);
        let revision = i64::try_from(shop.log(*id).await.len()).unwrap();
        assert_eq!(shop.shown(*id).await, Some((counter.units, revision)), "the projection comes from the kept state");
    }
}

async fn many_units_are_not_sold_twice_in_one_batch(shop: &Shop) {
    let counter = shop.counter(5).await;
    let outcomes = shop.batch((0..20).map(|_| command(shop.id(), counter, format!("sell 1 {counter}")))).await;
    let sold =
        outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Ended(ended) if !ended.token.is_empty())).count();
    assert_eq!((sold, shop.told(counter).await.units), (5, 0));
}

async fn what_is_committed_is_published_until_it_is_marked(shop: &Shop) {
    let id = shop.id();
    let processed = shop.ledger.process(vec![command(shop.id(), id, format!("stock-twice 1 {id}"))]).await;
    assert_eq!(processed.appended, shop.log(id).await);
    assert_eq!(shop.ledger.unpublished(5 * SECOND, 10).await.unwrap(), []);
    shop.forward(5 * SECOND);
    assert_eq!(shop.ledger.unpublished(5 * SECOND, 10).await.unwrap(), processed.appended);
    shop.ledger.mark_published([processed.appended[0].id]);
    shop.ledger.write_marks().await.unwrap();
    assert_eq!(shop.ledger.unpublished(5 * SECOND, 10).await.unwrap(), processed.appended[1..]);
}

async fn marks_ride_in_the_next_batch(shop: &Shop) {
    let counter = shop.counter(1).await;
    shop.ledger.mark_published(shop.log(counter).await.iter().map(|record| record.id));
    killed_when(shop.one(command(shop.id(), counter, "hang")), || shop.world.times("hang") == 1).await;
    shop.world.repair();
    shop.ledger.mark_published(shop.log(counter).await.iter().map(|record| record.id));
    shop.act(counter, "").await;
    shop.forward(HOUR);
    assert_eq!(shop.ledger.unpublished(SECOND, 10).await.unwrap(), []);
}

async fn the_log_is_read_after_a_revision(shop: &Shop) {
    let (one, two) = (shop.counter(1).await, shop.counter(1).await);
    shop.act(one, format!("stock 1 {one}; stock 1 {one}; stock 1 {two}")).await;
    let read =
        shop.ledger.read(&[(Key::new("counter", two), 0), (Key::new("counter", one), 1)], 3).await.unwrap().records;
    let found: Vec<_> = read.iter().map(|record| (record.key.id(), record.revision)).collect();
    assert_eq!(found, [(one, 2), (one, 3), (two, 1)]);
}

/// A Postgres that was restarted, or whose log has just grown, knows nothing of its rows and guesses.
mod keys_are_read_by_their_index_however_long_the_log_is {
    use super::{Key, Shop};
    use sea_orm::ConnectionTrait as _;
    use testkit::eventually;

    #[tokio::test]
    async fn on_postgres() {
        let shop = &Shop::on_postgres().await;
        shop.counter(1).await;
        let sql = "insert into event_log select 'counter/' || number, revision, epoch, history, gen_random_uuid(), type_name, body, time, \
                   principal, command_id, cause_id, traceparent, tracestate, published_at, null \
                   from event_log, generate_series(1, 50000) as number";
        shop.connection().await.execute_unprepared(sql).await.unwrap();
        let scans = async |kind: &str| {
            shop.number(&format!("select {kind} from pg_stat_user_tables where relname = 'event_log'")).await
        };
        let before = (scans("seq_scan").await, scans("idx_scan").await);
        let ranges: Vec<_> = (0..100).map(|_| (Key::new("counter", shop.id()), 0)).collect();
        for _ in 0..10 {
            assert_eq!(shop.ledger.read(&ranges, 1001).await.unwrap().records, []);
        }
        // The server counts a moment later.
        eventually("the reads are counted", async || scans("idx_scan").await >= before.1 + 1000).await;
        assert_eq!(scans("seq_scan").await, before.0);
    }
}
