use std::any::Any;
use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use event::{Id, Key, Micros, Record, Schema};
use tracing::Span;
use uuid::Uuid;

use crate::book::Book;
use crate::clock::{Chance, Clock, Timepiece};
use crate::database::Database;
use crate::delivery::{Caller, Command, Ended, Prepared};
use crate::error::{Error, Result};
use crate::followed::Following;
use crate::handlers::Handlers;
use crate::heads::suspended;
use crate::processor::{command, event::parse_waits_for, guarded};
use crate::reader::Reader;
use crate::reads::Found;
use crate::store::{cursor, event_log, log, receipt};
use crate::tx::{Cause, Log, Touched, Tx};
use crate::versions;

/// A service's database with its handlers: takes deliveries in, and tells what is still to be done. Knows nothing of the broker.
#[derive(Clone, Debug)]
pub struct Ledger(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) db: Database,
    pub(crate) handlers: Handlers,
    /// The types that this instance knows; others are of a later version.
    pub(crate) known_types: HashSet<String>,
    pub(crate) retry: Retry,
    /// `service/<name>`: who acts where no user asked.
    pub(crate) name: String,
    pub(crate) chance: Chance,
    pub(crate) clock: Timepiece,
    pub(crate) log: Log,
    /// Something was heard that only an audit can clear up.
    pub(crate) audit_wanted: AtomicBool,
    /// This log was found to be older than what others have read of it.
    pub(crate) behind: AtomicBool,
    /// Subscriptions whose work another version of the code has taken over.
    pub(crate) disowned: RwLock<HashSet<&'static str>>,
    state: Arc<dyn Any + Send + Sync>,
    /// Events that were published and are not marked yet: the next batch marks them on its way.
    published: Mutex<Vec<Uuid>>,
    /// Keys that commands wait for. Not kept: a command that was given back comes again, and says it again.
    needed: Mutex<BTreeSet<Key>>,
    /// Effects that are still taken on as they are wished.
    pub(crate) room: AtomicUsize,
}

/// What a ledger is made of.
#[derive(Debug)]
pub struct Parts {
    pub db: Database,
    pub handlers: Handlers,
    pub schema: Arc<Schema>,
    /// The service's name.
    pub name: String,
    pub clock: Clock,
    pub chance: Chance,
    /// What handlers get from [`Tx::service`].
    pub state: Arc<dyn Any + Send + Sync>,
    pub retry: Retry,
}

/// How often and how fast what failed is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// After so many failures an event parks its key, and a command ends FAILED.
    pub attempts: i64,
    /// The first delay; each further one is twice as long.
    pub first: Duration,
    /// The longest delay.
    pub most: Duration,
    /// How long a reachable owner may lack what a handler waits for.
    pub absent_after: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        let (first, most) = (Duration::from_millis(250), Duration::from_mins(1));
        Self { attempts: 5, first, most, absent_after: Duration::from_mins(10) }
    }
}

impl Retry {
    /// The delay after so many failures: doubled each time, with up to half of it taken off by chance, so that failures do not march in
    /// step.
    pub fn delay(&self, attempts: i64, chance: &Chance) -> Duration {
        let doubled = self.first.saturating_mul(1 << (attempts.clamp(1, 20) - 1));
        let full = doubled.min(self.most);
        let half = u64::try_from(full.as_micros() / 2).unwrap_or(u64::MAX);
        full.saturating_sub(Duration::from_micros(chance.below(half.max(1))))
    }
}

/// A key that is due to be read from its owner's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub subscription: &'static str,
    pub key: Key,
    /// The newest revision that was applied.
    pub revision: i64,
    /// What its handler waits for, and since when.
    pub waits_for: Option<(Key, Micros)>,
    /// What was applied is to be [compared](Ledger::compare) first.
    pub compare: bool,
}

