use std::borrow::Cow;
use std::sync::Arc;

use rusqlite::ffi;
use sea_orm::sqlx::error::{DatabaseError, ErrorKind};
use sea_orm::{DbErr, RuntimeErr};

pub(super) fn refused(error: rusqlite::Error) -> DbErr {
    let error = sea_orm::sqlx::Error::Database(Box::new(Refused(error)));
    DbErr::Query(RuntimeErr::SqlxError(Arc::new(error)))
}

/// SQLite's own error, so that whoever judges errors need not know which driver it came by.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(#[source] rusqlite::Error);

impl Refused {
    fn extended_code(&self) -> i32 {
        self.0.sqlite_error().map_or(0, |error| error.extended_code)
    }
}

impl DatabaseError for Refused {
    fn message(&self) -> &str {
        match &self.0 {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message,
            _ => "SQLite refused",
        }
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.extended_code().to_string().into())
    }

    fn kind(&self) -> ErrorKind {
        match self.extended_code() {
            ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_UNIQUE => ErrorKind::UniqueViolation,
            _ => ErrorKind::Other,
        }
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }
}
