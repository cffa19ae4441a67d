//! What all parts of a simulation share: time, chance, the broker, who is there, and what has gone wrong so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event::{Micros, Schema};
use identity::MasterKey;
use ledger::Chance;
use proto::command::v1::DeliverResponse;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::executor::{Owner, Spawner};
use crate::fault::Fault;
use crate::instance::Instance;

/// Where all subjects begin.
pub const NAMESPACE: &str = "sim";
/// When it begins: the end of 2023.
const START: Micros = Micros(1_703_980_800_000_000);
/// The services, all of them.
pub const SERVICES: [Owner; 4] = ["registration", "user", "order", "billing"];

/// A simulation. Clones share it.
#[derive(Clone)]
pub struct Sim(Arc<Parts>);

struct Parts {
    chance: Chance,
    spawner: Spawner,
    schema: Arc<Schema>,
    began: Instant,
    /// How far each service's clock is off, in microseconds.
    skews: BTreeMap<Owner, AtomicI64>,
    /// The clocks that the services read, in microseconds since 1970.
    clocks: BTreeMap<Owner, Arc<AtomicI64>>,
    calm: AtomicBool,
    broker: Mutex<Wired>,
    instances: Mutex<BTreeMap<Owner, Arc<Instance>>>,
    replies: Mutex<BTreeMap<String, oneshot::Sender<DeliverResponse>>>,
    faults: Mutex<BTreeMap<Fault, u64>>,
    /// The ids of aggregates of which somebody was shown that they have diverged.
    listed: Mutex<BTreeSet<String>>,
    /// The subjects of commands that the broker has lost from their queue.
    unqueued: Mutex<BTreeSet<String>>,
}

/// The broker, and whether it can be reached.
#[derive(Default)]
pub struct Wired {
    pub broker: Broker,
    pub is_away: bool,
    /// How often it was connected to.
    pub connections: u64,
}

impl Sim {
    /// To be called where the runtime's clock stands still unless it is moved.
    pub fn new(chance: Chance, spawner: Spawner, schema: Arc<Schema>) -> Self {
        Self(Arc::new(Parts {
            chance,
            spawner,
            schema,
            began: Instant::now(),
            skews: SERVICES.into_iter().map(|service| (service, AtomicI64::new(0))).collect(),
            clocks: SERVICES.into_iter().map(|service| (service, Arc::new(AtomicI64::new(START.0)))).collect(),
            calm: AtomicBool::new(true),
            broker: Mutex::new(Wired { connections: 1, ..Wired::default() }),
            instances: Mutex::default(),
            replies: Mutex::default(),
            faults: Mutex::default(),
            listed: Mutex::default(),
            unqueued: Mutex::default(),
        }))
    }

    pub fn chance(&self) -> &Chance {
        &self.0.chance
    }

    pub fn schema(&self) -> Arc<Schema> {
        Arc::clone(&self.0.schema)
    }

    pub fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawner.spawn(owner, task);
    }

    pub fn spawner(&self) -> Spawner {
        self.0.spawner.clone()
    }

    // --- Time

    /// The time outside of all services.
    pub fn now(&self) -> Micros {
        START.plus(self.0.began.elapsed())
    }

    /// The clock that a service reads.
    pub fn clock(&self, service: Owner) -> Arc<AtomicI64> {
        self.0.clocks.get(service).map(Arc::clone).unwrap_or_default()
    }

    /// Sets the clocks of the services to what they show now.
    pub fn tick(&self) {
        let now = self.now().0;
        for (service, clock) in &self.0.clocks {
            clock.store(now + self.0.skews[service].load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Moves a service's clock to be off by so much.
    pub fn skew(&self, service: Owner, by: i64) {
        self.0.skews[service].store(by, Ordering::Relaxed);
    }

    // --- Chance

    /// Whether something goes wrong now: once in so many times, and never while all is calm. What does is counted.
    pub fn strikes(&self, fault: Fault, odds: u64) -> bool {
        let strikes = !self.is_calm() && self.0.chance.below(odds) == 0;
        if strikes {
            self.note(fault);
        }
        strikes
    }

    pub fn note(&self, fault: Fault) {
        *lock(&self.0.faults).entry(fault).or_default() += 1;
    }

    pub fn faults(&self) -> BTreeMap<Fault, u64> {
        lock(&self.0.faults).clone()
    }

    /// From now on nothing goes wrong any more, or again.
    pub fn set_calm(&self, calm: bool) {
        self.0.calm.store(calm, Ordering::Relaxed);
    }

    pub fn is_calm(&self) -> bool {
        self.0.calm.load(Ordering::Relaxed)
    }

    /// The way from one to another: no time, some turns, or milliseconds; now and then seconds.
    pub async fn way(&self) {
        match self.0.chance.below(8) {
            0..=3 => {}
            4 | 5 => tokio::task::yield_now().await,
            _ if self.strikes(Fault::Slow, 12) => {
                tokio::time::sleep(Duration::from_millis(self.0.chance.below(8_000))).await;
            }
            _ => tokio::time::sleep(Duration::from_millis(self.0.chance.below(60))).await,
        }
    }

    // --- Who is there

    pub fn wired(&self) -> MutexGuard<'_, Wired> {
        lock(&self.0.broker)
    }

    pub fn instances(&self) -> MutexGuard<'_, BTreeMap<Owner, Arc<Instance>>> {
        lock(&self.0.instances)
    }

    /// Whether everybody is there.
    pub fn is_whole(&self) -> bool {
        self.instances().len() == SERVICES.len() && !self.wired().is_away
    }

    pub fn instance(&self, service: &str) -> Option<Arc<Instance>> {
        self.instances().get(service).cloned()
    }

    pub fn listed(&self) -> MutexGuard<'_, BTreeSet<String>> {
        lock(&self.0.listed)
    }

    /// The broker loses something. Which commands are not in their queue any more, though nobody has acknowledged them, is noted.
    pub fn loses(&self, what: impl FnOnce(&mut Wired)) {
        let mut wired = self.wired();
        let before = wired.broker.queued();
        what(&mut wired);
        let after = wired.broker.queued();
        lock(&self.0.unqueued).extend(before.difference(&after).cloned());
    }

    pub fn has_lost(&self, subject: &str) -> bool {
        lock(&self.0.unqueued).contains(subject)
    }

    pub fn replies(&self) -> MutexGuard<'_, BTreeMap<String, oneshot::Sender<DeliverResponse>>> {
        lock(&self.0.replies)
    }
}

/// The key that all others come from. Nobody is to be kept from anything here.
pub fn master_key() -> MasterKey {
    let text = "33".repeat(32);
    text.parse().unwrap_or_else(|error| unreachable!("32 bytes in hexadecimal digits are a key: {error}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
