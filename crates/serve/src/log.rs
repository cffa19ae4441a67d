//! What a service answers of its event log, to the services that follow it.

use bytes::Bytes;
use event::Key;
use ledger::{Heads, Ledger, LogPart, Place, Since};
use prost::Message as _;
use proto::eventlog::v1::heads_response::Head;
use proto::eventlog::v1::read_request::Range;
use proto::eventlog::v1::{HeadsRequest, HeadsResponse, ReadRequest, ReadResponse};
use tonic::Status;

use crate::owner::{decode, malformed};
use crate::status;

pub(crate) const READ: &str = "millrace.eventlog.v1.EventLogService/Read";
pub(crate) const HEADS: &str = "millrace.eventlog.v1.EventLogService/Heads";
/// Events and ranges of one [`READ`] at most, and rows of one [`HEADS`].
const READ_MAX: usize = 1000;
/// Kinds of aggregates of one [`HEADS`] at most.
const KINDS_MAX: usize = 32;

/// A service's log, opened to somebody who may read it.
pub(crate) struct Log<'l>(pub(crate) &'l Ledger);

impl Log<'_> {
    pub(crate) async fn read(self, body: Bytes) -> Result<Bytes, Status> {
        let request: ReadRequest = decode(body)?;
        if request.ranges.len() > READ_MAX {
            return Err(malformed("too many ranges"));
        }
        let range = |range: &Range| range.key.parse::<Key>().map(|key| (key, range.after_revision));
        let ranges: Result<Vec<_>, _> = request.ranges.iter().map(range).collect();
        let ranges = ranges.map_err(|_| malformed("a key cannot be read"))?;
        let limit = limit(request.limit);
        let LogPart { epoch, mut records } = self.0.read(&ranges, limit as u64 + 1).await.map_err(status::of)?;
        let truncated = records.len() > limit;
        records.truncate(limit);
        let events = records.into_iter().map(Into::into).collect();
        Ok(ReadResponse { events, truncated, epoch }.encode_to_vec().into())
    }

    pub(crate) async fn heads(self, body: Bytes) -> Result<Bytes, Status> {
        let request: HeadsRequest = decode(body)?;
        if request.aggregates.len() > KINDS_MAX {
            return Err(malformed("too many kinds of aggregates"));
        }
        let since = since(&request).ok_or_else(|| malformed("an id cannot be read"))?;
        let heads = self.0.heads(&request.aggregates, &since, limit(request.limit) as u64).await;
        Ok(response(heads.map_err(status::of)?).encode_to_vec().into())
    }
}

fn limit(asked: i32) -> usize {
    usize::try_from(asked).ok().filter(|limit| (1..=READ_MAX).contains(limit)).unwrap_or(READ_MAX)
}

fn since(request: &HeadsRequest) -> Option<Since> {
    let log_id = if request.log_id.is_empty() { None } else { Some(request.log_id.parse().ok()?) };
    let event_id = if request.event_id.is_empty() { None } else { Some(request.event_id.parse().ok()?) };
    let place = Place { position: request.after_position, event_id };
    Some(Since { log_id, epoch: request.epoch, place })
}

fn response(heads: Heads) -> HeadsResponse {
    let head = |head: ledger::KeyHead| Head {
        key: head.key.to_string(),
        epoch: head.epoch,
        revision: head.revision,
        history: head.history.0.to_vec().into(),
        time_us: head.time.0,
    };
    HeadsResponse {
        log_id: heads.log_id.to_string(),
        epoch: heads.epoch,
        heads: heads.heads.into_iter().map(head).collect(),
        position: heads.place.position,
        event_id: heads.place.event_id.map(|id| id.to_string()).unwrap_or_default(),
        more: heads.more,
    }
}
