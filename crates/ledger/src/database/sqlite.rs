//! SQLite on the thread of whoever asks it.
//!
//! sqlx gives each connection a thread of its own and sends it each statement: a transaction of ours has about twenty, and the changes of
//! thread cost more than what they ask for. So SQLite is reached through rusqlite, and sea-orm takes it for a proxy.

mod refusal;
mod value;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_lock::MutexGuardArc;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use sea_orm::{
    DatabaseConnection, DatabaseConnectionType, DbBackend, DbErr, ProxyDatabaseConnection, ProxyDatabaseTrait,
    ProxyExecResult, ProxyRow, Statement,
};

use refusal::refused;
use value::{columns, row, values};

/// Prepared statements that a writer keeps. Each number of rows makes a text of its own, and to prepare one costs more than to
/// execute it.
const STATEMENTS: usize = 1024;
/// Those that a connection keeps on which each statement stands alone.
const STATEMENTS_ALONE: usize = 128;
/// Pages of 4 KiB that the write-ahead log takes until they are moved to where they belong. The larger, the more often a page was written
/// again meanwhile, and is moved once.
const CHECKPOINT: u32 = 4000;

/// How long a writer at work waits for somebody else's, and so its whole thread. There should be none: the file belongs to one process. But
/// what makes copies may have it for a moment; after that we come again. At the start there is time for more.
const BUSY: Duration = Duration::from_millis(50);

/// The connection that writes, and whose turn it is.
#[derive(Clone)]
pub(super) struct Writer(Arc<async_lock::Mutex<Connection>>);

/// A transaction that has its turn. It begins at once with the right to write, because one that begins by reading fails with BUSY when it
/// comes to write.
pub struct Sqlite(Mutex<MutexGuardArc<Connection>>);

impl Writer {
    /// `synchronous` is what survives: FULL all that was committed; NORMAL, if the power fails, all but the last.
    pub(super) fn open(file: &Path, synchronous: &str) -> Result<Self, DbErr> {
        let connection = open(file, OpenFlags::default(), STATEMENTS)?;
        for (name, value) in [("journal_mode", "wal"), ("synchronous", synchronous), ("foreign_keys", "on")] {
            connection.pragma_update(None, name, value).map_err(refused)?;
        }
        // What a statement may have to undo is kept in memory, and not in a file that each statement makes and deletes.
        connection.pragma_update(None, "temp_store", "memory").map_err(refused)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT).map_err(refused)?;
        Ok(Self(Arc::new(async_lock::Mutex::new(connection))))
    }

    /// From now on the thread has better to do than to wait.
    pub(super) async fn go_to_work(self) -> Result<Self, DbErr> {
        self.0.lock().await.busy_timeout(BUSY).map_err(refused)?;
        Ok(self)
    }

    /// Moves all that was written to where it belongs, so that the database is one file again.
    pub(super) async fn close(self) -> Result<(), DbErr> {
        self.0.lock().await.execute_batch("pragma wal_checkpoint(truncate)").map_err(refused)
    }

    pub(super) async fn begin(&self) -> Result<Sqlite, DbErr> {
        let txn = Sqlite(Mutex::new(self.0.lock_arc().await));
        run(&txn.connection(), "begin immediate")?;
        Ok(txn)
    }
}

impl Sqlite {
    pub(super) fn commit(&self) -> Result<(), DbErr> {
        run(&self.connection(), "commit")
    }

    pub(super) fn execute(&self, statement: &Statement) -> Result<ProxyExecResult, DbErr> {
        execute(&self.connection(), statement)
    }

    pub(super) fn query(&self, statement: &Statement) -> Result<Vec<ProxyRow>, DbErr> {
        query(&self.connection(), statement)
    }

    fn connection(&self) -> MutexGuard<'_, MutexGuardArc<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        let connection = self.connection();
        // A failed COMMIT leaves the transaction open, unless SQLite has rolled it back itself.
        if !connection.is_autocommit()
            && let Err(error) = run(&connection, "rollback")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }
}

