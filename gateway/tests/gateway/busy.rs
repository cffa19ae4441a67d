//! What keeps a gateway busy, and costs its peer little: others have their turn, and it comes to an end.

use std::time::{Duration, Instant};

use abuse::violations::{self, Ends};
use futures::future::join_all;
use millrace_gateway::Rate;
use tokio::io::AsyncWriteExt as _;
use tonic::Code;

use crate::abuse::{MEMORY_MAX, is_served, unhurried};
use crate::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, call, connect,
    first_call, frame, header, intruder, intruder_from, memory, message,
};
use crate::world::{World, id, order, reason};

const GET_ORDER: &str = "/millrace.order.v1.OrderService/GetOrder";
const WATCH_ORDER: &str = "/millrace.order.v1.OrderService/WatchOrder";

/// How much of an address is read a second in the tests about that: it is used up at once.
const SLOW: u32 = 100_000;

/// Sends a flood, reading what comes, for a second; how many bytes were taken.
async fn flood(world: &World, host: u8, frames: &[u8]) -> usize {
    let mut intruder = intruder_from(world, host).await.unwrap();
    let (mut taken, began) = (0, Instant::now());
    while began.elapsed() < Duration::from_secs(1) {
        // What does not fit waits until the gateway reads on, or the second is over.
        match tokio::time::timeout(Duration::from_secs(1), intruder.send_and_discard(frames)).await {
            Ok(true) => taken += frames.len(),
            _ => break,
        }
        // The gateway of a test runs on the same thread.
        tokio::task::yield_now().await;
    }
    taken
}

fn control_frames() -> Vec<u8> {
    let several = [
        frame(PING, 0, 0, b"are you?"),
        frame(SETTINGS, 0, 0, b""),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 7]),
        frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
    ];
    several.concat().repeat(100)
}

#[tokio::test]
async fn frames_that_are_no_calls_leave_others_their_turn() {
    // At any pace: it is the turns that are to be seen here.
    let world = World::with(|config| config.limits.connections.bytes_per_address = 0).await;
    let before = memory();
    let frames = control_frames();
    let floods = join_all((2..10).map(|host| flood(&world, host, &frames)));
    let honest = async {
        for _ in 0..3 {
            is_served(&world).await;
        }
    };
    let (taken, ()) = tokio::join!(floods, honest);
    assert!(taken.iter().all(|taken| *taken > 0), "{taken:?}");
    assert!(memory().saturating_sub(before) < MEMORY_MAX);
}

#[tokio::test]
async fn an_address_that_sends_too_much_is_read_later_and_others_are_not() {
    let world = World::with(|config| config.limits.connections.bytes_per_address = SLOW / 10).await;
    let began = Instant::now();
    let mut intruder = intruder(&world).await;
    assert!(intruder.send(&frame(PING, 0, 0, b"are you?").repeat(40_000)).await);
    is_served(&world).await;
    let mut answered = 0;
    while began.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        answered += intruder.discard().expect("it is slowed down, and not cut off");
    }
    // An answer is as long as a ping. Two seconds' worth is read at once, and what was read before it was too much.
    let seconds = 3 + usize::try_from(began.elapsed().as_secs()).unwrap();
    let due = SLOW as usize / 10 * seconds + (64 << 10);
    assert!(answered > 0 && answered < due, "{answered} bytes were answered in {:?}", began.elapsed());
}

#[tokio::test]
async fn an_address_that_keeps_coming_back_is_refused_and_others_are_not() {
    // Enough for some five connections at once, and two a second.
    let world = World::with(|config| config.limits.connections.bytes_per_address = SLOW / 10).await;
    let before = memory();
    let came = (0..50).map(async |_| Some(intruder_from(&world, 2).await.ok()?.next().await?));
    let refused = join_all(came).await.into_iter().filter(Option::is_none).count();
    assert!(refused > 25, "{refused} of 50 were refused");
    is_served(&world).await;
    assert!(memory().saturating_sub(before) < MEMORY_MAX);
}

#[tokio::test]
async fn hundreds_that_lose_their_connection_and_come_back_leave_nothing_behind() {
    serve::transport::raise_open_files();
    let world = World::with(|config| config.limits.connections.per_address = 30).await;
    let before = memory();
    for _ in 0..4 {
        let back = (2..10).flat_map(|host| (0..25).map(move |_| host)).map(async |host| {
            let Ok(mut intruder) = intruder_from(&world, host).await else { return };
            intruder.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &call(GET_ORDER))).await;
            intruder.read(HEADERS).await;
            intruder.vanish();
        });
        join_all(back).await;
        is_served(&world).await;
    }
    // 800 came, and no more than 30 of one address may be there at once: so those that vanished are gone.
    testkit::eventually("there is room again", async || {
        let mut crowd = join_all((0..30).map(|_| intruder_from(&world, 2))).await;
        let greeted = crowd.iter_mut().flatten().map(async |intruder| intruder.next().await.is_some());
        join_all(greeted).await.into_iter().filter(|greeted| *greeted).count() == 30
    })
    .await;
    assert!(memory().saturating_sub(before) < MEMORY_MAX);
}

