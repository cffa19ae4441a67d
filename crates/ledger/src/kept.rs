//! Commands that FAILED are kept with their requests, so that an operator can have them carried out again.

use event::{Micros, TraceContext};
use proto::Message as _;
use proto::command::v1::KeptCommand;

use crate::delivery::{Caller, Command};
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::store::receipt;

/// What is kept of a command. Its method and its principal are in its receipt.
pub(crate) fn encode(command: &Command) -> Vec<u8> {
    let Caller { user, session, roles, .. } = &command.caller;
    let TraceContext { traceparent, tracestate } = trace::current();
    let text = |id: &Option<event::Id>| id.map(|id| id.to_string()).unwrap_or_default();
    let kept = KeptCommand {
        target: command.target.to_string(),
        user_id: text(user),
        session_id: text(session),
        roles: roles.clone(),
        request_hash: command.request_hash.to_vec().into(),
        body: command.body.clone(),
        traceparent,
        tracestate,
    };
    kept.encode_to_vec()
}

impl Ledger {
    /// The request of a command that FAILED, and the trace in which it did; None if it was not kept.
    pub async fn kept_request(&self, id: event::Id) -> Result<Option<KeptCommand>> {
        let kept = receipt::find(self.0.db.reader(), id).await?.and_then(|receipt| receipt.request);
        Ok(kept.map(|kept| KeptCommand::decode(&*kept)).transpose()?)
    }

    /// Commands that an operator has driven again, each with the trace in which it failed. They stay what they are until they have ended.
    pub async fn redriven(&self, limit: u64) -> Result<Vec<(Command, TraceContext)>> {
        let rows = receipt::redriven(self.0.db.reader(), limit).await?;
        // One that is damaged must not hold up the others.
        let readable =
            |row| decode(row).inspect_err(|error| tracing::error!(%error, "a command cannot be driven again"));
        Ok(rows.into_iter().filter_map(|row| readable(row).ok()).collect())
    }
}

fn decode(row: receipt::Model) -> Result<(Command, TraceContext)> {
    let damaged = |_| Error::Failed(format!("what is kept of the command {} is damaged", row.command_id));
    let kept = KeptCommand::decode(&*row.request.unwrap_or_default())?;
    let caller = Caller {
        name: row.principal,
        user: kept.user_id.parse().ok(),
        session: kept.session_id.parse().ok(),
        roles: kept.roles,
    };
    let command = Command {
        method: row.method,
        id: row.command_id.parse().map_err(damaged)?,
        target: kept.target.parse().map_err(damaged)?,
        caller,
        request_hash: kept.request_hash.as_ref().try_into().map_err(|_| damaged(event::InvalidId))?,
        body: kept.body,
        not_after: Micros(i64::MAX),
        anonymous: false,
        refused: None,
        prepared: None,
    };
    Ok((command, TraceContext { traceparent: kept.traceparent, tracestate: kept.tracestate }))
}
