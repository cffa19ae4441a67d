//! What the broker loses, the owners' logs bring back: the audit, seen from outside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace::Role;
use millrace::operator::{Operator, Selection};
use proto::operator::v1::GetStandingResponse;
use proto::order::v1::OrderStatus;
use sea_orm::ConnectionTrait as _;
use testkit::{eventually, folder};

use super::operator::operator;
use crate::buying::{Load, buy, buy_surely, ended};
use crate::invariants::everything_adds_up;
use crate::shop::TestShop;
use crate::wire::{ORDER_COMMANDS, ORDER_EVENTS, Wire};

/// A gateway that soon looks after what it has accepted, which a broker may lose.
async fn shop() -> TestShop {
    TestShop::with(|settings| settings.limits.look_after = Duration::from_millis(200)).await
}

/// Fifty orders flow, something happens to the broker in the middle, and all of them come to their end.
async fn orders_survive(shop: &TestShop, before: usize, accident: impl AsyncFnOnce()) {
    let (customer, card) = shop.customer_with_card().await;
    let mut load = Load::begin(&customer, &card, 50);
    load.reached(20).await;
    accident().await;
    for id in &load.end().await {
        assert_eq!(ended(&customer, id).await, OrderStatus::Processed);
    }
    everything_adds_up(shop, 50 + before).await;
}

