//! Where the money is, whatever the payment provider and the customers do.

use billing::ChargeState;
use futures::future::join_all;
use millrace::Role;
use millrace::demo::Customer;
use proto::order::v1::{Order, OrderStatus, PaymentStatus};
use tonic::Code;

use crate::buying::{buy, cancel, ended};
use crate::invariants::{charges, everything_adds_up, orders};
use crate::shop::TestShop;
use crate::wire::{ORDER_EVENTS, Wire, order_event};

/// Somebody new, with a card of this kind.
async fn customer_with(shop: &TestShop, card_token: &str) -> (Customer, String) {
    let customer = shop.customer().await;
    let card = customer.add_card(card_token, "DE").await.unwrap();
    (customer, card)
}

/// Where the money of an order's only charge is.
async fn charge_of(shop: &TestShop, order_id: &str) -> ChargeState {
    let charges: Vec<_> = charges(shop).await.into_iter().filter(|charge| charge.order_id == order_id).collect();
    assert_eq!(charges.len(), 1, "{charges:?}");
    charges[0].state
}

async fn only_order(shop: &TestShop) -> Order {
    let orders = orders(shop).await;
    assert_eq!(orders.len(), 1, "{orders:?}");
    orders.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_charge_whose_answer_was_lost_is_asked_for_and_not_made_again() {
    let shop = TestShop::start().await;
    let (customer, card) = customer_with(&shop, "tok_timeout").await;
    let (_, id) = buy(&customer, "key", &card).await.unwrap();
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
    assert_eq!(charge_of(&shop, &id).await, ChargeState::Taken);
    everything_adds_up(&shop, 1).await;
}

#[tokio::test]
async fn a_charge_that_is_answered_late_is_waited_for() {
    let shop = TestShop::start().await;
    let (customer, card) = customer_with(&shop, "tok_late").await;
    let (_, id) = buy(&customer, "key", &card).await.unwrap();
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
    assert_eq!(charge_of(&shop, &id).await, ChargeState::Taken);
    everything_adds_up(&shop, 1).await;
}

#[tokio::test]
async fn an_order_that_is_canceled_while_its_price_is_being_reserved_is_refunded() {
    let shop = TestShop::start().await;
    let (customer, card) = customer_with(&shop, "tok_late").await;
    let (_, id) = buy(&customer, "key", &card).await.unwrap();
    testkit::eventually("the provider was asked", async || !charges(&shop).await.is_empty()).await;
    assert_eq!(charge_of(&shop, &id).await, ChargeState::Reserved);
    assert_eq!(cancel(&customer, &id).await.unwrap().status(), OrderStatus::Canceled);
    everything_adds_up(&shop, 2).await;
    assert_eq!(only_order(&shop).await.payment_status(), PaymentStatus::Refunded);
    assert_eq!(charge_of(&shop, &id).await, ChargeState::GivenBack);
}

#[tokio::test]
async fn an_order_that_is_canceled_while_its_price_is_being_taken_is_refunded() {
    let shop = TestShop::start().await;
    let (customer, card) = customer_with(&shop, "tok_late").await;
    let (_, id) = buy(&customer, "key", &card).await.unwrap();
    testkit::eventually("the provider took the price", async || {
        charges(&shop).await.iter().any(|charge| charge.state == ChargeState::Taken)
    })
    .await;
    assert_eq!(cancel(&customer, &id).await.unwrap().status(), OrderStatus::Canceled);
    everything_adds_up(&shop, 2).await;
    assert_eq!(only_order(&shop).await.payment_status(), PaymentStatus::Refunded);
    assert_eq!(charge_of(&shop, &id).await, ChargeState::GivenBack);
}

#[tokio::test]
async fn cancels_that_race_with_the_charge_win_or_lose_and_the_money_follows() {
    let shop = TestShop::start().await;
    let (customer, card) = customer_with(&shop, "tok_approved").await;
    let races = (0..30_u8).map(|number| {
        let (customer, card) = (&customer, &card);
        async move {
            let (_, id) = buy(customer, &format!("order-{number}"), card).await.unwrap();
            let status = begun_or_ended(customer, &id, number % 3).await;
            match cancel(customer, &id).await {
                Ok(order) => assert_eq!(order.status(), OrderStatus::Canceled),
                Err(refused) => assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?} {status:?}"),
            }
        }
    });
    join_all(races).await;
    everything_adds_up(&shop, 60).await;
}

/// Cancels come at once, when billing has heard of the order, or when its money has moved.
async fn begun_or_ended(customer: &Customer, id: &str, how_late: u8) -> Option<Order> {
    match how_late {
        0 => None,
        1 => {
            testkit::eventually("billing has heard of it", async || customer.payment(id).await.is_ok()).await;
            None
        }
        _ => customer.watch(id, |order| order.payment_status() != PaymentStatus::None).await.ok(),
    }
}

/// Both are events of the order, so billing takes them in one after the other, whichever it hears of first.
#[tokio::test]
async fn a_cancel_that_reaches_billing_before_its_order_wins() {
    let mut shop = TestShop::start().await;
    let (customer, card) = customer_with(&shop, "tok_approved").await;
    let wire = Wire::of(&shop).await;
    shop.stop_role(Role::Billing).await.unwrap();
    let (_, id) = buy(&customer, "key", &card).await.unwrap();
    cancel(&customer, &id).await.unwrap();
    wire.message(ORDER_EVENTS, &order_event("order-canceled", &id)).await;
    wire.lose(ORDER_EVENTS, &order_event("order-created", &id)).await;
    shop.start_role(Role::Billing).await.unwrap();
    everything_adds_up(&shop, 2).await;
    assert_eq!(only_order(&shop).await.payment_status(), PaymentStatus::Voided);
}
