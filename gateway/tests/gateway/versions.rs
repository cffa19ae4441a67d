//! A gateway that is older than a service, which has a method more.

use bytes::Bytes;
use event::Id;
use http::uri::PathAndQuery;
use proto::Message as _;
use proto::command::v1::State;
use proto::order::v1::{CancelOrderRequest, CancelOrderResponse};
use serve::raw::Raw;
use testkit::changed_proto;
use tonic::{Code, Status};

use crate::world::{World, id, reason};

const ORDER: &str = "millrace/order/v1/order.proto";
const RETURN_ORDER: &str = "/millrace.order.v1.OrderService/ReturnOrder";

/// Its messages are like those of CancelOrder.
fn with_return_order(proto: &str) -> String {
    let method = "  rpc ReturnOrder(ReturnOrderRequest) returns (ReturnOrderResponse) {
    option (millrace.options.v1.rpc) = {access: ACCESS_USER, key: \"order_id\"};
  }
";
    let messages = "
message ReturnOrderRequest {
  string order_id = 1 [(buf.validate.field).string.len = 22];
  string why = 2 [(buf.validate.field).string.max_len = 10];
}
message ReturnOrderResponse {
  millrace.command.v1.Receipt receipt = 1;
  Order order = 2;
}
";
    let begin = "service OrderService {\n";
    assert!(proto.contains(begin));
    proto.replacen(begin, &format!("{begin}{method}"), 1) + messages
}

async fn return_order(world: &World, order_id: &str) -> Result<CancelOrderResponse, Status> {
    let body: Bytes = CancelOrderRequest { order_id: order_id.to_owned() }.encode_to_vec().into();
    let mut grpc = tonic::client::Grpc::new(world.channel.clone());
    grpc.ready().await.unwrap();
    let answer = grpc.unary(world.call(body), PathAndQuery::from_static(RETURN_ORDER), Raw).await?;
    Ok(CancelOrderResponse::decode(answer.into_inner()).unwrap())
}

#[tokio::test]
async fn a_method_that_is_newer_than_the_gateway_does_not_exist() {
    let refused = return_order(&World::new().await, &id(7).to_string()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unimplemented, "UNKNOWN_METHOD"));
}

#[tokio::test]
async fn a_gateway_that_is_given_newer_descriptors_knows_the_new_method_and_its_rules() {
    let (_folder, newer) = changed_proto(ORDER, with_return_order);
    let world = World::with(|config| config.descriptors = vec![newer]).await;
    let answer = return_order(&world, &id(7).to_string()).await.unwrap();
    let receipt = answer.receipt.unwrap();
    assert_eq!(receipt.state(), State::Completed);
    let (name, id) = receipt.command.split_once('/').unwrap();
    assert_eq!(name, "order.return-order");
    assert_eq!(id.parse::<Id>().unwrap().to_string(), answer.order.unwrap().order_id);
    let found = world.get_command(1, &receipt.command).await.unwrap();
    assert_eq!(found.receipt.unwrap().state(), State::Completed, "it is found by its name, too");
    let refused = return_order(&world, "short").await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_FIELD");
}
