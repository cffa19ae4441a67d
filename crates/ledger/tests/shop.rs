//! One instance of the toy service on a database of its own, and what is done with it.

mod brought;
mod outcome;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use event::{Id, Key, Micros, Schema};
use millrace_ledger::{
    Chance, Clock, CommandResult, Compared, Database, Delivery, Due, Heads, Input, Ledger, LogPart, Outcome, Parts,
    Retry, migrations,
};
use testkit::{Postgres, TempDir};

pub(crate) use self::brought::*;
pub(crate) use self::outcome::*;
use crate::toy::{CreateToy, World, handlers};

pub(crate) const START: Micros = Micros(1_700_000_000_000_000);
pub(crate) const LEASE: Duration = Duration::from_secs(15);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);

pub(crate) struct Shop {
    pub(crate) ledger: Ledger,
    pub(crate) world: Arc<World>,
    pub(crate) url: String,
    clock: Clock,
    time: Arc<AtomicI64>,
    drawn: Arc<AtomicU64>,
    folder: Arc<TempDir>,
}

impl Shop {
    pub(crate) async fn on_sqlite() -> Self {
        let folder = testkit::folder();
        let url = format!("sqlite://{}", folder.path().join("toy.db").display());
        Self::at(url, folder).await
    }

    pub(crate) async fn on_postgres() -> Self {
        Self::at(Postgres::database().await, testkit::folder()).await
    }

    async fn at(url: String, folder: TempDir) -> Self {
        let (clock, time) = Clock::manual(START);
        let world = Arc::default();
        let ledger = open(&url, &clock, &world, 0).await;
        Self { ledger, world, url, clock, time, drawn: Arc::default(), folder: Arc::new(folder) }
    }

    /// A second instance of the service on the same database, as a second process would be.
    pub(crate) async fn another_instance(&self) -> Self {
        let number = u8::try_from(self.drawn.fetch_add(1, Ordering::SeqCst) + 1).unwrap();
        let ledger = open(&self.url, &self.clock, &self.world, number).await;
        let (world, time, drawn) = (Arc::clone(&self.world), Arc::clone(&self.time), Arc::clone(&self.drawn));
        Self {
            ledger,
            world,
            url: self.url.clone(),
            clock: self.clock.clone(),
            time,
            drawn,
            folder: Arc::clone(&self.folder),
        }
    }

    /// An instance of another version of the code, beside this one.
    pub(crate) async fn another_version(&self, version: i64) -> Self {
        let other = self.another_instance().await;
        let ledger = open_version(&self.url, &self.clock, &self.world, (200, version)).await;
        Self { ledger, ..other }
    }

    /// The instance after one that was killed, on what that left behind.
    pub(crate) async fn killed(self) -> Self {
        let number = u8::try_from(self.drawn.fetch_add(1, Ordering::SeqCst) + 1).unwrap();
        drop(self.ledger);
        let ledger = open(&self.url, &self.clock, &self.world, number).await;
        Self { ledger, ..self }
    }

    pub(crate) fn now(&self) -> Micros {
        Micros(self.time.load(Ordering::SeqCst))
    }

    pub(crate) fn forward(&self, by: Duration) {
        self.time.store(self.now().plus(by).0, Ordering::SeqCst);
    }

