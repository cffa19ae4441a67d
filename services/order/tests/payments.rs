//! What becomes of an order when billing tells of its payment.

#![cfg(test)]

mod shop;

use std::time::Duration;

use ledger::{Outcome, Retry};
use proto::billing::v1::{
    PaymentFailed, PaymentProcessed, PaymentRefundRequested, PaymentRefunded, PaymentRequested, PaymentVoided,
    payment_failed,
};
use proto::order::v1::order_canceled::Cause;
use proto::order::v1::{
    OrderCanceled, OrderPaymentChanged, OrderProcessed, OrderStatus, PaymentStatus, PlaceOrderResponse,
};
use shop::{Shop, failed, order_of, processed};
use testkit::Done;

#[tokio::test]
async fn an_order_is_processed_once_it_is_paid() {
    let shop = Shop::open().await;
    let id = shop.place_a_teapot().await;
    assert_eq!(shop.hear(id, &PaymentRequested::default()).await.outcome(), &Outcome::Skipped);
    assert_eq!(shop.axes(id).await, (OrderStatus::Pending, PaymentStatus::None));
    shop.hear(id, &processed()).await.event::<OrderProcessed>();
    assert_eq!(shop.axes(id).await, (OrderStatus::Processed, PaymentStatus::Captured));
}

#[tokio::test]
async fn a_refused_payment_ends_the_order_and_the_customer_is_told_why() {
    for (cause, status) in [
        (payment_failed::Cause::Fraud, OrderStatus::CanceledFraud),
        (payment_failed::Cause::Declined, OrderStatus::PaymentFailed),
        (payment_failed::Cause::Unavailable, OrderStatus::PaymentFailed),
        (payment_failed::Cause::UnknownCustomer, OrderStatus::PaymentFailed),
    ] {
        let shop = Shop::open().await;
        let id = shop.place_a_teapot().await;
        shop.hear(id, &failed(cause)).await.event::<OrderCanceled>();
        assert_eq!(shop.axes(id).await, (status, PaymentStatus::Failed));
        assert_eq!(shop.get(id).await.reason, "the amount is unusual");
    }
}

#[tokio::test]
async fn a_charge_that_was_faster_than_the_cancel_is_seen_until_it_is_given_back() {
    let shop = Shop::open().await;
    let id = shop.place_a_teapot().await;
    shop.cancel(id).await;
    shop.hear(id, &processed()).await;
    assert_eq!(shop.axes(id).await, (OrderStatus::Canceled, PaymentStatus::Captured));
    shop.hear(id, &PaymentRefundRequested::default()).await;
    assert_eq!(shop.axes(id).await, (OrderStatus::Canceled, PaymentStatus::RefundPending));
    shop.hear(id, &PaymentRefunded::default()).await;
    assert_eq!(shop.axes(id).await, (OrderStatus::Canceled, PaymentStatus::Refunded));
}

#[tokio::test]
async fn a_cancel_in_time_ends_with_a_void() {
    let shop = Shop::open().await;
    let id = shop.place_a_teapot().await;
    shop.cancel(id).await;
    shop.hear(id, &PaymentVoided::default()).await;
    assert_eq!(shop.axes(id).await, (OrderStatus::Canceled, PaymentStatus::Voided));
}

#[tokio::test]
async fn what_billing_tells_again_or_out_of_order_changes_nothing_twice() {
    let shop = Shop::open().await;
    let id = shop.place_a_teapot().await;
    let first = shop.ledger.tell(id, &PaymentProcessed::default());
    let second = shop.ledger.tell(id, &PaymentRefundRequested::default());
    assert_eq!(shop.ledger.deliver(second.clone()).await.outcome(), &Outcome::Gap);
    shop.ledger.deliver(first.clone()).await.event::<OrderProcessed>();
    shop.ledger.deliver(second.clone()).await.event::<OrderPaymentChanged>();
    for again in [first, second] {
        assert_eq!(shop.ledger.deliver(again).await.outcome(), &Outcome::Duplicate);
    }
    assert_eq!(shop.get(id).await.revision, 3);
}