#[tokio::test]
async fn a_broker_whose_store_is_wiped_under_load_loses_nothing() {
    let shop = shop().await;
    orders_survive(&shop, 0, async || {
        shop.nats.wipe();
        shop.nats.restart().await;
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_is_rewound_to_a_copy_loses_and_doubles_nothing() {
    let shop = shop().await;
    let (customer, card) = shop.customer_with_card().await;
    Load::begin(&customer, &card, 10).end().await;
    let copy = folder();
    shop.nats.save(copy.path());
    shop.nats.restart().await;
    orders_survive(&shop, 10, async || {
        shop.nats.replace(copy.path());
        shop.nats.restart().await;
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_is_swapped_for_another_run_s_is_cleared_of_what_is_not_ours() {
    let copy = folder();
    let other = shop().await;
    let (stranger, card) = other.customer_with_card().await;
    let theirs = Load::begin(&stranger, &card, 10).end().await;
    everything_adds_up(&other, 10).await;
    // Both runs have the same keys, so what was still queued would be a command like any other.
    Wire::of(&other).await.stream(ORDER_COMMANDS).await.purge().await.unwrap();
    other.nats.save(copy.path());
    drop(other);

    let shop = shop().await;
    orders_survive(&shop, 0, async || {
        shop.nats.replace(copy.path());
        shop.nats.restart().await;
    })
    .await;
    let messages = Wire::of(&shop).await.messages(ORDER_EVENTS).await;
    assert!(messages.iter().all(|message| !theirs.iter().any(|id| message.subject.ends_with(id.as_str()))));
}

#[tokio::test]
async fn a_stream_that_has_lost_its_last_events_is_read_from_the_owner_s_log() {
    let mut shop = shop().await;
    let (customer, card) = shop.customer_with_card().await;
    shop.stop_role(Role::Billing).await.unwrap();
    let ids = Load::begin(&customer, &card, 10).end().await;
    Wire::of(&shop).await.stream(ORDER_EVENTS).await.purge().await.unwrap();
    shop.start_role(Role::Billing).await.unwrap();
    for id in &ids {
        assert_eq!(ended(&customer, id).await, OrderStatus::Processed);
    }
    everything_adds_up(&shop, 10).await;
}

#[tokio::test]
async fn orders_are_processed_while_the_broker_is_down_for_good() {
    let shop = shop().await;
    let (customer, card) = shop.customer_with_card().await;
    shop.nats.kill();
    let (_, id) = buy_surely(&customer, "key", &card).await;
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
}

/// The files of a service's database, which are there once it has stopped.
fn database_files(shop: &TestShop, service: &str) -> Vec<PathBuf> {
    let path = shop.settings().database_of(service).replace("sqlite://", "");
    ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{path}{end}"))).into()
}

fn copy(from: &[PathBuf], to: &[PathBuf]) {
    for (from, to) in from.iter().zip(to) {
        let _ = std::fs::remove_file(to);
        if from.exists() {
            std::fs::copy(from, to).unwrap();
        }
    }
}

async fn standing(operator: &Operator, role: Role) -> GetStandingResponse {
    operator.standing(role).await.unwrap()
}

#[tokio::test]
async fn a_service_whose_database_was_restored_waits_for_its_epoch_and_what_diverged_is_listed() {
    let mut shop = shop().await;
    let (customer, card) = shop.customer_with_card().await;
    let (_, kept) = buy(&customer, "kept", &card).await.unwrap();
    assert_eq!(ended(&customer, &kept).await, OrderStatus::Processed);
    shop.stop_role(Role::Order).await.unwrap();
    let backup = folder();
    let files = database_files(&shop, "order");
    let copies: Vec<_> = files.iter().map(|file| backup.path().join(Path::new(file.file_name().unwrap()))).collect();
    copy(&files, &copies);
    shop.start_role(Role::Order).await.unwrap();
    let (_, lost) = buy_surely(&customer, "lost", &card).await;
    assert_eq!(ended(&customer, &lost).await, OrderStatus::Processed);

    shop.stop_role(Role::Order).await.unwrap();
    copy(&copies, &files);
    shop.start_role(Role::Order).await.unwrap();
    let operator = operator(&shop);
    assert!(!standing(&operator, Role::Order).await.behind.is_empty(), "its own stream knows more");
    let (_, accepted) = buy_surely(&customer, "accepted", &card).await;
    assert!(customer.orders().await.is_err(), "it answers nobody with what others know to be past");

    assert_eq!(operator.raise_epoch(Role::Order, 1).await.unwrap(), 2);
    assert_eq!(operator.raise_epoch(Role::Order, 1).await.unwrap(), 2, "a second call raises nothing");
    assert_eq!(ended(&customer, &accepted).await, OrderStatus::Processed);
    assert_eq!(ended(&customer, &kept).await, OrderStatus::Processed);
    let diverged = Selection { key: Some(format!("order/{lost}")), ..Selection::default() };
    eventually("billing lists the order that order has lost", async || {
        operator
            .list(Role::Billing, &diverged)
            .await
            .unwrap()
            .iter()
            .any(|found| found.parked.reason.contains("diverged"))
    })
    .await;
}

/// What registration gives itself to do at its start is refused for so long.
#[tokio::test]
async fn a_service_starts_although_its_log_is_behind_and_works_once_its_epoch_is_raised() {
    let mut shop = shop().await;
    shop.stop_role(Role::Registration).await.unwrap();
    let database = shop.database("registration").await;
    database.execute_unprepared("update log set behind = 'its stream knows more'").await.unwrap();
    database.close().await.unwrap();
    shop.start_role(Role::Registration).await.unwrap();
    let operator = operator(&shop);
    assert_eq!(standing(&operator, Role::Registration).await.behind, "its stream knows more");
    assert_eq!(operator.raise_epoch(Role::Registration, 1).await.unwrap(), 2);
    let (customer, card) = shop.customer_with_card().await;
    let (_, id) = buy_surely(&customer, "key", &card).await;
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
}

#[tokio::test]
async fn a_replica_is_rebuilt_while_its_service_serves() {
    let shop = shop().await;
    let (customer, card) = shop.customer_with_card().await;
    let (_, first) = buy(&customer, "first", &card).await.unwrap();
    assert_eq!(ended(&customer, &first).await, OrderStatus::Processed);
    change(&shop, "delete from customer").await;
    let operator = operator(&shop);
    operator.compare(Role::Order, "customers", true).await.unwrap();
    let (_, second) = buy_surely(&customer, "second", &card).await;
    assert_eq!(ended(&customer, &second).await, OrderStatus::Processed);
    eventually("every key was derived anew", async || {
        let standing = standing(&operator, Role::Order).await;
        let found = standing.subscriptions.iter().find(|found| found.name == "customers").unwrap();
        found.waiting + found.comparing == 0 && found.followed.iter().all(|log| log.compared_to.is_none())
    })
    .await;
    everything_adds_up(&shop, 2).await;
}

#[tokio::test]
async fn a_read_model_that_was_wiped_is_written_again_from_the_events() {
    let shop = shop().await;
    let (customer, card) = shop.customer_with_card().await;
    for id in &Load::begin(&customer, &card, 10).end().await {
        ended(&customer, id).await;
    }
    let before = customer.orders().await.unwrap();
    change(&shop, "delete from order_view").await;
    assert!(customer.orders().await.unwrap().is_empty());
    let operator = operator(&shop);
    let part = operator.rebuild_projection(Role::Order, "order", "").await.unwrap();
    assert_eq!((part.rebuilt, part.total), (10, 10));
    assert_eq!(operator.rebuild_projection(Role::Order, "order", &part.last).await.unwrap().rebuilt, 0);
    assert_eq!(customer.orders().await.unwrap(), before);

    // Also what no event ever changes.
    change(&shop, "update order_view set customer_id = 'somebody else', placed_at = 0").await;
    assert!(customer.orders().await.unwrap().is_empty());
    operator.rebuild_projection(Role::Order, "order", "").await.unwrap();
    assert_eq!(customer.orders().await.unwrap(), before);
}

async fn change(shop: &TestShop, sql: &str) {
    let database = ledger::connect(&shop.settings().database_of("order")).await.unwrap();
    database.execute_unprepared(sql).await.unwrap();
    database.close().await.unwrap();
}
