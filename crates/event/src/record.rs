use bytes::Bytes;
use prost_types::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Id, Key};

/// A moment, in microseconds since 1970. Cut where the clock is read, because text and database types lose digits and order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub i64);

impl Micros {
    #[must_use]
    pub const fn plus(self, duration: std::time::Duration) -> Self {
        let micros = duration.as_micros();
        // A time without end must not become one before now.
        #[expect(clippy::cast_possible_truncation, reason = "what does not fit is the greatest that does")]
        let micros = if micros > i64::MAX as u128 { i64::MAX } else { micros as i64 };
        Self(self.0.saturating_add(micros))
    }

    /// How much later `self` is than `earlier`; zero if it is not.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        // Saturating: one of the two may come from elsewhere, and be any number.
        std::time::Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    pub const fn unix_ms(self) -> u64 {
        #[expect(clippy::cast_sign_loss, reason = "no clock of ours stands before 1970")]
        {
            (self.0 / 1000) as u64
        }
    }
}

impl From<Micros> for Timestamp {
    fn from(moment: Micros) -> Self {
        let seconds = moment.0.div_euclid(1_000_000);
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below a million")]
        let nanos = moment.0.rem_euclid(1_000_000) as i32 * 1000;
        Self { seconds, nanos }
    }
}

/// A timestamp that is malformed, or so far away that its microseconds do not fit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a timestamp has 0 to 999,999,999 nanoseconds, and is within 292,000 years of 1970")]
pub struct InvalidTimestamp;

impl TryFrom<Timestamp> for Micros {
    type Error = InvalidTimestamp;

    /// Cuts what is smaller than a microsecond.
    fn try_from(timestamp: Timestamp) -> Result<Self, InvalidTimestamp> {
        if !(0..1_000_000_000).contains(&timestamp.nanos) {
            return Err(InvalidTimestamp);
        }
        let micros = i64::from(timestamp.nanos / 1000);
        let whole = timestamp.seconds.checked_mul(1_000_000).and_then(|whole| whole.checked_add(micros));
        whole.map(Self).ok_or(InvalidTimestamp)
    }
}

/// The fingerprint of a key's past: it tells two pasts apart, however deep they part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct History(pub [u8; 16]);

impl History {
    /// The fingerprint after one more event.
    #[must_use]
    pub fn then(self, type_name: &str, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update((type_name.len() as u64).to_be_bytes());
        hash.update(type_name);
        hash.update(body);
        let mut first = [0; 16];
        first.copy_from_slice(&hash.finalize()[..16]);
        Self(first)
    }
}

/// A W3C trace context. Empty if there is none.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TraceContext {
    pub traceparent: String,
    pub tracestate: String,
}

/// One row of an event log, in the owner's database, on the stream, or read over gRPC: the same thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Fresh for each append (a UUIDv7).
    pub id: Uuid,
    /// The id of the log that it is in.
    pub source: Id,
    pub key: Key,
    /// The log's generation.
    pub epoch: i64,
    /// The event's number within its key, contiguous from 1.
    pub revision: i64,
    /// The fingerprint of the key's past, this event included.
    pub history: History,
    /// The full protobuf name of the body.
    pub type_name: String,
    pub body: Bytes,
    pub time: Micros,
    /// Who set it off: `user/<id>` or `service/<name>`.
    pub principal: String,
    /// The command that set it off, however indirectly.
    pub command_id: Option<Id>,
    /// The event that it answers, if it does.
    pub cause_id: Option<Uuid>,
    pub trace: TraceContext,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_back_from_its_timestamp() {
        for moment in [Micros(0), Micros(1_700_000_000_123_456), Micros(-1), Micros(i64::MAX)] {
            assert_eq!(Micros::try_from(Timestamp::from(moment)), Ok(moment));
        }
    }

    #[test]
    fn moments_that_are_too_far_apart_to_count_are_as_far_apart_as_can_be_counted() {
        let longest = std::time::Duration::from_micros(i64::MAX.unsigned_abs());
        assert_eq!(Micros(i64::MAX).since(Micros(i64::MIN)), longest);
        assert_eq!(Micros(i64::MIN).since(Micros(i64::MAX)), std::time::Duration::ZERO);
    }

    #[test]
    fn what_lies_further_ahead_than_can_be_counted_is_not_behind() {
        // In microseconds, the lower half of its bits is a negative number.
        let ages = std::time::Duration::from_secs(1 << 44);
        assert_eq!(Micros(1).plus(ages), Micros(i64::MAX));
        assert_eq!(Micros(1).plus(std::time::Duration::MAX), Micros(i64::MAX));
    }

    #[test]
    fn a_timestamp_that_is_no_moment_is_refused() {
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
            assert_eq!(Micros::try_from(Timestamp { seconds, nanos }), Err(InvalidTimestamp));
        }
    }
}
