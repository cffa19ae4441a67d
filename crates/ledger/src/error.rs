use std::fmt;

use event::Key;
use proto::{ERROR_DOMAIN, any, rpc};
use sea_orm::sqlx::error::DatabaseError;
use sea_orm::{DbErr, RuntimeErr};

/// Why a handler did not do what it was asked. Which kind of failure it is, is decided where it happens.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command was judged and refused. Remembered, and answered to whoever asks again.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The handler needs what another aggregate has not told yet. The delivery is given back, and that key is read from its owner.
    #[error("{0} is not here yet")]
    NotYet(Key),
    /// What passes by itself: the database is away, a lock could not be had, a port did not answer. Tried again, never counted.
    #[error("not possible now: {0}")]
    Transient(String),
    /// What would fail again in the same way. Counted, and set aside after the last attempt.
    #[error("{0}")]
    Failed(String),
    /// Another transaction wrote or held the same row first. Redone, and then it finds that row.
    #[error("lost a race for a row")]
    LostRace,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The refusal of a command, in the words of AIP-193. It reaches the client as it stands, so nothing internal may be in it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Rejection {
    pub code: Code,
    /// `UPPER_SNAKE_CASE`; with the domain `millrace` it names the kind of refusal for programs.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// What is variable in the message, for programs.
    pub metadata: Vec<(&'static str, String)>,
    /// The fields at fault, with what is wrong with each.
    pub violations: Vec<(String, String)>,
}

/// The canonical codes that a refusal can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidArgument = 3,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    FailedPrecondition = 9,
    Aborted = 10,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Rejection {
    pub fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), metadata: Vec::new(), violations: Vec::new() }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.metadata.push((name, value.to_string()));
        self
    }

    #[must_use]
    pub fn field(mut self, path: impl Into<String>, description: impl Into<String>) -> Self {
        self.violations.push((path.into(), description.into()));
        self
    }

    /// The error that the client gets.
    pub fn status(&self) -> rpc::Status {
        let info = rpc::ErrorInfo {
            reason: self.reason.to_owned(),
            domain: ERROR_DOMAIN.to_owned(),
            metadata: self.metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        };
        let mut details = vec![any(&info)];
        if !self.violations.is_empty() {
            let violation = |(field, description): &(String, String)| rpc::bad_request::FieldViolation {
                field: field.clone(),
                description: description.clone(),
                ..Default::default()
            };
            details.push(any(&rpc::BadRequest { field_violations: self.violations.iter().map(violation).collect() }));
        }
        rpc::Status { code: self.code as i32, message: self.message.clone(), details }
    }
}

/// The status of a command that failed for a reason of ours: the cause is in the log, not in the answer.
pub fn internal() -> rpc::Status {
    let info = rpc::ErrorInfo { reason: "INTERNAL".to_owned(), domain: ERROR_DOMAIN.to_owned(), ..Default::default() };
    let message = "the command failed; nothing was changed, and it can be driven again by an operator".to_owned();
    rpc::Status { code: 13, message, details: vec![any(&info)] }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        if database(&error).is_some_and(DatabaseError::is_unique_violation) || is_contended(&error) {
            return Self::LostRace;
        }
        if is_transient(&error) { Self::Transient(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

/// Whether another transaction was in the way: a serialization failure, a deadlock, a lock that could not be had in time.
fn is_contended(error: &DbErr) -> bool {
    matches!(code(error).as_deref(), Some("40001" | "40P01" | "55P03"))
}

/// Whether the same statement may succeed later. A constraint, a type or a syntax error will not.
fn is_transient(error: &DbErr) -> bool {
    if let Some(code) = code(error) {
        // Postgres, 5 characters: connection, resources, intervention, system; an idle transaction ended, a stand-by that cannot write.
        let postgres =
            ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || matches!(&*code, "25P03" | "25006");
        // SQLite, up to 4 digits whose lowest byte is the kind: BUSY, LOCKED, IOERR, FULL, CANTOPEN.
        let sqlite = || code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13 | 14));
        return if code.len() == 5 { postgres } else { sqlite() };
    }
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source)) => {
            use sea_orm::sqlx::Error::{Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
            matches!(**source, Io(_) | PoolClosed | PoolTimedOut | Protocol(_) | Tls(_) | WorkerCrashed)
        }
        other => matches!(other, DbErr::Conn(_) | DbErr::ConnectionAcquire(_)),
    }
}

fn code(error: &DbErr) -> Option<String> {
    database(error)?.code().map(Into::into)
}

/// What the database said, if it was the database that refused.
fn database(error: &DbErr) -> Option<&dyn DatabaseError> {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source)) => {
            source.as_database_error()
        }
        _ => None,
    }
}

impl From<prost::DecodeError> for Error {
    fn from(error: prost::DecodeError) -> Self {
        Self::Failed(format!("cannot decode: {error}"))
    }
}
