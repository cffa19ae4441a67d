//! A service's own database: SQLite in a file, or Postgres.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, TransactionTrait};
use sea_orm_migration::{MigrationTrait, MigratorTraitSelf};

mod sqlite;
mod transaction;

pub use transaction::Transaction;

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
    writer: Writer,
    reader: DatabaseConnection,
    /// Held as long as the file is in use: two processes writing one SQLite file would each believe in their own lanes.
    _lock: Option<Arc<File>>,
}

#[derive(Clone, Debug)]
enum Writer {
    Sqlite(sqlite::Writer),
    Postgres(DatabaseConnection),
}

/// How long a transaction may idle before Postgres ends it, so that a stalled process does not hold its locks for ever.
const IDLE_IN_TRANSACTION: &str = "15s";
/// How long a statement may wait for a lock that the batch did not take up front.
const LOCK_TIMEOUT: &str = "2s";
/// Connections to Postgres per service for writing, and as many for reading.
const POOL: u32 = 8;

impl Database {
    /// Opens a service's database and brings its schema up to date.
    pub async fn open(url: &str, tables: Vec<Box<dyn MigrationTrait>>) -> Result<Self, OpenError> {
        let migrator = Migrator(tables.into_iter().map(Arc::from).collect());
        match Address::parse(url)? {
            Address::Sqlite(file) => Self::sqlite(file, &migrator).await,
            Address::Postgres(url) => Ok(Self::postgres(url, &migrator).await?),
        }
    }

    /// Opens what is no service's, and what others may have open, too; it has no schema yet. On SQLite a failure of the power may undo what was
    /// committed last.
    pub async fn shared(url: &str) -> Result<Self, OpenError> {
        let writer = match Address::parse(url)? {
            Address::Sqlite(file) => {
                make_private(file)?;
                Writer::Sqlite(sqlite::Writer::open(file, "normal")?.go_to_work().await?)
            }
            Address::Postgres(url) => Writer::Postgres(sea_orm::Database::connect(options(url)).await?),
        };
        Ok(Self { writer, reader: connect(url).await?, _lock: None })
    }

    async fn sqlite(file: &Path, migrator: &Migrator) -> Result<Self, OpenError> {
        let lock = lock_file(file)?;
        make_private(file)?;
        let writer = sqlite::Writer::open(file, "full")?;
        // Only Postgres has each migration in a transaction of its own accord. Without one a kill in the middle leaves tables that the next
        // start finds to be there already, and then it never opens again.
        let turn = Arc::new(writer.begin().await?);
        migrator.up(&sqlite::proxy(sqlite::Shared(Arc::clone(&turn))), None).await?;
        turn.commit()?;
        drop(turn);
        let reader = sqlite::proxy(sqlite::Connections::reading(file.to_owned()));
        Ok(Self { writer: Writer::Sqlite(writer.go_to_work().await?), reader, _lock: Some(Arc::new(lock)) })
    }

    /// Instances that start together take turns.
    async fn postgres(url: &str, migrator: &Migrator) -> Result<Self, DbErr> {
        let writer = sea_orm::Database::connect(options(url)).await?;
        let reader = sea_orm::Database::connect(options(url)).await?;
        let turn = reader.begin().await?;
        turn.execute_unprepared("set local idle_in_transaction_session_timeout = 0; set local lock_timeout = 0")
            .await?;
        turn.execute_unprepared("select pg_advisory_xact_lock(hashtext('millrace migrations'))").await?;
        migrator.up(&writer, None).await?;
        turn.commit().await?;
        Ok(Self { writer: Writer::Postgres(writer), reader, _lock: None })
    }

    pub fn backend(&self) -> DbBackend {
        self.reader.get_database_backend()
    }

    /// How many lanes can write at once.
    pub fn lanes(&self) -> usize {
        if self.backend() == DbBackend::Sqlite { 1 } else { 4 }
    }

    /// For reading, outside any transaction of ours.
    pub const fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// Waits for a connection, on SQLite for its turn with the only one.
    pub async fn begin(&self) -> Result<Transaction, DbErr> {
        match &self.writer {
            Writer::Sqlite(writer) => Ok(Transaction::Sqlite(writer.begin().await?)),
            Writer::Postgres(pool) => Ok(Transaction::Postgres(pool.begin().await?)),
        }
    }

    pub async fn close(self) -> Result<(), DbErr> {
        self.reader.close().await?;
        match self.writer {
            Writer::Sqlite(writer) => writer.close().await,
            Writer::Postgres(pool) => pool.close().await,
        }
    }
}

/// Opens a database in which each statement stands alone, to look into it from outside, or to disturb it.
pub async fn connect(url: &str) -> Result<DatabaseConnection, OpenError> {
    match Address::parse(url)? {
        Address::Sqlite(file) => Ok(sqlite::proxy(sqlite::Connections::writing(file.to_owned()))),
        Address::Postgres(url) => Ok(sea_orm::Database::connect(options(url)).await?),
    }
}

/// Where a database is. A path is taken as it is: in a URL some of its characters would mean something else.
enum Address<'u> {
    Sqlite(&'u Path),
    Postgres(&'u str),
}

impl<'u> Address<'u> {
    fn parse(url: &'u str) -> Result<Self, OpenError> {
        match url.split_once("://") {
            Some(("sqlite", path)) => Ok(Self::Sqlite(Path::new(path))),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(url)),
            _ => Err(OpenError::Address(url.split('@').next_back().unwrap_or_default().to_owned())),
        }
    }
}

fn options(url: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(url.to_owned());
    options.max_connections(POOL).sqlx_logging(false).acquire_timeout(Duration::from_secs(10)).map_sqlx_postgres_opts(
        |options| {
            options
                .options([("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION), ("lock_timeout", LOCK_TIMEOUT)])
        },
    );
    options
}

/// Makes a database's file, if it is not there, one that only its owner may read.
fn make_private(file: &Path) -> Result<(), OpenError> {
    let not_writable = |source| OpenError::NotWritable { path: file.to_owned(), source };
    private_file(file).map(drop).map_err(not_writable)
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
        self.0.up(manager).await?;
        fault::reach(fault::Point::Migrating).await;
        Ok(())
    }
}

impl MigratorTraitSelf for Migrator {
    fn migrations(&self) -> Vec<Box<dyn MigrationTrait>> {
        self.0.iter().map(|migration| Box::new(Shared(Arc::clone(migration))) as Box<dyn MigrationTrait>).collect()
    }
}
