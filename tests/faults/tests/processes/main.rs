//! What happens when processes die: each role a process of its own, as in production, killed with -9 while orders flow.
#![cfg(test)]

mod many;

use std::time::Duration;

use millrace::Role;
use millrace_faults::{Database, Processes, Shoppers, buy, serves, settle};
use tokio_util::sync::CancellationToken;

/// How often each role, and the broker, is killed.
const ROUNDS: usize = 2;
/// What customers may take to place their orders once nothing is killed any more.
const PATIENCE: Duration = Duration::from_mins(1);
/// Orders that flow at least while something is killed.
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
    let killing = CancellationToken::new();
    let buying = tokio::spawn(buy(processes.gateway(), ORDERS, killing.clone()));
    for _ in 0..ROUNDS {
        for victim in Role::ALL {
            tokio::time::sleep(BETWEEN_KILLS).await;
            processes.kill(victim).await;
        }
        tokio::time::sleep(BETWEEN_KILLS).await;
        processes.kill_broker().await;
    }
    killing.cancel();
    let bought = tokio::time::timeout(PATIENCE, buying).await.expect("the customers place their orders").unwrap();
    settle(&processes, &bought).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_told_to_stop_loses_nothing() {
    let mut processes = Processes::start(Database::Sqlite).await;
    let killing = CancellationToken::new();
    let buying = tokio::spawn(buy(processes.gateway(), 40, killing.clone()));
    for role in [Role::Order, Role::Billing, Role::Order] {
        processes.terminate(role).await;
    }
    killing.cancel();
    let bought = buying.await.unwrap();
    settle(&processes, &bought).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_costs_no_client_more_than_one_retry() {
    let mut processes = Processes::start(Database::Sqlite).await;
    let gateways = [processes.gateway(), processes.add_gateway()];
    let mut shoppers = Shoppers::enter(&gateways, "tok_approved").await;
    shoppers.bought(20).await;
    processes.kill_for_now(Role::Gateway).await;
    shoppers.bought(20).await;
    processes.start_again(Role::Gateway);
    serves(&gateways[0]).await;
    processes.kill_other_gateway();
    shoppers.bought(20).await;
    let (bought, retried) = shoppers.leave().await;
    assert!(retried > 0, "nobody was calling a gateway when it was killed");
    settle(&processes, &bought).await;
}