    pub(crate) fn back(&self, by: Duration) {
        self.time.fetch_sub(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }

    /// A new id.
    pub(crate) fn id(&self) -> Id {
        let number = self.drawn.fetch_add(1, Ordering::SeqCst);
        let mut rest = [0; 10];
        rest[2..].copy_from_slice(&number.to_be_bytes());
        Id::timed(START.unix_ms(), rest)
    }
}

async fn open(url: &str, clock: &Clock, world: &Arc<World>, number: u8) -> Ledger {
    open_version(url, clock, world, (number, 1)).await
}

/// `version` is that of the subscriptions.
async fn open_version(url: &str, clock: &Clock, world: &Arc<World>, (number, version): (u8, i64)) -> Ledger {
    let schema = Arc::new(Schema::embedded().unwrap());
    let parts = Parts {
        db: database(url).await,
        handlers: handlers(&schema, version),
        schema,
        name: "toy".to_owned(),
        clock: clock.clone(),
        chance: Chance::seeded([number; 32]),
        state: Arc::new(Arc::clone(world)),
        retry: Retry::default(),
    };
    let ledger = Ledger::open(parts).await.unwrap();
    for subscription in
        ledger.handlers().subscriptions().filter(|one| one.follows().iter().any(|log| log.domain == "order"))
    {
        ledger.meet(subscription.name, "order", other(), 1).await.unwrap();
    }
    ledger
}

pub(crate) async fn database(url: &str) -> Database {
    let mut tables = migrations();
    tables.push(Box::new(CreateToy));
    Database::open(url, tables).await.unwrap()
}

impl Shop {
    /// The audit of a subscription has come to the end of a part of the log of orders.
    pub(crate) async fn audited(&self, subscription: &str, heads: &Heads) -> millrace_ledger::Result<bool> {
        let since = self.ledger.followed(subscription, "order").await?.since;
        self.ledger.audited(subscription, "order", &since, heads).await
    }

    /// What the comparison of one key with a part of the log of orders comes to.
    pub(crate) async fn compare(&self, subscription: &'static str, key: &Key, part: LogPart) -> Compared {
        let mut compared = self.ledger.compare(subscription, "order", &[(key.clone(), &part)]).await.unwrap();
        compared.remove(key).unwrap()
    }

    pub(crate) async fn batch(&self, batch: impl IntoIterator<Item = Delivery>) -> Vec<Outcome> {
        self.ledger.process(batch.into_iter().collect()).await.outcomes
    }

    pub(crate) async fn one(&self, delivery: Delivery) -> Outcome {
        let mut outcomes = self.batch([delivery]).await;
        assert_eq!(outcomes.len(), 1);
        outcomes.remove(0)
    }

    /// Does steps about a counter, as a new command that must be completed.
    pub(crate) async fn act(&self, counter: Id, steps: impl Into<String>) {
        let outcome = self.one(command(self.id(), counter, steps)).await;
        assert!(matches!(ended(&outcome).result, CommandResult::Completed(_)), "{outcome:?}");
    }

    /// A new counter with so many units.
    pub(crate) async fn counter(&self, units: i64) -> Id {
        let id = self.id();
        self.act(id, format!("stock {units} {id}")).await;
        id
    }

    /// Brings a delivery again and again, as a broker does, until it is not given back.
    pub(crate) async fn until_done(&self, delivery: Delivery) -> Outcome {
        for _ in 0..20 {
            match self.one(delivery.clone()).await {
                Outcome::GivenBack { delay, .. } => self.forward(delay),
                outcome => return outcome,
            }
        }
        panic!("it is given back for ever")
    }

    /// Leases the effects that are due and asks the provider; its answers are to be brought.
    pub(crate) async fn work(&self) -> Vec<Delivery> {
        let mut answers = Vec::new();
        for leased in self.ledger.lease_effects(LEASE, 100).await.unwrap() {
            if let Ok(answer) = self.ledger.perform(leased).await {
                answers.push(answered(answer));
            }
        }
        answers
    }

    /// Takes the timers that are due; they are to be brought. Deadlines are, if everything was read until then.
    pub(crate) async fn ring(&self, read_until: Micros) -> Vec<Delivery> {
        let due = self.ledger.take_due_timers(read_until, LEASE, 100).await.unwrap();
        due.into_iter().map(|timer| redelivered(timer.taken, delivery(Input::Timer(timer)))).collect()
    }

    pub(crate) async fn due(&self) -> Vec<Due> {
        self.ledger.take_due(LEASE, 100).await.unwrap()
    }
}
