use std::any::Any;
use std::sync::Arc;

use event::{ConsistencyToken, Id, Key, Micros, Record, Seen};
use fault::{Point, Protection, reach, without};
use sea_orm::{ConnectionTrait as _, DbBackend};

use crate::aggregate::{Aggregate, At, EventSet as _, Loaded};
use crate::book::{Book, Head};
use crate::clock::Chance;
use crate::database::Transaction;
use crate::delivery::Caller;
use crate::effects::FIRST_EPOCH;
use crate::error::{Error, Rejection, Result};
use crate::followed::Following;
use crate::handlers::Effect;
use crate::ledger::Ledger;
use crate::reader::{fold, state_of, user_of};
use crate::reads::{ByText, Found};
use crate::rows::Rows;
use crate::store::writes::{Writes, write};
use crate::store::{effect, event_log};

/// The transaction in which a handler works.
///
/// Decide first and write after: a refusal after a write costs a transaction of its own.
pub struct Tx {
    pub(crate) ledger: Ledger,
    pub(crate) txn: Transaction,
    pub(crate) book: Book,
    pub(crate) now: Micros,
    pub(crate) log: Log,
    pub(crate) chance: Chance,
    pub(crate) state: Arc<dyn Any + Send + Sync>,
    /// The subscriptions that it works for, and the logs that they follow.
    pub(crate) following: Following,
    /// Of the delivery that is being handled.
    pub(crate) cause: Cause,
    pub(crate) touched: Touched,
    /// What was read for the whole batch.
    pub(crate) found: Found,
}

/// What tells this log from every other.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) id: Id,
    pub(crate) epoch: i64,
    pub(crate) fingerprint_key: Vec<u8>,
}

/// Why something happens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cause {
    pub(crate) caller: Caller,
    pub(crate) command_id: Option<Id>,
    pub(crate) record: Option<Arc<Record>>,
    pub(crate) absent: bool,
}

/// What the delivery that is being handled has changed so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    pub(crate) wrote: bool,
    /// It stands even if the command is refused.
    pub(crate) stands: bool,
    /// It has failed for good.
    pub(crate) parks: bool,
    pub(crate) keys: Vec<(Key, i64)>,
}

impl Tx {
    /// Loads an aggregate and locks it until the transaction ends. One that does not exist is empty, at revision 0.
    pub async fn load<A: Aggregate>(&mut self, id: Id) -> Result<Loaded<A>> {
        let key = Key::new(A::KIND, id);
        if self.book.head(&key).is_none() {
            self.lock_late(&key).await?;
        }
        let Some(head) = self.book.head(&key) else { return Err(Error::Failed(format!("{key} is not locked"))) };
        let revision = head.revision;
        let state = match revision {
            0 => A::default(),
            _ if head.fold == A::FOLD => serde_json::from_slice(&head.state)
                .map_err(|error| Error::Failed(format!("the state of {key}: {error}")))?,
            _ => self.fold_anew(&key).await?,
        };
        Ok(Loaded { key, revision, state })
    }

    /// What a batch did not lock up front may be held by one that waits for us: then we soon give way, and lock it in order the next time.
    async fn lock_late(&mut self, key: &Key) -> Result<()> {
        if self.book.late.is_empty() && self.txn.get_database_backend() == DbBackend::Postgres {
            self.txn.execute_unprepared("set local lock_timeout = '200ms'").await?;
        }
        self.book.late.push(key.clone());
        self.book.lock_heads(&self.txn, std::slice::from_ref(key), self.log.epoch).await
    }

    pub(crate) async fn fold_anew<A: Aggregate>(&mut self, key: &Key) -> Result<A> {
        let records = event_log::read_all(&self.txn, key, self.log.id).await?;
        let pending = self.book.appended.iter().filter(|record| record.key == *key);
        let folded: Option<(A, At)> = fold(records.iter().chain(pending))?;
        folded.map(|(state, _)| state).ok_or_else(|| Error::Failed(format!("{key} has a head and no events")))
    }