impl Due {
    /// After which revision the owner's log is to be read. What is to be compared is read, too.
    pub fn after(&self) -> i64 {
        if self.compare { (self.revision - 1).max(0) } else { self.revision }
    }
}

/// Keys that are remembered as needed at most.
const NEEDED_MAX: usize = 1000;

/// Events that one transaction marks at most: databases limit how many values a statement has.
const MARKS: usize = 4096;

impl Ledger {
    /// Takes a migrated database.
    pub async fn open(parts: Parts) -> Result<Self> {
        let txn = parts.db.begin().await?;
        let clock = Timepiece::new(parts.clock);
        let now = clock.now(&txn).await?;
        let row = log::read_or_draw(&txn, &parts.chance, now).await?;
        versions::take_over(&txn, &parts.handlers, now).await?;
        txn.commit().await?;
        let id = row.log_id.parse().map_err(|_| Error::Failed("the log's id cannot be read".to_owned()))?;
        Ok(Self(Arc::new(Inner {
            known_types: parts.schema.events().map(|kind| kind.type_name.clone()).collect(),
            name: format!("service/{}", parts.name),
            log: Log { id, epoch: row.epoch, fingerprint_key: row.fingerprint_key },
            audit_wanted: AtomicBool::new(false),
            behind: AtomicBool::new(row.behind.is_some()),
            disowned: RwLock::default(),
            db: parts.db,
            handlers: parts.handlers,
            retry: parts.retry,
            chance: parts.chance,
            clock,
            state: parts.state,
            published: Mutex::default(),
            needed: Mutex::default(),
            room: AtomicUsize::new(0),
        })))
    }

    pub fn handlers(&self) -> &Handlers {
        &self.0.handlers
    }

    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    pub fn chance(&self) -> &Chance {
        &self.0.chance
    }

    /// How many lanes can work at once.
    pub fn lanes(&self) -> usize {
        self.0.db.lanes()
    }

    /// The time at which a transaction that began now would happen.
    pub async fn now(&self) -> Result<Micros> {
        Ok(self.0.clock.now(self.0.db.reader()).await?)
    }

    /// About the same, without asking the database: its clock as it was last read, and how far the process's has gone since. For what is
    /// judged outside a transaction; instances whose own clocks differ agree on it.
    pub fn about_now(&self) -> Micros {
        self.0.clock.estimate()
    }

    /// What a query sees.
    pub async fn reader(&self, caller: Caller) -> Result<Reader> {
        let db = self.0.db.reader().clone();
        let now = self.0.clock.now(&db).await?;
        Ok(Reader {
            db,
            now,
            caller,
            chance: self.0.chance.clone(),
            source: self.0.log.id,
            state: Arc::clone(&self.0.state),
        })
    }

    /// Does the slow step of a command, if it has one. Neither a lane nor a transaction is held meanwhile.
    pub async fn prepare(&self, command: &Command) -> Result<Option<Prepared>> {
        let Some(prepare) = self.0.handlers.commands.get(&command.method).and_then(|handler| handler.prepare.as_ref())
        else {
            return Ok(None);
        };
        let reader = self.reader(command.caller.clone()).await?;
        guarded(prepare(reader, command.body.clone()), &Span::current()).await.map(Some)
    }

    /// How a command ended, and by whom it was sent; None if this service has not begun it.
    pub async fn receipt(&self, id: Id) -> Result<Option<(String, Ended)>> {
        let row = receipt::find(self.0.db.reader(), id).await?;
        let row = row.filter(|row| row.state != receipt::State::Accepted);
        row.map(|row| Ok((row.principal.clone(), command::replay(&row)?))).transpose()
    }

