//! Keys that wait are read from their owner's log when they are due: what the broker did not bring, what failed, and what came too early.
//! So are those that commands need.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event::{Key, Record, Schema};
use ledger::{Delivery, Due, EventDelivery, Input, Ledger, Means, process_now};
use messaging::Lanes;
use tokio_util::sync::CancellationToken;

use crate::owners::Owners;

/// How often it is looked for keys that are due.
const TICK: Duration = Duration::from_millis(100);
/// A key that was taken is left alone by other instances for so long. Also the pause before an owner that is away is asked again.
const LEASE: Duration = Duration::from_secs(5);
/// Keys that are taken at once.
const CHUNK: u64 = 100;

/// Resumes what waits.
#[derive(Debug)]
pub(crate) struct Healer {
    pub(crate) service: &'static str,
    pub(crate) namespace: String,
    pub(crate) ledger: Ledger,
    pub(crate) lanes: Lanes,
    pub(crate) owners: Owners,
    pub(crate) schema: Arc<Schema>,
}

impl Healer {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            match self.ledger.take_due(LEASE, CHUNK).await {
                Ok(due) => self.heal(due).await,
                Err(error) => tracing::warn!(%error, "keys that wait cannot be read"),
            }
            for key in self.ledger.take_needed() {
                self.bring(&key).await;
            }
        }
    }

    async fn heal(&self, due: Vec<Due>) {
        let mut by_owner: BTreeMap<String, Vec<Due>> = BTreeMap::new();
        for one in due {
            if let Some(owner) = self.owner_of(&one.key) {
                by_owner.entry(owner).or_default().push(one);
            }
        }
        for (owner, due) in by_owner {
            let ranges: Vec<_> = due.iter().map(|one| (one.key.clone(), one.revision)).collect();
            match self.owners.read(&owner, &ranges).await {
                Ok(records) => self.resume(due, records).await,
                Err(error) => {
                    tracing::warn!(%error, keys = due.len(), "keys that wait cannot be read from their owner");
                }
            }
        }
    }

    async fn resume(&self, due: Vec<Due>, records: Vec<Record>) {
        let mut by_key: BTreeMap<Key, Vec<Record>> = BTreeMap::new();
        for record in records {
            by_key.entry(record.key.clone()).or_default().push(record);
        }
        for one in due {
            let absent = self.bring_what_it_waits_for(&one).await;
            // Two subscriptions may wait for the same key.
            for record in by_key.get(&one.key).cloned().unwrap_or_default() {
                self.deliver(one.subscription, record, Means::Log { absent }).await;
            }
        }
    }

    /// Brings the key that an event's handler waits for. True if its owner answers, and has lacked it for too long.
    async fn bring_what_it_waits_for(&self, due: &Due) -> bool {
        let Some((key, since)) = &due.waits_for else { return false };
        self.bring(key).await == Some(false) && process_now().since(*since) > self.ledger.retry().absent_after
    }

    /// Reads a key from its owner, for the subscriptions that follow it. Whether there is such a key; None if its owner does not answer.
    async fn bring(&self, key: &Key) -> Option<bool> {
        let owner = self.owner_of(key)?;
        let mut found = false;
        for name in self.followers_of(&owner, key) {
            let after = self.ledger.revision_of(name, key).await.unwrap_or(0);
            let records = match self.owners.read(&owner, &[(key.clone(), after)]).await {
                Ok(records) => records,
                Err(error) => {
                    tracing::warn!(%error, %key, "what is waited for cannot be read from its owner");
                    return None;
                }
            };
            found |= after > 0 || !records.is_empty();
            for record in records {
                self.deliver(name, record, Means::Log { absent: false }).await;
            }
        }
        Some(found)
    }

    /// Applied or not, the cursor says what comes next.
    async fn deliver(&self, subscription: &'static str, record: Record, means: Means) {
        let group = format!("{}_{subscription}", self.service);
        let span = messaging::process_event(&self.namespace, &group, &record, None);
        trace::go_on(&span, &record.trace);
        let input = Input::Event(EventDelivery { subscription, record, means });
        self.lanes.submit(Delivery { input, delivered: 0, span }).await;
    }

    fn owner_of(&self, key: &Key) -> Option<String> {
        self.schema.events().find(|kind| kind.aggregate == key.aggregate()).map(|kind| kind.domain.clone())
    }

    fn followers_of(&self, owner: &str, key: &Key) -> Vec<&'static str> {
        let follows = |subscription: &&ledger::Subscription| {
            subscription
                .follows()
                .iter()
                .any(|followed| followed.domain == owner && followed.aggregate == key.aggregate())
        };
        self.ledger.handlers().subscriptions().filter(follows).map(|subscription| subscription.name).collect()
    }
}
