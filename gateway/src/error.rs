//! Why the gateway does not start, and what it refuses a client with. A client is told nothing but what stands here.

use std::collections::HashMap;
use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use proto::command::v1::Receipt;
use proto::rpc::bad_request::FieldViolation;
use proto::rpc::{BadRequest, ErrorInfo, QuotaFailure, RetryInfo};
use proto::{ERROR_DOMAIN, Message as _, Name as _, any};
use tonic::{Code, Status};

use crate::limit::Whose;

/// Why the gateway cannot start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Schema(#[from] event::SchemaError),
    #[error("cannot read the descriptor set {path}: {source}")]
    Descriptors { path: PathBuf, source: std::io::Error },
    #[error("the gateway cannot check the rule `{rule}` of the field {field}")]
    UnsupportedRule { field: String, rule: String },
    #[error("the pattern of the field {field} is no regular expression: {source}")]
    Pattern { field: String, source: regex_lite::Error },
    #[error("`{0}` is not an origin such as https://example.org")]
    Origin(String),
    #[error("the public services cannot be described: {0}")]
    Reflection(String),
    #[error(transparent)]
    Transport(#[from] serve::transport::Error),
    #[error("the gateway's server ended: {0}")]
    Server(#[from] tonic::transport::Error),
    #[error("the broker's connection was closed")]
    BrokerClosed,
}

/// What a client is refused with.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such method")]
    UnknownMethod,
    #[error("send an access token as `authorization: Bearer <token>`")]
    MissingToken,
    #[error("the access token is not valid")]
    InvalidToken,
    #[error("the access token has expired; refresh it")]
    ExpiredToken,
    #[error("the session has ended; log in again")]
    SessionEnded,
    #[error("only staff may call this")]
    StaffOnly,
    #[error("the command is not yours")]
    CommandNotYours,
    #[error("the request cannot be decoded")]
    MalformedMessage,
    #[error("the request has more than {limit} bytes")]
    MessageTooLarge { limit: usize },
    #[error("the request's metadata have more than {limit} bytes")]
    MetadataTooLarge { limit: usize },
    #[error("requests may not be compressed")]
    CompressedMessage,
    #[error("the request has invalid fields")]
    InvalidFields(Vec<FieldViolation>),
    #[error("the idempotency key must be 1 to 255 printable ASCII characters")]
    InvalidIdempotencyKey,
    #[error("the consistency token is not one of ours")]
    InvalidConsistencyToken,
    #[error("the idempotency key was used with another request")]
    IdempotencyKeyReused,
    #[error("too many calls; wait before you call again")]
    RateLimited { whose: Whose, retry_after: Duration },
    #[error("too many calls are open; take the answers of some, or wait")]
    TooManyOpen,
    #[error("too many commands are waiting; send it again later")]
    QueueFull,
    /// Of a query: nothing happened.
    #[error("the service cannot be reached; try again")]
    Unavailable,
    /// Of a command, about which nothing is known.
    #[error(
        "neither the service nor its queue can be reached; the command may still happen: send it again under the same idempotency key"
    )]
    CommandUnavailable,
    #[error("the deadline has passed; a command may still happen: send it again under the same idempotency key")]
    DeadlineExceeded,
    #[error("the gateway is stopping; call again")]
    Stopping,
    #[error("something went wrong here")]
    Internal,
    /// An error of the owner's own words, which it means for the client.
    #[error("{}", .0.message())]
    Owner(Status),
    /// How the command ended.
    #[error("{}", .error.message)]
    Outcome { error: proto::rpc::Status, receipt: Option<Receipt> },
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Owner(status) => {
                Self::with_details(status.code(), status.message(), status.details().to_vec().into())
            }
            Refusal::Outcome { mut error, receipt } => {
                error.details.extend(receipt.map(|receipt| any(&receipt)));
                with_details(error)
            }
            refusal => {
                let (code, reason) = refusal.kind();
                let info =
                    ErrorInfo { reason: reason.to_owned(), domain: ERROR_DOMAIN.to_owned(), metadata: HashMap::new() };
                let mut details = vec![any(&info)];
                details.extend(
                    refusal
                        .retry_after()
                        .map(|after| any(&RetryInfo { retry_delay: prost_types::Duration::try_from(after).ok() })),
                );
                let message = refusal.to_string();
                if let Refusal::RateLimited { whose, .. } = refusal {
                    details.push(any(&QuotaFailure { violations: vec![whose.violation()] }));
                }
                if let Refusal::InvalidFields(field_violations) = refusal {
                    details.push(any(&BadRequest { field_violations }));
                }
                with_details(proto::rpc::Status { code: code.into(), message, details })
            }
        }
    }
}

