//! One service on a database of its own, driven by hand: what it is sent, what it hears, what time it is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use event::{Event, History, Id, Key, Micros, Record, TraceContext};
use futures::future::{self, FutureExt as _};
use futures::stream;
use ledger::{Chance, Clock, Delivery, Due, EventDelivery, Input, Ledger, Means, Retry};
use serve::{Bell, Opened, Rings, Service};
use tempfile::TempDir;
use tokio::sync::broadcast;
use tracing::Span;

use crate::{Client, Done, Postgres, folder};

/// When the manual clock starts.
const START: Micros = Micros(1_700_000_000_000_000);
/// How many rings a watcher may lag behind.
const BELL: usize = 256;
const LEASE: Duration = Duration::from_secs(30);
const LIMIT: u64 = 1000;
/// Of all logs of others.
const EPOCH: i64 = 1;

/// A service without broker and network: deliveries are handed to its ledger, and the clock stands still unless it is moved.
///
/// Other services exist as far as the test [tells](TestLedger::tell) of them: their events are kept, so that a key that waits can
/// [catch up](TestLedger::catch_up).
#[derive(Debug)]
pub struct TestLedger {
    pub(crate) opened: Opened,
    bell: broadcast::Sender<Key>,
    url: String,
    clock: Clock,
    time: Arc<AtomicI64>,
    chance: Chance,
    others: Mutex<BTreeMap<Key, Vec<Record>>>,
    folder: TempDir,
}

impl TestLedger {
    /// The service on SQLite. Panics if it lacks a handler.
    pub async fn open(service: Service) -> Self {
        let folder = folder();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        Self::open_at(url, folder, service).await
    }

    /// The service on a fresh database of the tests' PostgreSQL.
    pub async fn on_postgres(service: Service) -> Self {
        Self::open_at(Postgres::database().await, folder(), service).await
    }

    async fn open_at(url: String, folder: TempDir, service: Service) -> Self {
        let (chance, (clock, time)) = (Chance::seeded([7; 32]), Clock::manual(START));
        let opened = open(&url, service, clock.clone(), chance.clone()).await;
        let (bell, _) = broadcast::channel(BELL);
        let ledger = Self { opened, bell, url, clock, time, chance, others: Mutex::default(), folder };
        ledger.started().await
    }

    /// Stops the service, and starts it again (or another version of it) on the same database at the same time.
    pub async fn restart(self, service: Service) -> Self {
        let Self { opened, bell, url, clock, time, chance, others, folder } = self;
        opened.ledger.close().await.expect("the database can be closed");
        let opened = open(&url, service, clock.clone(), chance.clone()).await;
        Self { opened, bell, url, clock, time, chance, others, folder }.started().await
    }

    async fn started(self) -> Self {
        // What it hears comes from the logs that it follows.
        for subscription in self.ledger().handlers().subscriptions() {
            for followed in subscription.follows() {
                let met = self.ledger().meet(subscription.name, &followed.domain, Id::default(), EPOCH).await;
                met.expect("the test's database can be written");
            }
        }
        self.take_in(self.opened.at_start(self.now())).await;
        self
    }

