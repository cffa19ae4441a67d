//! What a service does on which command, event and answer. Handlers are plain functions; here they are found by the protobuf name of what
//! they take, so that no name is written twice.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use event::{Key, Schema};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use proto::{Message, Name};

use crate::delivery::{Caller, Prepared};
use crate::error::{Error, Result};
use crate::projection::ProjectFn;
use crate::reader::Reader;
use crate::reads::Reads;
use crate::timer::TimerHandler;
use crate::tx::Tx;

/// An asynchronous function that works in a transaction: `async fn place_order(cx: &mut Tx, request: PlaceOrderRequest) -> Result<..>`.
pub trait Handler<'t, I, O>: Send + Sync {
    type Future: Future<Output = Result<O>> + Send + 't;
    fn call(&self, cx: &'t mut Tx, input: I) -> Self::Future;
}

impl<'t, F, Fut, I, O> Handler<'t, I, O> for F
where
    F: Fn(&'t mut Tx, I) -> Fut + Send + Sync,
    Fut: Future<Output = Result<O>> + Send + 't,
{
    type Future = Fut;

    fn call(&self, cx: &'t mut Tx, input: I) -> Fut {
        self(cx, input)
    }
}

type CommandFn = Box<dyn for<'t> Fn(&'t mut Tx, Bytes, Option<Prepared>) -> BoxFuture<'t, Result<Bytes>> + Send + Sync>;
type PrepareFn = Box<dyn Fn(Reader, Bytes) -> BoxFuture<'static, Result<Prepared>> + Send + Sync>;
type EventFn = Box<dyn for<'t> Fn(&'t mut Tx, Bytes) -> BoxFuture<'t, Result<()>> + Send + Sync>;
type AnswerFn = Box<dyn for<'t> Fn(&'t mut Tx, Key, i64, Vec<u8>, Bytes) -> BoxFuture<'t, Result<()>> + Send + Sync>;
type PerformFn = Box<dyn Fn(Reader, Begun<Bytes>) -> BoxFuture<'static, Result<Bytes>> + Send + Sync>;

pub(crate) type CommandReads = Box<dyn Fn(&Caller, &Bytes, &mut Reads) + Send + Sync>;
pub(crate) type EventReads = Box<dyn Fn(&Bytes, &mut Reads) + Send + Sync>;

/// All handlers of a service.
#[derive(Default)]
pub struct Handlers {
    pub(crate) commands: BTreeMap<String, CommandHandler>,
    pub(crate) subscriptions: BTreeMap<&'static str, Subscription>,
    pub(crate) effects: BTreeMap<&'static str, EffectHandler>,
    pub(crate) timers: BTreeMap<&'static str, TimerHandler>,
    pub(crate) projections: BTreeMap<&'static str, ProjectFn>,
    /// What the handlers of commands read of the service's own tables, by method.
    pub(crate) reads: BTreeMap<String, CommandReads>,
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handlers").field("commands", &self.commands.keys()).finish_non_exhaustive()
    }
}

pub(crate) struct CommandHandler {
    /// The kind of aggregate that it is about.
    pub(crate) target: &'static str,
    pub(crate) run: CommandFn,
    pub(crate) prepare: Option<PrepareFn>,
    /// Its request holds a secret, and is never kept.
    pub(crate) secret: bool,
}

pub(crate) struct EffectHandler {
    pub(crate) perform: PerformFn,
    pub(crate) answer: AnswerFn,
}

