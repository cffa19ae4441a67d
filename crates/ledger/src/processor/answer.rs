//! One answer of the world outside: the effect's row is its fence.

use super::{Abort, Attempt, guarded};
use crate::delivery::{Answer, Caller, Outcome};
use crate::error::Error;
use crate::ledger::Ledger;
use crate::store::effect::{self, Model, State};
use crate::store::event_log;
use crate::tx::{Cause, Tx};

impl Ledger {
    pub(super) async fn answer(&self, tx: &mut Tx, answer: &Answer, attempt: Attempt<'_>) -> Result<Outcome, Abort> {
        let row = effect::lock(&tx.txn, &answer.key, answer.kind, answer.n).await.map_err(Error::from)?;
        let Some(row) = row.filter(Model::is_open) else {
            return Ok(Outcome::Duplicate);
        };
        attempt.may_run(if row.answer.is_some() || row.attempts >= SUSPECT { row.attempts } else { 0 })?;
        let handler = self.0.handlers.effects.get(answer.kind);
        let handler = handler.ok_or_else(|| Abort::Failed(format!("no effect {}", answer.kind)))?;
        let wish = event_log::find(&tx.txn, &answer.key, answer.n, tx.log.id).await.map_err(Error::from)?;
        let command_id = wish.as_ref().and_then(|wish| wish.command_id);
        let caller = Caller { name: self.0.name.clone(), ..Caller::default() };
        tx.cause = Cause { caller, command_id, record: wish, absent: false };
        let taken_in = (handler.answer)(tx, answer.key.clone(), answer.n, row.body.clone(), answer.body.clone());
        guarded(taken_in, attempt.span).await?;
        effect::write(&tx.txn, vec![Model { state: State::Answered, answer: None, ..row }])
            .await
            .map_err(Error::from)?;
        Ok(Outcome::Applied)
    }
}

/// An effect that was begun so often, and has no answer: each may have ended with the process that took the answer in.
const SUSPECT: i32 = 3;
