//! Orders that nobody answers in time end all the same, and what comes of them later is made good.

use std::time::Duration;

use millrace::Role;
use proto::order::v1::{OrderStatus, PaymentStatus};
use sea_orm::FromQueryResult;
use testkit::eventually;

use crate::buying::{Load, buy, ended};
use crate::invariants::{charges, everything_adds_up};
use crate::shop::TestShop;

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

async fn with_deadline(deadline: Duration) -> TestShop {
    TestShop::with(|settings| settings.order.answer_within = deadline).await
}

async fn deadlines(shop: &TestShop) -> i64 {
    shop.query::<Count>("order", "select count(*) as count from timer").await[0].count
}

#[tokio::test]
async fn an_order_that_billing_never_answers_ends_by_its_deadline_and_is_never_charged() {
    let mut shop = with_deadline(Duration::from_millis(500)).await;
    let (customer, card) = shop.customer_with_card().await;
    shop.stop_role(Role::Billing).await.unwrap();
    let (_, order) = buy(&customer, "key", &card).await.unwrap();
    assert_eq!(ended(&customer, &order).await, OrderStatus::Canceled);
    let canceled = customer.watch(&order, |order| !order.reason.is_empty()).await.unwrap();
    assert_eq!((canceled.reason.as_str(), deadlines(&shop).await), ("the payment was not answered in time", 0));

    shop.start_role(Role::Billing).await.unwrap();
    let settled = |order: &proto::order::v1::Order| {
        matches!(order.payment_status(), PaymentStatus::Voided | PaymentStatus::Refunded)
    };
    customer.watch(&order, settled).await.unwrap();
    everything_adds_up(&shop, 1).await;
    assert_eq!(charges(&shop).await.iter().map(billing::Charge::taken).sum::<i64>(), 0);
}

#[tokio::test]
async fn a_payment_that_comes_after_the_deadline_is_given_back() {
    // The provider answers after a second and a half, and it is asked twice.
    let shop = with_deadline(Duration::from_secs(1)).await;
    let customer = shop.customer().await;
    let card = customer.add_card("tok_late", "DE").await.unwrap();
    let (_, order) = buy(&customer, "key", &card).await.unwrap();
    assert_eq!(ended(&customer, &order).await, OrderStatus::Canceled);
    let settled = |order: &proto::order::v1::Order| {
        matches!(order.payment_status(), PaymentStatus::Voided | PaymentStatus::Refunded)
    };
    customer.watch(&order, settled).await.unwrap();
    everything_adds_up(&shop, 1).await;
    assert_eq!(charges(&shop).await.iter().map(billing::Charge::taken).sum::<i64>(), 0);
}

#[tokio::test]
async fn an_order_that_is_answered_in_time_has_no_deadline_any_more() {
    let shop = with_deadline(Duration::from_hours(4)).await;
    let (customer, card) = shop.customer_with_card().await;
    for order in Load::begin(&customer, &card, 20).end().await {
        assert_eq!(ended(&customer, &order).await, OrderStatus::Processed);
    }
    eventually("no timer is left", async || deadlines(&shop).await == 0).await;
}

#[tokio::test]
async fn a_deadline_that_passes_while_the_order_service_is_away_waits_for_what_was_answered_meanwhile() {
    let mut shop = with_deadline(Duration::from_secs(3)).await;
    let customer = shop.customer().await;
    let card = customer.add_card("tok_late", "DE").await.unwrap();
    let (_, order) = buy(&customer, "key", &card).await.unwrap();
    eventually("billing has heard of it", async || !charges(&shop).await.is_empty()).await;
    shop.stop_role(Role::Order).await.unwrap();
    eventually("billing has taken the money", async || charges(&shop).await.iter().any(|charge| charge.taken() > 0))
        .await;
    let due = tokio::time::Instant::now() + Duration::from_secs(3);
    eventually("the deadline passes", async || tokio::time::Instant::now() > due).await;
    shop.start_role(Role::Order).await.unwrap();
    assert_eq!(ended(&customer, &order).await, OrderStatus::Processed);
    everything_adds_up(&shop, 1).await;
}
