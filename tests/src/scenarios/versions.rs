//! A gateway that is newer than a service, which lacks a method as yet.

use std::time::Duration;

use proto::command::v1::State;
use proto::order::v1::{CancelOrderRequest, CancelOrderResponse, OrderStatus};
use testkit::changed_proto;
use tonic::Code;

use crate::buying::{buy, ended};
use crate::shop::TestShop;
use crate::stranger::Stranger;

const ORDER: &str = "millrace/order/v1/order.proto";

/// A query, a command that travels through the queue, and one that does not; with the messages of others.
fn with_more(proto: &str) -> String {
    let methods = "  rpc GetReturn(CancelOrderRequest) returns (GetOrderResponse) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (millrace.options.v1.rpc) = {access: ACCESS_USER};
  }
  rpc ReturnOrder(CancelOrderRequest) returns (CancelOrderResponse) {
    option (millrace.options.v1.rpc) = {access: ACCESS_USER, key: \"order_id\"};
  }
  rpc ReturnAtOnce(CancelOrderRequest) returns (CancelOrderResponse) {
    option (millrace.options.v1.rpc) = {access: ACCESS_USER, delivery: DELIVERY_DIRECT};
  }
";
    let begin = "service OrderService {\n";
    assert!(proto.contains(begin));
    proto.replacen(begin, &format!("{begin}{methods}"), 1)
}

#[tokio::test]
async fn what_a_service_does_not_know_yet_waits_or_is_refused_and_holds_up_nothing() {
    let (_folder, newer) = changed_proto(ORDER, with_more);
    let shop = TestShop::with(|settings| {
        settings.descriptors = vec![newer];
        settings.limits.answer_wait = Duration::from_millis(200);
    })
    .await;
    let (somebody, _) = Stranger::logged_in(&shop, "somebody@example.com").await;
    let request = CancelOrderRequest { order_id: event::Id::timed(7, [7; 10]).to_string() };
    let query = somebody.refused("millrace.order.v1.OrderService/GetReturn", &request).await;
    query.is(Code::Unimplemented, "UNKNOWN_METHOD");
    // They may be known tomorrow.
    let at_once = somebody.refused("millrace.order.v1.OrderService/ReturnAtOnce", &request).await;
    at_once.is(Code::Unavailable, "NOT_NOW");
    assert!(at_once.retry.is_some());
    let waits: CancelOrderResponse =
        somebody.ask("millrace.order.v1.OrderService/ReturnOrder", &request).await.unwrap();
    assert_eq!(waits.receipt.unwrap().state(), State::Accepted);
    let (customer, card) = shop.customer_with_card().await;
    let (_, id) = buy(&customer, "key", &card).await.unwrap();
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
}
