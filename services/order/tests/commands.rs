//! Placing and canceling orders.

#![cfg(test)]

mod shop;

use event::Id;
use ledger::{Code, Outcome};
use proto::money::v1::Money;
use proto::order::v1::order_canceled::Cause;
use proto::order::v1::{
    CancelOrderRequest, OrderCanceled, OrderCreated, OrderStatus, PaymentStatus, PlaceOrderRequest, PlaceOrderResponse,
};
use proto::registration::v1::LogoutSuccess;
use proto::user::v1::UserUpdated;
use shop::{Shop, axes, order_of, processed, registration};

#[tokio::test]
async fn an_order_is_taken_at_the_prices_of_the_catalogue() {
    let shop = Shop::open().await;
    let order = shop.place(order_of(&[("teapot", 2), ("piano", 1)])).await;
    assert_eq!(axes(&order), (OrderStatus::Pending, PaymentStatus::None));
    assert_eq!(order.total, Some(Money { currency: "EUR".to_owned(), minor: 2 * 2_499 + 1_249_900 }));
    assert_eq!(order.customer_id, shop.customer.to_string());
    assert_eq!((order.revision, order.lines[0].name.as_str()), (1, "Teapot, cast iron"));
    assert_eq!(shop.get(order.order_id.parse().unwrap()).await, order);
}

#[tokio::test]
async fn an_order_has_the_id_of_its_command_and_a_retry_finds_it() {
    let shop = Shop::open().await;
    let id = shop.ledger.new_id();
    let first = shop.customer().under(id).send(order_of(&[("honey", 1)])).await;
    let again = shop.customer().under(id).send(order_of(&[("honey", 1)])).await;
    assert_eq!(first.event::<OrderCreated>().order_id, id.to_string());
    assert_eq!(first.completed::<PlaceOrderResponse>(), again.completed());
    assert!(again.appended.is_empty());
}

#[tokio::test]
async fn an_unknown_product_is_named_and_nothing_is_ordered() {
    let shop = Shop::open().await;
    let done = shop.customer().send(order_of(&[("teapot", 1), ("unicorn", 1)])).await;
    let refusal = done.rejected();
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition as i32, "UNKNOWN_PRODUCT"));
    assert!(refusal.fields.contains("lines[1].sku"));
    assert!(done.appended.is_empty());
}

#[tokio::test]
async fn an_order_that_costs_something_else_than_expected_is_refused() {
    let shop = Shop::open().await;
    let expecting = |minor| {
        let expected_total = Some(Money { currency: "EUR".to_owned(), minor });
        PlaceOrderRequest { expected_total, ..order_of(&[("teapot", 1)]) }
    };
    let refused = shop.customer().send(expecting(2_498)).await;
    assert_eq!((refused.reason().as_str(), refused.appended.len()), ("TOTAL_MISMATCH", 0));
    assert_eq!(shop.place(expecting(2_499)).await.status(), OrderStatus::Pending);
}

#[tokio::test]
async fn a_malformed_id_is_the_field_s_fault() {
    let shop = Shop::open().await;
    let request = PlaceOrderRequest { payment_method_id: "?".repeat(22), ..order_of(&[("teapot", 1)]) };
    let refusal = shop.customer().send(request).await.rejected();
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument as i32, "INVALID_FIELD"));
    assert!(refusal.fields.contains("payment_method_id"));
}

#[tokio::test]
async fn an_order_waits_for_its_customer_s_account() {
    let shop = Shop::open().await;
    let newcomer = shop.ledger.new_id();
    let updated = UserUpdated { user_id: newcomer.to_string(), ..UserUpdated::default() };
    shop.ledger.hear(newcomer, &updated).await;
    let early = shop.ledger.user(newcomer).send(order_of(&[("teapot", 1)])).await;
    assert!(matches!(early.outcome(), Outcome::GivenBack { .. }));
    shop.register(newcomer).await;
    shop.ledger.user(newcomer).send(order_of(&[("teapot", 1)])).await.event::<OrderCreated>();
}

#[tokio::test]
async fn a_customer_cancels_a_pending_order_once() {
    let shop = Shop::open().await;
    let id = shop.place_a_teapot().await;
    assert_eq!(shop.cancel(id).await.event::<OrderCanceled>().cause(), Cause::Customer);
    assert_eq!(shop.axes(id).await, (OrderStatus::Canceled, PaymentStatus::None));
    let refusal = shop.cancel(id).await.rejected();
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition as i32, "ORDER_NOT_PENDING"));
}

#[tokio::test]
async fn a_paid_order_cannot_be_canceled() {
    let shop = Shop::open().await;
    let id = shop.place_a_teapot().await;
    shop.hear(id, &processed()).await;
    assert_eq!(shop.cancel(id).await.reason(), "ORDER_NOT_PENDING");
}

#[tokio::test]
async fn someone_else_s_order_and_none_at_all_are_refused_in_the_same_words() {
    let shop = Shop::open().await;
    let id = shop.place_a_teapot().await;
    let cancel = |id: Id| CancelOrderRequest { order_id: id.to_string() };
    let theirs = shop.stranger().send(cancel(id)).await;
    let nothing = shop.stranger().send(cancel(shop.ledger.new_id())).await;
    assert_eq!(theirs.reason(), "ORDER_NOT_YOURS");
    assert_eq!(theirs.outcomes, nothing.outcomes);
    assert_eq!(shop.get(id).await.revision, 1);
}

#[tokio::test]
async fn a_session_that_has_ended_places_no_order() {
    let shop = Shop::open().await;
    let (session, now) = (shop.ledger.new_id(), shop.ledger.now());
    let logout = LogoutSuccess { session_id: session.to_string(), ended_at_us: now.0, ..LogoutSuccess::default() };
    shop.ledger.hear(session, &logout).await;
    let done = shop.customer().in_session(session).send(order_of(&[("teapot", 1)])).await;
    assert_eq!(done.reason(), "SESSION_ENDED");
}

#[tokio::test]
async fn a_customer_is_known_by_their_account_whatever_comes_first() {
    let shop = Shop::open().await;
    let id = shop.ledger.new_id();
    shop.ledger.hear(id, &registration(id)).await;
    let updated = UserUpdated { user_id: id.to_string(), display_name: "Ada L.".to_owned(), ..UserUpdated::default() };
    shop.ledger.hear(id, &updated).await;
    shop.ledger.user(id).send(order_of(&[("lamp", 1)])).await.event::<OrderCreated>();
}
