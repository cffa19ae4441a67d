//! Takes a batch of deliveries in, in one transaction; if anything fails, one by one, so that one bad delivery costs only itself.

mod answer;
mod attempts;
pub(crate) mod command;
pub(crate) mod event;
mod timer;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;

use ::event::{Key, Record};
use futures::FutureExt as _;
use tracing::{Instrument as _, Span};

use crate::delivery::{Delivery, Input, Outcome};
use crate::effects::Leased;
use crate::error::{Error, Rejection, Result};
use crate::followed::Origin;
use crate::ledger::Ledger;
use crate::reads::Reads;
use crate::tx::{Cause, Touched, Tx};

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Processed {
    /// One for each delivery, in their order.
    pub outcomes: Vec<Outcome>,
    /// What was committed, to be published.
    pub appended: Vec<Record>,
    /// Effects were wished that nobody has leased yet.
    pub wished: bool,
    /// Effects that were wished and leased at once, each to be [performed](Ledger::perform).
    pub leased: Vec<Leased>,
}

/// Why a transaction was not committed.
#[derive(Debug)]
pub(crate) enum Abort {
    /// A delivery has failed before, or may have killed the process: it is counted first, and done alone.
    Suspect,
    /// A command was refused after it had written something.
    Rejected(Rejection),
    NotYet(Key),
    Transient(String),
    /// The database cannot be reached.
    Away(String),
    LostRace,
    Failed(String),
}

impl From<Error> for Abort {
    fn from(error: Error) -> Self {
        match error {
            Error::Rejected(rejection) => Self::Rejected(rejection),
            Error::NotYet(key) => Self::NotYet(key),
            Error::Transient(reason) => Self::Transient(reason),
            Error::LostRace => Self::LostRace,
            Error::Failed(reason) => Self::Failed(reason),
        }
    }
}

/// The database cannot be reached, and nothing else can be done either.
struct Away(String);

/// How often a delivery that lost a race is redone at once. Each time another transaction has won, so somebody gets on.
const RACES: usize = 8;

impl Ledger {
    /// Takes deliveries in. Safe to drop at any await: then nothing was committed, or all of it was, and the broker delivers again.
    pub async fn process(&self, batch: Vec<Delivery>) -> Processed {
        if batch.len() > 1
            && let Ok(processed) = self.together(&batch, false, &mut Vec::new()).await
        {
            return processed;
        }
        let mut all = Processed::default();
        let mut rest = batch.into_iter();
        for delivery in rest.by_ref() {
            // What is logged about a failure is found by the delivery's trace.
            let span = delivery.span.clone();
            match self.one(delivery).instrument(span).await {
                Ok(mut one) => {
                    all.outcomes.append(&mut one.outcomes);
                    all.appended.append(&mut one.appended);
                    all.wished |= one.wished;
                    all.leased.append(&mut one.leased);
                }
                // Each would wait for the database for as long; together they would keep their callers waiting for minutes.
                Err(Away(reason)) => {
                    all.outcomes.push(self.transient(&reason));
                    all.outcomes.extend(rest.map(|_| self.transient(&reason)));
                    break;
                }
            }
        }
        all
    }

    async fn one(&self, mut delivery: Delivery) -> Result<Processed, Away> {
        let (mut counted, mut late) = (None, Vec::new());
        for _ in 0..RACES {
            let abort = match self.together(std::slice::from_ref(&delivery), counted.is_some(), &mut late).await {
                Ok(processed) => return Ok(processed),
                Err(Abort::Away(reason)) => return Err(Away(reason)),
                Err(abort) => abort,
            };
            match self.resolve(&mut delivery, abort, &mut counted).await {
                Ok(Some(outcome)) => return Ok(given_back(outcome)),
                Ok(None) | Err(Error::LostRace) => {}
                Err(error) => return Ok(given_back(self.transient(&error.to_string()))),
            }
        }
        let reason = "it lost every race: perhaps it writes a row that exists already".to_owned();
        let outcome = self.failed(&delivery, counted, reason).await;
        Ok(given_back(outcome.unwrap_or_else(|error| self.transient(&error.to_string()))))
    }

