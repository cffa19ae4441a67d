//! What clients do that mean harm, or are broken: others are served, and memory stays bounded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

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

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Intruder, PING, RST_STREAM, SETTINGS, call, connect, frame,
    header, memory,
};
use crate::world::{World, id, reason};

const GET_ORDER: &str = "/millrace.order.v1.OrderService/GetOrder";

/// What an attack may cost at most, with all that the attacker itself keeps.
const MEMORY_MAX: usize = 64 << 20;

/// How long an honest call may take meanwhile, on a busy machine.
const PROMPTLY: Duration = Duration::from_secs(5);

async fn is_served(world: &World) {
    let request = GetOrderRequest { order_id: id(7).to_string(), as_of: None };
    let mut orders = world.orders();
    let served = tokio::time::timeout(PROMPTLY, orders.get_order(world.call(request))).await;
    served.expect("others are served promptly").unwrap();
}

/// Nobody is limited by how often they call: the attack is to meet what else there is.
async fn world() -> World {
    World::with(|config| config.limits.per_address = Rate { per_second: 0, burst: 0 }).await
}

#[tokio::test]
async fn calls_that_are_given_up_at_once_end_their_connection() {
    let world = world().await;
    let (before, mut intruder) = (memory(), Intruder::new(&world).await);
    let give_up = |n: usize| {
        let begin = frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &call(GET_ORDER));
        [begin, frame(RST_STREAM, 0, 2 * n + 1, &8u32.to_be_bytes())].concat()
    };
    // A thousand at a time, as they come in one packet.
    let batch = |n: usize| (1000 * n..1000 * (n + 1)).flat_map(give_up).collect();
    let closed = intruder.send_until_closed(100, batch).await;
    assert!(closed.is_some(), "100,000 calls were given up, and the connection is still there");
    is_served(&world).await;
    assert!(memory().saturating_sub(before) < MEMORY_MAX);
}

#[tokio::test]
async fn a_head_that_never_ends_ends_its_connection() {
    let world = world().await;
    let (before, mut intruder) = (memory(), Intruder::new(&world).await);
    assert!(intruder.send(&frame(HEADERS, END_STREAM, 1, &call(GET_ORDER))).await);
    let more = header("x-more", &"x".repeat(16_000));
    let closed = intruder.send_until_closed(10_000, |_| frame(CONTINUATION, 0, 1, &more)).await;
    assert!(closed.is_some_and(|sent| sent < 1000), "{closed:?} frames of a head were taken");
    is_served(&world).await;
    assert!(memory().saturating_sub(before) < MEMORY_MAX);
}

#[tokio::test]
async fn a_head_that_never_ends_in_empty_frames_ends_its_connection() {
    let world = world().await;
    let mut intruder = Intruder::new(&world).await;
    assert!(intruder.send(&frame(HEADERS, END_STREAM, 1, &call(GET_ORDER))).await);
    let empty = frame(CONTINUATION, 0, 1, b"").repeat(1000);
    let closed = intruder.send_until_closed(1000, |_| empty.clone()).await;
    assert!(closed.is_some_and(|sent| sent < 1000), "a million empty frames were taken");
    is_served(&world).await;
}

#[tokio::test]
async fn a_huge_head_is_refused_however_small_it_is_packed() {
    let world = world().await;
    let (before, mut intruder) = (memory(), Intruder::new(&world).await);
    // Remembered once, and named ten thousand times: some 40 MB in 10 kB.
    let remembered = [&[0x40][..], &header("x-bomb", &"x".repeat(4000))[1..]].concat();
    let bomb = [call(GET_ORDER), remembered, vec![0xbe; 10_000]].concat();
    for n in 0..100 {
        intruder.send(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &bomb)).await;
    }
    assert!(intruder.read(HEADERS).await.is_none_or(|(_, head)| !head.is_empty()));
    is_served(&world).await;
    assert!(memory().saturating_sub(before) < MEMORY_MAX);
    assert!(world.owner.kept.lock().unwrap().metadata.get("x-bomb").is_none());
}

#[tokio::test]
async fn a_body_in_tiny_frames_is_bounded_in_what_it_costs() {
    let world = World::with(|config| {
        config.limits.per_address = Rate { per_second: 0, burst: 0 };
        config.limits.deadline_default = Duration::from_secs(2);
    })
    .await;
    let (before, mut intruder) = (memory(), Intruder::new(&world).await);
    let token = header("authorization", &format!("Bearer {}", world.token(1)));
    assert!(intruder.send(&frame(HEADERS, END_HEADERS, 1, &[call(GET_ORDER), token].concat())).await);
    // A message that claims a length which never comes, byte for byte and in frames without any.
    assert!(intruder.send(&frame(DATA, 0, 1, &[0, 0, 3, 0, 0])).await);
    let tiny = [frame(DATA, 0, 1, b"x"), frame(DATA, 0, 1, b"")].concat().repeat(500);
    let closed = intruder.send_until_closed(2000, |_| tiny.clone()).await;
    assert!(closed.is_some(), "a million tiny frames were taken, and the connection is still there");
    is_served(&world).await;
    assert!(memory().saturating_sub(before) < MEMORY_MAX);
}

#[tokio::test]
async fn who_asks_and_takes_no_answer_is_cut_off() {
    let world = World::with(|config| {
        config.limits.per_address = Rate { per_second: 0, burst: 0 };
        config.limits.connections.stalled = Duration::from_millis(300);
    })
    .await;
    let before = memory();
    for frames in [frame(PING, 0, 0, b"are you?"), frame(SETTINGS, 0, 0, b"")] {
        let mut intruder = Intruder::new(&world).await;
        let flood = frames.repeat(1000);
        // Nothing is read, so the answers to these fill all that is between us.
        let mut is_open = true;
        let began = Instant::now();
        while is_open && began.elapsed() < Duration::from_secs(10) {
            is_open = tokio::time::timeout(Duration::from_secs(5), intruder.send(&flood)).await.unwrap_or(true);
        }
        assert!(!is_open, "the connection is still there");
        is_served(&world).await;
    }
    assert!(memory().saturating_sub(before) < MEMORY_MAX);
}

#[tokio::test]
async fn connections_that_say_nothing_are_closed() {
    let world = World::with(|config| config.limits.connections.greeting = Duration::from_millis(200)).await;
    for greeting in [&b""[..], b"PRI * HTTP/2.0", b"POST / HTTP"] {
        let mut silent = connect(&world, 2).await.unwrap();
        silent.write_all(greeting).await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(5), silent.read_to_end(&mut Vec::new())).await;
        assert!(read.is_ok(), "after {greeting:?} it is still there");
    }
    is_served(&world).await;
}

#[tokio::test]
async fn a_body_that_never_ends_ends_at_its_deadline() {
    let world = World::with(|config| config.limits.deadline_default = Duration::from_secs(1)).await;
    let mut slow = connect(&world, 2).await.unwrap();
    let head = format!(
        "POST {GET_ORDER} HTTP/1.1\r\nhost: shop\r\ncontent-type: application/grpc-web+proto\r\n\
         authorization: Bearer {}\r\ncontent-length: 100000\r\n\r\n\0\0\u{1}",
        world.token(1)
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(PROMPTLY, slow.read(&mut answer)).await.expect("it is answered").unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).to_lowercase();
    assert!(answer.contains("grpc-status: 4"), "{answer}");
    is_served(&world).await;
}

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
    let world = World::with(|config| config.limits.per_address = Rate { per_second: 50, burst: 100 }).await;
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
    let world = world().await;
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
