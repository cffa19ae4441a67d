//! What goes on while something is down, and what happens when it is back.

use std::time::Duration;

use millrace::demo::Customer;
use millrace::{Role, Shop};
use proto::command::v1::State;
use proto::command::v1::command_service_client::CommandServiceClient;
use proto::command::v1::{GetCommandRequest, GetCommandResponse};
use proto::order::v1::OrderStatus;
use proto::rpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::buying::{Load, buy, buy_surely, ended, state_of};
use crate::invariants::{count, everything_adds_up};
use crate::shop::TestShop;

/// A gateway that does not wait long for an owner that is down, and soon looks after what it has accepted.
async fn impatient() -> TestShop {
    TestShop::with(|settings| {
        settings.limits.answer_wait = Duration::from_millis(200);
        settings.limits.look_after = Duration::from_millis(200);
    })
    .await
}

#[tokio::test]
async fn an_order_is_accepted_while_its_service_is_down_and_processed_when_it_is_back() {
    let mut shop = impatient().await;
    let (customer, card) = shop.customer_with_card().await;
    shop.stop_role(Role::Order).await.unwrap();
    let (placed, id) = buy(&customer, "key", &card).await.unwrap();
    assert_eq!((state_of(&placed), placed.order.is_none()), (State::Accepted, true));
    let name = placed.receipt.unwrap().command;
    assert_eq!(customer.command(&name).await.unwrap().waiting_for, "order");

    let waiting = tokio::spawn({
        let (customer, name) = (customer.clone(), name.clone());
        async move { customer.wait_command(&name).await }
    });
    shop.start_role(Role::Order).await.unwrap();
    let waited = waiting.await.unwrap().unwrap();
    assert_eq!(waited.receipt.unwrap().state(), State::Completed);
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
    everything_adds_up(&shop, 1).await;
}

#[tokio::test]
async fn orders_wait_for_billing_and_are_processed_when_it_is_back() {
    let mut shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    shop.stop_role(Role::Billing).await.unwrap();
    let ids = Load::begin(&customer, &card, 20).end().await;
    let orders = customer.orders().await.unwrap();
    assert!(orders.iter().all(|order| order.status() == OrderStatus::Pending), "{orders:?}");

    shop.start_role(Role::Billing).await.unwrap();
    for id in &ids {
        assert_eq!(ended(&customer, id).await, OrderStatus::Processed);
    }
    everything_adds_up(&shop, 20).await;
}

#[tokio::test]
async fn who_is_logged_in_can_buy_while_registration_is_down() {
    let mut shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    // Then order and billing know the customer.
    let (_, known) = buy(&customer, "before", &card).await.unwrap();
    assert_eq!(ended(&customer, &known).await, OrderStatus::Processed);
    shop.stop_role(Role::Registration).await.unwrap();
    let (_, id) = buy(&customer, "key", &card).await.unwrap();
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
    shop.start_role(Role::Registration).await.unwrap();
    everything_adds_up(&shop, 2).await;
}

#[tokio::test]
async fn any_gateway_knows_what_another_has_accepted() {
    let mut shop = impatient().await;
    let (customer, card) = shop.customer_with_card().await;
    shop.stop_role(Role::Order).await.unwrap();
    let (placed, id) = buy(&customer, "key", &card).await.unwrap();
    let name = placed.receipt.unwrap().command;
    shop.stop_role(Role::Gateway).await.unwrap();

    let (other, address) = another_gateway(&shop).await;
    let found = retry_command(&customer, &address, &name).await;
    assert_eq!((found.receipt.unwrap().state(), found.waiting_for.as_str()), (State::Accepted, "order"));
    shop.start_role(Role::Order).await.unwrap();
    shop.start_role(Role::Gateway).await.unwrap();
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
    let found = retry_command(&customer, &address, &name).await;
    assert_eq!(found.receipt.unwrap().state(), State::Completed);
    other.stop().await.unwrap();
    everything_adds_up(&shop, 1).await;
}