    /// What an aborted delivery comes to; None if it is to be done again at once.
    async fn resolve(
        &self,
        delivery: &mut Delivery,
        abort: Abort,
        counted: &mut Option<i64>,
    ) -> Result<Option<Outcome>> {
        match abort {
            Abort::Suspect => {
                let attempts = self.count(delivery).await?;
                *counted = Some(attempts);
                if attempts > self.0.retry.attempts {
                    let reason = "the process ended with each attempt".to_owned();
                    return self.failed(delivery, *counted, reason).await.map(Some);
                }
                Ok(None)
            }
            Abort::LostRace => Ok(None),
            Abort::Rejected(rejection) => match &mut delivery.input {
                Input::Command(command) if command.refused.is_none() => {
                    command.refused = Some(rejection);
                    Ok(None)
                }
                _ => {
                    self.failed(delivery, *counted, format!("refused, but is no command: {rejection}")).await.map(Some)
                }
            },
            Abort::NotYet(key) => {
                self.uncount(delivery, *counted).await?;
                self.not_yet(delivery, &key).await.map(Some)
            }
            Abort::Transient(reason) | Abort::Away(reason) => {
                self.uncount(delivery, *counted).await?;
                Ok(Some(self.transient(&reason)))
            }
            Abort::Failed(reason) => self.failed(delivery, *counted, reason).await.map(Some),
        }
    }

    /// Given back for a while: the database, the network or another service is away, and nothing is to blame.
    pub(crate) fn transient(&self, reason: &str) -> Outcome {
        tracing::warn!(reason, "given back");
        Outcome::GivenBack { delay: self.0.retry.delay(2, &self.0.chance), reason: reason.to_owned() }
    }

    /// Does all deliveries in one transaction. `counted`: there is only one, and its attempt was counted. `late`: what handlers came to
    /// load the last time, to be locked in order with everything else; added to if that fails again.
    async fn together(&self, batch: &[Delivery], counted: bool, late: &mut Vec<Key>) -> Result<Processed, Abort> {
        let mut tx = self.begin().await.map_err(|error| Abort::Away(error.to_string()))?;
        match self.steps(&mut tx, batch, counted, late).await {
            Ok(outcomes) => {
                let leased = self.lease_new(&mut tx);
                let wished = tx.book.effects.len() > leased.len();
                match tx.commit().await {
                    Ok(appended) => Ok(Processed { outcomes, appended, wished, leased }),
                    Err(error) => {
                        self.make_room(leased.len());
                        Err(error.into())
                    }
                }
            }
            Err(abort) => {
                late.append(&mut tx.book.late);
                tx.roll_back().await;
                Err(abort)
            }
        }
    }

    async fn steps(&self, tx: &mut Tx, batch: &[Delivery], counted: bool, late: &[Key]) -> Result<Vec<Outcome>, Abort> {
        self.lock(tx, batch, late).await?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for delivery in batch {
            outcomes.push(self.step(tx, delivery, counted).await?);
        }
        Ok(outcomes)
    }

    /// Locks what the deliveries need, each kind sorted: the subscriptions' rows (shared), receipts, cursors, effects, and last the target
    /// heads.
    async fn lock(&self, tx: &mut Tx, batch: &[Delivery], late: &[Key]) -> Result<(), Abort> {
        let (mut receipts, mut cursors, mut heads) = (Vec::new(), Vec::new(), late.to_vec());
        let mut effects = Vec::new();
        self.own(tx, subscriptions(batch)).await?;
        for delivery in batch {
            match &delivery.input {
                Input::Command(command) => {
                    receipts.extend((!command.anonymous).then_some(command.id));
                    let handler = self.0.handlers.commands.get(&command.method);
                    heads.extend(handler.map(|handler| Key::new(handler.target, command.target)));
                }
                Input::Event(event) if self.origin(&tx.following, event) != Origin::Followed => {}
                Input::Event(event) => {
                    cursors.push((event.subscription, event.record.key.clone()));
                    let acts_on = self
                        .0
                        .handlers
                        .subscriptions
                        .get(event.subscription)
                        .and_then(|subscription| subscription.acts_on);
                    heads.extend(acts_on.map(|kind| Key::new(kind, event.record.key.id())));
                }
                Input::Answer(answer) => {
                    heads.push(answer.key.clone());
                    effects.push((answer.key.clone(), answer.kind, answer.n));
                }
                Input::Timer(timer) => heads.push(timer.key.clone()),
            }
        }
        heads.sort();
        heads.dedup();
        let locked = async {
            tx.book.lock_receipts(&tx.txn, &receipts).await?;
            tx.book.lock_cursors(&tx.txn, cursors).await?;
            tx.book.lock_effects(&tx.txn, effects).await?;
            tx.book.lock_heads(&tx.txn, &heads, tx.log.epoch).await
        };
        match locked.await {
            // Here nobody waits in a circle: somebody holds a lock for long, and the lane has better to do than to wait for it again.
            Err(Error::LostRace) => {
                return Err(Abort::Transient("another transaction holds a lock for long".to_owned()));
            }
            locked => locked?,
        }
        tx.found = self.reads(tx, batch).find(&tx.txn).await.map_err(Error::from)?;
        Ok(())
    }