/// A transaction, for those who know nothing but connections. Whoever made it commits it.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Arc<Sqlite>);

#[async_trait::async_trait]
impl ProxyDatabaseTrait for Shared {
    async fn query(&self, statement: Statement) -> Result<Vec<ProxyRow>, DbErr> {
        self.0.query(&statement)
    }

    async fn execute(&self, statement: Statement) -> Result<ProxyExecResult, DbErr> {
        self.0.execute(&statement)
    }
}

/// Connections on which each statement stands alone: as many as there are threads that ask at once.
pub(super) struct Connections {
    file: PathBuf,
    flags: OpenFlags,
    idle: Mutex<Vec<Connection>>,
}

impl Connections {
    pub(super) const fn reading(file: PathBuf) -> Self {
        Self { file, flags: OpenFlags::SQLITE_OPEN_READ_ONLY, idle: Mutex::new(Vec::new()) }
    }

    pub(super) const fn writing(file: PathBuf) -> Self {
        Self { file, flags: OpenFlags::SQLITE_OPEN_READ_WRITE, idle: Mutex::new(Vec::new()) }
    }

    fn with<T>(&self, ask: impl FnOnce(&Connection) -> Result<T, DbErr>) -> Result<T, DbErr> {
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open(&self.file, self.flags, STATEMENTS_ALONE)?,
        };
        let answer = ask(&connection);
        self.idle().push(connection);
        answer
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl ProxyDatabaseTrait for Connections {
    async fn query(&self, statement: Statement) -> Result<Vec<ProxyRow>, DbErr> {
        self.with(|connection| query(connection, &statement))
    }

    async fn execute(&self, statement: Statement) -> Result<ProxyExecResult, DbErr> {
        self.with(|connection| execute(connection, &statement))
    }
}

pub(super) fn proxy(database: impl ProxyDatabaseTrait + 'static) -> DatabaseConnection {
    let database: Box<dyn ProxyDatabaseTrait> = Box::new(database);
    let connection = ProxyDatabaseConnection::new(DbBackend::Sqlite, Arc::new(database));
    DatabaseConnectionType::ProxyDatabaseConnection(Arc::new(connection)).into()
}

fn open(file: &Path, flags: OpenFlags, statements: usize) -> Result<Connection, DbErr> {
    let connection = Connection::open_with_flags(file, flags).map_err(refused)?;
    connection.set_prepared_statement_cache_capacity(statements);
    // Else a statement with a LIMIT is prepared anew each time that it is given one, for the planner would like to know it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(refused)?;
    Ok(connection)
}

fn run(connection: &Connection, sql: &str) -> Result<(), DbErr> {
    connection.prepare_cached(sql).and_then(|mut prepared| prepared.execute([])).map_err(refused)?;
    Ok(())
}

fn execute(connection: &Connection, statement: &Statement) -> Result<ProxyExecResult, DbErr> {
    if statement.values.is_none() {
        // It may be several, or a pragma that answers.
        connection.execute_batch(&statement.sql).map_err(refused)?;
        return Ok(ProxyExecResult::new(0, connection.changes()));
    }
    let mut prepared = connection.prepare_cached(&statement.sql).map_err(refused)?;
    let rows = prepared.execute(params_from_iter(values(statement)?)).map_err(refused)?;
    Ok(ProxyExecResult::new(0, rows as u64))
}

fn query(connection: &Connection, statement: &Statement) -> Result<Vec<ProxyRow>, DbErr> {
    let mut prepared = connection.prepare_cached(&statement.sql).map_err(refused)?;
    let columns = columns(&prepared);
    let mut rows = prepared.query(params_from_iter(values(statement)?)).map_err(refused)?;
    let mut found = Vec::new();
    while let Some(next) = rows.next().map_err(refused)? {
        found.push(row(&columns, next)?);
    }
    Ok(found)
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sqlite")
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("file", &self.file).finish_non_exhaustive()
    }
}
