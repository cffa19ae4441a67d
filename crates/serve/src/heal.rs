//! Keys that wait are read from their owner's log when they are due: what the broker did not bring, what failed, and what came too early.
//! So are those that commands need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use event::{Key, Micros, Record, Schema};
use ledger::{Compared, Delivery, Due, EventDelivery, Input, Ledger, LogPart, Means};
use messaging::Lanes;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::owners::Owners;

/// How often it is looked for keys that are due.
const TICK: Duration = Duration::from_millis(100);
/// A key that was taken is left alone by other instances for so long. Also the pause before an owner that is away is asked again.
const LEASE: Duration = Duration::from_secs(5);
/// Keys that are taken at once.
const CHUNK: u64 = 200;

/// What was read of a log, key by key.
struct Parts {
    by_key: BTreeMap<Key, LogPart>,
    nothing: LogPart,
}

impl From<LogPart> for Parts {
    fn from(LogPart { epoch, records }: LogPart) -> Self {
        let nothing = LogPart { epoch, records: Vec::new() };
        let mut by_key: BTreeMap<Key, LogPart> = BTreeMap::new();
        for record in records {
            by_key.entry(record.key.clone()).or_insert_with(|| nothing.clone()).records.push(record);
        }
        Self { by_key, nothing }
    }
}

impl Parts {
    fn of(&self, key: &Key) -> &LogPart {
        self.by_key.get(key).unwrap_or(&self.nothing)
    }
}

/// Resumes what waits.
#[derive(Debug)]
pub(crate) struct Healer {
    pub(crate) service: &'static str,
    pub(crate) namespace: String,
    pub(crate) ledger: Ledger,
    pub(crate) lanes: Lanes,
    pub(crate) owners: Owners,
    pub(crate) schema: Arc<Schema>,
    /// When the last audit began that is done.
    pub(crate) audited_until: watch::Receiver<Micros>,
    /// Told up to which moment everything that was pending has been read, if anybody listens.
    pub(crate) read_until: watch::Sender<Micros>,
}

