//! Queries through a gateway: once, and as streams.

use std::time::Duration;

use bytes::Bytes;
use event::{ConsistencyToken, History, Key, Micros, Record, TraceContext, headers, subject};
use messaging::Wire as _;
use proto::order::v1::{GetOrderRequest, ListOrdersRequest, WatchOrderRequest, WatchOrderResponse};
use proto::registration::v1::LogoutSuccess;
use proto::{Message as _, Name as _};
use tonic::{Code, Request, Status, Streaming};

use crate::world::{NAMESPACE, World, id, reason, with};

fn get_order() -> GetOrderRequest {
    GetOrderRequest { order_id: id(7).to_string(), as_of: None }
}

async fn watch(world: &World) -> Streaming<WatchOrderResponse> {
    let request = WatchOrderRequest { order_id: id(7).to_string(), after_revision: 0 };
    let mut stream = world.orders().watch_order(world.call(request)).await.unwrap().into_inner();
    assert!(next(&mut stream).await.unwrap().is_some());
    stream
}

async fn next(stream: &mut Streaming<WatchOrderResponse>) -> Result<Option<WatchOrderResponse>, Status> {
    tokio::time::timeout(Duration::from_secs(10), stream.message()).await.unwrap()
}

#[tokio::test]
async fn a_query_goes_to_its_owner_on_behalf_of_who_asks() {
    let world = World::new().await;
    let answer = world.orders().get_order(world.call_of(3, get_order())).await.unwrap().into_inner();
    assert_eq!(answer.order.unwrap().customer_id, id(3).to_string());
}

#[tokio::test]
async fn nothing_of_a_clients_metadata_reaches_the_owner_but_what_is_meant_to() {
    let world = World::new().await;
    let mut request = world.call(get_order());
    let token = ConsistencyToken::of_command("order.place-order/AAAAAAAAAAAAAAAAAAAAAA").to_string();
    for (name, value) in
        [("consistency-token", token.as_str()), ("millrace-seal", "forged"), ("millrace-key", "x"), ("x-admin", "1")]
    {
        request = with(request, name, value);
    }
    request.set_timeout(Duration::from_secs(5));
    world.orders().get_order(request).await.unwrap();
    let metadata = world.owner.kept.lock().unwrap().metadata.clone();
    assert_eq!(metadata.get("consistency-token").unwrap(), token.as_str());
    for name in ["authorization", "millrace-key", "x-admin"] {
        assert!(metadata.get(name).is_none(), "{name}");
    }
    assert_eq!(metadata.get_all("millrace-seal").iter().count(), 1, "and that one is ours, or it were not verified");
    let left = metadata.get("grpc-timeout").unwrap().to_str().unwrap();
    let left: u64 = left.trim_end_matches(char::is_alphabetic).parse().unwrap();
    assert!(left < 5_000_000, "the deadline that is left: {left} us");
}

#[tokio::test]
async fn an_owners_own_words_about_its_insides_stay_inside() {
    let world = World::new().await;
    let status = world.orders().list_orders(world.call(ListOrdersRequest::default())).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "INTERNAL"));
    assert!(!format!("{status:?}").contains("select"), "{status:?}");
}

#[tokio::test]
async fn an_owner_that_is_down_is_unavailable() {
    let world = World::new().await;
    world.orders().get_order(world.call(get_order())).await.unwrap();
    world.owner.stop();
    let status = world.orders().get_order(world.call(get_order())).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "UNAVAILABLE"));
}

#[tokio::test]
async fn a_call_ends_before_its_deadline_with_words_of_ours() {
    let world = World::new().await;
    world.owner.kept.lock().unwrap().hangs = true;
    let mut request = world.call(get_order());
    request.set_timeout(Duration::from_secs(1));
    let status = world.orders().get_order(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
}

#[tokio::test]
async fn a_stream_brings_each_answer_and_ends_with_the_owners() {
    let world = World::new().await;
    let mut stream = watch(&world).await;
    let watcher = world.owner.kept.lock().unwrap().watchers.remove(0);
    watcher.send(Ok(Bytes::new())).await.unwrap();
    assert!(next(&mut stream).await.unwrap().is_some());
    watcher.send(Err(Status::internal("no such table"))).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap_err().message(), "something went wrong here");
}

#[tokio::test]
async fn a_stream_ends_when_its_session_does() {
    let world = World::new().await;
    world.streams.ensure_events("registration").await.unwrap();
    let mut stream = watch(&world).await;
    publish_logout(&world, 1).await;
    let status = next(&mut stream).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "SESSION_ENDED"));
    let status = world.orders().get_order(world.call(get_order())).await.unwrap_err();
    assert_eq!(reason(&status), "SESSION_ENDED");
    world.orders().get_order(world.call_of(2, get_order())).await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_at_the_deadline_that_its_client_set() {
    let world = World::new().await;
    let mut request: Request<_> = world.call(WatchOrderRequest { order_id: id(7).to_string(), after_revision: 0 });
    // Not by `set_timeout`, which would have the client's own clock end it.
    request = with(request, "grpc-timeout", "300m");
    let mut stream = world.orders().watch_order(request).await.unwrap().into_inner();
    next(&mut stream).await.unwrap();
    assert_eq!(reason(&next(&mut stream).await.unwrap_err()), "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn a_stream_ends_when_the_gateway_stops() {
    let mut world = World::new().await;
    let mut stream = watch(&world).await;
    world.stop.take().unwrap().send(()).unwrap();
    let status = next(&mut stream).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "STOPPING"));
}

async fn publish_logout(world: &World, user: u8) {
    let session = id(100 + user);
    let event = LogoutSuccess { session_id: session.to_string(), ..LogoutSuccess::default() };
    let record = Record {
        id: uuid::Uuid::nil(),
        source: id(0),
        key: Key::new("session", session),
        epoch: 1,
        revision: 1,
        history: History::default(),
        type_name: LogoutSuccess::full_name(),
        body: event.encode_to_vec().into(),
        time: Micros(1),
        principal: "service/registration".to_owned(),
        command_id: None,
        cause_id: None,
        trace: TraceContext::default(),
    };
    let headers = headers::of(&record).into_iter().map(|(name, value)| (name.parse().unwrap(), value.into())).collect();
    world.client.publish_with_headers(subject::of_event(NAMESPACE, &record), headers, record.body).await.unwrap();
    world.client.flush().await.unwrap();
}