impl Refusal {
    /// The one place where refusals become codes.
    const fn kind(&self) -> (Code, &'static str) {
        match self {
            Self::UnknownMethod => (Code::Unimplemented, "UNKNOWN_METHOD"),
            Self::MissingToken => (Code::Unauthenticated, "MISSING_TOKEN"),
            Self::InvalidToken => (Code::Unauthenticated, "INVALID_TOKEN"),
            Self::ExpiredToken => (Code::Unauthenticated, "EXPIRED_TOKEN"),
            Self::SessionEnded => (Code::Unauthenticated, "SESSION_ENDED"),
            Self::StaffOnly => (Code::PermissionDenied, "STAFF_ONLY"),
            Self::CommandNotYours => (Code::PermissionDenied, "COMMAND_NOT_YOURS"),
            Self::MalformedMessage => (Code::InvalidArgument, "MALFORMED_MESSAGE"),
            Self::MessageTooLarge { .. } => (Code::InvalidArgument, "MESSAGE_TOO_LARGE"),
            Self::MetadataTooLarge { .. } => (Code::InvalidArgument, "METADATA_TOO_LARGE"),
            Self::CompressedMessage => (Code::Unimplemented, "COMPRESSED_MESSAGE"),
            Self::InvalidFields(_) => (Code::InvalidArgument, "INVALID_FIELD"),
            Self::InvalidIdempotencyKey => (Code::InvalidArgument, "INVALID_IDEMPOTENCY_KEY"),
            Self::InvalidConsistencyToken => (Code::InvalidArgument, "INVALID_CONSISTENCY_TOKEN"),
            Self::IdempotencyKeyReused => (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED"),
            Self::RateLimited { .. } => (Code::ResourceExhausted, "RATE_LIMITED"),
            Self::TooManyOpen => (Code::ResourceExhausted, "TOO_MANY_OPEN_CALLS"),
            Self::QueueFull => (Code::ResourceExhausted, "QUEUE_FULL"),
            Self::Unavailable | Self::CommandUnavailable => (Code::Unavailable, "UNAVAILABLE"),
            Self::DeadlineExceeded => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            Self::Stopping => (Code::Unavailable, "STOPPING"),
            Self::Internal | Self::Owner(_) | Self::Outcome { .. } => (Code::Internal, "INTERNAL"),
        }
    }

    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            Self::QueueFull => Some(Duration::from_secs(5)),
            Self::Unavailable | Self::CommandUnavailable | Self::Stopping | Self::TooManyOpen => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
    }

    /// Whether a call to an owner may have ended with its connection, and not by anybody's word.
    pub fn is_unanswered(status: &Status) -> bool {
        let broken = status.source().is_some_and(|source| !is_timeout(source));
        !is_ours(status) && (broken || status.code() == Code::Unavailable)
    }

