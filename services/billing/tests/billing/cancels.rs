use millrace_billing::ChargeState;
use proto::billing::v1::PaymentState;
use proto::order::v1::{OrderCanceled, OrderCreated};

use crate::shop::{Lost, PRICE, Shop, order_of};

#[tokio::test]
async fn a_cancel_that_comes_before_its_order_wins_over_it() {
    let shop = Shop::open().await;
    let card = shop.card("tok_approved").await;
    let order = shop.ledger.new_id();
    shop.ledger.hear(order, &OrderCanceled::default()).await;
    shop.ledger.hear::<OrderCreated>(order, &order_of(shop.anna, &card, PRICE)).await;
    shop.settle().await;
    assert_eq!(shop.history(order).await, ["Voided"]);
    assert!(shop.charges().await.is_empty());
}

#[tokio::test]
async fn a_cancel_before_the_provider_was_asked_means_that_it_never_is() {
    let shop = Shop::open().await;
    let order = shop.order(&shop.card("tok_approved").await).await;
    shop.cancel(order).await;
    shop.settle().await;
    assert_eq!(shop.history(order).await, ["Requested", "Voided"]);
    assert_eq!((shop.state(order).await, shop.provider.calls()), (PaymentState::Voided, vec![]));
}

#[tokio::test]
async fn a_cancel_that_loses_the_race_to_the_charge_refunds_it() {
    let shop = Shop::open().await;
    let order = shop.order(&shop.card("tok_approved").await).await;
    let charge = shop.begin().await;
    shop.cancel(order).await;
    assert_eq!(shop.state(order).await, PaymentState::Pending);
    shop.finish(charge).await;
    assert_eq!((shop.state(order).await, shop.taken().await), (PaymentState::RefundPending, PRICE));
    shop.settle().await;
    assert_eq!(shop.history(order).await, ["Requested", "CancelRequested", "RefundRequested", "Refunded"]);
    assert_eq!((shop.state(order).await, shop.taken().await), (PaymentState::Refunded, 0));
}

#[tokio::test]
async fn a_cancel_while_a_card_is_being_declined_leaves_nothing_to_make_good() {
    let shop = Shop::open().await;
    let order = shop.order(&shop.card("tok_declined").await).await;
    let charge = shop.begin().await;
    shop.cancel(order).await;
    shop.finish(charge).await;
    shop.settle().await;
    assert_eq!(shop.history(order).await, ["Requested", "CancelRequested", "Voided"]);
    assert_eq!(shop.provider.calls(), ["authorize"]);
}

/// The reservation may be there and the amount not taken: until the provider has answered nobody knows, and then it was.
#[tokio::test]
async fn a_cancel_between_the_reservation_and_the_taking_ends_refunded() {
    let shop = Shop::open().await;
    let order = shop.order(&shop.card("tok_approved").await).await;
    shop.provider.lose(1, Lost::There);
    shop.ledger.perform_effects().await;
    assert_eq!(shop.charges().await[0].state, ChargeState::Reserved);
    shop.cancel(order).await;
    shop.settle().await;
    assert_eq!(shop.history(order).await, ["Requested", "CancelRequested", "RefundRequested", "Refunded"]);
    assert_eq!(shop.charges().await[0].state, ChargeState::GivenBack);
    assert_eq!(shop.provider.calls(), ["authorize", "capture", "ask", "ask", "capture", "refund"]);
}

#[tokio::test]
async fn a_cancel_of_what_was_paid_refunds_it_once() {
    let shop = Shop::open().await;
    let order = shop.order(&shop.card("tok_approved").await).await;
    shop.settle().await;
    shop.cancel(order).await;
    shop.cancel(order).await;
    shop.settle().await;
    assert_eq!(shop.provider.calls(), ["authorize", "capture", "refund"]);
    assert_eq!((shop.state(order).await, shop.taken().await), (PaymentState::Refunded, 0));
}

#[tokio::test]
async fn an_order_that_is_canceled_because_its_payment_failed_changes_nothing_here() {
    let shop = Shop::open().await;
    let order = shop.order(&shop.card("tok_declined").await).await;
    shop.settle().await;
    shop.cancel(order).await;
    shop.settle().await;
    assert_eq!(shop.history(order).await, ["Requested", "Failed"]);
    assert_eq!(shop.state(order).await, PaymentState::Failed);
}

#[tokio::test]
async fn on_postgres_charges_and_cancels_go_the_same_ways() {
    let shop = Shop::on_postgres().await;
    let card = shop.card("tok_timeout").await;
    let (stands, early, late) = (shop.order(&card).await, shop.order(&card).await, shop.order(&card).await);
    shop.cancel(early).await;
    shop.settle().await;
    shop.cancel(late).await;
    shop.settle().await;
    let states = [shop.state(stands).await, shop.state(early).await, shop.state(late).await];
    assert_eq!(states, [PaymentState::Captured, PaymentState::Voided, PaymentState::Refunded]);
    assert_eq!((shop.charges().await.len(), shop.taken().await), (2, PRICE));
}
