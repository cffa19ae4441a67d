//! JetStream as the [`Wire`] that owners speak to.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, LastRawMessageErrorKind, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, AckKind};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use async_trait::async_trait;
use bytes::Bytes;
use event::{Record, headers, subject};
use fault::{Point, reach};
use tracing::Instrument as _;

use crate::spans;
use crate::streams::{StreamError, Streams};
use crate::wire::{Brought, Wire};

/// How long events stay on the stream. It is a doorbell, not the history: that is in the owner's log.
const EVENTS_KEPT: Duration = Duration::from_hours(72);

#[async_trait]
impl Wire for Streams {
    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    fn connections(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    async fn ensure_events(&self, domain: &str) -> Result<(), StreamError> {
        let config = stream::Config {
            name: subject::event_stream(&self.broker.namespace, domain),
            subjects: vec![subject::of_events(&self.broker.namespace, domain)],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            max_age: EVENTS_KEPT,
            num_replicas: self.broker.replicas,
            allow_direct: true,
            ..Default::default()
        };
        self.context.get_or_create_stream(config).await.map(drop).map_err(StreamError::new)
    }

    async fn newest(&self, domain: &str) -> Result<Option<Result<Record, headers::InvalidHeaders>>, StreamError> {
        let subjects = subject::of_events(&self.broker.namespace, domain);
        match self.events(domain).await?.get_last_raw_message_by_subject(&subjects).await {
            Ok(message) => {
                let header = |name: &str| message.headers.get(name).map(HeaderValue::as_str);
                Ok(Some(headers::read(header, message.payload.clone())))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(StreamError::new(error)),
        }
    }

    async fn purge_events(&self, domain: &str) -> Result<(), StreamError> {
        self.events(domain).await?.purge().await.map(drop).map_err(StreamError::new)
    }

    async fn publish(&self, record: Record) -> Result<(), StreamError> {
        // While it is disconnected the client would take the message and send it some time; better that we know.
        if !self.is_connected() {
            return Err(StreamError::new("the broker is away"));
        }
        let span = spans::publish_event(&self.broker, &record);
        trace::follow(&span, &record.trace);
        let context = trace::of(&span);
        let trace = if context.traceparent.is_empty() { record.trace.clone() } else { context };
        let sent = self.send(Record { trace, ..record }).instrument(span.clone()).await;
        if sent.is_err() {
            trace::span::record_failure(&span, "unpublished");
        }
        sent
    }

    async fn reply(&self, to: String, outcome: Bytes) {
        // A lost reply costs nothing: the receipt says the same.
        let _ = self.client.publish(to, outcome).await;
    }
}

impl Streams {
    async fn events(&self, domain: &str) -> Result<Stream<()>, StreamError> {
        let name = subject::event_stream(&self.broker.namespace, domain);
        self.context.get_stream_no_info(name).await.map_err(StreamError::new)
    }

    async fn send(&self, record: Record) -> Result<(), StreamError> {
        let subject = subject::of_event(&self.broker.namespace, &record);
        let mut map = HeaderMap::new();
        for (name, value) in headers::of(&record) {
            map.insert(HeaderName::from_static(name), value);
        }
        let message = PublishMessage::build().headers(map).message_id(record.id.to_string()).payload(record.body);
        let acknowledged = self.context.send_publish(subject, message).await.map_err(StreamError::new)?;
        reach(Point::RelaySent).await;
        acknowledged.await.map(drop).map_err(StreamError::new)
    }
}

#[async_trait]
impl Brought for jetstream::Message {
    fn subject(&self) -> &str {
        &self.message.subject
    }

    fn header(&self, name: &'static str) -> Option<&str> {
        self.headers.as_ref()?.get(HeaderName::from_static(name)).map(HeaderValue::as_str)
    }

    fn payload(&self) -> Bytes {
        self.message.payload.clone()
    }

    fn origin(&self) -> Option<(&str, u64, u32)> {
        let info = self.info().ok()?;
        Some((info.stream, info.stream_sequence, u32::try_from(info.delivered).unwrap_or(u32::MAX)))
    }

    async fn settle(&self, again: Option<Duration>) {
        let kind = again.map_or(AckKind::Ack, |delay| AckKind::Nak((!delay.is_zero()).then_some(delay)));
        if let Err(error) = self.ack_with(kind).await {
            tracing::debug!(%error, "could not settle a message; it will be delivered again");
        }
    }
}
