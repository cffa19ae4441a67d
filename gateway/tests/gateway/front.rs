//! What a gateway offers beside calls: gRPC-Web, reflection, health, and an orderly end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use proto::Message as _;
use proto::order::v1::{GetOrderRequest, PlaceOrderResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::world::{World, id, order};

const PLACE_ORDER: &str = "millrace.order.v1.OrderService/PlaceOrder";

/// Speaks HTTP/1.1 by hand, as no gRPC client does.
async fn http(world: &World, request: &str, body: &[u8]) -> (String, Bytes) {
    let mut stream = TcpStream::connect(&world.address).await.unwrap();
    let head =
        format!("{request}\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", world.address, body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase(), Bytes::from(answer).slice(end + 4..))
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.extend_from_slice(message);
    frame.freeze()
}

fn find(body: &[u8], what: &[u8]) -> Option<usize> {
    body.windows(what.len()).position(|window| window == what)
}

#[tokio::test]
async fn a_page_can_call_over_grpc_web() {
    let world = World::with(|config| config.allowed_origins = vec!["*".to_owned()]).await;
    let request = format!(
        "POST /millrace.order.v1.OrderService/PlaceOrder HTTP/1.1\r\ncontent-type: application/grpc-web+proto\r\n\
         x-grpc-web: 1\r\norigin: https://shop.example\r\nauthorization: Bearer {}",
        world.token(1)
    );
    let (head, body) = http(&world, &request, &framed(&order(1).encode_to_vec())).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    assert!(head.contains("access-control-expose-headers: grpc-status,grpc-message,grpc-status-details-bin"), "{head}");
    assert!(find(&body, b"grpc-status:0").is_some(), "{body:?}");
    // A chunk of HTTP/1.1, then the frame.
    let frame = &body[find(&body, b"\r\n").unwrap() + 2..];
    let length = u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize;
    assert!(PlaceOrderResponse::decode(&frame[5..5 + length]).unwrap().receipt.is_some());
}

/// Tonic's own timer says CANCELLED, past the layer that makes an answer one for pages. No gRPC client can tell: its own timer is first.
#[tokio::test]
async fn short_deadlines_end_in_words_of_ours_however_busy_the_machine() {
    let world = World::new().await;
    world.owner.kept.lock().unwrap().hangs = true;
    let token = world.token(1);
    let body = framed(&GetOrderRequest { order_id: id(7).to_string(), as_of: None }.encode_to_vec());
    for timeout in ["0n", "50m"] {
        world.stalls.store(true, Ordering::Relaxed);
        let request = format!(
            "POST /millrace.order.v1.OrderService/GetOrder HTTP/1.1\r\ncontent-type: application/grpc-web+proto\r\n\
             x-grpc-web: 1\r\ngrpc-timeout: {timeout}\r\nauthorization: Bearer {token}"
        );
        let (head, _) = http(&world, &request, &body).await;
        assert!(head.contains("grpc-status: 4") && head.contains("grpc-status-details-bin"), "{timeout}: {head}");
        assert!(head.contains("content-type: application/grpc-web+proto"), "{timeout}: {head}");
    }
}

#[tokio::test]
async fn a_browser_asks_first_and_is_told_what_it_may_send() {
    let world = World::with(|config| config.allowed_origins = vec!["https://shop.example".to_owned()]).await;
    let ask = async |origin: &str| {
        let request = format!(
            "OPTIONS /millrace.order.v1.OrderService/PlaceOrder HTTP/1.1\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\naccess-control-request-headers: authorization,idempotency-key"
        );
        http(&world, &request, b"").await.0
    };
    let allowed = ask("https://shop.example").await;
    assert!(allowed.contains("access-control-allow-origin: https://shop.example"), "{allowed}");
    assert!(allowed.contains("idempotency-key") && allowed.contains("authorization"), "{allowed}");
    assert!(!allowed.contains("access-control-allow-credentials"), "{allowed}");
    assert!(!ask("https://elsewhere.example").await.contains("access-control-allow-origin"));

    let world = World::new().await;
    let ask = format!(
        "OPTIONS /{PLACE_ORDER} HTTP/1.1\r\norigin: https://shop.example\r\naccess-control-request-method: POST"
    );
    assert!(!http(&world, &ask, b"").await.0.contains("access-control-allow-origin"), "nowhere, if nothing is said");
}

#[tokio::test]
async fn reflection_tells_of_the_public_services_and_of_no_other() {
    let world = World::new().await;
    let ask = async |request: MessageRequest| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let mut client = ServerReflectionClient::new(world.channel.clone());
        let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
        answers.message().await.map(|answer| answer.unwrap().message_response.unwrap())
    };
    let list = ask(MessageRequest::ListServices(String::new())).await.unwrap();
    let MessageResponse::ListServicesResponse(list) = list else { panic!("{list:?}") };
    let services: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for public in ["millrace.order.v1.OrderService", "millrace.command.v1.CommandService", "grpc.health.v1.Health"] {
        assert!(services.iter().any(|service| service == public), "{public} is not in {services:?}");
    }
    for hidden in ["millrace.command.v1.DeliveryService", "millrace.eventlog.v1.EventLogService"] {
        assert!(!services.iter().any(|service| service == hidden), "{hidden}");
        let answer = ask(MessageRequest::FileContainingSymbol(hidden.to_owned())).await;
        assert_eq!(answer.unwrap_err().code(), Code::NotFound, "{hidden}");
    }
}

#[tokio::test]
async fn a_gateway_that_stops_says_so_and_finishes_what_it_has() {
    let mut world = World::with_queue().await;
    let mut health = HealthClient::new(world.channel.clone());
    let request = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "millrace.order.v1.OrderService"] {
        assert_eq!(health.check(request(service)).await.unwrap().into_inner().status, 1, "{service}");
    }
    let mut watch = health.watch(request("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);

    let mut published = world.client.subscribe("ns.cmd.>").await.unwrap();
    world.client.flush().await.unwrap();
    let mut orders = world.orders();
    let call = world.call(order(1));
    let placed = tokio::spawn(async move { orders.place_order(call).await });
    published.next().await.unwrap();
    world.stop.take().unwrap().send(()).unwrap();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2, "NOT_SERVING");
    drop(watch);
    assert!(placed.await.unwrap().unwrap().into_inner().receipt.is_some());
    let ended = tokio::time::timeout(Duration::from_secs(10), &mut world.gateway).await.unwrap();
    ended.unwrap().unwrap();
}
