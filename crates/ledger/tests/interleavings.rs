//! Two instances on one Postgres database, in orders that are forced by a lock that a third connection holds.

use event::Key;
use millrace_ledger::{CommandResult, Outcome};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, TransactionTrait as _};
use testkit::eventually;
use tokio::join;

use crate::shop::{HOUR, SECOND, Shop, answer, command, created, ended, late, order, reason, streamed};

on_two_instances!(
    a_command_brought_to_two_instances_at_once_has_one_effect,
    the_first_append_of_a_key_is_won_by_one,
    the_last_unit_is_sold_once,
    a_revision_is_applied_by_one,
    heads_that_are_loaded_in_opposite_orders_end_well,
    deadlocks_in_a_services_own_tables_end_well,
    units_are_conserved_under_load,
    what_commits_late_is_published,
    a_key_that_is_due_is_taken_by_one,
    an_effect_is_leased_by_one,
    a_lock_that_is_held_for_long_gives_back,
);

/// A transaction of somebody else's that holds what a statement locks.
pub(crate) async fn holding(connection: &DatabaseConnection, sql: &str) -> sea_orm::DatabaseTransaction {
    let holder = connection.begin().await.unwrap();
    holder.execute_unprepared(sql).await.unwrap();
    holder
}

/// Lets both instances run into the lock, and then lets it go.
async fn released_when_both_wait(shop: &Shop, connection: &DatabaseConnection, sql: &str) {
    let holder = holding(connection, sql).await;
    eventually("both instances wait", async || waiting(shop).await == 2).await;
    holder.commit().await.unwrap();
}

/// How many transactions wait for another one.
pub(crate) async fn waiting(shop: &Shop) -> i64 {
    let waiting =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    shop.number(waiting).await
}

fn head_of(counter: event::Id) -> String {
    format!("select 1 from head where key = 'counter/{counter}' for update")
}

async fn a_command_brought_to_two_instances_at_once_has_one_effect(one: &Shop, two: &Shop) {
    let (counter, connection) = (one.counter(5).await, one.connection().await);
    let sell = command(one.id(), counter, format!("sell 2 {counter}"));
    let lock = head_of(counter);
    let release = released_when_both_wait(one, &connection, &lock);
    let starting = async {
        eventually("the lock is held", async || connection_holds(one).await).await;
        join!(one.one(sell.clone()), two.one(sell.clone()))
    };
    let ((), (direct, durable)) = join!(release, starting);
    assert_eq!(answer(&direct), answer(&durable));
    assert_eq!(ended(&direct).token, ended(&durable).token);
    assert_eq!((one.told(counter).await.units, one.log(counter).await.len()), (3, 2));
}

/// Somebody is in a transaction, has taken a lock as the last thing it did, and does nothing.
async fn connection_holds(shop: &Shop) -> bool {
    let idle = "select count(*) from pg_stat_activity where datname = current_database() \
                and state = 'idle in transaction' and query ilike '%for update%'";
    shop.number(idle).await > 0
}

async fn the_first_append_of_a_key_is_won_by_one(one: &Shop, two: &Shop) {
    let id = one.id();
    let stock = command(one.id(), id, format!("load {id}; meet; stock 2 {id}"));
    let (direct, durable) = join!(one.one(stock.clone()), two.one(stock));
    assert_eq!(answer(&direct), answer(&durable));
    let other = one.id();
    let stock = || command(one.id(), other, format!("load {other}; meet; stock 2 {other}"));
    let (first, second) = join!(one.one(stock()), two.one(stock()));
    assert_ne!(answer(&first), answer(&second));
    assert_eq!((one.told(id).await.units, one.told(other).await.units), (2, 4));
    assert_eq!(one.log(other).await.iter().map(|record| record.revision).collect::<Vec<_>>(), [1, 2]);
}

