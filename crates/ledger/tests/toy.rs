//! A toy service: counters with a limit, a replica, and a provider of payments whose answers are scripted. What a command or an event does
//! is written in it, as a list of steps.

mod steps;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use event::{Id, Key, Schema};
use millrace_ledger::{
    Aggregate, Answered, At, Begun, Code, Effect, Error, Fired, Handlers, Loaded, Reader, Reads, Rejection, Result,
    Rows, Subscription, Timer, Tx, event_set,
};
use proto::command::v1::Receipt;
use proto::order::v1::{Order, OrderCreated, OrderProcessed, PlaceOrderRequest, PlaceOrderResponse};
use proto::registration::v1::{RegisterRequest, RegisterResponse};
use proto::user::v1::UserUpdated;
use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue::Set, Statement};
use sea_orm_migration::prelude::*;
use tokio::sync::watch;

/// Units came in.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Stocked {
    #[prost(int64, tag = "1")]
    pub(crate) units: i64,
}

/// Units went out.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Sold {
    #[prost(int64, tag = "1")]
    pub(crate) units: i64,
}

/// A payment came in.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Paid {
    #[prost(int64, tag = "1")]
    pub(crate) amount: i64,
}

/// The wish for a payment.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Charge {
    #[prost(int64, tag = "1")]
    pub(crate) amount: i64,
}

/// What the provider said.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Charged {
    #[prost(string, tag = "1")]
    pub(crate) said: String,
}

/// Steps for later, with commas between them.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Remind {
    #[prost(string, tag = "1")]
    pub(crate) steps: String,
}

/// The same, for when nobody has answered by then.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct GiveUp {
    #[prost(string, tag = "1")]
    pub(crate) steps: String,
}

macro_rules! named {
    ($($message:ident),+) => {
        $(impl prost::Name for $message {
            const NAME: &'static str = stringify!($message);
            const PACKAGE: &'static str = "millrace.counter.v1";
        })+
    };
}
named!(Stocked, Sold, Paid);

event_set!(
    pub(crate) enum Event {
        Stocked,
        Sold,
        Paid,
    }
);

impl Effect for Charge {
    const KIND: &'static str = "charge";
    type Answer = Charged;
}

impl Timer for Remind {
    const NAME: &'static str = "remind";
}

impl Timer for GiveUp {
    const NAME: &'static str = "give-up";
}

/// Something of which there is a limited number of units.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Counter {
    pub(crate) units: i64,
    pub(crate) sold: i64,
    pub(crate) paid: i64,
}

impl Aggregate for Counter {
    const KIND: &'static str = "counter";
    const FOLD: i64 = 1;
    type Event = Event;

    fn apply(&mut self, event: &Event, _at: &At) {
        match event {
            Event::Stocked(Stocked { units }) => self.units += units,
            Event::Sold(Sold { units }) => (self.units, self.sold) = (self.units - units, self.sold + units),
            Event::Paid(Paid { amount }) => self.paid += amount,
        }
    }

    fn project(&self, at: &At, rows: &mut Rows) {
        let (id, units, revision) = (at.id.to_string(), self.units, at.revision);
        rows.put(id.clone(), shelf::ActiveModel { id: Set(id), units: Set(units), revision: Set(revision) });
    }
}

/// The same aggregate as a later version of the code folds it: it counts its events, too.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Recount {
    counter: Counter,
    pub(crate) events: i64,
}

impl Aggregate for Recount {
    const KIND: &'static str = "counter";
    const FOLD: i64 = 2;
    type Event = Event;

    fn apply(&mut self, event: &Event, at: &At) {
        self.events += 1;
        self.counter.apply(event, at);
    }
}

/// The projection of counters.
pub(crate) mod shelf {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "shelf")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub units: i64,
        pub revision: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A table that is not there.
mod lost {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "lost")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) struct CreateToy;

impl MigrationName for CreateToy {
    fn name(&self) -> &'static str {
        "m1001_create_toy"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateToy {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for table in [
            "create table shelf (id text primary key, units bigint not null, revision bigint not null)",
            "create table note (text text primary key)",
            "create table seen (key text, revision bigint, times bigint not null, place bigint not null, primary key (key, revision))",
        ] {
            connection.execute_unprepared(table).await?;
        }
        Ok(())
    }
}

/// What the toy is started with: the script of the world outside, and what handlers tell the test.
#[derive(Debug)]
pub(crate) struct World {
    /// While set, the steps `fail`, `panic` and `refuse` do what they say.
    pub(crate) broken: AtomicBool,
    /// How often a verb was begun.
    begun: Mutex<HashMap<String, usize>>,
    /// How many handlers have arrived at the step `meet`.
    arrived: watch::Sender<usize>,
    /// What the provider will say; then "paid".
    pub(crate) answers: Mutex<VecDeque<&'static str>>,
    /// What the provider was called with: the reference, and whether it was to be asked first.
    pub(crate) calls: Mutex<Vec<(String, bool)>>,
}

impl Default for World {
    fn default() -> Self {
        let (answers, calls) = (Mutex::default(), Mutex::default());
        Self { broken: AtomicBool::new(true), begun: Mutex::default(), arrived: watch::Sender::new(0), answers, calls }
    }
}

