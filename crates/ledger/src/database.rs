//! A service's own database: SQLite in a file, or Postgres.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::{MigrationTrait, MigratorTraitSelf};

/// Why a database cannot be used. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process has {0} open; each service's database file belongs to one process")]
    InUse(PathBuf),
    #[error("cannot write {path}: {source}", path = path.display())]
    NotWritable { path: PathBuf, source: std::io::Error },
    #[error("the database cannot be opened: {0}")]
    Database(#[from] DbErr),
    #[error("`{0}` is not the address of a database; use sqlite://<path> or postgres://<user>@<host>/<database>")]
    Address(String),
}

/// An open database with its schema in place. Clones share it.
#[derive(Clone, Debug)]
pub struct Database {
    writer: DatabaseConnection,
    reader: DatabaseConnection,
    /// Held as long as the file is in use: two processes writing one SQLite file would each believe in their own lanes.
    _lock: Option<Arc<File>>,
}

/// How long a transaction may idle before Postgres ends it, so that a stalled process does not hold its locks for ever.
const IDLE_IN_TRANSACTION: &str = "15s";
/// How long a statement may wait for a lock that the batch did not take up front.
const LOCK_TIMEOUT: &str = "2s";
/// Prepared statements that the writing connection keeps. Each number of rows makes a text of its own, and to prepare one costs more than to
/// execute it.
const STATEMENTS: usize = 1024;
/// Pages of 4 KiB that the write-ahead log takes until they are moved to where they belong. The larger, the more often a page was written
/// again meanwhile, and is moved once.
const CHECKPOINT: &str = "4000";
/// Connections to Postgres per service for writing, and as many for reading.
const POOL: u32 = 8;

impl Database {
    /// Opens the database and brings its schema up to date.
    pub async fn open(url: &str, tables: Vec<Box<dyn MigrationTrait>>) -> Result<Self, OpenError> {
        let database = match url.split_once("://") {
            Some(("sqlite", path)) => Self::sqlite(Path::new(path)).await?,
            Some(("postgres" | "postgresql", _)) => Self::postgres(url).await?,
            _ => return Err(OpenError::Address(url.split('@').next_back().unwrap_or_default().to_owned())),
        };
        database.migrate(tables).await?;
        Ok(database)
    }

    async fn sqlite(path: &Path) -> Result<Self, OpenError> {
        let lock = lock_file(path)?;
        private_file(path).map_err(|source| OpenError::NotWritable { path: path.to_owned(), source })?;
        // The path as it is: in a URL some of its characters would mean something else.
        let mut options = ConnectOptions::new("sqlite://?mode=rwc".to_owned());
        // FULL, because WAL with NORMAL may lose the last commits when the power fails.
        let file = path.to_owned();
        options.max_connections(1).sqlx_logging(false).test_before_acquire(false).map_sqlx_sqlite_opts(
            move |options| {
                options
                    .filename(&file)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .statement_cache_capacity(STATEMENTS)
                    .foreign_keys(true)
                    // What a statement may have to undo is kept in memory, and not in a file that each statement makes and deletes.
                    .pragma("temp_store", "memory")
                    .pragma("wal_autocheckpoint", CHECKPOINT)
            },
        );
        let writer = sea_orm::Database::connect(options).await?;
        let mut options = ConnectOptions::new("sqlite://?mode=ro".to_owned());
        let file = path.to_owned();
        options.max_connections(4).sqlx_logging(false).test_before_acquire(false);
        options.map_sqlx_sqlite_opts(move |options| options.filename(&file));
        let reader = sea_orm::Database::connect(options).await?;
        Ok(Self { writer, reader, _lock: Some(Arc::new(lock)) })
    }

    async fn postgres(url: &str) -> Result<Self, OpenError> {
        let mut options = ConnectOptions::new(url.to_owned());
        options
            .max_connections(POOL)
            .sqlx_logging(false)
            .acquire_timeout(Duration::from_secs(10))
            .map_sqlx_postgres_opts(|options| {
                options.options([
                    ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
                    ("lock_timeout", LOCK_TIMEOUT),
                ])
            });
        let writer = sea_orm::Database::connect(options.clone()).await?;
        let reader = sea_orm::Database::connect(options).await?;
        Ok(Self { writer, reader, _lock: None })
    }

    /// Instances that start together take turns: on Postgres an advisory lock, on SQLite the file's own.
    async fn migrate(&self, tables: Vec<Box<dyn MigrationTrait>>) -> Result<(), DbErr> {
        let migrator = Migrator(tables.into_iter().map(Arc::from).collect());
        if self.backend() == DbBackend::Sqlite {
            // Only Postgres has each migration in a transaction of its own accord. Without one a kill in the middle leaves tables that the
            // next start finds to be there already, and then it never opens again.
            let txn = self.begin().await?;
            migrator.up(&txn, None).await?;
            return txn.commit().await;
        }
        let turn = self.reader.begin().await?;
        turn.execute_unprepared("set local idle_in_transaction_session_timeout = 0; set local lock_timeout = 0")
            .await?;
        turn.execute_unprepared("select pg_advisory_xact_lock(hashtext('millrace migrations'))").await?;
        migrator.up(&self.writer, None).await?;
        turn.commit().await
    }

    pub fn backend(&self) -> DbBackend {
        self.writer.get_database_backend()
    }

    /// How many lanes can write at once.
    pub fn lanes(&self) -> usize {
        if self.backend() == DbBackend::Sqlite { 1 } else { 4 }
    }

    /// For reading, outside any transaction of ours.
    pub const fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// A transaction that writes. IMMEDIATE on SQLite, because one that begins by reading fails with BUSY when it comes to write.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        self.writer.begin_with_options(options).await
    }

    pub async fn close(self) -> Result<(), DbErr> {
        self.reader.close().await?;
        self.writer.close().await
    }
}

/// Opens a file that only its owner may read, and makes it if it is not there. SQLite gives what it makes beside a database the same rights.
pub fn private_file(path: &Path) -> std::io::Result<File> {
    File::options().create(true).truncate(false).write(true).mode(0o600).open(path)
}

fn lock_file(path: &Path) -> Result<File, OpenError> {
    let lock = path.with_extension("lock");
    let not_writable = |source| OpenError::NotWritable { path: lock.clone(), source };
    let file = private_file(&lock).map_err(not_writable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(not_writable(source)),
    }
}

struct Migrator(Vec<Arc<dyn MigrationTrait>>);

/// Lets one list of migrations be handed out more than once, as the migrator asks.
struct Shared(Arc<dyn MigrationTrait>);

impl sea_orm_migration::MigrationName for Shared {
    fn name(&self) -> &str {
        self.0.name()
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Shared {
    async fn up(&self, manager: &sea_orm_migration::SchemaManager) -> Result<(), DbErr> {
        self.0.up(manager).await
    }
}

impl MigratorTraitSelf for Migrator {
    fn migrations(&self) -> Vec<Box<dyn MigrationTrait>> {
        self.0.iter().map(|migration| Box::new(Shared(Arc::clone(migration))) as Box<dyn MigrationTrait>).collect()
    }
}
