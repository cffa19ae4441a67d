//! From a sealed command to a delivery: the same for the stream and for direct calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use event::{Access, Key, Micros};
use identity::session::{Refused, Sessions};
use identity::{Principal, STAFF, SealError, Verifier, seal};
use ledger::operator::OPERATOR;
use ledger::{Caller, Code, Command, Delivery, Error, Reader, Rejection, Result};
use messaging::{Incoming, Intake};
use proto::command::v1::Seal;
use tracing::Span;

use crate::consistency::Consistency;
use crate::opened::Opened;

/// The only caller that may bring what a user asked for.
pub const GATEWAY: &str = "gateway";
/// A command whose key or method is not known here waits so long for an instance that knows it, and is looked at as often.
const UNKNOWN_WAIT: Duration = Duration::from_hours(24);
const UNKNOWN_LOOK: Duration = Duration::from_secs(10);
/// The delay of a command that waits for another one grows so often.
const LATER_MAX: i64 = 6;

/// What judges whatever comes to a service.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    pub(crate) opened: Arc<Opened>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) consistency: Consistency,
}

/// A command as it came, not verified yet.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// The full name of its method.
    pub(crate) method: &'a str,
    pub(crate) seal: &'a Seal,
    /// The id of the aggregate that it is about; empty: its own.
    pub(crate) key: &'a str,
    pub(crate) body: Bytes,
    /// The consistency token; empty: none.
    pub(crate) token: &'a str,
    /// How long it may wait for what its token tells of.
    pub(crate) patience: Duration,
}

/// Why a command was not delivered.
#[derive(Debug)]
pub(crate) enum Refusal {
    Seal(SealError),
    /// The seal is good, and does not allow this.
    Forbidden(&'static str),
    /// What its sender has seen is not here yet, or the command that it is to follow has not ended.
    Behind,
    /// The slow step of the command refused it, or could not be done.
    Prepare(Error),
}

impl Judge {
    /// What is to become of a command from the queue.
    pub(crate) async fn queued(&self, incoming: Incoming) -> Intake {
        let Some(method) = self.opened.command_named(&incoming.method) else {
            let reason = format!("the method {} is newer than this instance", incoming.method);
            return not_judged(incoming.delivered, reason);
        };
        let sealed = match seal::from_text(&incoming.seal) {
            Ok(sealed) => sealed,
            Err(error) => return Intake::Drop(error.to_string()),
        };
        let Incoming { id, key, body, delivered, span, consistency_token: token, .. } = incoming;
        let asked = Asked { method, seal: &sealed, key: &key, body, token: &token, patience: Duration::ZERO };
        match self.command(asked, span).await {
            Ok((command, _)) if Some(command.id) != id => Intake::Drop("it was sealed for another command".to_owned()),
            Ok((command, span)) => Intake::Deliver(Box::new(Delivery { input: command.into(), delivered, span })),
            Err(Refusal::Seal(error)) if error.may_become_good() => not_judged(delivered, error.to_string()),
            Err(Refusal::Seal(error)) => Intake::Drop(error.to_string()),
            Err(Refusal::Forbidden(reason)) => Intake::Drop(reason.to_owned()),
            Err(Refusal::Behind) => Intake::Wait { delay: self.later(delivered) },
            Err(Refusal::Prepare(error)) => {
                Intake::GiveBack { delay: Duration::from_secs(1), reason: error.to_string() }
            }
        }
    }

    /// The more often it has come, the more seldom it is looked at.
    fn later(&self, delivered: u32) -> Duration {
        let ledger = &self.opened.ledger;
        ledger.retry().delay(i64::from(delivered).min(LATER_MAX), ledger.chance())
    }

    /// Verifies a sealed command, and does its slow step.
    pub(crate) async fn command(&self, asked: Asked<'_>, span: Span) -> Result<(Command, Span), Refusal> {
        let Asked { method, seal, key, body, token, patience } = asked;
        let verified = self.verifier.verify(seal, method, &body).map_err(Refusal::Seal)?;
        let access = self.opened.schema.method(method).map_or(Access::Internal, |method| method.access);
        may_call(access, &verified.principal)?;
        let id = verified.command_id.ok_or(Refusal::Forbidden("its seal names no command"))?;
        let Ok(target) = (if key.is_empty() { Ok(id) } else { key.parse() }) else {
            return Err(Refusal::Forbidden("its key is no id"));
        };
        if let Some(kind) = self.opened.ledger.handlers().target(method) {
            trace::span::record_key(&span, Key::new(kind, target));
        }
        let caller = caller(&verified.principal);
        // A session is judged as of the moment at which the gateway accepted the command, however late it comes.
        let refused = self.opened.refused(&caller, verified.accepted_at).await.map_err(Refusal::Prepare)?;
        let mut command = Command {
            method: method.to_owned(),
            id,
            target,
            caller,
            request_hash: verified.request_hash,
            body,
            not_after: verified.not_after,
            anonymous: verified.anonymous,
            refused,
            prepared: None,
        };
        if !self.may_begin(&mut command, token, patience).await.map_err(Refusal::Prepare)? {
            return Err(Refusal::Behind);
        }
        if command.refused.is_none() {
            self.prepare(&mut command).await.map_err(Refusal::Prepare)?;
        }
        Ok((command, span))
    }

