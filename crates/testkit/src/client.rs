use std::collections::BTreeSet;

use event::{Access, Event, Id, Micros, Record};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use ledger::{Caller, Command, CommandResult, Delivery, Error, Outcome, Processed, Rejection};
use proto::{Message, Name, rpc};
use tokio_util::sync::CancellationToken;

use crate::TestLedger;
use crate::ledger::delivery;

/// Somebody who sends commands to a [`TestLedger`] and asks it, as the gateway would on their behalf.
#[derive(Clone, Debug)]
pub struct Client<'l> {
    ledger: &'l TestLedger,
    caller: Caller,
    command_id: Option<Id>,
}

impl<'l> Client<'l> {
    pub(crate) const fn new(ledger: &'l TestLedger, caller: Caller) -> Self {
        Self { ledger, caller, command_id: None }
    }

    #[must_use]
    pub fn in_session(mut self, session: Id) -> Self {
        self.caller.session = Some(session);
        self
    }

    #[must_use]
    pub fn with_role(mut self, role: &str) -> Self {
        self.caller.roles.push(role.to_owned());
        self
    }

    /// Sends the next commands under this id, as a retry under the same idempotency key does.
    #[must_use]
    pub const fn under(mut self, command_id: Id) -> Self {
        self.command_id = Some(command_id);
        self
    }

    /// Sends a command, and waits until it was taken in. Panics if no method takes the request.
    pub async fn send<Q: Message + Name>(&self, request: Q) -> Done {
        match self.prepared(&request).await {
            Ok(command) => self.ledger.take_in(vec![delivery(command.into())]).await,
            Err(Error::Transient(reason)) => Done::given_back(reason),
            Err(error) => panic!("{} cannot be prepared: {error}", Q::full_name()),
        }
    }

    /// A command whose slow step is done, to be [taken in](TestLedger::take_in): alone, with others, or at the same time as others.
    pub async fn delivery<Q: Message + Name>(&self, request: Q) -> Delivery {
        let command = self.prepared(&request).await;
        let command = command.unwrap_or_else(|error| panic!("{} cannot be prepared: {error}", Q::full_name()));
        delivery(command.into())
    }

    async fn prepared<Q: Message + Name>(&self, request: &Q) -> ledger::Result<Command> {
        let command = self.command(request);
        let refused = self.ledger.opened.refused(&self.caller, self.ledger.now()).await?;
        let prepared = if refused.is_none() { self.ledger.ledger().prepare(&command).await? } else { None };
        Ok(Command { refused, prepared, ..command })
    }

    fn command<Q: Message + Name>(&self, request: &Q) -> Command {
        let schema = &self.ledger.opened.schema;
        let method = schema.method_taking(&Q::full_name());
        let method = method.unwrap_or_else(|| panic!("no method takes a {}", Q::full_name()));
        let body = request.encode_to_vec();
        let id = self.command_id.unwrap_or_else(|| self.ledger.new_id());
        let dynamic = prost_reflect::DynamicMessage::decode(method.input.clone(), &*body);
        let key = method.key_in(&dynamic.expect("what was encoded can be decoded"));
        Command {
            method: method.name.clone(),
            id,
            target: if key.is_empty() { id } else { key.parse().expect("a command's key is an id") },
            caller: self.caller.clone(),
            request_hash: identity::seal::request_hash(&body),
            body: body.into(),
            not_after: Micros(i64::MAX),
            anonymous: method.access == Access::Anonymous,
            refused: None,
            prepared: None,
        }
    }

    /// Asks a query.
    pub async fn ask<Q: Message + Name, R: Message + Default>(&self, request: Q) -> Result<R, Rejection> {
        let opened = &self.ledger.opened;
        if let Some(refused) = opened.refused(&self.caller, self.ledger.now()).await.expect("sessions can be judged") {
            return Err(refused);
        }
        let reader = opened.ledger.reader(self.caller.clone()).await.expect("the database can be read");
        let answer = opened.query(&self.method::<Q>(), reader, request.encode_to_vec().into()).await;
        judged(answer).map(decoded)
    }

    /// Begins to watch.
    pub async fn watch<Q, R>(&self, request: Q) -> Result<BoxStream<'static, Result<R, Rejection>>, Rejection>
    where
        Q: Message + Name,
        R: Message + Default + 'static,
    {
        let opened = &self.ledger.opened;
        let watch = opened.watch(self.caller.clone(), self.ledger.bell(), CancellationToken::new());
        let stream = opened.stream(&self.method::<Q>(), watch, request.encode_to_vec().into()).await;
        Ok(judged(stream)?.map(|answer| judged(answer).map(decoded)).boxed())
    }

