//! What a service is: its tables, and what it does on which command, query, event and answer.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use event::{Kind, Method, Schema};
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::BoxStream;
use ledger::{
    Aggregate, Answered, Begun, Caller, Effect, Error, Fired, Handler, Handlers, Reader, Reads, Result, Subscription,
    Timer, operator,
};
use prost::{Message, Name};
use sea_orm_migration::MigrationTrait;

use crate::watch::Watch;

pub(crate) type QueryFn = Box<dyn Fn(Reader, Bytes) -> BoxFuture<'static, Result<Bytes>> + Send + Sync>;
pub(crate) type StreamFn =
    Box<dyn Fn(Watch, Bytes) -> BoxFuture<'static, Result<BoxStream<'static, Result<Bytes>>>> + Send + Sync>;

/// One bounded context: one database, and handlers that are found by the messages they take.
///
/// ```ignore
/// Service::new("order", schema)
///     .tables(store::migrations())
///     .sessions()
///     .command(Order::KIND, place_order)
///     .subscription(Subscription::new("payments", 1).acts_on(Order::KIND).on(payment_processed))
///     .query(get_order)
///     .stream(watch_order)
/// ```
pub struct Service {
    pub(crate) name: &'static str,
    pub(crate) schema: Arc<Schema>,
    pub(crate) tables: Vec<Box<dyn MigrationTrait>>,
    pub(crate) handlers: Handlers,
    pub(crate) queries: HashMap<String, QueryFn>,
    pub(crate) streams: HashMap<String, StreamFn>,
    pub(crate) state: Arc<dyn Any + Send + Sync>,
    pub(crate) has_sessions: bool,
    pub(crate) at_start: Vec<(String, Bytes)>,
}

impl Service {
    /// `name` is also its domain: the part after `millrace.` in its protos' package.
    pub fn new(name: &'static str, schema: Arc<Schema>) -> Self {
        let empty = Self {
            name,
            schema,
            tables: ledger::migrations(),
            handlers: Handlers::default(),
            queries: HashMap::new(),
            streams: HashMap::new(),
            state: Arc::new(()),
            has_sessions: false,
            at_start: Vec::new(),
        };
        // What operators ask is the same of every service.
        empty
            .command(operator::OPERATOR, operator::redrive)
            .command(operator::OPERATOR, operator::drop_parked)
            .query(operator::list_parked)
    }

    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The service's own tables. Names of migrations are sorted after the ledger's: `m1001_…`.
    #[must_use]
    pub fn tables(mut self, migrations: Vec<Box<dyn MigrationTrait>>) -> Self {
        self.tables.extend(migrations);
        self
    }