    /// What the handlers of a batch declare that they will read. What comes to no handler reads nothing: what fails here is counted against
    /// its delivery, and nobody has judged yet whether that is to be tried at all.
    fn reads(&self, tx: &Tx, batch: &[Delivery]) -> Reads {
        let (handlers, mut reads, mut ahead) = (&self.0.handlers, Reads::default(), HashMap::new());
        for delivery in batch {
            match &delivery.input {
                Input::Command(command) => {
                    if let Some(declared) = handlers.reads.get(&command.method) {
                        declared(&command.caller, &command.body, &mut reads);
                    }
                }
                Input::Event(event) => {
                    let subscription = handlers.subscriptions.get(event.subscription);
                    let Some(subscription) = subscription.filter(|one| !one.reads.is_empty()) else { continue };
                    if event::comes_to_handler(tx, event, &mut ahead)
                        && let Some(declared) = subscription.reads.get(&event.record.type_name)
                    {
                        declared(&event.record.body, &mut reads);
                    }
                }
                Input::Answer(_) | Input::Timer(_) => {}
            }
        }
        reads
    }

    async fn step(&self, tx: &mut Tx, delivery: &Delivery, counted: bool) -> Result<Outcome, Abort> {
        tx.touched = Touched::default();
        tx.cause = Cause::default();
        let attempt = Attempt { span: &delivery.span, suspect: delivery.delivered >= SUSPECT, counted };
        match &delivery.input {
            Input::Command(command) => self.command(tx, command, attempt).await,
            Input::Event(event) => self.event(tx, event, attempt).await,
            Input::Answer(answer) => self.answer(tx, answer, attempt).await,
            Input::Timer(timer) => self.timer(tx, timer, attempt).await,
        }
    }
}

/// The subscriptions that a batch brings something to, sorted.
fn subscriptions(batch: &[Delivery]) -> Vec<&'static str> {
    let events = batch.iter().filter_map(|delivery| match &delivery.input {
        Input::Event(event) => Some(event.subscription),
        _ => None,
    });
    let mut names: Vec<_> = events.collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// From this delivery on a message is done alone: the ones before may have ended with the process.
const SUSPECT: u32 = 3;

/// One run of a handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'d> {
    span: &'d Span,
    /// The attempts before may have ended with the process.
    suspect: bool,
    /// It was counted, in a transaction of its own.
    counted: bool,
}

impl Attempt<'_> {
    /// What is suspected, or has failed before, is counted before its handler runs; `failures` then counts this attempt, too. What comes to no handler needs no counting.
    fn may_run(self, failures: i64) -> Result<(), Abort> {
        if self.counted {
            trace::span::record_attempt(self.span, failures);
        }
        if self.counted || (failures == 0 && !self.suspect) { Ok(()) } else { Err(Abort::Suspect) }
    }
}

fn given_back(outcome: Outcome) -> Processed {
    Processed { outcomes: vec![outcome], ..Processed::default() }
}

/// Runs a handler in its span. A panic is a failure like any other; the transaction is given up with it.
pub(crate) async fn guarded<T>(handler: impl Future<Output = Result<T>>, span: &Span) -> Result<T> {
    let caught = AssertUnwindSafe(handler).catch_unwind().instrument(span.clone()).await;
    caught.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Error::Failed(format!("panicked: {}", text.unwrap_or_default())))
    })
}
