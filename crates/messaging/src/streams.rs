use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use event::subject;

use crate::Broker;

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
    pub fn new(error: impl std::fmt::Display) -> Self {
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
    pub async fn subscriber(
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
    pub async fn worker(&self, domain: &str) -> Result<Consumer<pull::Config>, StreamError> {
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
