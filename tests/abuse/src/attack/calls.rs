//! Many calls, dear ones, and answers that nobody takes.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::Message as _;
use proto::registration::v1::LoginRequest;
use tokio::time::Duration;

use super::{Attack, Attacker};
use crate::http2::{DATA, END_HEADERS, END_STREAM, Frame, HEADERS, SETTINGS, call, first_call, frame, header, message};

const LIST_ORDERS: &str = "/millrace.order.v1.OrderService/ListOrders";
const LOGIN: &str = "/millrace.registration.v1.RegistrationService/Login";
const WATCH_ORDER: &str = "/millrace.order.v1.OrderService/WatchOrder";

/// Calls of a connection at once, as many as the gateway works on.
const AT_ONCE: usize = 100;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "slow-readers",
        does: "watches whose answers nobody takes, as many as there may be",
        holds: "no address has more of them than its share",
        attackers: 4,
        memory: 100,
        round: |attacker| Box::pin(slow_readers(attacker)),
    },
    Attack {
        name: "login-flood",
        does: "passwords are guessed at, each of which costs a slow hash",
        holds: "others log in",
        attackers: 2,
        memory: 64,
        round: |attacker| Box::pin(login_flood(attacker)),
    },
    Attack {
        name: "forged-tokens",
        does: "calls whose tokens look right, and are signed by nobody",
        holds: "others are served",
        attackers: 4,
        memory: 64,
        round: |attacker| Box::pin(forged_tokens(attacker)),
    },
    Attack {
        name: "unauthenticated-calls",
        does: "calls without a token, each in 15 bytes, as fast as they are answered",
        holds: "others are served",
        attackers: 4,
        memory: 64,
        round: |attacker| Box::pin(flood(attacker, LIST_ORDERS, None)),
    },
    Attack {
        name: "unknown-methods",
        does: "calls of a method that there is not, likewise",
        holds: "others are served",
        attackers: 4,
        memory: 64,
        round: |attacker| Box::pin(flood(attacker, "/no.such.Service/Method", None)),
    },
];

async fn slow_readers(attacker: &Attacker) -> Result<()> {
    let mut readers = Vec::new();
    let token = header("authorization", &format!("Bearer {}", attacker.account.access_token));
    let head = [call(WATCH_ORDER), token].concat();
    let order = attacker.account.order_id.as_bytes();
    let body = message(&[&[0x0a, u8::try_from(order.len())?], order].concat());
    for _ in 0..50 {
        let Some(mut intruder) = attacker.intrude().await else { break };
        // No answer has room to come.
        let mut watches = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        for n in 0..AT_ONCE {
            watches.extend(frame(HEADERS, END_HEADERS, 2 * n + 1, &head));
            watches.extend(frame(DATA, END_STREAM, 2 * n + 1, &body));
        }
        attacker.tally.add_requests(AT_ONCE);
        if !intruder.send(&watches).await {
            break;
        }
        readers.push(intruder);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(readers);
    Ok(())
}

async fn login_flood(attacker: &Attacker) -> Result<()> {
    let Some(mut intruder) = attacker.intrude().await else { return Ok(()) };
    let password = "a guess of some length".to_owned();
    let guess = LoginRequest { address: attacker.account.address.clone(), password, device_name: String::new() };
    let body = message(&guess.encode_to_vec());
    for round in 0..100 {
        let mut guesses = Vec::new();
        for n in AT_ONCE * round..AT_ONCE * (round + 1) {
            guesses.extend(frame(HEADERS, END_HEADERS, 2 * n + 1, &call(LOGIN)));
            guesses.extend(frame(DATA, END_STREAM, 2 * n + 1, &body));
        }
        attacker.tally.add_requests(AT_ONCE);
        if !intruder.send(&guesses).await || !intruder.read_times(AT_ONCE, Frame::ends_stream).await {
            break;
        }
    }
    Ok(())
}

/// With the right header, so that the signature must be looked at; and with the name of a key that nobody has.
async fn forged_tokens(attacker: &Attacker) -> Result<()> {
    let token = &attacker.account.access_token;
    let signed = token.rsplit_once('.').map_or(token.as_str(), |(signed, _)| signed);
    let signature = URL_SAFE_NO_PAD.encode([7; 64]);
    let unknown = URL_SAFE_NO_PAD.encode(r#"{"typ":"at+jwt","alg":"EdDSA","kid":"nobody"}"#);
    let claims = signed.split_once('.').map_or("", |(_, claims)| claims);
    for forged in [format!("{signed}.{signature}"), format!("{unknown}.{claims}.{signature}")] {
        flood(attacker, LIST_ORDERS, Some(format!("Bearer {forged}"))).await?;
    }
    Ok(())
}

/// Four connections at once, each with as many calls as are worked on; the next when those are answered.
async fn flood(attacker: &Attacker, method: &str, authorization: Option<String>) -> Result<()> {
    let more: Vec<_> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
    let (first, again) = first_call(method, &more);
    let flooding = (0..4).map(async |_| {
        let mut intruder = attacker.intrude().await?;
        for round in 0..100 {
            let head = |n: usize| if n == 0 { &first } else { &again };
            let one = |n: usize| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, head(n));
            let calls: Vec<_> = (AT_ONCE * round..AT_ONCE * (round + 1)).flat_map(one).collect();
            attacker.tally.add_requests(AT_ONCE);
            if !intruder.send(&calls).await || !intruder.read_times(AT_ONCE, Frame::ends_stream).await {
                break;
            }
        }
        Some(())
    });
    futures::future::join_all(flooding).await;
    Ok(())
}
