//! The only sources of time and chance, so that a simulation can repeat a run.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use event::{Id, Micros};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use uuid::{Builder, Uuid};

/// Where the time comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// Postgres: the database's, so that instances whose clocks differ agree. SQLite: the process's.
    Database,
    /// Set by a test.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    pub fn manual(start: Micros) -> (Self, Arc<AtomicI64>) {
        let time = Arc::new(AtomicI64::new(start.0));
        (Self::Manual(Arc::clone(&time)), time)
    }

    pub(crate) async fn now(&self, connection: &impl ConnectionTrait) -> Result<Micros, DbErr> {
        match self {
            Self::Manual(time) => Ok(Micros(time.load(Ordering::SeqCst))),
            Self::Database if connection.get_database_backend() == DbBackend::Postgres => {
                let sql = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint as now";
                let row = connection.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
                let row = row.ok_or_else(|| DbErr::RecordNotFound("the database's clock".to_owned()))?;
                Ok(Micros(row.try_get("", "now")?))
            }
            Self::Database => Ok(process_now()),
        }
    }
}

/// A ledger's clock, and how far it was ahead of the process's when it was last read.
#[derive(Debug)]
pub(crate) struct Timepiece {
    clock: Clock,
    ahead: AtomicI64,
}

impl Timepiece {
    pub(crate) const fn new(clock: Clock) -> Self {
        Self { clock, ahead: AtomicI64::new(0) }
    }

    pub(crate) async fn now(&self, connection: &impl ConnectionTrait) -> Result<Micros, DbErr> {
        let now = self.clock.now(connection).await?;
        self.ahead.store(now.0.saturating_sub(process_now().0), Ordering::Relaxed);
        Ok(now)
    }

    /// About what [`now`](Self::now) would say, without asking anybody.
    pub(crate) fn estimate(&self) -> Micros {
        match &self.clock {
            Clock::Manual(time) => Micros(time.load(Ordering::SeqCst)),
            Clock::Database => Micros(process_now().0.saturating_add(self.ahead.load(Ordering::Relaxed))),
        }
    }
}

/// The process's clock, cut to microseconds. For waiting, and for those who have no ledger; another instance's may differ by hours.
#[expect(clippy::disallowed_methods, reason = "the one place where the process's clock is read")]
pub fn process_now() -> Micros {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Where chance comes from.
#[derive(Clone, Debug)]
pub struct Chance(Arc<Mutex<StdRng>>);

impl Chance {
    /// Seeded by the operating system.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(rand::make_rng())))
    }

    pub fn seeded(seed: [u8; 32]) -> Self {
        Self(Arc::new(Mutex::new(StdRng::from_seed(seed))))
    }

    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        bytes
    }

    /// An id for something new.
    pub fn id(&self, now: Micros) -> Id {
        Id::timed(now.unix_ms(), self.bytes())
    }

    /// A UUIDv7 for an event.
    pub fn uuid(&self, now: Micros) -> Uuid {
        Builder::from_unix_timestamp_millis(now.unix_ms(), &self.bytes()).into_uuid()
    }

    /// A whole number below `limit`, which must be above 0.
    pub fn below(&self, limit: u64) -> u64 {
        u64::from_le_bytes(self.bytes()) % limit.max(1)
    }

    /// From 0 to 1.
    pub fn fraction(&self) -> f64 {
        f64::from(u32::from_le_bytes(self.bytes())) / f64::from(u32::MAX)
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::new()
    }
}