impl Healer {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.heal_all_due(&stop).await;
            for key in self.ledger.take_needed() {
                self.bring(&key).await;
            }
        }
    }

    /// As long as there are many at once: a subscription that is new has the whole past before it. Once nothing is due, everything that
    /// the last audit found has been read.
    async fn heal_all_due(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let audited = *self.audited_until.borrow();
            let due = match self.ledger.take_due(LEASE, CHUNK).await {
                Ok(due) => due,
                Err(error) => return tracing::warn!(%error, "keys that wait cannot be read"),
            };
            if due.is_empty() {
                self.read_until.send_replace(audited);
                return;
            }
            self.heal(due).await;
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
            // Two subscriptions may wait for the same key, from different revisions on.
            let mut ranges: BTreeMap<Key, i64> = BTreeMap::new();
            for one in &due {
                let after = one.after();
                ranges.entry(one.key.clone()).and_modify(|least| *least = after.min(*least)).or_insert(after);
            }
            let ranges: Vec<_> = ranges.into_iter().collect();
            match self.owners.read(&owner, &ranges).await {
                Ok(part) => self.resume(&owner, due, part).await,
                Err(error) => {
                    tracing::warn!(%error, keys = due.len(), "keys that wait cannot be read from their owner");
                }
            }
        }
    }

    async fn resume(&self, owner: &str, due: Vec<Due>, part: LogPart) {
        fault::reach(fault::Point::HealerRead).await;
        let parts = Parts::from(part);
        let same = self.compare_all(owner, &due, &parts).await;
        let mut under_way = Vec::new();
        for one in due {
            if one.compare && !same.contains(&(one.subscription, one.key.clone())) {
                continue;
            }
            let absent = self.bring_what_it_waits_for(&one).await;
            let LogPart { epoch, records } = parts.of(&one.key);
            for record in records.iter().filter(|record| record.revision > one.revision) {
                let means = Means::Log { epoch: *epoch, absent };
                under_way.push(self.enqueue(one.subscription, record.clone(), means).await);
            }
        }
        // Applied or not, each cursor says what comes next.
        futures::future::join_all(under_way).await;
    }

    /// Those of which what was applied is what the owner has: then what follows can be applied, too.
    async fn compare_all(&self, owner: &str, due: &[Due], parts: &Parts) -> BTreeSet<(&'static str, Key)> {
        let (mut same, mut together) = (BTreeSet::new(), BTreeMap::<_, Vec<_>>::new());
        for one in due.iter().filter(|one| one.compare) {
            let part = parts.of(&one.key);
            if one.revision == 0 || part.records.iter().any(|record| record.revision == one.revision) {
                together.entry(one.subscription).or_default().push((one.key.clone(), part));
                continue;
            }
            // A page may have ended before it; else the owner's log does, and then all of it is wanted.
            match self.owners.read(owner, &[(one.key.clone(), 0)]).await {
                Ok(all) => same.extend(self.compare(one.subscription, owner, &[(one.key.clone(), &all)]).await),
                Err(error) => tracing::warn!(%error, key = %one.key, "a key cannot be read from its owner"),
            }
        }
        for (subscription, parts) in together {
            same.extend(self.compare(subscription, owner, &parts).await);
        }
        same
    }

    async fn compare(
        &self,
        subscription: &'static str,
        owner: &str,
        parts: &[(Key, &LogPart)],
    ) -> Vec<(&'static str, Key)> {
        match self.ledger.compare(subscription, owner, parts).await {
            Ok(compared) => {
                let same = compared.into_iter().filter(|(_, compared)| *compared == Compared::Same);
                same.map(|(key, _)| (subscription, key)).collect()
            }
            Err(error) => {
                tracing::warn!(%error, subscription, keys = parts.len(), "keys could not be compared with their owner's log");
                Vec::new()
            }
        }
    }

    /// Brings the key that an event's handler waits for. True if its owner answers, and has lacked it for too long.
    async fn bring_what_it_waits_for(&self, due: &Due) -> bool {
        let Some((key, since)) = &due.waits_for else { return false };
        self.bring(key).await == Some(false) && self.ledger.about_now().since(*since) > self.ledger.retry().absent_after
    }

    /// Reads a key from its owner, for the subscriptions that follow it. Whether there is such a key; None if its owner does not answer.
    async fn bring(&self, key: &Key) -> Option<bool> {
        let owner = self.owner_of(key)?;
        let mut found = false;
        for name in self.followers_of(&owner, key) {
            let after = self.ledger.revision_of(name, key).await.unwrap_or(0);
            let LogPart { epoch, records } = match self.owners.read(&owner, &[(key.clone(), after)]).await {
                Ok(part) => part,
                Err(error) => {
                    tracing::warn!(%error, %key, "what is waited for cannot be read from its owner");
                    return None;
                }
            };
            found |= after > 0 || !records.is_empty();
            for record in records {
                self.deliver(name, record, Means::Log { epoch, absent: false }).await;
            }
        }
        Some(found)
    }

    /// Applied or not, the cursor says what comes next.
    async fn deliver(&self, subscription: &'static str, record: Record, means: Means) {
        // Its lane tells it only when it ends without having taken it in, and then somebody else finds it due.
        let _ = self.enqueue(subscription, record, means).await.await;
    }

    /// Events of one key that are put into their lane one after another are taken in together, and in that order.
    async fn enqueue(
        &self,
        subscription: &'static str,
        record: Record,
        means: Means,
    ) -> oneshot::Receiver<ledger::Outcome> {
        let group = format!("{}_{subscription}", self.service);
        let span = messaging::process_event(&self.namespace, &group, &record, None);
        trace::go_on(&span, &record.trace);
        let input = Input::Event(EventDelivery { subscription, record: Arc::new(record), means });
        self.lanes.enqueue(Delivery { input, delivered: 0, span }).await
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
