//! The floor: PlaceOrder written by hand for this one purpose, with the same libraries, rows, messages, headers and sync settings, and none
//! of our crates but the messages. What it costs, nothing that keeps our promises in this way can do without; what we cost more is ours.
//!
//! It has no retries, no redelivery, no fallback, no telemetry and no second method.

pub(crate) mod gateway;
pub(crate) mod order;
mod rows;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost_types::Timestamp;
use proto::Message as _;
use proto::command::v1::{Seal, Statement};
use ring::{digest, hmac};
use uuid::Uuid;

const METHOD: &str = "millrace.order.v1.OrderService/PlaceOrder";
const COMMANDS: &str = "floor_cmd_order";
const COMMANDS_SUBJECT: &str = "floor.cmd.order.place-order";
const EVENTS: &str = "floor_evt_order";
const EVENTS_SUBJECT: &str = "floor.evt.order.order.order-created";
/// Both sides know it; nobody else listens.
const SEAL_KEY: [u8; 32] = [42; 32];

/// The access token of a customer: as long as a real one.
pub(crate) fn token(number: usize) -> String {
    format!("{number:0>320}")
}

/// 16 bytes that begin with a time, as text.
fn id(unix_ms: u64, rest: &[u8]) -> String {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(&rest[..10]);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

fn seal(user: &str, command_id: &str, body: &[u8], now: i64) -> String {
    let statement = Statement {
        method: METHOD.to_owned(),
        user_id: user.to_owned(),
        session_id: user.to_owned(),
        roles: Vec::new(),
        command_id: command_id.to_owned(),
        request_hash: sha256(&[body]).into(),
        accepted_at_us: now,
        not_after_us: now + 86_400_000_000,
        anonymous: false,
    };
    let statement = statement.encode_to_vec();
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &SEAL_KEY), &statement).as_ref().to_vec();
    let seal =
        Seal { statement: statement.into(), mac: mac.into(), key_id: vec![1; 8].into(), caller: "gateway".to_owned() };
    URL_SAFE_NO_PAD.encode(seal.encode_to_vec())
}

fn open_seal(text: &str, body: &[u8]) -> Result<Statement> {
    let seal = Seal::decode(&*URL_SAFE_NO_PAD.decode(text)?)?;
    let genuine = hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &SEAL_KEY), &seal.statement, &seal.mac);
    ensure!(genuine.is_ok(), "a forged seal");
    let statement = Statement::decode(seal.statement)?;
    ensure!(statement.request_hash == sha256(&[body]) && statement.method == METHOD, "a seal of something else");
    Ok(statement)
}

/// Begins with the time, as clients' idempotency keys and events' ids do.
#[expect(clippy::disallowed_methods, reason = "nothing here is ever simulated")]
pub(crate) fn new_uuid() -> Uuid {
    Uuid::now_v7()
}

fn now_us() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn timestamp(us: i64) -> Timestamp {
    Timestamp { seconds: us / 1_000_000, nanos: i32::try_from(us % 1_000_000 * 1000).unwrap_or(0) }
}
