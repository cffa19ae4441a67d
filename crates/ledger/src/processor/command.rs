//! One command: its receipt is its fence.

use std::time::Duration;

use ::event::Key;
use bytes::Bytes;
use fault::{Protection, without};
use proto::{Message as _, rpc};
use ring::hmac;

use super::{Abort, Attempt, guarded};
use crate::delivery::{Command, CommandResult, Ended, Outcome};
use crate::error::{Code, Error, Rejection, Result, internal};
use crate::ledger::Ledger;
use crate::store::receipt::{Model, State};
use crate::tx::{Cause, Tx};

impl Ledger {
    pub(super) async fn command(&self, tx: &mut Tx, command: &Command, attempt: Attempt<'_>) -> Result<Outcome, Abort> {
        if let Some(receipt) = tx.book.receipt(command.id) {
            if receipt.fingerprint != fingerprint(tx, command) && !without(Protection::Fingerprint) {
                return Ok(Outcome::Ended(key_reused()));
            }
            if receipt.state != State::Accepted && !without(Protection::Receipt) {
                return Ok(Outcome::Ended(replay(receipt)?));
            }
        }
        let Some(handler) = self.0.handlers.commands.get(&command.method) else {
            let reason = format!("{} is newer than this instance", command.method);
            return Ok(Outcome::GivenBack { delay: NEWER, reason });
        };
        if let Some(refused) = Self::refused(tx, command) {
            return Ok(reject(tx, command, &refused));
        }
        attempt.may_run(tx.book.receipt(command.id).map_or(0, |receipt| receipt.attempts))?;
        tx.cause = Cause { caller: command.caller.clone(), command_id: Some(command.id), ..Cause::default() };
        match guarded((handler.run)(tx, command.body.clone(), command.prepared.clone()), attempt.span).await {
            Ok(response) => complete(tx, command, response),
            Err(Error::Rejected(rejection))
                if !tx.touched.wrote
                    || (tx.touched.stands && command.anonymous)
                    || without(Protection::RejectionLeavesNoTrace) =>
            {
                Ok(reject(tx, command, &rejection))
            }
            // An attempt that was counted has to be taken back first.
            Err(Error::NotYet(key)) if !tx.touched.wrote && !attempt.counted => Ok(self.not_here(&key)),
            Err(error) => Err(error.into()),
        }
    }

    /// The command needs what this key has not told yet. Nobody can say that the broker will bring it.
    pub(super) fn not_here(&self, key: &Key) -> Outcome {
        self.need(key);
        Outcome::GivenBack { delay: self.0.retry.delay(1, &self.0.chance), reason: format!("{key} is not here yet") }
    }

    fn refused(tx: &Tx, command: &Command) -> Option<Rejection> {
        let expired = || {
            Rejection::new(
                Code::FailedPrecondition,
                "EXPIRED",
                "the command was not begun in time, and is not carried out",
            )
        };
        command.refused.clone().or_else(|| (tx.now > command.not_after).then(expired))
    }

    pub(super) fn empty_receipt(tx: &Tx, command: &Command) -> Model {
        Model {
            command_id: command.id.to_string(),
            method: command.method.clone(),
            principal: command.caller.name.clone(),
            fingerprint: fingerprint(tx, command),
            state: State::Accepted,
            token: String::new(),
            outcome: None,
            attempts: 0,
            request: None,
            reason: None,
        }
    }
}

/// How long a command waits for an instance that knows its method.
const NEWER: Duration = Duration::from_secs(5);

fn complete(tx: &mut Tx, command: &Command, response: Bytes) -> Result<Outcome, Abort> {
    // The gateway adds the receipt by concatenation, and a second field 1 would be merged into the first.
    if response.first().is_some_and(|tag| tag >> 3 == 1) {
        return Err(Abort::Failed("a handler's response has a receipt of its own".to_owned()));
    }
    let token = tx.token();
    if !command.anonymous {
        let row = Ledger::empty_receipt(tx, command);
        let outcome = Some(response.to_vec());
        tx.book.set_receipt(command.id, Model { state: State::Completed, token: token.clone(), outcome, ..row });
    }
    Ok(Outcome::Ended(Ended { result: CommandResult::Completed(response), token, replayed: false }))
}

fn reject(tx: &mut Tx, command: &Command, rejection: &Rejection) -> Outcome {
    let status = rejection.status();
    // Whether somebody is who they say is judged anew each time; everything else is an outcome.
    if !command.anonymous {
        let row = Ledger::empty_receipt(tx, command);
        tx.book.set_receipt(command.id, Model { state: State::Rejected, outcome: Some(status.encode_to_vec()), ..row });
    }
    Outcome::Ended(Ended { result: CommandResult::Rejected(status), token: String::new(), replayed: false })
}

/// The answer that was given when the command ended.
pub(crate) fn replay(receipt: &Model) -> Result<Ended> {
    let outcome = receipt.outcome.clone().unwrap_or_default();
    let result = match receipt.state {
        State::Completed => CommandResult::Completed(outcome.into()),
        State::Rejected => CommandResult::Rejected(rpc::Status::decode(&*outcome)?),
        State::Accepted | State::Failed => CommandResult::Failed(internal()),
    };
    Ok(Ended { result, token: receipt.token.clone(), replayed: true })
}

fn key_reused() -> Ended {
    let message = "the idempotency key was used before, for another request; nothing was done";
    let rejection = Rejection::new(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED", message);
    Ended { result: CommandResult::KeyReused(rejection.status()), token: String::new(), replayed: false }
}

fn fingerprint(tx: &Tx, command: &Command) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &tx.log.fingerprint_key);
    hmac::sign(&key, &command.request_hash).as_ref().to_vec()
}
