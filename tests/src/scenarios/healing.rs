//! What the broker loses, the owners' logs bring back: the audit, seen from outside.

use std::time::Duration;

use millrace::Role;
use proto::order::v1::OrderStatus;
use testkit::folder;

use crate::buying::{Load, buy, ended};
use crate::invariants::everything_adds_up;
use crate::shop::TestShop;
use crate::wire::{ORDER_EVENTS, Wire};

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
    let (_, id) = buy(&customer, "key", &card).await.unwrap();
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
}
