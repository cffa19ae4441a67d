//! Events as they come from the broker: headers, an empty line, and the body.

use std::collections::BTreeMap;

use bytes::Bytes;
use event::headers::{self, InvalidHeaders};
use event::{History, Key, Micros, Record, TraceContext};
use proto::eventlog::v1::RecordedEvent;
use uuid::Uuid;

use crate::Target;
use crate::targets::id;

pub(crate) const TARGET: Target = Target { name: "envelopes", seeds, feed, short: 10_000 };

fn feed(input: &[u8]) {
    let (head, body) = split(input);
    let get = |name: &'static str| head.get(name).copied();
    match headers::read(get, Bytes::copy_from_slice(body)) {
        Ok(record) => holds(&record),
        Err(InvalidHeaders::Missing(name)) => assert!(!head.contains_key(name), "{name} is here"),
        Err(InvalidHeaders::Malformed(name)) => assert!(head.contains_key(name), "{name} is not here"),
    }
}

/// Whichever way a record goes on, it arrives as what it is.
pub(super) fn holds(record: &Record) {
    assert!(record.revision >= 1, "revisions begin with 1");
    let written = headers::of(record);
    let get = |name: &'static str| written.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
    assert_eq!(headers::read(get, record.body.clone()).as_ref(), Ok(record), "over the broker");
    let sent = RecordedEvent::from(record.clone());
    assert_eq!(Record::try_from(sent).as_ref(), Ok(record), "over gRPC");
}

fn split(input: &[u8]) -> (BTreeMap<&str, &str>, &[u8]) {
    let end = input.windows(2).position(|two| two == b"\n\n").unwrap_or(input.len());
    let head = std::str::from_utf8(&input[..end]).unwrap_or_default();
    let body = input.get(end + 2..).unwrap_or_default();
    (head.lines().filter_map(|line| line.split_once(": ")).collect(), body)
}

pub(super) fn record() -> Record {
    Record {
        id: Uuid::from_u128(1),
        source: id(1),
        key: Key::new("order", id(2)),
        epoch: 1,
        revision: 3,
        history: History([9; 16]),
        type_name: "millrace.order.v1.OrderCreated".to_owned(),
        body: Bytes::from_static(b"body"),
        time: Micros(1_700_000_000_123_456),
        principal: format!("user/{}", id(3)),
        command_id: Some(id(4)),
        cause_id: Some(Uuid::from_u128(2)),
        trace: TraceContext { traceparent: "00-1-2-01".to_owned(), tracestate: "a=b".to_owned() },
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let early = Record { time: Micros(-1), command_id: None, cause_id: None, ..record() };
    [record(), early]
        .iter()
        .map(|record| {
            let head: Vec<_> = headers::of(record).iter().map(|(name, value)| format!("{name}: {value}")).collect();
            [head.join("\n").as_bytes(), b"\n\n", &record.body].concat()
        })
        .collect()
}
