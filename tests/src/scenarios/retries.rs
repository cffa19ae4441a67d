//! A client that does not know what came of its calls, and sends them again under the same key.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use millrace::Role;
use millrace::demo::{Customer, Person};
use proto::command::v1::State;
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::order::v1::place_order_request::Line;
use proto::order::v1::{OrderStatus, PlaceOrderRequest};
use tonic::transport::Channel;

use crate::buying::{buy, buy_surely, ended, id_in, state_of};
use crate::invariants::{everything_adds_up, orders};
use crate::lossy::losing_answers_of;
use crate::shop::TestShop;
use crate::wire::{ORDER_COMMANDS, Wire};

const ORDERS: usize = 20;

/// Sends all orders again over a good connection. Each must come to one order, and the orders to no more than that.
async fn retried_is_once(shop: &TestShop, customer: &Customer, card: &str) {
    let keys: Vec<_> = keys().collect();
    let placed = join_all(keys.iter().map(|key| buy_surely(customer, key, card))).await;
    let ids: BTreeSet<_> = placed.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), ORDERS);
    for id in &ids {
        assert_eq!(ended(customer, id).await, OrderStatus::Processed);
    }
    everything_adds_up(shop, ORDERS).await;
    assert_eq!(orders(shop).await.len(), ORDERS);
}

fn keys() -> impl Iterator<Item = String> {
    (0..ORDERS).map(|number| format!("order-{number}"))
}

/// Places an order over a connection of the test's own.
async fn place(customer: &Customer, channel: Channel, key: &str, card: &str, patience: Option<Duration>) -> bool {
    let lines = vec![Line { sku: "teapot".to_owned(), quantity: 1 }];
    let request = PlaceOrderRequest { lines, payment_method_id: card.to_owned(), expected_total: None };
    let mut request = customer.request(request, Some(key)).unwrap();
    if let Some(patience) = patience {
        request.set_timeout(patience);
    }
    OrderServiceClient::new(channel).place_order(request).await.is_ok()
}

#[tokio::test]
async fn orders_whose_answers_were_all_lost_are_there_once_after_a_retry() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let lossy = losing_answers_of(shop.address(Role::Gateway)).await;
    for key in keys() {
        assert!(!place(&customer, lossy.clone(), &key, &card, None).await, "the answer to {key} was not lost");
    }
    // Those that arrived were carried out, whoever knows it.
    testkit::eventually("the orders are placed", async || orders(&shop).await.len() == ORDERS).await;
    retried_is_once(&shop, &customer, &card).await;
}

#[tokio::test]
async fn calls_that_were_given_up_at_any_moment_are_there_once_after_a_retry() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    for (number, key) in keys().enumerate() {
        let patience = Duration::from_micros(500 * u64::try_from(number).unwrap());
        let call = place(&customer, customer.channel(), &key, &card, None);
        let _ = tokio::time::timeout(patience, call).await;
    }
    retried_is_once(&shop, &customer, &card).await;
}

#[tokio::test]
async fn calls_whose_deadline_passed_are_there_once_after_a_retry() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    for (number, key) in keys().enumerate() {
        let deadline = Duration::from_millis(1 + u64::try_from(number).unwrap() / 2);
        place(&customer, customer.channel(), &key, &card, Some(deadline)).await;
    }
    retried_is_once(&shop, &customer, &card).await;
}

#[tokio::test]
async fn many_calls_under_one_key_at_once_are_one_order_with_one_answer() {
    let shop = TestShop::with(|settings| settings.limits.answer_wait = Duration::from_secs(10)).await;
    let (customer, card) = shop.customer_with_card().await;
    let answers = join_all((0..20).map(|_| buy(&customer, "key", &card))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().0).collect();
    let first = answers.iter().find(|answer| state_of(answer) == State::Completed).unwrap();
    for answer in &answers {
        assert_eq!(id_in(answer.receipt.as_ref().unwrap()), id_in(first.receipt.as_ref().unwrap()));
        assert_eq!((state_of(answer), &answer.order), (State::Completed, &first.order));
    }
    let originals = answers.iter().filter(|answer| !answer.receipt.as_ref().unwrap().replayed);
    assert!(originals.count() <= 1, "two calls were told that they were the first");
    everything_adds_up(&shop, 1).await;
    assert_eq!(orders(&shop).await.len(), 1);
}

#[tokio::test]
async fn a_direct_call_that_meets_its_durable_copy_has_one_effect() {
    let mut shop = TestShop::with(|settings| settings.limits.answer_wait = Duration::from_millis(200)).await;
    let (customer, card) = shop.customer_with_card().await;
    shop.stop_role(Role::Order).await.unwrap();
    let (queued, id) = buy(&customer, "key", &card).await.unwrap();
    assert_eq!(state_of(&queued), State::Accepted);

    shop.nats.kill();
    shop.start_role(Role::Order).await.unwrap();
    let (direct, same) = buy_surely(&customer, "key", &card).await;
    assert_eq!((state_of(&direct), &same), (State::Completed, &id));
    shop.nats.restart().await;
    let wire = Wire::of(&shop).await;
    wire.is_gone(ORDER_COMMANDS, &format!("test.cmd.order.place-order.{id}")).await;
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
    everything_adds_up(&shop, 1).await;
}

#[tokio::test]
async fn direct_calls_and_durable_copies_have_one_effect_while_the_broker_comes_and_goes() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let flap = async {
        for _ in 0..3 {
            shop.nats.kill();
            tokio::task::yield_now().await;
            shop.nats.restart().await;
        }
    };
    let twice = keys().chain(keys()).collect::<Vec<_>>();
    let retried = join_all(twice.iter().map(|key| buy_surely(&customer, key, &card)));
    tokio::join!(flap, retried);
    retried_is_once(&shop, &customer, &card).await;
}

#[tokio::test]
async fn whoever_registered_while_the_broker_was_away_can_buy_before_it_is_back() {
    let shop = TestShop::start().await;
    let (first, _) = shop.customer_with_card().await;
    shop.nats.kill();
    let person =
        Person { address: "late@example.com", password: "a password of some length", name: "L", country: "DE" };
    let customer = Customer::enter(first.channel(), &person).await.unwrap();
    let card = customer.add_card("tok_approved", "DE").await.unwrap();
    let (placed, id) = buy_surely(&customer, "key", &card).await;
    assert_eq!(state_of(&placed), State::Completed);
    shop.nats.restart().await;
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
    everything_adds_up(&shop, 1).await;
}
