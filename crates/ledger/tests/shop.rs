//! One instance of the toy service on a database of its own, and what is brought to it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use event::{History, Id, Key, Micros, Record, Schema, TraceContext};
use millrace_ledger::{
    Answer, Caller, Chance, Clock, Command, CommandResult, Database, Delivery, Due, Ended, EventDelivery, Heads, Input,
    KeyHead, Ledger, Means, Outcome, Parts, Place, Retry, migrations,
};
use proto::Message;
use proto::order::v1::{OrderCreated, OrderProcessed, PlaceOrderRequest};
use proto::registration::v1::RegisterRequest;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement, Value};
use testkit::{Postgres, TempDir};
use tracing::Span;
use uuid::Uuid;

use crate::toy::{Counter, CreateToy, World, handlers};

pub(crate) const START: Micros = Micros(1_700_000_000_000_000);
pub(crate) const LEASE: Duration = Duration::from_secs(15);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);
const ACT: &str = "millrace.order.v1.OrderService/PlaceOrder";
const ACT_FOR_ANYBODY: &str = "millrace.registration.v1.RegistrationService/Register";

pub(crate) struct Shop {
    pub(crate) ledger: Ledger,
    pub(crate) world: Arc<World>,
    pub(crate) url: String,
    clock: Clock,
    time: Arc<AtomicI64>,
    drawn: Arc<AtomicU64>,
    folder: Arc<TempDir>,
}

// === what it is and what time it is ===

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

// === what is brought to it ===

/// A command whose steps are about a counter.
pub(crate) fn command(id: Id, target: Id, steps: impl Into<String>) -> Delivery {
    let request = PlaceOrderRequest { payment_method_id: steps.into(), ..Default::default() };
    delivery(sealed(ACT, id, target, request.encode_to_vec()).into())
}

/// A command that anybody may send.
pub(crate) fn command_of_anybody(id: Id, target: Id, steps: impl Into<String>) -> Delivery {
    let request = RegisterRequest { display_name: steps.into(), ..Default::default() };
    let command = sealed(ACT_FOR_ANYBODY, id, target, request.encode_to_vec());
    delivery(Command { anonymous: true, ..command }.into())
}

pub(crate) fn sealed(method: &str, id: Id, target: Id, body: Vec<u8>) -> Command {
    let mut request_hash = [0; 32];
    request_hash[..16].copy_from_slice(&History::default().then(method, &body).0);
    Command {
        method: method.to_owned(),
        id,
        target,
        caller: Caller { name: "user/somebody".to_owned(), ..Caller::default() },
        request_hash,
        body: body.into(),
        not_after: START.plus(24 * HOUR),
        anonymous: false,
        refused: None,
        prepared: None,
    }
}

/// The command of a delivery, to be changed.
pub(crate) fn changed(mut delivery: Delivery, change: impl FnOnce(&mut Command)) -> Delivery {
    if let Input::Command(command) = &mut delivery.input {
        change(command);
    }
    delivery
}

/// An event of another service: an order was created, and the replica does these steps.
pub(crate) fn created(order: Id, revision: i64, steps: &str) -> Record {
    record(order, revision, &OrderCreated { customer_id: steps.to_owned(), ..Default::default() })
}

/// An event on which the clerk acts on the counter of the same id.
pub(crate) fn processed(order: Id, revision: i64, steps: &str) -> Record {
    record(order, revision, &OrderProcessed { order_id: steps.to_owned() })
}

pub(crate) fn record<E: proto::Event>(order: Id, revision: i64, event: &E) -> Record {
    let number = u128::from_be_bytes(*order.as_bytes()) << 16 | u128::try_from(revision).unwrap();
    let (key, body) = (Key::new(E::AGGREGATE, order), event.encode_to_vec());
    Record {
        id: Uuid::from_u128(number),
        source: other(),
        history: history(&key, revision, &E::full_name(), &body),
        key,
        epoch: 1,
        revision,
        type_name: E::full_name(),
        body: body.into(),
        time: START,
        principal: "user/customer".to_owned(),
        command_id: Some(order),
        cause_id: None,
        trace: TraceContext::default(),
    }
}

/// The same event as one of another type.
pub(crate) fn of_type(name: &str, record: Record) -> Record {
    let history = history(&record.key, record.revision, name, &record.body);
    Record { type_name: name.to_owned(), history, ..record }
}

/// Where the other service's log stands if these are the newest events of their keys.
pub(crate) fn heads(position: i64, records: &[&Record]) -> Heads {
    let head = |record: &&Record| KeyHead {
        key: record.key.clone(),
        epoch: record.epoch,
        revision: record.revision,
        history: record.history,
        time: record.time,
    };
    let epoch = records.iter().map(|record| record.epoch).max().unwrap_or(1);
    let place = Place { position, event_id: records.last().map(|record| record.id) };
    Heads { log_id: other(), epoch, heads: records.iter().map(head).collect(), place, more: false }
}

/// The log of the service that the toy follows.
pub(crate) fn other() -> Id {
    Id::timed(1, [1; 10])
}

thread_local! {
    /// The pasts of the other service's keys: each test runs on a thread of its own.
    static PASTS: RefCell<HashMap<(Key, i64), History>> = RefCell::default();
}

/// The fingerprint of a key's past with this revision, after the one that was told before it.
fn history(key: &Key, revision: i64, type_name: &str, body: &[u8]) -> History {
    PASTS.with_borrow_mut(|pasts| {
        let before = pasts.get(&(key.clone(), revision - 1)).copied().unwrap_or_default();
        let history = before.then(type_name, body);
        pasts.insert((key.clone(), revision), history);
        history
    })
}

