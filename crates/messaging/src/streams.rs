use std::time::Duration;

use std::sync::atomic::Ordering;

use async_nats::connection::State;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::jetstream::stream::{self, DiscardPolicy, LastRawMessageErrorKind, RetentionPolicy, StorageType};
use async_nats::{Client, HeaderValue};
use event::{Record, headers, subject};

use crate::Broker;

/// How long events stay on the stream. It is a doorbell, not the history: that is in the owner's log.
const EVENTS_KEPT: Duration = Duration::from_hours(72);
/// A queue that nobody empties ends here, and the gateway says RESOURCE_EXHAUSTED.
const COMMANDS_MAX: i64 = 1_000_000;
const COMMANDS_BYTES_MAX: i64 = 1 << 30;
/// Longer than a batch may take. A message that is not acknowledged by then is delivered again.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// How long the server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Publishes that may wait for the broker at once. Past 128 to 512 more in flight bring nothing.
pub(crate) const WINDOW: usize = 256;

/// Why a stream or a consumer could not be had. Always tried again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StreamError(String);

impl StreamError {
    pub(crate) fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// The streams below one namespace.
#[derive(Clone, Debug)]
pub struct Streams {
    pub(crate) client: Client,
    pub(crate) context: Context,
    pub(crate) broker: Broker,
}

impl Streams {
    pub fn new(client: Client, broker: &Broker) -> Self {
        let context = ContextBuilder::new()
            .timeout(ANSWER_TIMEOUT)
            .ack_timeout(ANSWER_TIMEOUT)
            .max_ack_inflight(WINDOW)
            .backpressure_on_inflight(true)
            .build(client.clone());
        Self { client, context, broker: broker.clone() }
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// How often a broker was connected to. After each time it may be another one, or have another store.
    pub fn connections(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// The newest message on the stream of a domain, if it has one; an error inside is one that is no event.
    pub(crate) async fn newest(
        &self,
        domain: &str,
    ) -> Result<Option<Result<Record, headers::InvalidHeaders>>, StreamError> {
        let stream = self
            .context
            .get_stream_no_info(subject::event_stream(&self.broker.namespace, domain))
            .await
            .map_err(StreamError::new)?;
        let subjects = subject::of_events(&self.broker.namespace, domain);
        match stream.get_last_raw_message_by_subject(&subjects).await {
            Ok(message) => {
                let header = |name: &str| message.headers.get(name).map(HeaderValue::as_str);
                Ok(Some(headers::read(header, message.payload.clone())))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(StreamError::new(error)),
        }
    }

    /// Throws away what is on the stream of a domain's events.
    pub(crate) async fn purge_events(&self, domain: &str) -> Result<(), StreamError> {
        let stream = self
            .context
            .get_stream_no_info(subject::event_stream(&self.broker.namespace, domain))
            .await
            .map_err(StreamError::new)?;
        stream.purge().await.map(drop).map_err(StreamError::new)
    }

    /// Makes the stream of a domain's events, if it is not there.
    pub async fn ensure_events(&self, domain: &str) -> Result<(), StreamError> {
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

    /// Makes the queue of a domain's commands, if it is not there. No `max_age`: a command ends by being answered.
    pub async fn ensure_commands(&self, domain: &str) -> Result<(), StreamError> {
        let config = stream::Config {
            name: subject::command_stream(&self.broker.namespace, domain),
            subjects: vec![subject::of_commands(&self.broker.namespace, domain)],
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            max_messages: COMMANDS_MAX,
            max_bytes: COMMANDS_BYTES_MAX,
            num_replicas: self.broker.replicas,
            ..Default::default()
        };
        self.context.get_or_create_stream(config).await.map(drop).map_err(StreamError::new)
    }

    /// The consumer that all instances of a subscription share. Its stream is its owner's to make.
    pub(crate) async fn subscriber(
        &self,
        domain: &str,
        name: &str,
        aggregates: &[&str],
    ) -> Result<Consumer<pull::Config>, StreamError> {
        let filters = aggregates
            .iter()
            .map(|aggregate| subject::of_aggregate(&self.broker.namespace, domain, aggregate))
            .collect();
        let config = pull::Config { filter_subjects: filters, ..consumer(name) };
        self.context
            .create_consumer_on_stream(config, subject::event_stream(&self.broker.namespace, domain))
            .await
            .map_err(StreamError::new)
    }

    /// The consumer that all instances of a domain's service share.
    pub(crate) async fn worker(&self, domain: &str) -> Result<Consumer<pull::Config>, StreamError> {
        self.ensure_commands(domain).await?;
        // Commands that wait to be delivered again must not keep new ones from being delivered; what is in memory is bounded by pulling.
        let config = pull::Config { max_ack_pending: -1, ..consumer(domain) };
        self.context
            .create_consumer_on_stream(config, subject::command_stream(&self.broker.namespace, domain))
            .await
            .map_err(StreamError::new)
    }
}

/// No `max_deliver`, which strands messages silently, and no `backoff`, which replaces `ack_wait`.
fn consumer(name: &str) -> pull::Config {
    pull::Config {
        durable_name: Some(name.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        deliver_policy: DeliverPolicy::All,
        max_ack_pending: 10_000,
        ..Default::default()
    }
}