async fn the_last_unit_is_sold_once(one: &Shop, two: &Shop) {
    let (counter, connection) = (one.counter(1).await, one.connection().await);
    let sell = || command(one.id(), counter, format!("sell 1 {counter}"));
    let lock = head_of(counter);
    let release = released_when_both_wait(one, &connection, &lock);
    let starting = async {
        eventually("the lock is held", async || connection_holds(one).await).await;
        join!(one.one(sell()), two.one(sell()))
    };
    let ((), (first, second)) = join!(release, starting);
    let sold = |outcome: &Outcome| matches!(ended(outcome).result, CommandResult::Completed(_));
    assert!(sold(&first) != sold(&second), "{first:?} {second:?}");
    assert_eq!(reason(if sold(&first) { &second } else { &first }), "SOLD_OUT");
    assert_eq!((one.told(counter).await.units, one.shown(counter).await), (0, Some((0, 2))));
    assert_eq!(one.world.times("sell"), 2, "each decided once: the second on what the first had left");
}

async fn a_revision_is_applied_by_one(one: &Shop, two: &Shop) {
    let (id, connection) = (one.id(), one.connection().await);
    one.one(streamed(&created(id, 1, ""))).await;
    let event = streamed(&created(id, 2, ""));
    let lock = format!("select 1 from cursor where key = '{}' for update", order(id));
    let release = released_when_both_wait(one, &connection, &lock);
    let starting = async {
        eventually("the lock is held", async || connection_holds(one).await).await;
        join!(one.one(event.clone()), two.one(event.clone()))
    };
    let ((), (first, second)) = join!(release, starting);
    let mut outcomes = [first == Outcome::Applied, second == Outcome::Applied];
    outcomes.sort_unstable();
    assert_eq!((outcomes, one.seen(&order(id)).await), ([false, true], vec![1, 2]));
    let first_of_key = streamed(&created(one.id(), 1, ""));
    let outcomes = join!(one.one(first_of_key.clone()), two.one(first_of_key));
    assert!(
        matches!(outcomes, (Outcome::Applied, Outcome::Duplicate) | (Outcome::Duplicate, Outcome::Applied)),
        "{outcomes:?}"
    );
}

async fn heads_that_are_loaded_in_opposite_orders_end_well(one: &Shop, two: &Shop) {
    let (x, y) = (one.counter(5).await, one.counter(5).await);
    let forth = command(one.id(), x, format!("sell 1 {x}; meet; sell 1 {y}"));
    let back = command(one.id(), y, format!("sell 1 {y}; meet; sell 1 {x}"));
    let (first, second) = join!(one.one(forth), two.one(back));
    answer(&first);
    answer(&second);
    assert_eq!((one.told(x).await.units, one.told(y).await.units), (3, 3));
}

async fn deadlocks_in_a_services_own_tables_end_well(one: &Shop, two: &Shop) {
    let forth = command(one.id(), one.id(), "put a; meet; put b");
    let back = command(one.id(), one.id(), "put b; meet; put a");
    let (first, second) = join!(one.one(forth), two.one(back));
    answer(&first);
    answer(&second);
    assert_eq!(one.notes().await, ["a", "b"]);
}

async fn units_are_conserved_under_load(one: &Shop, two: &Shop) {
    let counters = [one.counter(20).await, one.counter(20).await, one.counter(20).await];
    let chance = millrace_ledger::Chance::seeded([9; 32]);
    let pick = || counters[usize::try_from(chance.below(3)).unwrap()];
    let mut batches = Vec::new();
    for _ in 0..12 {
        let sell = |_| {
            let (from, to) = (pick(), pick());
            command(one.id(), from, format!("sell 1 {from}; stock 1 {to}"))
        };
        batches.push((0..6).map(sell).collect::<Vec<_>>());
    }
    let run = async |shop: &Shop, batches: &[Vec<millrace_ledger::Delivery>]| {
        for batch in batches {
            for (outcome, delivery) in shop.batch(batch.clone()).await.into_iter().zip(batch) {
                if matches!(outcome, Outcome::GivenBack { .. }) {
                    shop.until_done(delivery.clone()).await;
                }
            }
        }
    };
    // Each takes all, in opposite orders: every command is brought twice.
    let reversed: Vec<_> = batches.iter().rev().cloned().collect();
    join!(run(one, &batches), run(two, &reversed));
    let mut units = 0;
    for counter in counters {
        let told = one.told(counter).await;
        let log = one.log(counter).await;
        assert_eq!(
            log.iter().map(|record| record.revision).collect::<Vec<_>>(),
            (1..).take(log.len()).collect::<Vec<_>>()
        );
        assert_eq!(one.shown(counter).await.map(|(units, _)| units), Some(told.units));
        units += told.units;
    }
    assert_eq!(units, 60);
}

