use std::collections::HashSet;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::connection::State;
use async_nats::jetstream::message::PublishMessage;
use event::{Record, headers, subject};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use ledger::Ledger;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::Streams;
use crate::spans;
use crate::streams::WINDOW;

/// An event that nobody marked as published for so long is published by whoever finds it.
const LEFT_OVER: Duration = Duration::from_secs(5);
/// How often marks are written that found no batch to ride in, and left-overs are looked for.
const TICK: Duration = Duration::from_secs(1);
/// How often it is looked for the broker, as long as the stream could not be made: whoever subscribes waits for it.
const CONNECTING: Duration = Duration::from_millis(50);
/// Left-overs that are taken from the log at once.
const CHUNK: u64 = 500;

/// Publishes what this instance committed, from memory, right after the commit; and what was left over, from the log.
///
/// No locks and no leader: the order on the stream is neither promised nor needed, and an event that is published twice is a duplicate to
/// its consumers, as any other.
#[derive(Debug)]
pub struct Relay {
    pub domain: String,
    pub streams: Streams,
    pub ledger: Ledger,
}

type Publishing = FuturesUnordered<BoxFuture<'static, (Uuid, bool)>>;

impl Relay {
    /// Runs until told to stop, and then until what is on its way has arrived.
    pub async fn run(self, mut committed: mpsc::Receiver<Vec<Record>>, stop: CancellationToken) {
        let mut on_the_way = HashSet::new();
        let mut publishing = Publishing::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // What a predecessor left when it was killed is published at once.
        let mut age = Duration::ZERO;
        let mut has_stream = false;
        loop {
            let has_room = publishing.len() < WINDOW;
            tokio::select! { biased;
                Some((id, published)) = publishing.next() => {
                    on_the_way.remove(&id);
                    if published { self.ledger.mark_published([id]); } else { age = Duration::ZERO; }
                }
                records = committed.recv(), if has_room => match records {
                    Some(records) => self.publish(records, &mut on_the_way, &mut publishing),
                    None => break,
                },
                _ = tick.tick(), if has_room => {
                    has_stream = has_stream || self.make_stream().await;
                    if !has_stream && self.streams.client.connection_state() != State::Connected {
                        tick.reset_after(CONNECTING);
                    }
                    self.sweep(age, &mut on_the_way, &mut publishing).await;
                    age = LEFT_OVER;
                }
                () = stop.cancelled() => break,
            }
        }
        while let Some((id, published)) = publishing.next().await {
            self.ledger.mark_published(published.then_some(id));
        }
        self.write_marks().await;
    }

    /// Makes the stream, so that subscribers find it even before there is an event.
    async fn make_stream(&self) -> bool {
        if self.streams.client.connection_state() != State::Connected {
            return false;
        }
        let made = self.streams.ensure_events(&self.domain).await;
        if let Err(error) = &made {
            tracing::warn!(%error, domain = self.domain, "the stream of events cannot be made");
        }
        made.is_ok()
    }

    /// Writes marks, and publishes what was left over. Also makes the stream again, should the broker have lost it.
    async fn sweep(&self, age: Duration, on_the_way: &mut HashSet<Uuid>, publishing: &mut Publishing) {
        self.write_marks().await;
        if self.streams.client.connection_state() != State::Connected {
            return;
        }
        match self.ledger.unpublished(age, CHUNK).await {
            Ok(records) if records.is_empty() => {}
            Ok(records) => {
                if !self.make_stream().await {
                    return;
                }
                tracing::debug!(events = records.len(), "publishing what was left over");
                self.publish(records, on_the_way, publishing);
            }
            Err(error) => tracing::warn!(%error, "the log cannot be read for left-overs"),
        }
    }

    async fn write_marks(&self) {
        if let Err(error) = self.ledger.write_marks().await {
            tracing::warn!(%error, "marks of published events were not written; those events are published again");
        }
    }

    fn publish(&self, records: Vec<Record>, on_the_way: &mut HashSet<Uuid>, publishing: &mut Publishing) {
        for record in records {
            if on_the_way.insert(record.id) {
                publishing.push(Box::pin(publish(self.streams.clone(), record)));
            }
        }
    }
}

/// Publishes one event. False if nobody knows that it arrived: it is published again, under the same id.
async fn publish(streams: Streams, record: Record) -> (Uuid, bool) {
    let id = record.id;
    // While it is disconnected the client would take the message and send it some time; better that we know.
    if streams.client.connection_state() != State::Connected {
        return (id, false);
    }
    let span = spans::publish_event(&streams.broker, &record);
    trace::follow(&span, &record.trace);
    let context = trace::of(&span);
    let sent = async {
        let published =
            Record { trace: if context.traceparent.is_empty() { record.trace.clone() } else { context }, ..record };
        let subject = subject::of_event(&streams.broker.namespace, &published);
        let mut map = HeaderMap::new();
        for (name, value) in headers::of(&published) {
            map.insert(name, value);
        }
        let message = PublishMessage::build().headers(map).message_id(id.to_string()).payload(published.body);
        streams.context.send_publish(subject, message).await?.await
    };
    let result = sent.instrument(span.clone()).await;
    if let Err(error) = &result {
        trace::span::record_failure(&span, "unpublished");
        span.in_scope(|| tracing::debug!(%error, event = %id, "an event was not published yet"));
    }
    (id, result.is_ok())
}
