use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use event::{Record, headers};

use crate::streams::StreamError;

/// The broker, as an owner speaks to it. [`Streams`](crate::Streams) is JetStream; a simulation brings one of its own, which passes the same
/// tests.
#[async_trait]
pub trait Wire: fmt::Debug + Send + Sync {
    fn is_connected(&self) -> bool;

    /// How often a broker was connected to. After each time it may be another one, or have another store.
    fn connections(&self) -> u64;

    /// Makes the stream of a domain's events, if it is not there.
    async fn ensure_events(&self, domain: &str) -> Result<(), StreamError>;

    /// The newest message on the stream of a domain, if it has one; an error inside is one that is no event.
    async fn newest(&self, domain: &str) -> Result<Option<Result<Record, headers::InvalidHeaders>>, StreamError>;

    /// Throws away what is on the stream of a domain's events.
    async fn purge_events(&self, domain: &str) -> Result<(), StreamError>;

    /// Puts an event on its domain's stream. An error means that nobody knows whether it is there: it is published again, under the same id.
    async fn publish(&self, record: Record) -> Result<(), StreamError>;

    /// Sends what a command came to, to whoever waits for it. It may get lost.
    async fn reply(&self, to: String, outcome: Bytes);
}

/// A message as the broker brought it.
#[async_trait]
pub trait Brought: fmt::Debug + Send + Sync {
    fn subject(&self) -> &str;

    fn header(&self, name: &'static str) -> Option<&str>;

    fn payload(&self) -> Bytes;

    /// The stream that had it, where it was there, and how often it was brought.
    fn origin(&self) -> Option<(&str, u64, u32)>;

    /// Says that all is done, or, with a delay, that it is to be brought again. It may get lost; then it is brought again.
    async fn settle(&self, again: Option<Duration>);
}