async fn what_commits_late_is_published(one: &Shop, two: &Shop) {
    let (slow, fast) = (one.id(), one.id());
    let late = command(one.id(), slow, format!("stock 1 {slow}; meet"));
    let meanwhile = async {
        eventually("the slow one has appended", async || one.world.times("meet") == 1).await;
        two.forward(SECOND);
        two.act(fast, format!("stock 1 {fast}")).await;
        two.forward(HOUR);
        let published = two.ledger.unpublished(SECOND, 10).await.unwrap();
        assert_eq!(published.iter().map(|record| record.key.id()).collect::<Vec<_>>(), [fast]);
        two.ledger.mark_published(published.iter().map(|record| record.id));
        two.act(two.id(), "meet").await;
    };
    join!(one.one(late), meanwhile);
    let left = two.ledger.unpublished(SECOND, 10).await.unwrap();
    assert_eq!(left.iter().map(|record| record.key.clone()).collect::<Vec<_>>(), [Key::new("counter", slow)]);
}

async fn a_key_that_is_due_is_taken_by_one(one: &Shop, two: &Shop) {
    let (held, free) = (one.id(), one.id());
    one.batch([late(&created(held, 2, "")), late(&created(free, 2, ""))]).await;
    let connection = one.connection().await;
    let lock = format!("select 1 from cursor where key = '{}' for update", order(held));
    let holder = holding(&connection, &lock).await;
    let (first, second) = join!(one.due(), two.due());
    assert_eq!(first.iter().chain(&second).map(|due| due.key.clone()).collect::<Vec<_>>(), [order(free)]);
    holder.commit().await.unwrap();
    let (first, second) = join!(one.due(), two.due());
    assert_eq!(first.iter().chain(&second).map(|due| due.key.clone()).collect::<Vec<_>>(), [order(held)]);
}

async fn an_effect_is_leased_by_one(one: &Shop, two: &Shop) {
    let (held, free) = (one.counter(1).await, one.counter(1).await);
    one.act(held, format!("charge 7 {held}; charge 3 {free}")).await;
    let connection = one.connection().await;
    let holder = holding(&connection, &format!("select 1 from effect where key = 'counter/{held}' for update")).await;
    let (first, second) = join!(one.work(), two.work());
    assert_eq!(first.len() + second.len(), 1, "the other one is passed over, not waited for");
    holder.commit().await.unwrap();
    let (third, fourth) = join!(one.work(), two.work());
    assert_eq!(third.len() + fourth.len(), 1);
    for answer in [first, second, third, fourth].into_iter().flatten() {
        assert_eq!(two.one(answer).await, Outcome::Applied);
    }
    assert_eq!((one.told(held).await.paid, one.told(free).await.paid), (7, 3));
}

async fn a_lock_that_is_held_for_long_gives_back(one: &Shop, two: &Shop) {
    let (counter, connection) = (one.counter(1).await, one.connection().await);
    let holder = holding(&connection, &head_of(counter)).await;
    let sell = command(one.id(), counter, format!("sell 1 {counter}"));
    let outcome = one.one(sell.clone()).await;
    assert!(crate::shop::given_back(&outcome), "{outcome:?}");
    holder.commit().await.unwrap();
    answer(&two.one(sell).await);
    assert_eq!(one.told(counter).await.units, 0);
}