pub(crate) fn delivery(input: Input) -> Delivery {
    Delivery { input, delivered: 1, span: Span::none() }
}

/// The event as it comes from the stream, for the replica.
pub(crate) fn streamed(record: &Record) -> Delivery {
    brought("replica", record, Means::Stream)
}

pub(crate) fn late(record: &Record) -> Delivery {
    brought("replica", record, Means::StreamLate)
}

pub(crate) fn from_log(record: &Record) -> Delivery {
    brought("replica", record, Means::Log { epoch: record.epoch, absent: false })
}

pub(crate) fn brought(subscription: &'static str, record: &Record, means: Means) -> Delivery {
    delivery(Input::Event(EventDelivery { subscription, record: Arc::new(record.clone()), means }))
}

pub(crate) fn redelivered(delivered: u32, delivery: Delivery) -> Delivery {
    Delivery { delivered, ..delivery }
}

impl Shop {
    /// The audit of a subscription has come to the end of a part of the log of orders.
    pub(crate) async fn audited(&self, subscription: &str, heads: &Heads) -> millrace_ledger::Result<bool> {
        let since = self.ledger.followed(subscription, "order").await?.since;
        self.ledger.audited(subscription, "order", &since, heads).await
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

pub(crate) fn answered(answer: Answer) -> Delivery {
    Delivery { delivered: 0, ..delivery(Input::Answer(answer)) }
}

// === what became of it ===

impl Shop {
    /// The counter as its log tells it.
    pub(crate) async fn told(&self, id: Id) -> Counter {
        let reader = self.ledger.reader(Caller::default()).await.unwrap();
        reader.fold::<Counter>(id, None).await.unwrap().map(|(counter, _)| counter).unwrap_or_default()
    }

    pub(crate) async fn log(&self, id: Id) -> Vec<Record> {
        self.ledger.read(&[(Key::new("counter", id), 0)], 1000).await.unwrap().records
    }

    /// The units of a counter, as its projection shows them, and at which revision.
    pub(crate) async fn shown(&self, id: Id) -> Option<(i64, i64)> {
        self.query("select units, revision from shelf where id = $1", [id.to_string().into()]).await.pop()
    }

    /// The revisions of a key that the replica has seen, in that order. Panics if one was seen twice.
    pub(crate) async fn seen(&self, key: &Key) -> Vec<i64> {
        let sql = "select revision, times from seen where key = $1 order by place";
        let rows: Vec<(i64, i64)> = self.query(sql, [key.to_string().into()]).await;
        assert!(rows.iter().all(|(_, times)| *times == 1), "applied twice: {rows:?}");
        rows.into_iter().map(|(revision, _)| revision).collect()
    }

    pub(crate) async fn notes(&self) -> Vec<String> {
        let rows = self.query::<(String, i64)>("select text, cast(0 as bigint) from note order by text", []).await;
        rows.into_iter().map(|(text, _)| text).collect()
    }

    /// How many rows a table has.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        self.number(&format!("select count(*) from {table}")).await
    }

    /// The number that a statement comes to.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.query::<(i64, i64)>(&format!("select cast(({sql}) as bigint), cast(0 as bigint)"), []).await[0].0
    }

    /// The rows of a statement with two columns.
    async fn query<R: sea_orm::TryGetableMany>(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Vec<R> {
        let reader = self.ledger.reader(Caller::default()).await.unwrap();
        // By the names' order: columns of SQLite have no other.
        let sql = format!("with asked(a, b) as ({sql}) select a, b from asked");
        let statement = Statement::from_sql_and_values(reader.db().get_database_backend(), sql, values);
        let rows = reader.db().query_all_raw(statement).await.unwrap();
        rows.iter().map(|row| R::try_get_many_by_index(row).unwrap()).collect()
    }

    /// A connection of the test's own.
    pub(crate) async fn connection(&self) -> DatabaseConnection {
        millrace_ledger::connect(&self.url).await.unwrap()
    }
}

pub(crate) fn order(id: Id) -> Key {
    Key::new("order", id)
}

pub(crate) fn ended(outcome: &Outcome) -> &Ended {
    match outcome {
        Outcome::Ended(ended) => ended,
        other => panic!("not ended: {other:?}"),
    }
}

/// The bytes of the answer to a command that was completed.
pub(crate) fn answer(outcome: &Outcome) -> Bytes {
    match &ended(outcome).result {
        CommandResult::Completed(bytes) => bytes.clone(),
        other => panic!("not completed: {other:?}"),
    }
}

/// The reason for which a command was rejected.
pub(crate) fn reason(outcome: &Outcome) -> String {
    match &ended(outcome).result {
        CommandResult::Rejected(status) | CommandResult::KeyReused(status) => {
            proto::rpc::ErrorInfo::decode(&*status.details[0].value).unwrap().reason
        }
        other => panic!("not rejected: {other:?}"),
    }
}

pub(crate) fn failed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Ended(Ended { result: CommandResult::Failed(_), .. }))
}

pub(crate) fn given_back(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::GivenBack { .. })
}

/// Drives a future for so many polls, and drops it if it has not ended by then.
pub(crate) async fn polled<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut polled = 0;
    std::future::poll_fn(|cx| {
        polled += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polled >= polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Drives a future until a condition holds, and drops it then, as a kill does.
pub(crate) async fn killed_when<F: Future>(future: F, condition: impl Fn() -> bool) {
    let mut future = Box::pin(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(_) => panic!("it ended before it was killed"),
        Poll::Pending if condition() => Poll::Ready(()),
        Poll::Pending => Poll::Pending,
    })
    .await;
}
