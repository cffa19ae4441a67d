//! Watching an order until nothing more will happen to it.

#![cfg(test)]

mod shop;

use event::Id;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use ledger::Rejection;
use proto::billing::v1::{PaymentRefundRequested, PaymentVoided, payment_failed};
use proto::order::v1::{Order, OrderStatus, PaymentStatus, WatchOrderRequest, WatchOrderResponse};
use shop::{Shop, axes, failed, processed};

type Watching = BoxStream<'static, Result<WatchOrderResponse, Rejection>>;

async fn watch(shop: &Shop, id: Id, after_revision: i64) -> Watching {
    let request = WatchOrderRequest { order_id: id.to_string(), after_revision };
    shop.customer().watch(request).await.unwrap_or_else(|refusal| panic!("{refusal}"))
}

async fn next(watching: &mut Watching) -> Order {
    watching.next().await.expect("the stream goes on").unwrap().order.unwrap()
}

#[tokio::test]
async fn a_watcher_sees_the_order_as_it_is_and_then_every_change() {
    let shop = Shop::open().await;
    let id = shop.place_a_teapot().await;
    let mut watching = watch(&shop, id, 0).await;
    assert_eq!(axes(&next(&mut watching).await), (OrderStatus::Pending, PaymentStatus::None));
    shop.hear(id, &failed(payment_failed::Cause::Declined)).await;
    assert_eq!(axes(&next(&mut watching).await), (OrderStatus::PaymentFailed, PaymentStatus::Failed));
    assert_eq!(watching.next().await, None);
}

#[tokio::test]
async fn a_canceled_order_is_watched_until_its_money_is_settled() {
    let shop = Shop::open().await;
    let id = shop.place_a_teapot().await;
    shop.cancel(id).await;
    let mut watching = watch(&shop, id, 1).await;
    assert_eq!(axes(&next(&mut watching).await), (OrderStatus::Canceled, PaymentStatus::None));
    shop.hear(id, &PaymentVoided::default()).await;
    assert_eq!(axes(&next(&mut watching).await), (OrderStatus::Canceled, PaymentStatus::Voided));
    assert_eq!(watching.next().await, None);
}

#[tokio::test]
async fn a_paid_order_is_watched_on() {
    let shop = Shop::open().await;
    let id = shop.place_a_teapot().await;
    shop.hear(id, &processed()).await;
    let mut watching = watch(&shop, id, 0).await;
    assert_eq!(next(&mut watching).await.status(), OrderStatus::Processed);
    shop.hear(id, &PaymentRefundRequested::default()).await;
    assert_eq!(next(&mut watching).await.payment_status(), PaymentStatus::RefundPending);
}

#[tokio::test]
async fn who_comes_back_to_a_settled_order_with_its_last_revision_is_done() {
    let shop = Shop::open().await;
    let id = shop.place_a_teapot().await;
    shop.hear(id, &failed(payment_failed::Cause::Fraud)).await;
    assert_eq!(watch(&shop, id, 2).await.next().await, None);
    let mut from_the_first = watch(&shop, id, 1).await;
    assert_eq!(next(&mut from_the_first).await.revision, 2);
    assert_eq!(from_the_first.next().await, None);
}
