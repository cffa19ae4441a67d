//! Many connections, many calls, and answers that nobody takes: others are served, and memory stays bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, FuturesUnordered};
use millrace_gateway::{Config, Rate};
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::order::v1::{GetOrderRequest, ListOrdersRequest, WatchOrderRequest, WatchOrderResponse};
use testkit::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tonic::{Code, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::abuse::{MEMORY_MAX, is_served, unhurried};
use crate::frames::{connect, memory};
use crate::world::{World, id, reason};

/// Opens connections until one is refused; those that were taken.
async fn crowd(world: &World, host: u8, most: usize) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    while crowd.len() < most {
        let Ok(mut stream) = connect(world, host).await else { break };
        let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        // The gateway's own settings, or nothing.
        if stream.read_exact(&mut [0; 9]).await.is_err() {
            break;
        }
        crowd.push(stream);
    }
    crowd
}

#[tokio::test]
async fn thousands_of_idle_connections_leave_room_for_others() {
    serve::transport::raise_open_files();
    let world = World::with(|config| config.limits.connections.per_address = 2000).await;
    let before = memory();
    let crowd = crowd(&world, 2, 3000).await;
    assert_eq!(crowd.len(), 2000, "one address has its share and no more");
    is_served(&world).await;
    let each = memory().saturating_sub(before) / crowd.len();
    assert!(each < 40 << 10, "{each} bytes for an idle connection");
    drop(crowd);
    eventually("there is room again", async || !crowd_of_one(&world).await.is_empty()).await;
}

async fn crowd_of_one(world: &World) -> Vec<TcpStream> {
    crowd(world, 2, 1).await
}

#[tokio::test]
async fn there_is_a_limit_for_all_addresses_together() {
    let world = World::with(|config| config.limits.connections.total = 10).await;
    let mut taken = Vec::new();
    for host in 2..10 {
        taken.extend(crowd(&world, host, 3).await);
    }
    assert_eq!(taken.len(), 10);
    taken.clear();
    eventually("there is room again", async || !crowd_of_one(&world).await.is_empty()).await;
    is_served(&world).await;
}

#[tokio::test]
async fn a_flood_of_calls_from_one_address_is_refused_and_others_are_served() {
    let world = World::with(|config| {
        config.limits.per_address = Rate { per_second: 50, burst: 100 };
        // It would be slowed down, too.
        config.limits.connections.bytes_per_address = 0;
    })
    .await;
    let before = memory();
    let endpoint = Endpoint::from_shared(format!("http://{}", world.address)).unwrap();
    let intruder = OrderServiceClient::new(endpoint.local_address(Some([127, 0, 0, 2].into())).connect_lazy());
    let mut codes = BTreeMap::new();
    let calls = stream::iter(0..2000).map(|_| {
        let mut intruder = intruder.clone();
        async move { intruder.list_orders(ListOrdersRequest::default()).await.unwrap_err().code() }
    });
    let mut calls = calls.buffer_unordered(100).enumerate();
    while let Some((n, code)) = calls.next().await {
        *codes.entry(code as i32).or_insert(0) += 1;
        if n % 500 == 0 {
            is_served(&world).await;
        }
    }
    assert!(codes[&(Code::ResourceExhausted as i32)] > 1500, "{codes:?}");
    assert!(
        codes.keys().all(|code| [Code::ResourceExhausted as i32, Code::Unauthenticated as i32].contains(code)),
        "{codes:?}"
    );
    assert!(memory().saturating_sub(before) < MEMORY_MAX);
}

#[tokio::test]
async fn what_is_offered_beside_calls_is_limited_with_them() {
    let configure = |config: &mut Config| {
        config.limits.per_address = Rate { per_second: 1, burst: 10 };
        config.limits.open_calls_per_address = 5;
    };
    let world = World::with(configure).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", world.address)).unwrap();
    let health =
        |host| HealthClient::new(endpoint.clone().local_address(Some([127, 0, 0, host].into())).connect_lazy());
    let request = || HealthCheckRequest { service: String::new() };
    let refused = loop {
        if let Err(status) = health(2).check(request()).await {
            break status;
        }
    };
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
    let mut watches = Vec::new();
    let refused = loop {
        match health(3).watch(request()).await {
            Ok(watch) => watches.push(watch),
            Err(status) => break status,
        }
    };
    assert_eq!((watches.len(), reason(&refused).as_str()), (5, "TOO_MANY_OPEN_CALLS"));
    is_served(&world).await;
}

/// Somebody who watches, and takes nothing of what comes.
async fn slow_reader(world: &World) -> Streaming<WatchOrderResponse> {
    let channel = Endpoint::from_shared(format!("http://{}", world.address))
        .unwrap()
        .initial_stream_window_size(1024)
        .connect_lazy();
    let request = WatchOrderRequest { order_id: id(7).to_string(), after_revision: 0 };
    let mut orders = OrderServiceClient::new(channel);
    orders.watch_order(world.call(request)).await.unwrap().into_inner()
}

/// An answer that decodes, of this size: an unknown field.
fn answer(size: usize) -> Bytes {
    let bytes = prost::encoding::encoded_len_varint(size as u64);
    let mut answer = Vec::with_capacity(size + bytes + 2);
    prost::encoding::bytes::encode(1000, &vec![0; size], &mut answer);
    answer.into()
}

#[tokio::test]
async fn slow_readers_hold_up_nobody_and_what_they_do_not_take_is_bounded() {
    const READERS: usize = 50;
    const ANSWER: usize = 16 << 10;
    let world = unhurried().await;
    let before = memory();
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(slow_reader(&world).await);
    }
    // Its owner has a megabyte to say to each of them.
    let watchers = std::mem::take(&mut world.owner.kept.lock().unwrap().watchers);
    let said = watchers.iter().map(|watcher| async {
        let mut said = 0;
        for _ in 0..64 {
            let sent = tokio::time::timeout(Duration::from_millis(500), watcher.send(Ok(answer(ANSWER)))).await;
            if sent.is_err() {
                return said;
            }
            said += ANSWER;
        }
        said
    });
    let said: Vec<_> = said.collect::<FuturesUnordered<_>>().collect().await;
    assert!(said.iter().all(|said| *said < 512 << 10), "the owner is held up, as its readers are: {said:?}");

    is_served(&world).await;
    let mut quick = slow_reader(&world).await;
    assert!(quick.message().await.unwrap().is_some(), "another watcher is served");
    assert!(memory().saturating_sub(before) < MEMORY_MAX);
    drop(readers);
}

#[tokio::test]
async fn who_leaves_answers_lying_about_cannot_open_more_calls() {
    let configure = |config: &mut Config| config.limits.open_calls_per_address = 20;
    let world = World::with(configure).await;
    let mut readers = Vec::new();
    for _ in 0..20 {
        readers.push(slow_reader(&world).await);
    }
    let request = GetOrderRequest { order_id: id(7).to_string(), as_of: None };
    let refused = world.orders().get_order(world.call(request)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "TOO_MANY_OPEN_CALLS"));
    drop(readers.split_off(10));
    eventually("there is room again", async || {
        let request = GetOrderRequest { order_id: id(7).to_string(), as_of: None };
        world.orders().get_order(world.call(request)).await.is_ok()
    })
    .await;
}
