//! One timer: its row, with the time at which it was due, is its fence.

use std::sync::Arc;

use ::event::Micros;
use fault::{Protection, without};
use tracing::error;

use super::{Abort, Attempt, guarded};
use crate::delivery::{Caller, Outcome};
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::store::event_log;
use crate::store::timer::{self, Model, State, TimerId};
use crate::timer::DueTimer;
use crate::tx::{Cause, Tx};

impl Ledger {
    pub(super) async fn timer(&self, tx: &mut Tx, due: &DueTimer, attempt: Attempt<'_>) -> Result<Outcome, Abort> {
        let Some(row) = standing(tx, due).await? else { return Ok(Outcome::Duplicate) };
        attempt.may_run(row.attempts)?;
        let handler = self.0.handlers.timers.get(due.name);
        let handler = handler.ok_or_else(|| Abort::Failed(format!("no timer {}", due.name)))?;
        let set = event_log::find(&tx.txn, &due.key, row.revision, tx.log.id).await.map_err(Error::from)?;
        let command_id = set.as_ref().and_then(|set| set.command_id);
        let caller = Caller { name: self.0.name.clone(), ..Caller::default() };
        tx.cause = Cause { caller, command_id, record: set.map(Arc::new), absent: false };
        // The handler may set it anew.
        tx.book.timers.insert(id(due), None);
        guarded((handler.run)(tx, due.key.clone(), due.due, row.body), attempt.span).await?;
        Ok(Outcome::Applied)
    }

    /// Changes the count of failures. The new one; 0 if it has fired, or was replaced or taken back.
    pub(super) async fn change_timer_count(tx: &mut Tx, due: &DueTimer, by: i64) -> Result<i64> {
        let Some(row) = standing(tx, due).await? else { return Ok(0) };
        let attempts = (row.attempts + by).max(0);
        tx.book.timers.insert(id(due), Some(Model { attempts, ..row }));
        Ok(attempts)
    }

    pub(super) async fn timer_failed(
        &self,
        tx: &mut Tx,
        due: &DueTimer,
        counted: Option<i64>,
        reason: String,
    ) -> Result<Outcome> {
        let Some(row) = standing(tx, due).await? else { return Ok(Outcome::Duplicate) };
        let attempts = super::attempts::with_this(counted, row.attempts);
        let last = attempts >= self.0.retry.attempts;
        error!(key = %due.key, timer = due.name, attempts, reason, "{}",
            if last { "a timer failed for good; it is parked" } else { "a timer failed; it is tried again" });
        tx.touched.parks = last;
        let state = if last { State::Parked } else { State::Set };
        let leased_until = tx.now.plus(self.0.retry.delay(attempts, &self.0.chance)).0;
        let row = Model { state, leased_until, attempts, reason: Some(reason), ..row };
        tx.book.timers.insert(id(due), Some(row));
        Ok(Outcome::Noted)
    }
}

/// The row of a timer that has not fired, was neither replaced nor taken back, and is not parked.
async fn standing(tx: &Tx, due: &DueTimer) -> Result<Option<Model>> {
    let row = match tx.book.timers.get(&id(due)) {
        Some(changed) => changed.clone(),
        None => timer::lock(&tx.txn, &id(due)).await?,
    };
    let fires = |row: &Model| Micros(row.due) == due.due || without(Protection::Fence);
    Ok(row.filter(|row| row.state == State::Set && fires(row)))
}

fn id(due: &DueTimer) -> TimerId {
    (due.key.clone(), due.name)
}