    /// Committed events that nobody has marked as published for `age`.
    pub async fn unpublished(&self, age: Duration, limit: u64) -> Result<Vec<Record>> {
        let db = self.0.db.reader();
        let now = self.0.clock.now(db).await?;
        let until = Micros(now.0.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)));
        Ok(event_log::unpublished(db, until, limit, self.0.log.id).await?)
    }

    /// Notes that these events were published. The next batch writes it down, or [`write_marks`](Self::write_marks).
    pub fn mark_published(&self, ids: impl IntoIterator<Item = Uuid>) {
        self.published().extend(ids);
    }

    fn published(&self) -> MutexGuard<'_, Vec<Uuid>> {
        self.0.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what was published, if no batch has done so.
    pub async fn write_marks(&self) -> Result<()> {
        while !self.published().is_empty() {
            let tx = self.begin().await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Keys that wait and are due, taken for `lease`: other instances leave them alone for that long.
    pub async fn take_due(&self, lease: Duration, limit: u64) -> Result<Vec<Due>> {
        if self.was_behind() {
            return Ok(Vec::new());
        }
        let names: Vec<_> = self.0.handlers.subscriptions.keys().copied().filter(|name| self.owned(name)).collect();
        let now = self.0.clock.now(self.0.db.reader()).await?;
        // Most often there is nothing, and then nobody is kept from writing.
        if !cursor::any_due(self.0.db.reader(), &names, now).await? {
            return Ok(Vec::new());
        }
        let txn = self.0.db.begin().await?;
        let rows = cursor::take_due(&txn, &names, now, lease, limit).await?;
        txn.commit().await?;
        Ok(rows.into_iter().filter_map(|row| self.due(&row)).collect())
    }

    fn due(&self, row: &cursor::Model) -> Option<Due> {
        let (name, _) = self.0.handlers.subscriptions.get_key_value(row.subscription.as_str())?;
        let waits_for = row.reason.as_deref().and_then(parse_waits_for);
        let compare = row.state == cursor::State::Comparing;
        Some(Due { subscription: name, key: row.key.parse().ok()?, revision: row.revision, waits_for, compare })
    }

    pub(crate) fn need(&self, key: &Key) {
        let mut needed = self.0.needed.lock().unwrap_or_else(PoisonError::into_inner);
        if needed.len() < NEEDED_MAX {
            needed.insert(key.clone());
        }
    }

    /// The keys that commands were given back for since this was last called: to be read from their owners.
    pub fn take_needed(&self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.0.needed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One event of this service's own log.
    pub async fn event_at(&self, key: &Key, revision: i64) -> Result<Option<Record>> {
        Ok(event_log::find(self.0.db.reader(), key, revision, self.0.log.id).await?)
    }

    /// How far a subscription is with a key.
    pub async fn revision_of(&self, subscription: &str, key: &Key) -> Result<i64> {
        Ok(cursor::find(self.0.db.reader(), subscription, key).await?.map_or(0, |row| row.revision))
    }

    pub(crate) async fn begin(&self) -> Result<Tx> {
        let txn = self.0.db.begin().await?;
        let now = self.0.clock.now(&txn).await?;
        // Another instance, or another process, may have found out or raised the epoch.
        let row = log::read(&txn).await?;
        self.0.behind.store(row.behind.is_some(), Ordering::Relaxed);
        if let Some(reason) = row.behind {
            return Err(suspended(&reason));
        }
        let book = Book::marking(self.some_published());
        let log = Log { epoch: row.epoch, ..self.0.log.clone() };
        let (chance, state) = (self.0.chance.clone(), Arc::clone(&self.0.state));
        let (ledger, cause, touched) = (self.clone(), Cause::default(), Touched::default());
        let (following, found) = (Following::default(), Found::default());
        Ok(Tx { ledger, txn, book, now, log, chance, state, following, cause, touched, found })
    }

    /// What the next transaction is to mark. If that fails the marks are lost, which costs no more than publishing those events twice.
    fn some_published(&self) -> Vec<Uuid> {
        let mut published = self.published();
        let rest = published.len().saturating_sub(MARKS);
        published.split_off(rest)
    }

    pub async fn close(self) -> Result<()> {
        Ok(self.0.db.clone().close().await?)
    }
}
