//! The simulated provider's books: its charges, and the calls that made them what they are.

mod call;
mod charge;

use ledger::OpenError;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    EntityTrait as _, QueryOrder as _, Schema, SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
};

use super::card::Card;
use crate::provider::{Outcome, Reservation};

pub use charge::{Model as Charge, State as ChargeState};

/// The provider's own database.
#[derive(Clone, Debug)]
pub(super) struct Books(DatabaseConnection);

/// What is written into the books.
#[derive(Debug)]
pub(super) enum Entry<'e> {
    Reserve(Reservation),
    Take(&'e str),
    LetGo(&'e str),
    GiveBack(&'e str),
}

/// What stands in the books under a reference.
#[derive(Debug)]
pub(super) struct Booked {
    pub(super) outcome: Outcome,
    /// None if there is no such charge.
    pub(super) card: Option<Card>,
    /// It was written just now, and not by an earlier call.
    pub(super) first: bool,
}

impl Books {
    pub(super) async fn open(address: &str) -> Result<Self, OpenError> {
        let mut options = match address.split_once("://") {
            Some(("sqlite", path)) => {
                let not_writable = |source| OpenError::NotWritable { path: path.into(), source };
                ledger::private_file(path.as_ref()).map_err(not_writable)?;
                ConnectOptions::new("sqlite://?mode=rwc")
            }
            Some(("postgres" | "postgresql", _)) => ConnectOptions::new(address),
            _ => return Err(OpenError::Address(address.split('@').next_back().unwrap_or_default().to_owned())),
        };
        let connections = if address.starts_with("sqlite") { 1 } else { 4 };
        // The path as it is: in a URL some of its characters would mean something else.
        let file = address.strip_prefix("sqlite://").unwrap_or_default().to_owned();
        options.max_connections(connections).sqlx_logging(false).map_sqlx_sqlite_opts(move |options| {
            options.filename(&file).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full)
        });
        let books = Self(Database::connect(options).await?);
        books.make_tables().await?;
        Ok(books)
    }

    /// Not by migrations: those of billing may be in the same database, under the same names.
    async fn make_tables(&self) -> Result<(), DbErr> {
        let txn = self.begin().await?;
        if txn.get_database_backend() == DbBackend::Postgres {
            // `if not exists` alone fails when two instances start together.
            txn.execute_unprepared("select pg_advisory_xact_lock(hashtext('simulated provider'))").await?;
        }
        let schema = Schema::new(txn.get_database_backend());
        txn.execute(schema.create_table_from_entity(charge::Entity).if_not_exists()).await?;
        txn.execute(schema.create_table_from_entity(call::Entity).if_not_exists()).await?;
        txn.commit().await
    }

    async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let sqlite_transaction_mode = Some(SqliteTransactionMode::Immediate);
        self.0.begin_with_options(TransactionOptions { sqlite_transaction_mode, ..Default::default() }).await
    }

    /// Writes an entry, unless there is one with this reference. Whoever comes second waits for the first, and gets its outcome.
    pub(super) async fn enter(&self, reference: &str, entry: Entry<'_>) -> Result<Booked, DbErr> {
        let txn = self.begin().await?;
        let charge = entry.charge(reference).to_owned();
        let first = call::claim(&txn, reference, &charge).await?;
        if first && let Some(refusal) = entry.write(&txn, reference).await? {
            call::refuse(&txn, reference, refusal).await?;
        }
        let outcome = call::find(&txn, reference).await?.map(call::Model::outcome);
        let outcome = outcome.ok_or_else(|| DbErr::RecordNotFound(reference.to_owned()))?;
        let card = charge::Entity::find_by_id(charge).one(&txn).await?.map(|charge| charge.card);
        txn.commit().await?;
        Ok(Booked { outcome, card, first })
    }

    pub(super) async fn outcome(&self, reference: &str) -> Result<Option<Outcome>, DbErr> {
        Ok(call::find(&self.0, reference).await?.map(call::Model::outcome))
    }

    pub(super) async fn charges(&self) -> Result<Vec<Charge>, DbErr> {
        charge::Entity::find().order_by_asc(charge::Column::Reference).all(&self.0).await
    }
}

impl Entry<'_> {
    /// The name of the charge that it is about.
    fn charge<'r>(&'r self, reference: &'r str) -> &'r str {
        match self {
            Self::Reserve(_) => reference,
            Self::Take(charge) | Self::LetGo(charge) | Self::GiveBack(charge) => charge,
        }
    }

    /// Changes the charge, or says why not.
    async fn write(self, txn: &DatabaseTransaction, reference: &str) -> Result<Option<&'static str>, DbErr> {
        let (charge, from, to, refusal) = match self {
            Self::Reserve(reservation) => return charge::reserve(txn, reference, reservation).await,
            Self::Take(charge) => (charge, ChargeState::Reserved, ChargeState::Taken, "the amount is not reserved"),
            Self::LetGo(charge) => (charge, ChargeState::Reserved, ChargeState::LetGo, "the amount is not reserved"),
            Self::GiveBack(charge) => (charge, ChargeState::Taken, ChargeState::GivenBack, "the amount was not taken"),
        };
        let moved = charge::change(txn, charge, from, to).await?;
        Ok((!moved).then_some(refusal))
    }
}