    fn method<Q: Name>(&self) -> String {
        let method = self.ledger.opened.schema.method_taking(&Q::full_name());
        method.unwrap_or_else(|| panic!("no method takes a {}", Q::full_name())).name.clone()
    }
}

/// What became of what a [`TestLedger`] was given.
#[derive(Debug, Default, PartialEq)]
pub struct Done {
    pub outcomes: Vec<Outcome>,
    /// The events that followed, in their order.
    pub appended: Vec<Record>,
    /// Effects were wished.
    pub wished: bool,
}

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: i32,
    pub reason: String,
    /// The fields at fault.
    pub fields: BTreeSet<String>,
}

impl Done {
    /// The outcome, if it was one delivery.
    pub fn outcome(&self) -> &Outcome {
        let [outcome] = self.outcomes.as_slice() else { panic!("not one outcome: {:?}", self.outcomes) };
        outcome
    }

    /// The response of the command. Panics if it was refused.
    pub fn completed<R: Message + Default>(&self) -> R {
        match self.outcome() {
            Outcome::Ended(ended) => match &ended.result {
                CommandResult::Completed(body) => decoded(body.clone()),
                other => panic!("not completed: {other:?}"),
            },
            other => panic!("not completed: {other:?}"),
        }
    }

    /// Why the command was refused. Panics if it was not.
    pub fn rejected(&self) -> Refusal {
        match self.outcome() {
            Outcome::Ended(ended) => match &ended.result {
                CommandResult::Rejected(status) | CommandResult::KeyReused(status) => Refusal::from(status),
                other => panic!("not rejected: {other:?}"),
            },
            other => panic!("not rejected: {other:?}"),
        }
    }

    /// The reason of the refusal. Panics if it was not refused.
    pub fn reason(&self) -> String {
        self.rejected().reason
    }

    /// The events of one type that followed.
    pub fn events<E: Event>(&self) -> Vec<E> {
        let of_type = self.appended.iter().filter(|record| record.type_name == E::full_name());
        of_type.map(|record| decoded(record.body.clone())).collect()
    }

    /// The one event that followed. Panics if it was another, or not one.
    pub fn event<E: Event>(&self) -> E {
        let [record] = self.appended.as_slice() else { panic!("not one event: {:?}", self.appended) };
        assert_eq!(record.type_name, E::full_name());
        decoded(record.body.clone())
    }

    pub(crate) fn add(&mut self, mut other: Self) {
        self.outcomes.append(&mut other.outcomes);
        self.appended.append(&mut other.appended);
        self.wished |= other.wished;
    }

    fn given_back(reason: String) -> Self {
        let outcome = Outcome::GivenBack { delay: std::time::Duration::ZERO, reason };
        Self { outcomes: vec![outcome], ..Self::default() }
    }
}

impl From<Processed> for Done {
    fn from(processed: Processed) -> Self {
        Self { outcomes: processed.outcomes, appended: processed.appended, wished: processed.wished }
    }
}

impl From<&rpc::Status> for Refusal {
    fn from(status: &rpc::Status) -> Self {
        let detail = |name: &str| status.details.iter().find(|any| any.type_url.ends_with(name));
        let info: rpc::ErrorInfo =
            detail("google.rpc.ErrorInfo").map(|any| decoded(any.value.as_slice())).unwrap_or_default();
        let bad: rpc::BadRequest =
            detail("google.rpc.BadRequest").map(|any| decoded(any.value.as_slice())).unwrap_or_default();
        let fields = bad.field_violations.into_iter().map(|violation| violation.field).collect();
        Self { code: status.code, reason: info.reason, fields }
    }
}

fn judged<T>(answer: ledger::Result<T>) -> Result<T, Rejection> {
    match answer {
        Ok(answer) => Ok(answer),
        Err(Error::Rejected(rejection)) => Err(rejection),
        Err(error) => panic!("the query failed: {error}"),
    }
}

fn decoded<M: Message + Default>(body: impl bytes::Buf) -> M {
    M::decode(body).unwrap_or_else(|error| panic!("cannot be decoded: {error}"))
}
