use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use event::Record;
use fault::{Point, Protection, reach, without};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use ledger::Ledger;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Wire;
use crate::streams::{StreamError, WINDOW};

/// An event that nobody marked as published for so long is published by whoever finds it.
const LEFT_OVER: Duration = Duration::from_secs(5);
/// How often marks are written that found no batch to ride in, and left-overs are looked for.
const TICK: Duration = Duration::from_secs(1);
/// How often it is looked for the broker, as long as the stream could not be made: whoever subscribes waits for it.
const CONNECTING: Duration = Duration::from_millis(50);
/// After so many ticks it is looked whether the stream is still there.
const LOOK_AGAIN: u32 = 5;
/// Left-overs that are taken from the log at once.
const CHUNK: u64 = 500;

/// Publishes what this instance committed, from memory, right after the commit; and what was left over, from the log.
///
/// No locks and no leader: the order on the stream is neither promised nor needed, and an event that is published twice is a duplicate to
/// its consumers, as any other.
#[derive(Clone, Debug)]
pub struct Relay {
    pub domain: String,
    pub wire: Arc<dyn Wire>,
    pub ledger: Ledger,
}

type Publishing = FuturesUnordered<BoxFuture<'static, (Uuid, bool)>>;

/// Why the stream could not be met. Tried again.
#[derive(Debug, thiserror::Error)]
enum MeetError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

/// What is under way.
struct Pass {
    on_the_way: HashSet<Uuid>,
    publishing: Publishing,
    /// How old an event must be to count as left over. What a predecessor left when it was killed is published at once.
    age: Duration,
    /// The connection on which the stream was met, and how many ticks ago.
    met: Option<(u64, u32)>,
}

impl Relay {
    /// Runs until told to stop, and then until what is on its way has arrived.
    pub async fn run(self, mut committed: mpsc::Receiver<Vec<Record>>, stop: CancellationToken) {
        let publishing = Publishing::new();
        let mut pass = Pass { on_the_way: HashSet::new(), publishing, age: Duration::ZERO, met: None };
        let (arrived, failed) = (meter::RELAY_PUBLISHED.counter(&[]), meter::RELAY_FAILURES.counter(&[]));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let has_room = pass.publishing.len() < WINDOW;
            tokio::select! { biased;
                Some((id, published)) = pass.publishing.next() => {
                    pass.on_the_way.remove(&id);
                    if published {
                        arrived.increment(1);
                        self.ledger.mark_published([id]);
                    } else {
                        failed.increment(1);
                        pass.age = Duration::ZERO;
                    }
                }
                records = committed.recv(), if has_room => match records {
                    Some(records) if self.may_publish(&pass) => self.publish(records, &mut pass),
                    Some(_) => pass.age = Duration::ZERO,
                    None => break,
                },
                _ = tick.tick(), if has_room => {
                    self.write_marks().await;
                    self.meet(&mut pass).await;
                    if self.may_publish(&pass) && !without(Protection::PublishingOfLeftovers) {
                        self.sweep(&mut pass).await;
                    } else if !self.wire.is_connected() {
                        tick.reset_after(CONNECTING);
                    }
                }
                () = stop.cancelled() => break,
            }
        }
        while let Some((id, published)) = pass.publishing.next().await {
            self.ledger.mark_published(published.then_some(id));
        }
        self.write_marks().await;
    }

    fn may_publish(&self, pass: &Pass) -> bool {
        pass.met.is_some_and(|(connection, _)| connection == self.wire.connections()) && !self.ledger.was_behind()
    }

    /// Meets the stream after each connection, because the broker may have another store now, and now and then, because it may be gone.
    async fn meet(&self, pass: &mut Pass) {
        let connection = self.wire.connections();
        match &mut pass.met {
            Some((met, ticks)) if *met == connection && *ticks < LOOK_AGAIN => *ticks += 1,
            _ if !self.wire.is_connected() => pass.met = None,
            met => {
                let again = met.is_some_and(|(met, _)| met == connection);
                *met = self.meet_stream().await.then_some((connection, 0));
                if !again {
                    pass.age = Duration::ZERO;
                }
            }
        }
    }

    /// Makes the stream if it is not there, so that subscribers find it even before there is an event, and compares its end with the log.
    /// True if events can be published. A log that lacks the newest event of its own stream is older than what others have read: from then
    /// on nothing is appended.
    pub async fn meet_stream(&self) -> bool {
        let met = self.compare_with_stream().await;
        if let Err(error) = &met {
            tracing::warn!(%error, domain = self.domain, "events cannot be published now");
        }
        met.is_ok()
    }

    async fn compare_with_stream(&self) -> Result<(), MeetError> {
        self.wire.ensure_events(&self.domain).await?;
        let Some(newest) = self.wire.newest(&self.domain).await? else { return Ok(()) };
        let epoch = self.ledger.epoch().await?;
        match newest {
            Ok(newest) if newest.source == self.ledger.log_id() && newest.epoch == epoch => {
                if !self.ledger.has_event(newest.id).await? {
                    let reason = format!("its stream has revision {} of {}", newest.revision, newest.key);
                    self.ledger.suspend(epoch, &reason).await?;
                }
            }
            Ok(newest) if newest.source == self.ledger.log_id() && newest.epoch > epoch => {
                self.ledger.suspend(epoch, &format!("its stream is of epoch {}", newest.epoch)).await?;
            }
            Ok(newest) if newest.source == self.ledger.log_id() => {
                tracing::info!(domain = self.domain, epoch, "the stream is of an earlier epoch, and is emptied");
                self.wire.purge_events(&self.domain).await?;
            }
            _ if without(Protection::LogId) => {}
            // Another run's store, or somebody else's message. Subscribers drop it, and read what they lack from the log.
            _ => {
                tracing::error!(domain = self.domain, "the stream ends in an event of another log, and is emptied");
                self.wire.purge_events(&self.domain).await?;
            }
        }
        Ok(())
    }

    /// Publishes what was left over.
    async fn sweep(&self, pass: &mut Pass) {
        match self.ledger.unpublished(pass.age, CHUNK).await {
            Ok(records) => {
                if !records.is_empty() {
                    tracing::debug!(events = records.len(), "publishing what was left over");
                    reach(Point::RelayLeftOver).await;
                }
                pass.age = LEFT_OVER;
                self.publish(records, pass);
            }
            Err(error) => tracing::warn!(%error, "the log cannot be read for left-overs"),
        }
    }

    async fn write_marks(&self) {
        if let Err(error) = self.ledger.write_marks().await {
            tracing::warn!(%error, "marks of published events were not written; those events are published again");
        }
    }

    fn publish(&self, records: Vec<Record>, pass: &mut Pass) {
        for record in records {
            if pass.on_the_way.insert(record.id) {
                pass.publishing.push(Box::pin(publish(Arc::clone(&self.wire), record)));
            }
        }
    }
}

/// Publishes one event. False if nobody knows that it arrived.
async fn publish(wire: Arc<dyn Wire>, record: Record) -> (Uuid, bool) {
    let id = record.id;
    let result = wire.publish(record).await;
    if result.is_ok() {
        reach(Point::RelayAcknowledged).await;
    }
    if let Err(error) = &result {
        tracing::debug!(%error, event = %id, "an event was not published yet");
    }
    (id, result.is_ok())
}
