//! What HTTP/2 lets a client do that means harm, or is broken: others are served, and memory stays bounded.

use std::time::{Duration, Instant};

use millrace_gateway::Rate;
use proto::order::v1::GetOrderRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, call, connect, deaf_intruder,
    frame, header, intruder, memory,
};
use crate::world::{World, id};

const GET_ORDER: &str = "/millrace.order.v1.OrderService/GetOrder";

/// What an attack may cost at most, with all that the attacker itself keeps.
pub const MEMORY_MAX: usize = 64 << 20;

/// How long an honest call may take meanwhile, on a busy machine.
const PROMPTLY: Duration = Duration::from_secs(5);

pub async fn is_served(world: &World) {
    let request = GetOrderRequest { order_id: id(7).to_string(), as_of: None };
    let mut orders = world.orders();
    let served = tokio::time::timeout(PROMPTLY, orders.get_order(world.call(request))).await;
    served.expect("others are served promptly").unwrap();
}

/// Nobody is limited by how often they call: the attack is to meet what else there is.
pub async fn unhurried() -> World {
    World::with(|config| config.limits.per_address = Rate { per_second: 0, burst: 0 }).await
}

#[tokio::test]
async fn calls_that_are_given_up_at_once_end_their_connection() {
    let world = unhurried().await;
    let (before, mut intruder) = (memory(), intruder(&world).await);
    let head = call(GET_ORDER);
    let give_up = |n: usize| {
        let begin = frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head);
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
    let world = unhurried().await;
    let (before, mut intruder) = (memory(), intruder(&world).await);
    assert!(intruder.send(&frame(HEADERS, END_STREAM, 1, &call(GET_ORDER))).await);
    let more = header("x-more", &"x".repeat(16_000));
    let closed = intruder.send_until_closed(10_000, |_| frame(CONTINUATION, 0, 1, &more)).await;
    assert!(closed.is_some_and(|sent| sent < 1000), "{closed:?} frames of a head were taken");
    is_served(&world).await;
    assert!(memory().saturating_sub(before) < MEMORY_MAX);
}

#[tokio::test]
async fn a_head_that_never_ends_in_empty_frames_ends_its_connection() {
    let world = unhurried().await;
    let mut intruder = intruder(&world).await;
    assert!(intruder.send(&frame(HEADERS, END_STREAM, 1, &call(GET_ORDER))).await);
    let empty = frame(CONTINUATION, 0, 1, b"").repeat(1000);
    let closed = intruder.send_until_closed(1000, |_| empty.clone()).await;
    assert!(closed.is_some_and(|sent| sent < 1000), "a million empty frames were taken");
    is_served(&world).await;
}

#[tokio::test]
async fn a_huge_head_is_refused_however_small_it_is_packed() {
    let world = unhurried().await;
    let (before, mut intruder) = (memory(), intruder(&world).await);
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
    let (before, mut intruder) = (memory(), intruder(&world).await);
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
        // At its pace it would take long to fill what is between us.
        config.limits.connections.bytes_per_address = 0;
    })
    .await;
    let before = memory();
    for frames in [frame(PING, 0, 0, b"are you?"), frame(SETTINGS, 0, 0, b"")] {
        let mut intruder = deaf_intruder(&world).await;
        let flood = frames.repeat(1000);
        // Nothing is read, so the answers to these fill all that is between us.
        let mut is_open = true;
        let began = Instant::now();
        while is_open && began.elapsed() < Duration::from_mins(1) {
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
