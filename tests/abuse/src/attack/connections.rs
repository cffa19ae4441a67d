//! Many connections, and slow ones.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Attack, Attacker};
use crate::http2::{END_HEADERS, END_STREAM, HEADERS, call, frame};

const LIST_ORDERS: &str = "/millrace.order.v1.OrderService/ListOrders";

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "idle-connections",
        does: "a thousand connections of each address, which greet and say no more",
        holds: "no address gets more than its share",
        attackers: 8,
        memory: 200,
        round: |attacker| Box::pin(idle(attacker)),
    },
    Attack {
        name: "silent-connections",
        does: "connections that say nothing, or less than a greeting",
        holds: "each is closed within its time",
        attackers: 8,
        memory: 200,
        round: |attacker| Box::pin(silent(attacker)),
    },
    Attack {
        name: "slowloris",
        does: "heads and bodies of HTTP/1.1, a byte at a time",
        holds: "no head takes more than 30 s, and no body more than its call",
        attackers: 4,
        memory: 200,
        round: |attacker| Box::pin(slowloris(attacker)),
    },
    Attack {
        name: "reconnects",
        does: "hundreds connect at once, call, lose their connection and come back, over and over",
        holds: "what a lost connection held is given back at once",
        attackers: 8,
        memory: 100,
        round: |attacker| Box::pin(reconnects(attacker)),
    },
];

async fn idle(attacker: &Attacker) -> Result<()> {
    let mut crowd = Vec::new();
    for _ in 0..1000 {
        let Some(mut intruder) = attacker.intrude().await else { break };
        // The gateway's settings; or nothing, if there are too many.
        if intruder.next().await.is_none() {
            break;
        }
        crowd.push(intruder);
    }
    ensure!(crowd.len() < 1000, "one address has 1000 connections, and nobody objects");
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

async fn silent(attacker: &Attacker) -> Result<()> {
    let opened = (0..300).map(async |n: usize| {
        let mut silent = attacker.connect().await?;
        let said: &[u8] = [&b""[..], b"PRI * HTTP/2.0", b"POST / HTTP", b"\x16\x03\x01\x02\x00\x01"][n % 4];
        // It may be closed by now, which is what is asked for.
        let _ = silent.write_all(said).await;
        Some(tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut Vec::new())).await.is_ok())
    });
    let closed = futures::future::join_all(opened).await;
    ensure!(!closed.contains(&Some(false)), "a connection without a greeting is still there after 20 s");
    Ok(())
}

async fn slowloris(attacker: &Attacker) -> Result<()> {
    let head = format!("POST {LIST_ORDERS} HTTP/1.1\r\nhost: shop\r\ncontent-type: application/grpc-web+proto\r\n");
    let crowd = (0..200).map(async |n: usize| {
        let mut slow = attacker.connect().await?;
        attacker.tally.add_requests(1);
        let rest = if n.is_multiple_of(2) { "x-slow: " } else { "content-length: 100000\r\n\r\n" };
        slow.write_all(format!("{head}{rest}").as_bytes()).await.ok()?;
        // 40 s, and a head has 30.
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            slow.write_all(b"x").await.ok()?;
        }
        Some(())
    });
    let alive = futures::future::join_all(crowd).await.into_iter().flatten().count();
    ensure!(alive == 0, "{alive} connections drip, and are still there after 40 s");
    Ok(())
}

async fn reconnects(attacker: &Attacker) -> Result<()> {
    let back = (0..200).map(async |_| {
        let mut intruder = attacker.intrude().await?;
        attacker.tally.add_requests(1);
        intruder.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &call(LIST_ORDERS))).await;
        intruder.read(HEADERS).await;
        intruder.vanish();
        Some(())
    });
    futures::future::join_all(back).await;
    Ok(())
}