    /// What handlers get from `cx.service::<S>()`.
    #[must_use]
    pub fn state<S: Send + Sync + 'static>(mut self, state: S) -> Self {
        self.state = Arc::new(state);
        self
    }

    /// Keeps a replica of sessions, and refuses what comes from one that has ended.
    #[must_use]
    pub fn sessions(mut self) -> Self {
        self.has_sessions = true;
        self.tables.push(identity::session::migration());
        self.subscription(identity::session::subscription())
    }

    /// Does `handler` on the command that takes a `Q`; `target` is the kind of aggregate that it is about.
    #[must_use]
    pub fn command<Q, R, H>(mut self, target: &'static str, handler: H) -> Self
    where
        Q: Message + Name + Default + 'static,
        R: Message + 'static,
        H: for<'t> Handler<'t, Q, R> + 'static,
    {
        self.handlers.command(&self.schema, target, handler);
        self
    }

    /// The same, with a slow step `prepare` before the lane and outside any transaction; the handler takes `(request, what it found)`.
    #[must_use]
    pub fn prepared_command<Q, P, R, Prep, Fut, H>(mut self, target: &'static str, prepare: Prep, handler: H) -> Self
    where
        Q: Message + Name + Default + 'static,
        P: Clone + Send + Sync + 'static,
        R: Message + 'static,
        Prep: Fn(Reader, Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<P>> + Send + 'static,
        H: for<'t> Handler<'t, (Q, P), R> + 'static,
    {
        self.handlers.prepared_command(&self.schema, target, prepare, handler);
        self
    }

    /// The rows that queries read of these aggregates can be written again, from their events.
    #[must_use]
    pub fn projection<A: Aggregate>(mut self) -> Self {
        self.handlers.projection::<A>();
        self
    }

    /// Declares which rows the handler of the command that takes a `Q` will find in the service's own tables: see
    /// [`Handlers::reads`].
    #[must_use]
    pub fn reads<Q>(mut self, declare: fn(&Caller, &Q, &mut Reads)) -> Self
    where
        Q: Message + Name + Default + 'static,
    {
        self.handlers.reads(&self.schema, declare);
        self
    }

    #[must_use]
    pub fn subscription(mut self, subscription: Subscription) -> Self {
        self.handlers.subscription(subscription);
        self
    }

    /// Has one of its subscriptions in the version that a later state of the code would give it, which takes the work over from this one's. So
    /// two versions can be run side by side without two builds.
    #[must_use]
    pub fn raised(mut self, subscription: &str, version: i64) -> Self {
        self.handlers.raise(subscription, version);
        self
    }

    /// Performs effects of the kind `E`, and does `on_answer` with what came of them.
    #[must_use]
    pub fn effect<E, Perform, Fut, H>(mut self, perform: Perform, on_answer: H) -> Self
    where
        E: Effect,
        Perform: Fn(Reader, Begun<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<E::Answer>> + Send + 'static,
        H: for<'t> Handler<'t, Answered<E>, ()> + 'static,
    {
        self.handlers.effect(perform, on_answer);
        self
    }

    /// Does `handler` when a timer `T` is due.
    #[must_use]
    pub fn timer<T: Timer, H: for<'t> Handler<'t, Fired<T>, ()> + 'static>(mut self, handler: H) -> Self {
        self.handlers.timer(handler);
        self
    }

    /// The same for a timer that gives up waiting for an answer: it is held until what was pending has been read.
    #[must_use]
    pub fn deadline<T: Timer, H: for<'t> Handler<'t, Fired<T>, ()> + 'static>(mut self, handler: H) -> Self {
        self.handlers.deadline(handler);
        self
    }

    /// Answers the query that takes a `Q`.
    #[must_use]
    pub fn query<Q, R, F, Fut>(mut self, handler: F) -> Self
    where
        Q: Message + Name + Default + 'static,
        R: Message + 'static,
        F: Fn(Reader, Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R>> + Send + 'static,
    {
        let run: QueryFn = Box::new(move |reader, body| match Q::decode(body) {
            Ok(request) => {
                handler(reader, request).map(|answer| answer.map(|answer| answer.encode_to_vec().into())).boxed()
            }
            Err(error) => futures::future::ready(Err(Error::from(error))).boxed(),
        });
        if let Some(method) = self.schema.method_taking(&Q::full_name()) {
            self.queries.insert(method.name.clone(), run);
        }
        self
    }

    /// Answers the query that takes a `Q` again and again.
    #[must_use]
    pub fn stream<Q, R, F, Fut, S>(mut self, handler: F) -> Self
    where
        Q: Message + Name + Default + 'static,
        R: Message + 'static,
        F: Fn(Watch, Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S>> + Send + 'static,
        S: futures::Stream<Item = Result<R>> + Send + 'static,
    {
        let run: StreamFn = Box::new(move |watch, body| match Q::decode(body) {
            Ok(request) => handler(watch, request)
                .map(|stream| {
                    stream.map(|stream| stream.map(|item| item.map(|item| item.encode_to_vec().into())).boxed())
                })
                .boxed(),
            Err(error) => futures::future::ready(Err(Error::from(error))).boxed(),
        });
        if let Some(method) = self.schema.method_taking(&Q::full_name()) {
            self.streams.insert(method.name.clone(), run);
        }
        self
    }

    /// Gives itself this command whenever it starts, before it serves anybody. It keeps no receipt, so it must be idempotent.
    #[must_use]
    pub fn at_start<Q: Message + Name>(mut self, request: &Q) -> Self {
        if let Some(method) = self.schema.method_taking(&Q::full_name()) {
            self.at_start.push((method.name.clone(), request.encode_to_vec().into()));
        }
        self
    }

    /// The methods of its domain that have no handler of their kind. A service that lacks one does not start.
    pub fn missing(&self) -> Vec<String> {
        let handled = |method: &Method| match method.kind {
            Kind::Command => self.handlers.methods().any(|name| name == method.name),
            Kind::Query => self.queries.contains_key(&method.name),
            Kind::Stream => self.streams.contains_key(&method.name),
        };
        let own = self.schema.methods().filter(|method| method.domain == self.name);
        own.filter(|method| !handled(method)).map(|method| method.name.clone()).collect()
    }

    /// Its subscriptions, for the tests that keep them in step with the events.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.handlers.subscriptions()
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "service {}", self.name)
    }
}
