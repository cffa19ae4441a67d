//! What is brought to a shop, and what another service's log holds.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use event::{History, Id, Key, Record, TraceContext};
use millrace_ledger::{Answer, Caller, Command, Delivery, EventDelivery, Heads, Input, KeyHead, LogPart, Means, Place};
use proto::Message;
use proto::order::v1::{OrderCreated, OrderProcessed, PlaceOrderRequest};
use proto::registration::v1::RegisterRequest;
use tracing::Span;
use uuid::Uuid;

use super::{HOUR, START};

const ACT: &str = "millrace.order.v1.OrderService/PlaceOrder";
const ACT_FOR_ANYBODY: &str = "millrace.registration.v1.RegistrationService/Register";

/// A command whose steps are about a counter.
pub(crate) fn command(id: Id, target: Id, steps: impl Into<String>) -> Delivery {
    let request = PlaceOrderRequest { payment_method_id: steps.into(), ..Default::default() };
    delivery(sealed(ACT, id, target, request.encode_to_vec()).into())
}

/// A command that anybody may send.
pub(crate) fn command_of_anybody(id: Id, target: Id, steps: impl Into<String>) -> Delivery {
    let request = RegisterRequest { display_name: steps.into(), ..Default::default() };
    let command = sealed(ACT_FOR_ANYBODY, id, target, request.encode_to_vec());
    delivery(Command { anonymous: true, ..command }.into())
}

pub(crate) fn sealed(method: &str, id: Id, target: Id, body: Vec<u8>) -> Command {
    let mut request_hash = [0; 32];
    request_hash[..16].copy_from_slice(&History::default().then(method, &body).0);
    Command {
        method: method.to_owned(),
        id,
        target,
        caller: Caller { name: "user/somebody".to_owned(), ..Caller::default() },
        request_hash,
        body: body.into(),
        not_after: START.plus(24 * HOUR),
        anonymous: false,
        refused: None,
        prepared: None,
    }
}

/// The command of a delivery, to be changed.
pub(crate) fn changed(mut delivery: Delivery, change: impl FnOnce(&mut Command)) -> Delivery {
    if let Input::Command(command) = &mut delivery.input {
        change(command);
    }
    delivery
}

/// An event of another service: an order was created, and the replica does these steps.
pub(crate) fn created(order: Id, revision: i64, steps: &str) -> Record {
    record(order, revision, &OrderCreated { customer_id: steps.to_owned(), ..Default::default() })
}

/// An event on which the clerk acts on the counter of the same id.
pub(crate) fn processed(order: Id, revision: i64, steps: &str) -> Record {
    record(order, revision, &OrderProcessed { order_id: steps.to_owned() })
}

pub(crate) fn record<E: proto::Event>(order: Id, revision: i64, event: &E) -> Record {
    let number = u128::from_be_bytes(*order.as_bytes()) << 16 | u128::try_from(revision).unwrap();
    let (key, body) = (Key::new(E::AGGREGATE, order), event.encode_to_vec());
    Record {
        id: Uuid::from_u128(number),
        source: other(),
        history: history(&key, revision, &E::full_name(), &body),
        key,
        epoch: 1,
        revision,
        type_name: E::full_name(),
        body: body.into(),
        time: START,
        principal: "user/customer".to_owned(),
        command_id: Some(order),
        cause_id: None,
        trace: TraceContext::default(),
    }
}

/// The same event as one of another type.
pub(crate) fn of_type(name: &str, record: Record) -> Record {
    let history = history(&record.key, record.revision, name, &record.body);
    Record { type_name: name.to_owned(), history, ..record }
}

/// Where the other service's log stands if these are the newest events of their keys.
pub(crate) fn heads(position: i64, records: &[&Record]) -> Heads {
    let head = |record: &&Record| KeyHead {
        key: record.key.clone(),
        epoch: record.epoch,
        revision: record.revision,
        history: record.history,
        time: record.time,
    };
    let epoch = records.iter().map(|record| record.epoch).max().unwrap_or(1);
    let place = Place { position, event_id: records.last().map(|record| record.id) };
    Heads { log_id: other(), epoch, heads: records.iter().map(head).collect(), place, more: false }
}

/// A part of that log.
pub(crate) fn part(epoch: i64, records: &[Record]) -> LogPart {
    LogPart { epoch, records: records.to_vec() }
}

/// The log of the service that the toy follows.
pub(crate) fn other() -> Id {
    Id::timed(1, [1; 10])
}

thread_local! {
    /// The pasts of the other service's keys: each test runs on a thread of its own.
    static PASTS: RefCell<HashMap<(Key, i64), History>> = RefCell::default();
}

/// The fingerprint of a key's past with this revision, after the one that was told before it.
fn history(key: &Key, revision: i64, type_name: &str, body: &[u8]) -> History {
    PASTS.with_borrow_mut(|pasts| {
        let before = pasts.get(&(key.clone(), revision - 1)).copied().unwrap_or_default();
        let history = before.then(type_name, body);
        pasts.insert((key.clone(), revision), history);
        history
    })
}

pub(crate) fn delivery(input: Input) -> Delivery {
    Delivery { input, delivered: 1, span: Span::none() }
}

/// The event as it comes from the stream, for the replica.
pub(crate) fn streamed(record: &Record) -> Delivery {
    brought("replica", record, Means::Stream)
}

pub(crate) fn late(record: &Record) -> Delivery {
    brought("replica", record, Means::StreamLate)
}

pub(crate) fn from_log(record: &Record) -> Delivery {
    brought("replica", record, Means::Log { epoch: record.epoch, absent: false })
}

pub(crate) fn brought(subscription: &'static str, record: &Record, means: Means) -> Delivery {
    delivery(Input::Event(EventDelivery { subscription, record: Arc::new(record.clone()), means }))
}

pub(crate) fn redelivered(delivered: u32, delivery: Delivery) -> Delivery {
    Delivery { delivered, ..delivery }
}

pub(crate) fn answered(answer: Answer) -> Delivery {
    Delivery { delivered: 0, ..delivery(Input::Answer(answer)) }
}
