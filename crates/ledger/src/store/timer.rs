use std::time::Duration;

use event::{Key, Micros};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait as _, LockBehavior, LockType, OnConflict};
use sea_orm::{Condition, Iterable as _, QueryOrder, QuerySelect};

use super::writes::{self, Writes};

use crate::database::Transaction;

/// Something that is to happen to an aggregate at a time. The row is deleted by what it sets off.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "timer")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// In microseconds since 1970.
    pub due: i64,
    pub body: Vec<u8>,
    pub state: State,
    /// Nobody takes it before, in microseconds since 1970.
    pub leased_until: i64,
    /// How often it was taken.
    pub taken: i64,
    /// How often it has failed.
    pub attempts: i64,
    pub reason: Option<String>,
    /// The revision of the aggregate with which it was set.
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "i16", db_type = "SmallInteger")]
pub enum State {
    Set = 1,
    /// It failed for good. An operator decides.
    Parked = 2,
}

/// Which timer: its aggregate's key, and its name.
pub(crate) type TimerId = (Key, &'static str);

/// What may be taken now.
#[derive(Clone, Debug)]
pub(crate) struct Ripe {
    pub(crate) now: Micros,
    pub(crate) timers: Vec<&'static str>,
    pub(crate) deadlines: Vec<&'static str>,
    /// Deadlines that were due by then.
    pub(crate) read_until: Micros,
}

/// What nobody has taken now. A constant and no parameter: SQLite uses the partial index only where it sees that it may.
fn set_until(now: Micros) -> Select<Entity> {
    let is_set = Expr::col(Column::State).eq(Expr::cust((State::Set as i16).to_string()));
    Entity::find().filter(is_set).filter(Column::LeasedUntil.lte(now.0))
}

impl Ripe {
    fn rows(&self) -> Select<Entity> {
        let timers = Column::Name.is_in(self.timers.iter().copied());
        let deadlines = Column::Name.is_in(self.deadlines.iter().copied()).and(Column::Due.lte(self.read_until.0));
        set_until(self.now).filter(timers.or(deadlines))
    }

    /// Whether there is anything to take: asked without a transaction, because mostly there is not.
    pub(crate) async fn any(&self, connection: &impl ConnectionTrait) -> Result<bool, DbErr> {
        self.rows().exists(connection).await
    }

    /// Takes what is ripe for `lease`, and answers the rows as they are then.
    pub(crate) async fn take(&self, txn: &Transaction, lease: Duration, limit: u64) -> Result<Vec<Model>, DbErr> {
        let ripe = self.rows().order_by_asc(Column::LeasedUntil).limit(limit);
        let rows = ripe.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked).all(txn).await?;
        let leased_until = self.now.plus(lease).0;
        let taken: Vec<_> =
            rows.into_iter().map(|row| Model { leased_until, taken: row.taken.saturating_add(1), ..row }).collect();
        writes::write(txn, |writes| write(writes, taken.clone())).await?;
        Ok(taken)
    }
}

/// Whether timers of these names came due after a moment, and are due now.
pub(crate) async fn any_due_after(
    connection: &impl ConnectionTrait,
    names: Vec<&'static str>,
    after: Micros,
    now: Micros,
) -> Result<bool, DbErr> {
    set_until(now).filter(Column::Name.is_in(names)).filter(Column::Due.gt(after.0)).exists(connection).await
}

/// Locks one row.
pub(crate) async fn lock(txn: &Transaction, (key, name): &TimerId) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id((key.to_string(), (*name).to_owned())).lock_exclusive().one(txn).await
}

/// Writes rows, or replaces them whole.
pub(crate) fn write(writes: &mut Writes, rows: impl IntoIterator<Item = Model>) {
    let columns = Column::iter().filter(|column| !matches!(column, Column::Key | Column::Name));
    let replace = OnConflict::columns([Column::Key, Column::Name]).update_columns(columns).to_owned();
    writes.upsert(rows, replace);
}

pub(crate) fn delete(writes: &mut Writes, ids: &[TimerId]) {
    if !ids.is_empty() {
        let one = |(key, name): &TimerId| Column::Key.eq(key.to_string()).and(Column::Name.eq(*name));
        let these = ids.iter().map(one).fold(Condition::any(), Condition::add);
        writes.add(&Entity::delete_many().filter(these));
    }
}
