//! A record as the message in which services read each other's logs.

use proto::eventlog::v1::RecordedEvent;

use crate::{History, Id, Micros, Record, TraceContext};

/// A message that is no record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the field {0} of a recorded event cannot be read")]
pub struct InvalidRecord(&'static str);

impl From<Record> for RecordedEvent {
    fn from(record: Record) -> Self {
        Self {
            id: record.id.to_string(),
            source: record.source.to_string(),
            key: record.key.to_string(),
            epoch: record.epoch,
            revision: record.revision,
            history: record.history.0.to_vec().into(),
            r#type: record.type_name,
            body: record.body,
            time_us: record.time.0,
            principal: record.principal,
            command_id: record.command_id.map(|id| id.to_string()).unwrap_or_default(),
            cause_id: record.cause_id.map(|id| id.to_string()).unwrap_or_default(),
            traceparent: record.trace.traceparent,
            tracestate: record.trace.tracestate,
        }
    }
}

impl TryFrom<RecordedEvent> for Record {
    type Error = InvalidRecord;

    fn try_from(event: RecordedEvent) -> Result<Self, InvalidRecord> {
        let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let command_id = optional(&event.command_id).map(|id| id.parse::<Id>()).transpose();
        let cause_id = optional(&event.cause_id).map(|id| id.parse()).transpose();
        Ok(Self {
            id: event.id.parse().map_err(|_| InvalidRecord("id"))?,
            source: event.source.parse().map_err(|_| InvalidRecord("source"))?,
            key: event.key.parse().map_err(|_| InvalidRecord("key"))?,
            epoch: event.epoch,
            revision: event.revision,
            history: History(event.history.as_ref().try_into().map_err(|_| InvalidRecord("history"))?),
            type_name: event.r#type,
            body: event.body,
            time: Micros(event.time_us),
            principal: event.principal,
            command_id: command_id.map_err(|_| InvalidRecord("command_id"))?,
            cause_id: cause_id.map_err(|_| InvalidRecord("cause_id"))?,
            trace: TraceContext { traceparent: event.traceparent, tracestate: event.tracestate },
        })
    }
}