#[tokio::test]
async fn who_is_refused_again_and_again_is_read_later() {
    let world = World::with(|config| {
        config.limits.per_address = Rate { per_second: 0, burst: 0 };
        config.limits.connections.bytes_per_address = SLOW / 2;
    })
    .await;
    let forged = "Bearer eyJ0eXAiOiJhdCtqd3QifQ.e30.AAAA";
    for (n, more) in [vec![], vec![("authorization", forged)]].into_iter().enumerate() {
        let mut intruder = intruder_from(&world, 2 + u8::try_from(n).unwrap()).await.unwrap();
        let (first, again) = first_call(GET_ORDER, &more);
        let one = |n: usize| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, if n == 0 { &first } else { &again });
        let began = Instant::now();
        let mut answered = 0;
        while began.elapsed() < Duration::from_secs(2) {
            let calls: Vec<_> = (answered..answered + 20).flat_map(one).collect();
            assert!(intruder.send(&calls).await && intruder.read_times(20, Frame::ends_stream).await);
            answered += 20;
        }
        // 48 at once, 24 a second from then on, 20 at a time, and a second's worth that is owed in the end.
        assert!(answered <= 200, "{answered} calls were refused in two seconds");
        is_served(&world).await;
    }
}

#[tokio::test]
async fn watches_that_are_given_up_once_they_are_answered_hold_nothing() {
    let world = unhurried().await;
    let before = memory();
    let mut intruder = intruder(&world).await;
    let token = header("authorization", &format!("Bearer {}", world.token(1)));
    let head = [call(WATCH_ORDER), token].concat();
    let order = id(7).to_string();
    let body = message(&[&[0x0a, u8::try_from(order.len()).unwrap()], order.as_bytes()].concat());
    for round in 0..5 {
        let streams = (100 * round..100 * (round + 1)).map(|n| 2 * n + 1);
        let watch = |id| [frame(HEADERS, END_HEADERS, id, &head), frame(DATA, END_STREAM, id, &body)].concat();
        assert!(intruder.send(&streams.clone().flat_map(watch).collect::<Vec<_>>()).await);
        assert!(intruder.read_times(100, |frame| frame.kind == HEADERS).await, "watches are answered in round {round}");
        let given_up: Vec<_> = streams.flat_map(|id| frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())).collect();
        assert!(intruder.send(&given_up).await);
    }
    is_served(&world).await;
    testkit::eventually("the owner is told", async || {
        world.owner.kept.lock().unwrap().watchers.iter().all(tokio::sync::mpsc::Sender::is_closed)
    })
    .await;
    assert!(memory().saturating_sub(before) < MEMORY_MAX);
}

#[tokio::test]
async fn whatever_breaks_the_protocol_ends_its_connection_or_its_call() {
    let world = unhurried().await;
    let before = memory();
    for violation in violations::all(GET_ORDER) {
        let mut intruder = intruder(&world).await;
        let ended = match violation.ends {
            _ if !intruder.send(&violation.bytes).await => true,
            Ends::Connection => intruder.is_closed().await,
            Ends::Call => intruder.read_times(1, Frame::ends_stream).await || intruder.is_closed().await,
        };
        assert!(ended, "{}", violation.name);
    }
    is_served(&world).await;
    assert!(memory().saturating_sub(before) < MEMORY_MAX);
}

#[tokio::test]
async fn more_calls_than_are_allowed_at_once_are_refused_and_the_others_go_on() {
    let world = unhurried().await;
    let mut intruder = intruder(&world).await;
    let token = format!("Bearer {}", world.token(1));
    let (first, again) = first_call(GET_ORDER, &[("authorization", &token)]);
    // None of their bodies ends, so all are open.
    let begin = |n: usize| frame(HEADERS, END_HEADERS, 2 * n + 1, if n == 0 { &first } else { &again });
    let calls: Vec<_> = (0..400).flat_map(begin).collect();
    assert!(intruder.send(&calls).await);
    let refused = |frame: &Frame| frame.kind == RST_STREAM && frame.payload == 7_u32.to_be_bytes();
    assert!(intruder.read_times(1, refused).await, "those beyond 256 are told that they were not begun");
    is_served(&world).await;
}

#[tokio::test]
async fn what_means_one_thing_may_not_be_said_twice() {
    let world = World::new().await;
    for (name, code, why) in [
        ("idempotency-key", Code::InvalidArgument, "INVALID_IDEMPOTENCY_KEY"),
        ("consistency-token", Code::InvalidArgument, "INVALID_CONSISTENCY_TOKEN"),
        ("authorization", Code::Unauthenticated, "INVALID_TOKEN"),
    ] {
        let mut request = world.call(order(1));
        for value in ["one", "other"] {
            request.metadata_mut().append(name, value.parse().unwrap());
        }
        let refused = world.orders().place_order(request).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, why));
    }
    assert!(world.owner.kept.lock().unwrap().receipts.is_empty());
}

#[tokio::test]
async fn heads_that_drip_hold_up_nobody() {
    let world = World::new().await;
    let before = memory();
    let mut dripping = Vec::new();
    for _ in 0..200 {
        let mut slow = connect(&world, 2).await.unwrap();
        slow.write_all(format!("POST {GET_ORDER} HTTP/1.1\r\nhost: shop\r\nx-slow: ").as_bytes()).await.unwrap();
        dripping.push(slow);
    }
    for _ in 0..10 {
        for slow in &mut dripping {
            slow.write_all(b"x").await.unwrap();
        }
        is_served(&world).await;
    }
    assert!(memory().saturating_sub(before) < MEMORY_MAX);
}
