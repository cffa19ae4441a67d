//! Timers: what is to happen to an aggregate at a time, as rows. A *deadline* is a timer that waits for an answer.

use std::sync::Arc;
use std::time::Duration;

use event::{Key, Micros};
use fault::{Protection, without};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use proto::Message;

use crate::aggregate::{Aggregate, Loaded};
use crate::error::{Error, Result};
use crate::handlers::{Handler, Handlers};
use crate::ledger::Ledger;
use crate::store::timer::{Model, Ripe, State};
use crate::tx::Tx;

/// What is to happen at a time, as a message, so that it can be read in a year.
pub trait Timer: Message + Default + 'static {
    /// Tells the timers of one aggregate apart: it has one of each name at most.
    const NAME: &'static str;
}

/// A timer that has fired.
#[derive(Clone, Debug)]
pub struct Fired<T> {
    /// The aggregate that set it.
    pub key: Key,
    /// When it was due.
    pub due: Micros,
    pub timer: T,
}

/// A timer that is due, and that this instance may bring until its lease has run out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueTimer {
    pub key: Key,
    pub name: &'static str,
    /// With the key and the name it tells this timer from one that replaced it.
    pub due: Micros,
    /// The revision of the aggregate with which it was set: its trace goes on.
    pub n: i64,
    /// How often it was taken, this time included. It may have killed the process each time.
    pub taken: u32,
}

type TimerFn = Box<dyn for<'t> Fn(&'t mut Tx, Key, Micros, Vec<u8>) -> BoxFuture<'t, Result<()>> + Send + Sync>;

pub(crate) struct TimerHandler {
    pub(crate) run: TimerFn,
    /// It waits for an answer, and is held until what was pending has been read.
    is_deadline: bool,
}

impl Handlers {
    /// Does `handler` when a `T` is due.
    pub fn timer<T, H>(&mut self, handler: H)
    where
        T: Timer,
        H: for<'t> Handler<'t, Fired<T>, ()> + 'static,
    {
        self.add_timer(handler, false);
    }

    /// The same for a timer that gives up waiting for an answer. It is held until everything that was pending when it was due has been
    /// read from the owners that can be reached: otherwise it would fire after an outage of ours, before the answer that came in time.
    pub fn deadline<T, H>(&mut self, handler: H)
    where
        T: Timer,
        H: for<'t> Handler<'t, Fired<T>, ()> + 'static,
    {
        self.add_timer(handler, true);
    }

    fn add_timer<T, H>(&mut self, handler: H, is_deadline: bool)
    where
        T: Timer,
        H: for<'t> Handler<'t, Fired<T>, ()> + 'static,
    {
        let handler = Arc::new(handler);
        let run: TimerFn = Box::new(move |cx, key, due, body| {
            let handler = Arc::clone(&handler);
            async move { handler.call(cx, Fired { key, due, timer: T::decode(&*body)? }).await }.boxed()
        });
        self.timers.insert(T::NAME, TimerHandler { run, is_deadline });
    }

    /// Whether anything ever has to be taken.
    pub fn has_timers(&self) -> bool {
        !self.timers.is_empty()
    }

    fn timers_that(&self, is_deadline: bool) -> Vec<&'static str> {
        let these = self.timers.iter().filter(|(_, handler)| handler.is_deadline == is_deadline);
        these.map(|(name, _)| *name).collect()
    }
}

impl Tx {
    /// Sets a timer of the aggregate, which must exist, or replaces the one of the same name.
    pub fn timer<A: Aggregate, T: Timer>(&mut self, aggregate: &Loaded<A>, due: Micros, timer: &T) -> Result<()> {
        if !aggregate.exists() {
            return Err(Error::Failed(format!("{} sets a timer, and does not exist", aggregate.key)));
        }
        let row = Model {
            key: aggregate.key.to_string(),
            name: T::NAME.to_owned(),
            due: due.0,
            body: timer.encode_to_vec(),
            state: State::Set,
            leased_until: due.0,
            taken: 0,
            attempts: 0,
            reason: None,
            revision: aggregate.revision,
        };
        self.touched.wrote = true;
        self.book.timers.insert((aggregate.key.clone(), T::NAME), Some(row));
        Ok(())
    }

    /// Takes a timer back, if it is set and has not fired.
    pub fn cancel_timer<A: Aggregate, T: Timer>(&mut self, aggregate: &Loaded<A>) {
        self.touched.wrote = true;
        self.book.timers.insert((aggregate.key.clone(), T::NAME), None);
    }
}

impl Ledger {
    /// Timers that are due, taken for `lease`: other instances leave them alone for that long. Of the deadlines only those that were due by
    /// `read_until`: everything that was pending then has been read.
    pub async fn take_due_timers(&self, read_until: Micros, lease: Duration, limit: u64) -> Result<Vec<DueTimer>> {
        let handlers = &self.0.handlers;
        let (timers, deadlines) = (handlers.timers_that(false), handlers.timers_that(true));
        let now = self.now().await?;
        let read_until = if without(Protection::DeadlineHold) { now } else { read_until };
        let ripe = Ripe { now, timers, deadlines, read_until };
        if !ripe.any(self.0.db.reader()).await? {
            return Ok(Vec::new());
        }
        let txn = self.0.db.begin().await?;
        let rows = ripe.take(&txn, lease, limit).await?;
        txn.commit().await?;
        Ok(rows.into_iter().filter_map(|row| self.due_timer(&row)).collect())
    }

    /// Whether deadlines are due that wait for what was pending at `read_until` or later to be read.
    pub async fn holds_deadlines(&self, read_until: Micros) -> Result<bool> {
        let deadlines = self.0.handlers.timers_that(true);
        Ok(!deadlines.is_empty()
            && crate::store::timer::any_due_after(self.0.db.reader(), deadlines, read_until, self.now().await?).await?)
    }

    fn due_timer(&self, row: &Model) -> Option<DueTimer> {
        let (name, _) = self.0.handlers.timers.get_key_value(row.name.as_str())?;
        let taken = u32::try_from(row.taken).unwrap_or_default();
        Some(DueTimer { key: row.key.parse().ok()?, name, due: Micros(row.due), n: row.revision, taken })
    }
}