#[tokio::test]
async fn a_cause_of_a_later_version_stops_that_order_alone() {
    let shop = Shop::open().await;
    let (stuck, other) = (shop.place_a_teapot().await, shop.place_a_teapot().await);
    let strange = PaymentFailed { cause: 99, ..PaymentFailed::default() };
    assert_eq!(shop.hear(stuck, &strange).await.outcome(), &Outcome::Noted);
    shop.hear(other, &processed()).await.event::<OrderProcessed>();
    assert_eq!(shop.axes(stuck).await, (OrderStatus::Pending, PaymentStatus::None));
}

#[tokio::test]
async fn an_order_that_is_never_answered_is_canceled_by_its_deadline_and_a_late_charge_is_given_back() {
    let shop = Shop::open().await;
    let id = shop.place_a_teapot().await;
    shop.ledger.advance(Duration::from_hours(4) - Duration::from_secs(1));
    assert_eq!(shop.ledger.fire_timers().await, Done::default());
    shop.ledger.advance(Duration::from_secs(1));
    let canceled: OrderCanceled = shop.ledger.fire_timers().await.event();
    assert_eq!((canceled.cause(), canceled.order_id), (Cause::Timeout, id.to_string()));
    assert_eq!(shop.axes(id).await, (OrderStatus::Canceled, PaymentStatus::None));
    shop.hear(id, &processed()).await.event::<OrderPaymentChanged>();
    assert_eq!(shop.axes(id).await, (OrderStatus::Canceled, PaymentStatus::Captured));
    shop.hear(id, &PaymentRefundRequested::default()).await;
    shop.hear(id, &PaymentRefunded::default()).await;
    assert_eq!(shop.axes(id).await, (OrderStatus::Canceled, PaymentStatus::Refunded));
}

#[tokio::test]
async fn a_payment_of_an_order_that_a_restore_has_lost_waits_until_it_is_placed_again() {
    let shop = Shop::open().await;
    let lost = shop.ledger.new_id();
    assert_eq!(shop.hear(lost, &processed()).await.outcome(), &Outcome::Noted);
    let again = shop.customer().under(lost).send(order_of(&[("teapot", 1)])).await;
    again.completed::<PlaceOrderResponse>();
    assert_eq!(shop.axes(lost).await, (OrderStatus::Pending, PaymentStatus::None));
    shop.tick();
    shop.ledger.catch_up().await.event::<OrderProcessed>();
    assert_eq!(shop.axes(lost).await, (OrderStatus::Processed, PaymentStatus::Captured));
}

#[tokio::test]
async fn a_payment_of_an_order_that_is_lost_for_good_is_parked() {
    let shop = Shop::open().await;
    let lost = shop.ledger.new_id();
    shop.hear(lost, &processed()).await;
    for _ in 1..Retry::default().attempts {
        shop.ledger.advance(Retry::default().most);
        shop.ledger.catch_up().await;
    }
    let parked = shop.ledger.ledger().backlog().await.unwrap().parked;
    assert_eq!(parked.iter().map(|parked| (&*parked.name, parked.count)).collect::<Vec<_>>(), [("event", 1)]);
}

#[tokio::test]
async fn an_order_that_was_answered_or_canceled_has_no_deadline_any_more() {
    let shop = Shop::open().await;
    let (paid, refused, canceled) =
        (shop.place_a_teapot().await, shop.place_a_teapot().await, shop.place_a_teapot().await);
    shop.hear(paid, &processed()).await;
    shop.hear(refused, &failed(payment_failed::Cause::Declined)).await;
    shop.cancel(canceled).await;
    shop.ledger.advance(Duration::from_hours(24));
    assert_eq!(shop.ledger.fire_timers().await, Done::default());
    assert_eq!(shop.axes(paid).await, (OrderStatus::Processed, PaymentStatus::Captured));
}