impl World {
    pub(crate) fn times(&self, verb: &str) -> usize {
        lock(&self.begun).get(verb).copied().unwrap_or(0)
    }

    pub(crate) fn repair(&self) {
        self.broken.store(false, Ordering::SeqCst);
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The toy's handlers. PlaceOrder carries the steps of a command, Register those of one that anybody may send.
/// `version` is that of its subscriptions.
pub(crate) fn handlers(schema: &Schema, version: i64) -> Handlers {
    let mut handlers = Handlers::default();
    handlers.command(schema, Counter::KIND, act);
    handlers.command(schema, Counter::KIND, act_for_anybody);
    handlers.subscription(Subscription::new("replica", version).on(on_created).reads(of_created));
    handlers.subscription(Subscription::new("clerk", version).acts_on(Counter::KIND).on(on_processed));
    handlers.subscription(Subscription::new("mailer", version).from_now().on(on_created).reads(of_created));
    handlers.subscription(Subscription::new("newcomer", version).on(on_updated).reads(of_updated));
    handlers.effect::<Charge, _, _, _>(perform, on_charged);
    handlers.timer(on_remind);
    handlers.deadline(on_give_up);
    handlers.command(schema, "operator", millrace_ledger::operator::redrive);
    handlers.command(schema, "operator", millrace_ledger::operator::drop_parked);
    handlers
}

async fn act(cx: &mut Tx, request: PlaceOrderRequest) -> Result<PlaceOrderResponse> {
    steps::steps(cx, &request.payment_method_id).await?;
    let receipt = request.payment_method_id.contains("answer-with-a-receipt").then(Receipt::default);
    // A second run would answer something else.
    let order = Order { order_id: cx.new_id().to_string(), ..Default::default() };
    Ok(PlaceOrderResponse { receipt, order: Some(order) })
}

async fn act_for_anybody(cx: &mut Tx, request: RegisterRequest) -> Result<RegisterResponse> {
    steps::steps(cx, &request.display_name).await?;
    Ok(RegisterResponse::default())
}

async fn on_created(cx: &mut Tx, event: OrderCreated) -> Result<()> {
    see(cx).await?;
    steps::steps(cx, &event.customer_id).await
}

/// Of a service whose log the toy has not met.
async fn on_updated(cx: &mut Tx, event: UserUpdated) -> Result<()> {
    see(cx).await?;
    steps::steps(cx, &event.display_name).await
}

fn of_created(event: &OrderCreated, reads: &mut Reads) {
    declare(&event.customer_id, reads);
}

fn of_updated(event: &UserUpdated, reads: &mut Reads) {
    declare(&event.display_name, reads);
}

/// The step `read-lost` fails as soon as anybody looks for what it declares.
fn declare(steps: &str, reads: &mut Reads) {
    if steps.contains("read-lost") {
        reads.row::<lost::Entity>("anything");
    }
}

async fn on_remind(cx: &mut Tx, fired: Fired<Remind>) -> Result<()> {
    steps::steps(cx, &fired.timer.steps.replace(',', ";")).await
}

async fn on_give_up(cx: &mut Tx, fired: Fired<GiveUp>) -> Result<()> {
    steps::steps(cx, &fired.timer.steps.replace(',', ";")).await
}

async fn on_processed(cx: &mut Tx, event: OrderProcessed) -> Result<()> {
    steps::steps(cx, &event.order_id).await
}

/// Notes which event was applied, how often, and as which of its key.
async fn see(cx: &mut Tx) -> Result<()> {
    let (key, revision) = (cx.event()?.key.to_string(), cx.event()?.revision);
    let sql = "insert into seen (key, revision, times, place) values ($1, $2, 1, 1 + (select count(*) from seen where key = $1)) \
               on conflict (key, revision) do update set times = seen.times + 1";
    let statement = Statement::from_sql_and_values(cx.db().get_database_backend(), sql, [key.into(), revision.into()]);
    cx.write().execute_raw(statement).await?;
    Ok(())
}

/// Goes on once two handlers have been here.
async fn meet(world: &World) -> Result<()> {
    world.arrived.send_modify(|arrived| *arrived += 1);
    let met = world.arrived.subscribe().wait_for(|arrived| *arrived >= 2).await.map(drop);
    met.map_err(|error| Error::Failed(error.to_string()))
}

async fn perform(reader: Reader, begun: Begun<Charge>) -> Result<Charged> {
    let world = reader.service::<Arc<World>>()?;
    lock(&world.calls).push((begun.reference, begun.ask_first));
    match lock(&world.answers).pop_front() {
        Some("lost") => Err(Error::Transient("nobody knows".to_owned())),
        said => Ok(Charged { said: said.unwrap_or("paid").to_owned() }),
    }
}

async fn on_charged(cx: &mut Tx, answered: Answered<Charge>) -> Result<()> {
    let id = answered.key.id().to_string();
    let mut counter = steps::counter(cx, &id).await?;
    cx.append(&mut counter, [Paid { amount: answered.wish.amount }.into()]).await?;
    steps::steps(cx, &answered.answer.said).await
}

fn rejection(reason: &'static str) -> Rejection {
    Rejection::new(Code::FailedPrecondition, reason, "the toy was told to")
}
