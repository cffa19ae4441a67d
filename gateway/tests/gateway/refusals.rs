//! What a gateway refuses, with which code and which reason.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use millrace_gateway::Rate;
use proto::Message as _;
use proto::order::v1::CancelOrderRequest;
use serve::raw::Raw;
use tonic::{Code, Request, Status};

use crate::world::{World, details, order, reason, with};

const PLACE_ORDER: &str = "millrace.order.v1.OrderService/PlaceOrder";

/// Calls a method by its name, with these bytes.
async fn call(world: &World, method: &str, request: Request<Bytes>) -> Result<Bytes, Status> {
    let mut grpc = tonic::client::Grpc::new(world.channel.clone());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::try_from(format!("/{method}")).unwrap();
    grpc.unary(request, path, Raw).await.map(tonic::Response::into_inner)
}

async fn refusal(world: &World, method: &str, request: Request<Bytes>) -> (Code, String) {
    let status = call(world, method, request).await.unwrap_err();
    (status.code(), reason(&status))
}

fn expected(code: Code, reason: &str) -> (Code, String) {
    (code, reason.to_owned())
}

#[tokio::test]
async fn an_internal_method_and_an_invented_one_are_refused_with_the_same_words() {
    let world = World::new().await;
    let mut words = Vec::new();
    let schema = event::Schema::embedded().unwrap();
    let internal = schema.methods().filter(|method| method.access == event::Access::Internal);
    let names = internal.map(|method| method.name.as_str()).chain(["millrace.order.v1.OrderService/Steal", "nothing"]);
    for name in names {
        let status = call(&world, name, world.call(Bytes::new())).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "UNKNOWN_METHOD"), "{name}");
        words.push(status.message().to_owned());
    }
    words.dedup();
    assert_eq!(words.len(), 1);
}

#[tokio::test]
async fn nobody_gets_in_without_a_token() {
    let world = World::new().await;
    let none = refusal(&world, PLACE_ORDER, Request::new(Bytes::new())).await;
    assert_eq!(none, expected(Code::Unauthenticated, "MISSING_TOKEN"));
    let forged = with(Request::new(Bytes::new()), "authorization", "Bearer a.b.c");
    assert_eq!(refusal(&world, PLACE_ORDER, forged).await, expected(Code::Unauthenticated, "INVALID_TOKEN"));
}

#[tokio::test]
async fn what_is_not_a_request_is_malformed() {
    let world = World::new().await;
    let bytes = world.call(Bytes::from_static(b"\xff\xff\xff"));
    assert_eq!(refusal(&world, PLACE_ORDER, bytes).await, expected(Code::InvalidArgument, "MALFORMED_MESSAGE"));
    let compressed = with(world.call(Bytes::new()), "grpc-encoding", "gzip");
    assert_eq!(refusal(&world, PLACE_ORDER, compressed).await, expected(Code::Unimplemented, "COMPRESSED_MESSAGE"));
}

#[tokio::test]
async fn an_oversized_request_is_refused_for_its_size() {
    let world = World::new().await;
    let large = world.call(vec![0; 300 * 1024].into());
    assert_eq!(refusal(&world, PLACE_ORDER, large).await, expected(Code::InvalidArgument, "MESSAGE_TOO_LARGE"));
}

#[tokio::test]
async fn invalid_fields_are_listed_by_their_paths() {
    let world = World::new().await;
    let status = call(&world, PLACE_ORDER, world.call(order(-1).encode_to_vec().into())).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    let bad: Vec<proto::rpc::BadRequest> = details(&status, "google.rpc.BadRequest");
    assert_eq!(bad[0].field_violations[0].field, "lines[0].quantity");
}

#[tokio::test]
async fn a_key_that_is_no_id_is_an_invalid_field() {
    let world = World::new().await;
    let request = CancelOrderRequest { order_id: "\r\nNats-Rollup: sub all".to_owned() };
    assert_eq!(request.order_id.len(), 22);
    let status = world.orders().cancel_order(world.call(request)).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD");
    let bad: Vec<proto::rpc::BadRequest> = details(&status, "google.rpc.BadRequest");
    assert_eq!(bad[0].field_violations[0].field, "order_id");
}

#[tokio::test]
async fn keys_and_tokens_that_cannot_be_ours_are_refused() {
    let world = World::new().await;
    for (name, value, why) in [
        ("idempotency-key", String::new(), "INVALID_IDEMPOTENCY_KEY"),
        ("idempotency-key", "k".repeat(256), "INVALID_IDEMPOTENCY_KEY"),
        ("consistency-token", "seen".to_owned(), "INVALID_CONSISTENCY_TOKEN"),
        ("consistency-token", "t".repeat(5000), "INVALID_CONSISTENCY_TOKEN"),
    ] {
        let request = with(world.call(order(1).encode_to_vec().into()), name, &value);
        assert_eq!(refusal(&world, PLACE_ORDER, request).await, expected(Code::InvalidArgument, why));
    }
}

#[tokio::test]
async fn one_principal_cannot_take_everything() {
    let world = World::with(|config| config.limits.per_principal = Rate { per_second: 1, burst: 2 }).await;
    let mut orders = world.orders();
    for _ in 0..2 {
        orders.place_order(world.call(order(1))).await.unwrap();
    }
    let status = orders.place_order(world.call(order(1))).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
    let retry: Vec<proto::rpc::RetryInfo> = details(&status, "google.rpc.RetryInfo");
    let delay = Duration::try_from(retry[0].retry_delay.unwrap()).unwrap();
    assert!(delay > Duration::ZERO && delay <= Duration::from_secs(1), "{delay:?}");
    orders.place_order(world.call_of(2, order(1))).await.unwrap();
}
