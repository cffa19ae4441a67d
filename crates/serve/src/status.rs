//! Errors as gRPC statuses: the one place where the ledger's become the client's.

use std::time::Duration;

use ledger::{Code, Error, Rejection, internal};
use prost::Message as _;
use proto::{ERROR_DOMAIN, any, rpc};
use tonic::Status;

use crate::intake::Refusal;

/// A status that a client can act on. What is ours to know is logged, and not told.
pub(crate) fn of(error: Error) -> Status {
    match error {
        Error::Rejected(rejection) => from_rpc(&rejection.status()),
        Error::NotYet(key) => {
            later("NOT_YET", &format!("{} is not here yet", key.aggregate()), Duration::from_millis(250))
        }
        Error::Transient(reason) => {
            tracing::warn!(reason, "a call cannot be answered now");
            unavailable()
        }
        Error::LostRace => unavailable(),
        Error::Failed(reason) => {
            tracing::error!(reason, "a call failed");
            from_rpc(&internal())
        }
    }
}

pub(crate) fn of_refusal(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Prepare(error) => of(error),
        Refusal::Seal(error) if error.may_become_good() => {
            tracing::warn!(%error, "a call was sealed under a key that is not known here");
            unavailable()
        }
        Refusal::Seal(error) => {
            tracing::error!(%error, "a call was refused");
            refused(Code::PermissionDenied, "BAD_SEAL", "the call is not sealed for this service")
        }
        Refusal::Behind => behind(),
        Refusal::Forbidden(reason) => refused(Code::PermissionDenied, "FORBIDDEN", reason),
    }
}

/// A refusal that no handler has anything to do with.
pub(crate) fn refused(code: Code, reason: &'static str, message: &str) -> Status {
    from_rpc(&Rejection::new(code, reason, message).status())
}

pub(crate) fn unavailable() -> Status {
    later("UNAVAILABLE", "the service cannot answer now", Duration::from_secs(1))
}

/// What the caller has seen is not here yet.
pub(crate) fn behind() -> Status {
    meter::REPLICA_BEHIND.counter(&[]).increment(1);
    let message = "what the consistency token tells of has not come here yet; try again";
    later("REPLICA_BEHIND", message, Duration::from_millis(250))
}

/// UNAVAILABLE, with the delay after which it makes sense to try again.
pub(crate) fn later(reason: &'static str, message: &str, delay: Duration) -> Status {
    let mut status = Rejection::new(Code::Unavailable, reason, message).status();
    let delay = prost_types::Duration::try_from(delay).unwrap_or_default();
    status.details.push(any(&rpc::RetryInfo { retry_delay: Some(delay) }));
    from_rpc(&status)
}

pub(crate) fn unimplemented() -> Status {
    let info =
        rpc::ErrorInfo { reason: "UNKNOWN_METHOD".to_owned(), domain: ERROR_DOMAIN.to_owned(), ..Default::default() };
    from_rpc(&rpc::Status { code: 12, message: "there is no such method".to_owned(), details: vec![any(&info)] })
}

fn from_rpc(status: &rpc::Status) -> Status {
    Status::with_details(status.code.into(), status.message.clone(), status.encode_to_vec().into())
}
