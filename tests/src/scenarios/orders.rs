//! The main job: an order, from the call to its end.

use proto::order::v1::{OrderStatus, PaymentStatus};

use crate::buying::{buy_surely, ended};
use crate::shop::TestShop;

#[tokio::test]
async fn an_order_is_placed_charged_and_processed() {
    let shop = TestShop::start().await;
    an_order_is_processed_on(&shop).await;
}

#[tokio::test]
async fn an_order_is_processed_on_postgres_too() {
    let shop = TestShop::on_postgres().await;
    an_order_is_processed_on(&shop).await;
}

async fn an_order_is_processed_on(shop: &TestShop) {
    let (customer, card) = shop.customer_with_card().await;
    let (_, id) = buy_surely(&customer, "key-1", &card).await;
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
    let order = customer.watch(&id, |_| true).await.unwrap();
    assert_eq!(order.payment_status(), PaymentStatus::Captured);
}
