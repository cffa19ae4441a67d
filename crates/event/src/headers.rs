//! A record as headers: CloudEvents 1.0, NATS binding, binary mode. The body is the protobuf message alone. With this list and the protos a
//! service in another language takes part.

use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::{History, Id, Key, Micros, Record, TraceContext};

pub const SPEC_VERSION: &str = "ce-specversion";
pub const ID: &str = "ce-id";
pub const TYPE: &str = "ce-type";
pub const SOURCE: &str = "ce-source";
pub const SUBJECT: &str = "ce-subject";
pub const TIME: &str = "ce-time";
pub const SEQUENCE: &str = "ce-sequence";
pub const EPOCH: &str = "ce-epoch";
pub const HISTORY: &str = "ce-history";
pub const COMMAND_ID: &str = "ce-commandid";
pub const CAUSE_ID: &str = "ce-causeid";
pub const PRINCIPAL: &str = "ce-principal";
pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";

/// Headers of a command.
pub const SEAL: &str = "millrace-seal";
pub const KEY: &str = "millrace-key";
pub const REPLY: &str = "millrace-reply";
pub const CONSISTENCY_TOKEN: &str = "consistency-token";

/// Why headers are not those of an event.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidHeaders {
    #[error("the header {0} is missing")]
    Missing(&'static str),
    #[error("the header {0} cannot be read")]
    Malformed(&'static str),
}

/// The headers of an event.
pub fn of(record: &Record) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        (SPEC_VERSION, "1.0".to_owned()),
        (ID, record.id.to_string()),
        (TYPE, record.type_name.clone()),
        (SOURCE, record.source.to_string()),
        (SUBJECT, record.key.to_string()),
        (TIME, text_of(record.time).unwrap_or_default()),
        (SEQUENCE, record.revision.to_string()),
        (EPOCH, record.epoch.to_string()),
        (HISTORY, Id::from_bytes(record.history.0).to_string()),
        (PRINCIPAL, record.principal.clone()),
    ];
    headers.extend(record.command_id.map(|id| (COMMAND_ID, id.to_string())));
    headers.extend(record.cause_id.map(|id| (CAUSE_ID, id.to_string())));
    let trace = &record.trace;
    headers.extend((!trace.traceparent.is_empty()).then(|| (TRACEPARENT, trace.traceparent.clone())));
    headers.extend((!trace.tracestate.is_empty()).then(|| (TRACESTATE, trace.tracestate.clone())));
    headers
}

/// The event with these headers. `get` looks one up.
pub fn read<'h>(get: impl Fn(&'static str) -> Option<&'h str>, body: Bytes) -> Result<Record, InvalidHeaders> {
    let text = |name: &'static str| get(name).ok_or(InvalidHeaders::Missing(name));
    let time = OffsetDateTime::parse(text(TIME)?, &Rfc3339).map_err(|_| InvalidHeaders::Malformed(TIME))?;
    let time = i64::try_from(time.unix_timestamp_nanos().div_euclid(1000)).map(Micros);
    // A zone of its own can bring a time out of the years that can be written.
    let time = time.ok().filter(|time| text_of(*time).is_some()).ok_or(InvalidHeaders::Malformed(TIME))?;
    let revision = parse::<i64>(SEQUENCE, text(SEQUENCE)?)?;
    if revision < 1 {
        return Err(InvalidHeaders::Malformed(SEQUENCE));
    }
    Ok(Record {
        id: parse(ID, text(ID)?)?,
        source: parse(SOURCE, text(SOURCE)?)?,
        key: parse::<Key>(SUBJECT, text(SUBJECT)?)?,
        epoch: parse(EPOCH, text(EPOCH)?)?,
        revision,
        history: History(*parse::<Id>(HISTORY, text(HISTORY)?)?.as_bytes()),
        type_name: text(TYPE)?.to_owned(),
        body,
        time,
        principal: text(PRINCIPAL)?.to_owned(),
        command_id: get(COMMAND_ID).map(|id| parse::<Id>(COMMAND_ID, id)).transpose()?,
        cause_id: get(CAUSE_ID).map(|id| parse::<Uuid>(CAUSE_ID, id)).transpose()?,
        trace: TraceContext {
            traceparent: get(TRACEPARENT).unwrap_or_default().to_owned(),
            tracestate: get(TRACESTATE).unwrap_or_default().to_owned(),
        },
    })
}

/// None outside of the years 0 to 9999.
pub(crate) fn text_of(time: Micros) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1000).ok()?;
    time.format(&Rfc3339).ok()
}

fn parse<T: std::str::FromStr>(name: &'static str, text: &str) -> Result<T, InvalidHeaders> {
    text.parse().map_err(|_| InvalidHeaders::Malformed(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            id: Uuid::from_u128(1),
            source: Id::timed(1, [1; 10]),
            key: Key::new("order", Id::timed(2, [2; 10])),
            epoch: 1,
            revision: 3,
            history: History([9; 16]),
            type_name: "millrace.order.v1.OrderCreated".into(),
            body: Bytes::from_static(b"body"),
            time: Micros(1_700_000_000_123_456),
            principal: "user/x".into(),
            command_id: Some(Id::timed(3, [3; 10])),
            cause_id: Some(Uuid::from_u128(2)),
            trace: TraceContext { traceparent: "00-1-2-01".into(), tracestate: String::new() },
        }
    }

    #[test]
    fn a_record_is_read_back_from_its_headers() {
        let record = record();
        let headers = of(&record);
        let get = |name| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
        assert_eq!(read(get, record.body.clone()), Ok(record));
    }

    #[test]
    fn a_time_that_could_not_be_written_again_is_malformed() {
        let headers = of(&record());
        for time in ["0000-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"] {
            let get = |name| match name {
                TIME => Some(time),
                _ => headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str()),
            };
            assert_eq!(read(get, Bytes::new()), Err(InvalidHeaders::Malformed(TIME)), "{time}");
        }
    }

    #[test]
    fn a_missing_or_malformed_header_is_named() {
        let headers = of(&record());
        for missing in [ID, TYPE, SOURCE, SUBJECT, TIME, SEQUENCE, EPOCH, HISTORY, PRINCIPAL] {
            let get = |name| headers.iter().find(|(n, _)| *n == name && name != missing).map(|(_, v)| v.as_str());
            assert_eq!(read(get, Bytes::new()), Err(InvalidHeaders::Missing(missing)));
        }
        let zero = |name| {
            if name == SEQUENCE { Some("0") } else { headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str()) }
        };
        assert_eq!(read(zero, Bytes::new()), Err(InvalidHeaders::Malformed(SEQUENCE)));
    }
}