    /// Whether its sender has seen nothing that is not here yet. One that is refused anyway, was done before or comes too late has nothing to
    /// wait for.
    async fn may_begin(&self, command: &mut Command, token: &str, patience: Duration) -> Result<bool> {
        if token.is_empty() || command.refused.is_some() || self.opened.ledger.about_now() > command.not_after {
            return Ok(true);
        }
        match self.consistency.reached(token, &command.caller, patience).await {
            Ok(false) => Ok(self.opened.ledger.receipt(command.id).await?.is_some()),
            Err(Error::Rejected(rejection)) => {
                command.refused = Some(rejection);
                Ok(true)
            }
            reached => reached,
        }
    }

    /// Does the slow step of a command. What it refuses is refused like what the handler refuses; what fails in it for good fails in the
    /// handler, which lacks what it was to find, and is counted there.
    pub(crate) async fn prepare(&self, command: &mut Command) -> Result<()> {
        match self.opened.ledger.prepare(command).await {
            Ok(prepared) => command.prepared = prepared,
            Err(Error::Rejected(rejection)) => command.refused = Some(rejection),
            Err(Error::Failed(reason)) => tracing::error!(reason, "a command could not be prepared"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Who asks a query. Its session is judged now.
    pub(crate) async fn query(&self, method: &str, sealed: &str, body: &[u8]) -> Result<Caller, Refusal> {
        let sealed = seal::from_text(sealed).map_err(Refusal::Seal)?;
        let verified = self.verifier.verify(&sealed, method, body).map_err(Refusal::Seal)?;
        let access = self.opened.schema.method(method).map_or(Access::Internal, |method| method.access);
        may_call(access, &verified.principal)?;
        let now = self.opened.ledger.about_now();
        if now > verified.not_after {
            return Err(Refusal::Forbidden("the seal has expired"));
        }
        let caller = caller(&verified.principal);
        match self.opened.refused(&caller, now).await.map_err(Refusal::Prepare)? {
            Some(rejection) => Err(Refusal::Prepare(rejection.into())),
            None => Ok(caller),
        }
    }
}

/// Whoever holds a pair key is inside, which proves nothing about what they may do there.
fn may_call(access: Access, principal: &Principal) -> Result<(), Refusal> {
    match (access, principal.caller.as_str()) {
        (Access::Staff, OPERATOR) => Ok(()),
        (_, OPERATOR) => Err(Refusal::Forbidden("an operator's seal is good for what staff may do, and no more")),
        (Access::Staff, GATEWAY) if !principal.has_role(STAFF) => Err(Refusal::Forbidden("this is for staff")),
        (Access::Internal, _) | (_, GATEWAY) => Ok(()),
        _ => Err(Refusal::Forbidden("only the gateway may bring what users ask for")),
    }
}

pub(crate) async fn check_session(sessions: &Sessions, reader: &Reader, as_of: Micros) -> Result<()> {
    let Some(session) = reader.caller().session else { return Ok(()) };
    match identity::session::judge(sessions, reader.db(), session, as_of).await? {
        None => Ok(()),
        Some(Refused::Ended(_)) => {
            Err(Rejection::new(Code::Unauthenticated, "SESSION_ENDED", "the session has ended; log in again").into())
        }
        Some(Refused::Expired) => {
            Err(Rejection::new(Code::Unauthenticated, "SESSION_EXPIRED", "the session has expired; log in again")
                .into())
        }
    }
}

fn caller(principal: &Principal) -> Caller {
    Caller { name: principal.name(), user: principal.user, session: principal.session, roles: principal.roles.clone() }
}

/// Looked at again and again for as long as a command may wait at all.
fn not_judged(delivered: u32, reason: String) -> Intake {
    let enough = u64::from(delivered) >= UNKNOWN_WAIT.as_secs() / UNKNOWN_LOOK.as_secs();
    if enough { Intake::Drop(reason) } else { Intake::SetAside { delay: UNKNOWN_LOOK, reason } }
}