    /// Somebody who has not logged in.
    pub fn anonymous(&self) -> Client<'_> {
        Client::new(self, ledger::Caller { name: "service/gateway".to_owned(), ..ledger::Caller::default() })
    }

    /// A user who is logged in, in no particular session.
    pub fn user(&self, user: Id) -> Client<'_> {
        let caller = ledger::Caller { name: format!("user/{user}"), user: Some(user), ..ledger::Caller::default() };
        Client::new(self, caller)
    }

    /// Another service that acts of its own accord.
    pub fn service(&self, name: &str) -> Client<'_> {
        Client::new(self, ledger::Caller { name: format!("service/{name}"), ..ledger::Caller::default() })
    }

    pub fn now(&self) -> Micros {
        Micros(self.time.load(Ordering::SeqCst))
    }

    pub fn advance(&self, by: Duration) {
        self.time.store(self.now().plus(by).0, Ordering::SeqCst);
    }

    pub fn new_id(&self) -> Id {
        self.chance.id(self.now())
    }

    /// The service's ledger, for what is not foreseen here.
    pub const fn ledger(&self) -> &Ledger {
        &self.opened.ledger
    }

    /// The folder that holds the files of an SQLite database, so that a test can search their raw bytes.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// All events of a key of the service's own.
    pub async fn events(&self, key: &Key) -> Vec<Record> {
        self.ledger().read(&[(key.clone(), 0)], LIMIT).await.expect("the log can be read").records
    }

    /// Another service appends the next event of the aggregate `id`, and nobody hears of it yet.
    pub fn tell<E: Event>(&self, id: Id, event: &E) -> Record {
        let key = Key::new(E::AGGREGATE, id);
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let log = others.entry(key.clone()).or_default();
        let (type_name, body) = (E::full_name(), event.encode_to_vec());
        let record = Record {
            id: self.chance.uuid(self.now()),
            source: Id::default(),
            key,
            epoch: EPOCH,
            revision: log.last().map_or(0, |last| last.revision) + 1,
            history: log.last().map_or_else(History::default, |last| last.history).then(&type_name, &body),
            type_name,
            body: body.into(),
            time: self.now(),
            principal: "service/test".to_owned(),
            command_id: None,
            cause_id: None,
            trace: TraceContext::default(),
        };
        log.push(record.clone());
        record
    }

    /// Another service appends an event, and it comes from the stream to every subscription that follows such aggregates.
    pub async fn hear<E: Event>(&self, id: Id, event: &E) -> Done {
        let record = self.tell(id, event);
        self.deliver(record).await
    }

    /// A record comes from the stream to every subscription that follows such aggregates. It may come late, early or again.
    pub async fn deliver(&self, record: Record) -> Done {
        let domain = event::subject::domain_of(&record.type_name).to_owned();
        let follows = |follow: &ledger::Followed| follow.domain == domain && follow.aggregate == record.key.aggregate();
        let subscriptions = self.ledger().handlers().subscriptions().filter(|one| one.follows().iter().any(follows));
        let names: Vec<_> = subscriptions.map(|subscription| subscription.name).collect();
        assert!(!names.is_empty(), "no subscription follows {}", record.key);
        let means = Means::Stream;
        self.take_in(names.into_iter().map(|name| event_delivery(name, record.clone(), means)).collect()).await
    }

    /// Keys that wait and are due now are read from the logs of the services that were [told](TestLedger::tell) of.
    pub async fn catch_up(&self) -> Done {
        let due = self.ledger().take_due(LEASE, LIMIT).await.expect("what is due can be read");
        let mut done = Done::default();
        for due in due {
            done.add(self.take_in(self.read_on(&due)).await);
        }
        done
    }

    fn read_on(&self, due: &Due) -> Vec<Delivery> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let since = due.waits_for.as_ref().filter(|(key, _)| !others.contains_key(key)).map(|(_, since)| *since);
        let patience = self.ledger().retry().absent_after;
        let absent = since.is_some_and(|since| self.now().since(since) >= patience);
        let log = others.get(&due.key).map(Vec::as_slice).unwrap_or_default();
        let next = log.iter().filter(|record| record.revision > due.after());
        let means = Means::Log { epoch: EPOCH, absent };
        next.map(|record| event_delivery(due.subscription, record.clone(), means)).collect()
    }

    /// Performs all effects that are due, and takes their answers in. One whose outcome nobody knows is due again after its lease.
    pub async fn perform_effects(&self) -> Done {
        let leased = self.ledger().lease_effects(LEASE, LIMIT).await.expect("effects can be leased");
        let mut done = Done::default();
        for leased in leased {
            if let Ok(answer) = self.ledger().perform(leased).await {
                done.add(self.take_in(vec![delivery(Input::Answer(answer))]).await);
            }
        }
        done
    }

    /// What rings for those who watch.
    pub(crate) fn bell(&self) -> Bell {
        let appended = self.bell.clone();
        Arc::new(move |key| {
            let state = (appended.subscribe(), key.clone());
            let rings = stream::unfold(state, |(mut appended, key)| async move {
                while appended.recv().await.ok()? != key {}
                Some(((), (appended, key)))
            });
            future::ready(Box::pin(rings) as Rings).boxed()
        })
    }

    /// Brings all timers that are due, deadlines too: nothing is pending but what the test knows of.
    pub async fn fire_timers(&self) -> Done {
        let due = self.ledger().take_due_timers(self.now(), LEASE, LIMIT).await.expect("timers can be taken");
        self.take_in(due.into_iter().map(|timer| delivery(Input::Timer(timer))).collect()).await
    }

    /// Takes deliveries in, in one transaction if that is possible.
    pub async fn take_in(&self, batch: Vec<Delivery>) -> Done {
        let done = Done::from(self.ledger().process(batch).await);
        for record in &done.appended {
            // Nobody may be watching.
            let _ = self.bell.send(record.key.clone());
        }
        done
    }
}

async fn open(url: &str, mut service: Service, clock: Clock, chance: Chance) -> Opened {
    assert_eq!(service.missing(), Vec::<String>::new(), "every method of {service:?} needs a handler");
    let db = service.database(url).await.expect("the test's database can be opened");
    service.open(db, clock, chance, Retry::default()).await.expect("the service can be opened")
}

pub(crate) fn delivery(input: Input) -> Delivery {
    Delivery { input, delivered: 1, span: Span::none() }
}

fn event_delivery(subscription: &'static str, record: Record, means: Means) -> Delivery {
    delivery(Input::Event(EventDelivery { subscription, record: Arc::new(record), means }))
}