    /// What a call to an owner failed with, as the client may see it. An owner's own errors carry an `ErrorInfo` of ours and pass; what
    /// anything in between says does not.
    pub fn from_owner(status: Status) -> Self {
        if is_ours(&status) {
            return Self::Owner(status);
        }
        if let Some(source) = status.source() {
            // Nobody answered. Which code that has depends on the moment at which the connection broke.
            return if is_timeout(source) { Self::DeadlineExceeded } else { Self::Unavailable };
        }
        match status.code() {
            // Tonic's own timer says CANCELLED.
            Code::DeadlineExceeded | Code::Cancelled => Self::DeadlineExceeded,
            Code::Unavailable => Self::Unavailable,
            code => {
                tracing::error!(?code, "an owner answered without saying why");
                Self::Internal
            }
        }
    }
}

fn with_details(status: proto::rpc::Status) -> Status {
    let details = status.encode_to_vec().into();
    Status::with_details(Code::from(status.code), status.message, details)
}

fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<tonic::TimeoutExpired>() || error.source().is_some_and(is_timeout)
}

fn is_ours(status: &Status) -> bool {
    let info = ErrorInfo::full_name();
    proto::rpc::Status::decode(status.details()).is_ok_and(|status| {
        let infos = status.details.iter().filter(|any| any.type_url.rsplit('/').next() == Some(&info));
        infos.filter_map(|any| ErrorInfo::decode(any.value.as_slice()).ok()).any(|info| info.domain == ERROR_DOMAIN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(status: &Status) -> Vec<prost_types::Any> {
        proto::rpc::Status::decode(status.details()).unwrap().details
    }

    fn info(status: &Status) -> ErrorInfo {
        ErrorInfo::decode(details(status)[0].value.as_slice()).unwrap()
    }

    #[test]
    fn every_refusal_says_why_in_an_error_info() {
        let status = Status::from(Refusal::ExpiredToken);
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!((info(&status).reason.as_str(), info(&status).domain.as_str()), ("EXPIRED_TOKEN", "millrace"));
    }

    #[test]
    fn what_may_be_tried_again_says_when() {
        for refusal in [Refusal::Unavailable, Refusal::CommandUnavailable, Refusal::QueueFull] {
            let status = Status::from(refusal);
            assert_eq!(details(&status)[1].type_url, "type.googleapis.com/google.rpc.RetryInfo");
        }
    }

    #[test]
    fn invalid_fields_are_listed() {
        let violation = FieldViolation { field: "lines[0].quantity".to_owned(), ..FieldViolation::default() };
        let status = Status::from(Refusal::InvalidFields(vec![violation]));
        let request = BadRequest::decode(details(&status)[1].value.as_slice()).unwrap();
        assert_eq!(request.field_violations[0].field, "lines[0].quantity");
    }

    #[test]
    fn an_outcome_carries_its_receipt() {
        let error = proto::rpc::Status {
            code: Code::FailedPrecondition.into(),
            message: "no".to_owned(),
            details: vec![any(&ErrorInfo::default())],
        };
        let receipt = Receipt { command: "order.place-order/x".to_owned(), ..Receipt::default() };
        let status = Status::from(Refusal::Outcome { error, receipt: Some(receipt.clone()) });
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "no"));
        assert_eq!(Receipt::decode(details(&status)[1].value.as_slice()).unwrap(), receipt);
    }

    #[test]
    fn an_owner_speaks_for_itself_only_where_it_says_that_it_does() {
        let own = Status::from(Refusal::StaffOnly);
        assert_eq!(Status::from(Refusal::from_owner(own)).code(), Code::PermissionDenied);
        let leak = Status::from(Refusal::from_owner(Status::internal("relation \"order\" does not exist")));
        assert_eq!((leak.code(), leak.message()), (Code::Internal, "something went wrong here"));
        let down = Status::from(Refusal::from_owner(Status::unavailable("10.0.0.3:50051 refused")));
        assert_eq!((down.code(), down.message()), (Code::Unavailable, "the service cannot be reached; try again"));
    }

    #[test]
    fn a_connection_that_breaks_is_no_error_of_ours() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let status = Status::from(Refusal::from_owner(Status::from_error(broken.into())));
        assert_eq!(status.code(), Code::Unavailable);
    }
}
