//! One answer of the world outside: the effect's row is its fence.

use fault::{Protection, without};

use super::{Abort, Attempt, guarded};
use crate::delivery::{Answer, Caller, Outcome};
use crate::ledger::Ledger;
use crate::store::effect::{Model, State};
use crate::tx::{Cause, Tx};

impl Ledger {
    pub(super) async fn answer(&self, tx: &mut Tx, answer: &Answer, attempt: Attempt<'_>) -> Result<Outcome, Abort> {
        let id = (answer.key.clone(), answer.kind, answer.n);
        let Some(row) = tx.book.effect(&id).filter(|row| row.is_open() || without(Protection::Fence)).cloned() else {
            return Ok(Outcome::Duplicate);
        };
        attempt.may_run(if row.answer.is_some() || row.attempts >= SUSPECT { row.attempts } else { 0 })?;
        let handler = self.0.handlers.effects.get(answer.kind);
        let handler = handler.ok_or_else(|| Abort::Failed(format!("no effect {}", answer.kind)))?;
        let wish = answer.wish.clone();
        let command_id = wish.as_ref().and_then(|wish| wish.command_id);
        let caller = Caller { name: self.0.name.clone(), ..Caller::default() };
        tx.cause = Cause { caller, command_id, record: wish, absent: false };
        let taken_in = (handler.answer)(tx, answer.key.clone(), answer.n, row.body.clone(), answer.body.clone());
        guarded(taken_in, attempt.span).await?;
        tx.book.set_effect(id, Model { state: State::Answered, answer: None, ..row });
        Ok(Outcome::Applied)
    }
}

/// An effect that was begun so often, and has no answer: each may have ended with the process that took the answer in.
const SUSPECT: i64 = 3;