impl Handlers {
    /// Does `handler` on the command that takes a `Q`. `target` is the kind of aggregate that the command is about.
    pub fn command<Q, R, H>(&mut self, schema: &Schema, target: &'static str, handler: H)
    where
        Q: Message + Name + Default + 'static,
        R: Message + 'static,
        H: for<'t> Handler<'t, Q, R> + 'static,
    {
        let handler = Arc::new(handler);
        let run: CommandFn = Box::new(move |cx, body, _| {
            let handler = Arc::clone(&handler);
            async move { Ok(encode(&handler.call(cx, Q::decode(body)?).await?)) }.boxed()
        });
        self.add_command::<Q>(schema, CommandHandler { target, run, prepare: None, secret: false });
    }

    /// The same for a command with a slow step. `prepare` runs before the lane and outside any transaction; what it read must be compared
    /// again by the handler.
    pub fn prepared_command<Q, P, R, Prep, Fut, H>(
        &mut self,
        schema: &Schema,
        target: &'static str,
        prepare: Prep,
        handler: H,
    ) where
        Q: Message + Name + Default + 'static,
        P: Clone + Send + Sync + 'static,
        R: Message + 'static,
        Prep: Fn(Reader, Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<P>> + Send + 'static,
        H: for<'t> Handler<'t, (Q, P), R> + 'static,
    {
        let handler = Arc::new(handler);
        let run: CommandFn = Box::new(move |cx, body, prepared| {
            let handler = Arc::clone(&handler);
            async move {
                let prepared = prepared.as_deref().and_then(|any| (any as &dyn Any).downcast_ref::<P>()).cloned();
                let prepared = prepared.ok_or_else(|| Error::Failed("the command was not prepared".to_owned()))?;
                Ok(encode(&handler.call(cx, (Q::decode(body)?, prepared)).await?))
            }
            .boxed()
        });
        let prepare: PrepareFn = Box::new(move |reader, body| match Q::decode(body) {
            Ok(request) => prepare(reader, request).map(|found| found.map(|found| Arc::new(found) as Prepared)).boxed(),
            Err(error) => futures::future::ready(Err(error.into())).boxed(),
        });
        self.add_command::<Q>(schema, CommandHandler { target, run, prepare: Some(prepare), secret: false });
    }

    fn add_command<Q: Name>(&mut self, schema: &Schema, handler: CommandHandler) {
        // A request that no method takes cannot be called; the service's own check over the schema then misses a handler.
        if let Some(method) = schema.method_taking(&Q::full_name()) {
            let secret = !event::hidden_fields(&method.input, event::is_secret).is_empty();
            self.commands.insert(method.name.clone(), CommandHandler { secret, ..handler });
        }
    }

    /// Declares which rows the handler of the command that takes a `Q` will [find](Tx::find), so that they are read for a whole batch at
    /// once. It makes no difference but to the cost.
    pub fn reads<Q>(&mut self, schema: &Schema, declare: fn(&Caller, &Q, &mut Reads))
    where
        Q: Message + Name + Default + 'static,
    {
        if let Some(method) = schema.method_taking(&Q::full_name()) {
            let reads: CommandReads = Box::new(move |caller, body, reads| {
                if let Ok(request) = Q::decode(body.clone()) {
                    declare(caller, &request, reads);
                }
            });
            self.reads.insert(method.name.clone(), reads);
        }
    }

    pub fn subscription(&mut self, subscription: Subscription) {
        self.subscriptions.insert(subscription.name, subscription);
    }

    /// Gives a subscription the version that a later state of the code would give it.
    pub fn raise(&mut self, subscription: &str, version: i64) {
        if let Some(subscription) = self.subscriptions.get_mut(subscription) {
            subscription.version = version;
        }
    }

    /// Performs effects of the kind `E`, and does `on_answer` in the transaction that takes the answer in. `perform` reads what no wish may
    /// hold, such as a card's token, from the service's own tables.
    pub fn effect<E, Perform, Fut, H>(&mut self, perform: Perform, on_answer: H)
    where
        E: Effect,
        Perform: Fn(Reader, Begun<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<E::Answer>> + Send + 'static,
        H: for<'t> Handler<'t, Answered<E>, ()> + 'static,
    {
        let perform: PerformFn = Box::new(move |reader, begun| match E::decode(begun.wish.clone()) {
            Ok(wish) => {
                let begun = Begun { wish, reference: begun.reference, ask_first: begun.ask_first };
                perform(reader, begun).map(|answer| answer.map(|answer| encode(&answer))).boxed()
            }
            Err(error) => futures::future::ready(Err(error.into())).boxed(),
        });
        let on_answer = Arc::new(on_answer);
        let answer: AnswerFn = Box::new(move |cx, key, n, wish, answer| {
            let on_answer = Arc::clone(&on_answer);
            async move {
                let answered = Answered { key, n, wish: E::decode(&*wish)?, answer: E::Answer::decode(answer)? };
                on_answer.call(cx, answered).await
            }
            .boxed()
        });
        self.effects.insert(E::KIND, EffectHandler { perform, answer });
    }

    /// The full names of the methods that have a handler.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.commands.keys().map(String::as_str)
    }

    /// The kind of the aggregates that a command is about.
    pub fn target(&self, method: &str) -> Option<&'static str> {
        self.commands.get(method).map(|handler| handler.target)
    }

    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.subscriptions.values()
    }
}

fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// A named, versioned consumer of aggregates.
pub struct Subscription {
    pub name: &'static str,
    /// Raised when the types that it handles, or what it makes of them, change.
    pub version: i64,
    /// Nothing is done for what happened before it was first started.
    pub(crate) from_now: bool,
    /// The kind of aggregate that it acts on, under the id of the event's key; none for a replica.
    pub(crate) acts_on: Option<&'static str>,
    /// The handler of each type, with the domain and aggregate that the type is of.
    pub(crate) handlers: BTreeMap<String, (Followed, EventFn)>,
    /// What they read of the service's own tables, by type.
    pub(crate) reads: BTreeMap<String, EventReads>,
}

/// The aggregates of one kind, whose events a subscription gets without holes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Followed {
    pub domain: String,
    pub aggregate: &'static str,
}

impl Subscription {
    pub fn new(name: &'static str, version: i64) -> Self {
        Self { name, version, from_now: false, acts_on: None, handlers: BTreeMap::new(), reads: BTreeMap::new() }
    }

    /// The subscription changes the aggregate of this kind whose id is that of the event's key. Its head is locked up front.
    #[must_use]
    pub const fn acts_on(mut self, kind: &'static str) -> Self {
        self.acts_on = Some(kind);
        self
    }

    /// Its work is wanted only for what happens from its first start on: for older events its cursors move, and no handler is called. A
    /// mailer that is added in the second year must not mail the first one's news.
    #[must_use]
    pub const fn from_now(mut self) -> Self {
        self.from_now = true;
        self
    }

    /// Does `handler` on each `E`. The subscription then follows all aggregates of E's kind; their events of other types are skipped.
    #[must_use]
    pub fn on<E, H>(mut self, handler: H) -> Self
    where
        E: proto::Event + 'static,
        H: for<'t> Handler<'t, E, ()> + 'static,
    {
        let handler = Arc::new(handler);
        let run: EventFn = Box::new(move |cx, body| {
            let handler = Arc::clone(&handler);
            async move {
                let event =
                    E::decode(body).map_err(|error| Error::Failed(format!("cannot decode {}: {error}", E::NAME)))?;
                handler.call(cx, event).await
            }
            .boxed()
        });
        let domain = event::subject::domain_of(&E::full_name()).to_owned();
        self.handlers.insert(E::full_name(), (Followed { domain, aggregate: E::AGGREGATE }, run));
        self
    }

    /// Declares which rows the handler of `E` will [find](Tx::find), so that they are read for a whole batch at once. It makes no
    /// difference but to the cost.
    #[must_use]
    pub fn reads<E: proto::Event + 'static>(mut self, declare: fn(&E, &mut Reads)) -> Self {
        let reads: EventReads = Box::new(move |body, reads| {
            if let Ok(event) = E::decode(body.clone()) {
                declare(&event, reads);
            }
        });
        self.reads.insert(E::full_name(), reads);
        self
    }

    /// What it follows, each once.
    pub fn follows(&self) -> Vec<Followed> {
        let mut followed: Vec<_> = self.handlers.values().map(|(followed, _)| followed.clone()).collect();
        followed.sort();
        followed.dedup();
        followed
    }

    /// The full names of the types that it handles.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.handlers.keys().map(String::as_str)
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (version {})", self.name, self.version)
    }
}

/// A wish to act on the world outside, as a message, so that it can be read in a year.
pub trait Effect: Message + Default + 'static {
    /// Tells kinds of effects of one service apart.
    const KIND: &'static str;
    type Answer: Message + Default;
}

/// An effect that a worker has begun.
#[derive(Clone, Debug)]
pub struct Begun<E> {
    pub wish: E,
    /// Names this effect at the provider, for ever the same: its idempotency key.
    pub reference: String,
    /// It was begun before, and nobody knows what came of it: ask by the reference first. "Not found" is no outcome: then do it, under the
    /// same reference.
    pub ask_first: bool,
}

/// How an effect is named at the provider: by the aggregate that wished it, its kind, and the revision with which it was wished.
pub fn reference(key: &impl std::fmt::Display, kind: &str, n: i64) -> String {
    format!("{key}:{kind}:{n}")
}

/// What the world answered to an effect.
#[derive(Clone, Debug)]
pub struct Answered<E: Effect> {
    /// The aggregate that wished it.
    pub key: Key,
    pub n: i64,
    pub wish: E,
    pub answer: E::Answer,
}
