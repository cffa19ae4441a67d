//! What happens when processes die: each role a process of its own, as in production, killed with -9 while orders flow.
#![cfg(test)]

mod harness;

use std::time::{Duration, Instant};

use harness::{Database, Processes, buy, settle};
use millrace::Role;

/// Orders that flow while something is killed.
const ORDERS: usize = 100;
/// Between two kills. Short enough that most hit something at work.
const BETWEEN_KILLS: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_every_order_ends_and_none_twice_on_sqlite() {
    orders_survive_kills(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_every_order_ends_and_none_twice_on_postgres() {
    orders_survive_kills(Database::Postgres).await;
}

async fn orders_survive_kills(database: Database) {
    let mut processes = Processes::start(database).await;
    let buying = tokio::spawn(buy(processes.gateway(), ORDERS));
    let mut victims = Role::ALL.into_iter().cycle();
    let mut kills = 0;
    let begun = Instant::now();
    while !buying.is_finished() {
        assert!(begun.elapsed() < Duration::from_mins(2), "the customers could not place their orders");
        tokio::time::sleep(BETWEEN_KILLS).await;
        kills += 1;
        if kills % 6 == 0 {
            processes.kill_broker().await;
        } else if let Some(victim) = victims.next() {
            processes.kill(victim).await;
        }
    }
    let bought = buying.await.unwrap();
    assert!(kills >= 6, "too little was killed to prove anything: {kills}");
    settle(&processes, &bought).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_told_to_stop_loses_nothing() {
    let mut processes = Processes::start(Database::Sqlite).await;
    let buying = tokio::spawn(buy(processes.gateway(), 40));
    for role in [Role::Order, Role::Billing, Role::Order] {
        processes.terminate(role).await;
    }
    let bought = buying.await.unwrap();
    settle(&processes, &bought).await;
}