    /// Appends events to the aggregate's log, in the same transaction as everything else the handler does.
    #[expect(
        clippy::unused_async,
        reason = "handlers await all that they do to a log; it may come to need the database"
    )]
    pub async fn append<A: Aggregate>(
        &mut self,
        aggregate: &mut Loaded<A>,
        events: impl IntoIterator<Item = A::Event> + Send,
    ) -> Result<()>
    where
        <A as Aggregate>::Event: Send,
    {
        let events: Vec<A::Event> = events.into_iter().collect();
        let Some(head) = self.book.head(&aggregate.key).filter(|head| head.revision == aggregate.revision).cloned()
        else {
            return Err(Error::Failed(format!("{} was changed since it was loaded", aggregate.key)));
        };
        if events.is_empty() {
            return Ok(());
        }
        let head = events.iter().fold(head, |head, event| self.append_one(aggregate, head, event));
        let state = serde_json::to_vec(&aggregate.state).map_err(|error| Error::Failed(error.to_string()))?;
        let at = At { id: aggregate.id(), revision: head.revision, time: head.time };
        aggregate.state.project(&at, &mut self.book.rows);
        self.touched.wrote = true;
        self.touched.keys.retain(|(key, _)| *key != aggregate.key);
        self.touched.keys.push((aggregate.key.clone(), head.revision));
        self.book.set_head(&aggregate.key, Head { state, fold: A::FOLD, ..head });
        Ok(())
    }

    fn append_one<A: Aggregate>(&mut self, aggregate: &mut Loaded<A>, head: Head, event: &A::Event) -> Head {
        let (type_name, body) = event.encode();
        let revision = head.revision + 1;
        let time = self.now.max(head.time);
        let history = head.history.then(&type_name, &body);
        aggregate.state.apply(event, &At { id: aggregate.id(), revision, time });
        aggregate.revision = revision;
        self.book.appended.push(Record {
            id: self.chance.uuid(time),
            source: self.log.id,
            key: aggregate.key.clone(),
            epoch: self.log.epoch,
            revision,
            history,
            type_name,
            body: body.into(),
            time,
            principal: self.cause.caller.name.clone(),
            command_id: self.cause.command_id,
            cause_id: self.cause.record.as_ref().map(|record| record.id),
            trace: trace::current(),
        });
        Head { epoch: self.log.epoch, revision, history, time, ..head }
    }

    /// Wishes to act on the world outside. A worker does it after the commit; its answer comes back as a delivery.
    /// The aggregate must have been appended to in this transaction, so that each wish has a revision of its own.
    pub fn effect<A: Aggregate, E: Effect>(&mut self, aggregate: &Loaded<A>, wish: &E) -> Result<()> {
        if !self.touched.keys.contains(&(aggregate.key.clone(), aggregate.revision)) {
            return Err(Error::Failed(format!("{} wishes an effect, and no event says so", aggregate.key)));
        }
        self.touched.wrote = true;
        self.book.effects.push(effect::Model {
            key: aggregate.key.to_string(),
            kind: E::KIND.to_owned(),
            n: aggregate.revision,
            body: wish.encode_to_vec(),
            state: effect::State::Wished,
            leased_until: self.now.0,
            answer: None,
            attempts: 0,
            reason: None,
        });
        Ok(())
    }

    /// Takes the newest wish of this kind back, if nobody has begun it. False if it was begun (its answer will come), or there is none; and
    /// after an epoch was raised, because then nobody knows what was begun.
    pub async fn withdraw<A: Aggregate, E: Effect>(&mut self, aggregate: &Loaded<A>) -> Result<bool> {
        if self.log.epoch > FIRST_EPOCH {
            return Ok(false);
        }
        let key = aggregate.key.to_string();
        let here = self.book.effects.len();
        self.book.effects.retain(|row| row.key != key || row.kind != E::KIND);
        if self.book.effects.len() < here {
            self.touched.wrote = true;
            return Ok(true);
        }
        let row = effect::lock_open(&self.txn, &aggregate.key, E::KIND).await?;
        let Some(row) = row.filter(|row| row.state == effect::State::Wished || without(Protection::Fence)) else {
            return Ok(false);
        };
        let withdrawn = effect::Model { state: effect::State::Withdrawn, ..row };
        write(&self.txn, |writes| effect::write(writes, [withdrawn])).await?;
        self.touched.wrote = true;
        Ok(true)
    }

    /// `found`, or, if there is nothing, the wish to be called again when `key` has come from its owner. None once its owner has lacked it
    /// for so long that it never was: the handler must then refuse aloud.
    pub fn wait_for<T>(&self, key: &Key, found: Option<T>) -> Result<Option<T>> {
        if found.is_none() && !self.cause.absent { Err(Error::NotYet(key.clone())) } else { Ok(found) }
    }

    /// A row of the service's own tables, by its primary key: read with those of the rest of the batch, if its handler
    /// [declares](crate::Subscription::reads) it.
    pub async fn find<E: ByText>(&self, id: &str) -> Result<Option<E::Model>> {
        match self.found.get::<E>(id) {
            Some(found) => Ok(found),
            None => Ok(E::find_by_id(id.to_owned()).one(&self.txn).await?),
        }
    }

    /// For reading the service's own tables.
    pub const fn db(&self) -> &Transaction {
        &self.txn
    }

    /// For writing the service's own tables: what no event may hold, and replicas.
    pub fn write(&mut self) -> &Transaction {
        self.touched.wrote = true;
        // Nobody knows which rows it changes.
        self.found = Found::default();
        &self.txn
    }

    /// Rows that are written at the end, once per table.
    pub const fn rows(&mut self) -> &mut Rows {
        self.touched.wrote = true;
        &mut self.book.rows
    }

    /// The error with which a handler refuses a command and lets stand what it wrote: the refusal itself changed something, such as the end
    /// of a session. Only for methods that keep no receipt, for a receipt that says REJECTED says that nothing changed; with any other it is
    /// a plain refusal.
    pub fn refuse_and_keep(&mut self, rejection: impl Into<Rejection>) -> Error {
        self.touched.stands = true;
        Error::Rejected(rejection.into())
    }

    /// When this transaction happens. The same for all that it does.
    pub const fn now(&self) -> Micros {
        self.now
    }

    pub const fn caller(&self) -> &Caller {
        &self.cause.caller
    }

    /// The user who asked. Methods with `access: ACCESS_USER` always have one.
    pub fn user(&self) -> Result<Id> {
        user_of(&self.cause.caller)
    }

    /// The id of the command that is being handled, which is also that of the aggregate that it creates.
    pub fn command_id(&self) -> Result<Id> {
        self.cause.command_id.ok_or_else(|| Error::Failed("this is no command, nor caused by one".to_owned()))
    }

    /// The event that is being handled.
    pub fn event(&self) -> Result<&Record> {
        self.cause.record.as_deref().ok_or_else(|| Error::Failed("this is no event".to_owned()))
    }

    /// An id for something new that is not named after its command.
    pub fn new_id(&self) -> Id {
        self.chance.id(self.now)
    }

    /// The only source of chance.
    pub const fn rng(&self) -> &Chance {
        &self.chance
    }

    /// What the service was started with.
    pub fn service<S: 'static>(&self) -> Result<&S> {
        state_of(&self.state)
    }

    /// The token of what the current delivery has appended.
    pub(crate) fn token(&self) -> String {
        let seen = |(key, revision): &(Key, i64)| Seen { key: key.clone(), epoch: self.log.epoch, revision: *revision };
        ConsistencyToken::of_entries(self.touched.keys.iter().map(seen)).to_string()
    }

    /// Writes what was buffered, and commits. What was appended is to be published.
    pub(crate) async fn commit(mut self) -> Result<Vec<Record>> {
        let fences = without(Protection::OneTransaction).then(|| self.book.split_off_fences());
        let mut writes = Writes::new(self.txn.get_database_backend());
        let appended = self.book.write(&mut writes, self.now);
        writes.run(&self.txn).await?;
        reach(Point::BeforeCommit).await;
        self.txn.commit().await?;
        reach(Point::AfterCommit).await;
        if let Some(fences) = fences {
            let txn = self.ledger.0.db.begin().await?;
            write(&txn, |writes| drop(fences.write(writes, self.now))).await?;
            txn.commit().await?;
        }
        Ok(appended)
    }

    /// Gives everything up, and its locks at once. A transaction that is only dropped holds them until its connection is used again, and
    /// whoever looks meanwhile finds nothing to lease.
    pub(crate) async fn roll_back(self) {
        if let Err(error) = self.txn.rollback().await {
            tracing::debug!(%error, "a transaction could not be rolled back; it ends with its connection");
        }
    }
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx").field("cause", &self.cause).finish_non_exhaustive()
    }
}
