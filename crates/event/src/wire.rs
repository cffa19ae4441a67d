//! A record as the message in which services read each other's logs.

use proto::eventlog::v1::RecordedEvent;

use crate::{History, Id, Micros, Record, TraceContext, headers};

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
        let time = Micros(event.time_us);
        // What is no event on the stream is none here.
        if event.revision < 1 {
            return Err(InvalidRecord("revision"));
        }
        if headers::text_of(time).is_none() {
            return Err(InvalidRecord("time_us"));
        }
        Ok(Self {
            id: event.id.parse().map_err(|_| InvalidRecord("id"))?,
            source: event.source.parse().map_err(|_| InvalidRecord("source"))?,
            key: event.key.parse().map_err(|_| InvalidRecord("key"))?,
            epoch: event.epoch,
            revision: event.revision,
            history: History(event.history.as_ref().try_into().map_err(|_| InvalidRecord("history"))?),
            type_name: event.r#type,
            body: event.body,
            time,
            principal: event.principal,
            command_id: command_id.map_err(|_| InvalidRecord("command_id"))?,
            cause_id: cause_id.map_err(|_| InvalidRecord("cause_id"))?,
            trace: TraceContext { traceparent: event.traceparent, tracestate: event.tracestate },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_on_the_stream_is_no_record() {
        let id = Id::timed(1, [1; 10]).to_string();
        let good = RecordedEvent {
            id: uuid::Uuid::from_u128(1).to_string(),
            source: id.clone(),
            key: format!("order/{id}"),
            revision: 1,
            history: vec![0; 16].into(),
            ..RecordedEvent::default()
        };
        assert!(Record::try_from(good.clone()).is_ok());
        for revision in [0, -1, i64::MIN] {
            let wrong = RecordedEvent { revision, ..good.clone() };
            assert_eq!(Record::try_from(wrong), Err(InvalidRecord("revision")));
        }
        for time_us in [i64::MIN, i64::MAX] {
            let wrong = RecordedEvent { time_us, ..good.clone() };
            assert_eq!(Record::try_from(wrong), Err(InvalidRecord("time_us")));
        }
    }
}
