//! Another service's recent events, read from the stream into memory, by somebody who keeps no cursor and can do without them.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, Message};
use async_nats::{Client, Error, HeaderValue};
use event::{Micros, Record, headers, subject};
use futures::StreamExt as _;
use time::OffsetDateTime;

/// Between two attempts to read a stream that is not there, or went away.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Silence for twice as long means that the consumer, or the broker, is gone.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long the broker keeps a consumer that nobody pulls from.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// How far the clocks of the broker's nodes may differ; events of that time are read twice after a break.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(5);

/// Which events to follow.
#[derive(Clone, Debug)]
pub struct Feed {
    client: Client,
    namespace: String,
    domain: String,
    aggregates: Vec<String>,
    since: Micros,
}

impl Feed {
    /// The events of these kinds of aggregates of a domain that were published at `since` or later.
    pub fn new(client: Client, namespace: &str, domain: &str, aggregates: &[&str], since: Micros) -> Self {
        let aggregates = aggregates.iter().map(|&aggregate| aggregate.to_owned()).collect();
        Self { client, namespace: namespace.to_owned(), domain: domain.to_owned(), aggregates, since }
    }

    /// Gives each event to `on`, for ever: at least once each, in no promised order, and without those that the stream has lost. Whatever
    /// fails is tried again, from the time of the last event that was read: a sequence would mean nothing once the stream was made anew.
    pub async fn follow(mut self, mut on: impl FnMut(Record) + Send) {
        let mut pause = RETRY_FIRST;
        loop {
            let before = self.since;
            if let Err(error) = self.read(&mut on).await {
                tracing::debug!(domain = self.domain, error, "the feed broke off");
            }
            pause = if self.since > before { RETRY_FIRST } else { (pause * 2).min(RETRY_MAX) };
            tokio::time::sleep(pause).await;
        }
    }

    async fn read(&mut self, on: &mut (impl FnMut(Record) + Send)) -> Result<(), Error> {
        let context = jetstream::new(self.client.clone());
        let stream = subject::event_stream(&self.namespace, &self.domain);
        let consumer = context.create_consumer_on_stream(self.consumer()?, stream).await?;
        let mut messages = consumer.stream().expires(HEARTBEAT * 10).heartbeat(HEARTBEAT).messages().await?;
        let mut sequence = 0;
        while let Some(message) = messages.next().await {
            let message = message?;
            let info = message.info()?;
            sequence += 1;
            // The client drops messages that come faster than they are read.
            if info.consumer_sequence != sequence {
                return Err("a message was lost on its way".into());
            }
            let published = info.published.unix_timestamp_nanos() / 1000;
            self.since = self.since.max(Micros(i64::try_from(published)?));
            match record(message) {
                Ok(record) => on(record),
                Err(error) => tracing::warn!(%error, domain = self.domain, "an event of the feed cannot be read"),
            }
        }
        Ok(())
    }

    fn consumer(&self) -> Result<pull::Config, Error> {
        let since = i128::from(self.since.0) * 1000 - i128::try_from(CLOCK_DIFFERENCE.as_nanos())?;
        let start_time = OffsetDateTime::from_unix_timestamp_nanos(since)?;
        let filter = |aggregate| subject::of_aggregate(&self.namespace, &self.domain, aggregate);
        Ok(pull::Config {
            filter_subjects: self.aggregates.iter().map(|aggregate| filter(aggregate)).collect(),
            deliver_policy: DeliverPolicy::ByStartTime { start_time },
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGOTTEN_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        })
    }
}

fn record(message: Message) -> Result<Record, headers::InvalidHeaders> {
    let message = message.message;
    let map = message.headers.unwrap_or_default();
    headers::read(|name| map.get(name).map(HeaderValue::as_str), message.payload)
}