/// A second gateway, which shares nothing with the first but the broker and the services.
async fn another_gateway(shop: &TestShop) -> (Shop, Channel) {
    let other = Shop::start(shop.settings().clone(), &[Role::Gateway]).await.unwrap();
    let address = format!("http://{}", other.address(Role::Gateway));
    (other, Endpoint::from_shared(address).unwrap().connect_lazy())
}

async fn retry_command(customer: &Customer, gateway: &Channel, name: &str) -> GetCommandResponse {
    let ask = || async {
        let request = customer.request(GetCommandRequest { command: name.to_owned() }, None)?;
        CommandServiceClient::new(gateway.clone()).get_command(request).await
    };
    crate::buying::retry(ask).await.into_inner()
}

#[tokio::test]
async fn a_broker_that_is_killed_and_restarted_under_load_costs_nothing() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let mut load = Load::begin(&customer, &card, 50);
    load.reached(15).await;
    shop.nats.kill();
    load.reached(30).await;
    shop.nats.restart().await;
    let ids = load.end().await;
    for id in &ids {
        assert_eq!(ended(&customer, id).await, OrderStatus::Processed);
    }
    everything_adds_up(&shop, 50).await;
}

#[tokio::test]
async fn without_a_broker_the_owner_is_called_and_its_events_are_published_later() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    shop.nats.kill();
    let (placed, id) = buy_surely(&customer, "key", &card).await;
    assert_eq!(state_of(&placed), State::Completed);
    let name = placed.receipt.unwrap().command;
    let found = customer.command(&name).await.unwrap();
    assert_eq!(found.receipt.unwrap().state(), State::Completed);
    let unpublished = "select count(*) as count from event_log where published_at is null";
    assert_eq!(count(&shop, "order", unpublished).await, 1);

    shop.nats.restart().await;
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
    everything_adds_up(&shop, 1).await;
}

#[tokio::test]
async fn with_neither_broker_nor_owner_a_command_is_unavailable_and_its_retry_has_one_effect() {
    let mut shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    shop.nats.kill();
    shop.stop_role(Role::Order).await.unwrap();
    let status = buy(&customer, "key", &card).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(says_when_to_retry(&status), "{status:?}");

    shop.start_role(Role::Order).await.unwrap();
    let (_, id) = buy_surely(&customer, "key", &card).await;
    shop.nats.restart().await;
    let (again, same) = buy_surely(&customer, "key", &card).await;
    assert_eq!((same.as_str(), again.receipt.unwrap().replayed), (id.as_str(), true));
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
    everything_adds_up(&shop, 1).await;
}

fn says_when_to_retry(status: &Status) -> bool {
    let details = <rpc::Status as proto::Message>::decode(status.details()).unwrap().details;
    details.iter().any(|detail| detail.type_url == "type.googleapis.com/google.rpc.RetryInfo")
}

/// What was on the way at the very moment of the loss, marked as published and heard by nobody, is healed by its key's next event, or by the
/// audit. Here everybody had heard everything.
#[tokio::test]
async fn a_broker_that_loses_its_disk_gets_its_streams_again_and_all_goes_on() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let first = Load::begin(&customer, &card, 10).end().await;
    for id in &first {
        assert_eq!(ended(&customer, id).await, OrderStatus::Processed);
    }
    everything_adds_up(&shop, 10).await;

    shop.nats.wipe();
    let mut load = Load::begin(&customer, &card, 50);
    load.reached(20).await;
    shop.nats.restart().await;
    for id in &load.end().await {
        assert_eq!(ended(&customer, id).await, OrderStatus::Processed);
    }
    everything_adds_up(&shop, 50).await;
}

#[tokio::test]
async fn what_was_accepted_and_lost_with_the_broker_s_disk_is_sent_again_by_the_gateway() {
    let mut shop = impatient().await;
    let (customer, card) = shop.customer_with_card().await;
    shop.stop_role(Role::Order).await.unwrap();
    let ids = Load::begin(&customer, &card, 10).end().await;
    shop.nats.wipe();
    shop.nats.restart().await;
    shop.start_role(Role::Order).await.unwrap();
    for id in &ids {
        assert_eq!(ended(&customer, id).await, OrderStatus::Processed);
    }
    everything_adds_up(&shop, 10).await;
}
