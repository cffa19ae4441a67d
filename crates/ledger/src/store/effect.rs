use std::time::Duration;

use event::{Key, Micros};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait as _, OnConflict};
use sea_orm::{Condition, QueryOrder, QuerySelect};

use super::writes::{self, Writes};

use crate::database::Transaction;

/// A durable wish to act on the world outside.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "effect")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: String,
    /// The revision of the aggregate with which it was wished. With the key and the kind it is our reference at the provider.
    #[sea_orm(primary_key, auto_increment = false)]
    pub n: i64,
    pub body: Vec<u8>,
    pub state: State,
    /// Nobody else takes it before, in microseconds since 1970.
    pub leased_until: i64,
    /// What the world answered, if the aggregate could not take the answer in at once.
    pub answer: Option<Vec<u8>>,
    /// While WISHED and LEASED: how often it was begun. With an answer: how often that could not be taken in.
    pub attempts: i64,
    pub reason: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// What came of it is not known yet.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.state, State::Wished | State::Leased)
    }
}

/// How far an effect is. What is below ANSWERED is still to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "i16", db_type = "SmallInteger")]
pub enum State {
    /// Nobody has begun it. It can still be withdrawn.
    Wished = 1,
    /// It was begun, at least once. What came of it is not known.
    Leased = 2,
    /// Its answer was taken in.
    Answered = 3,
    Withdrawn = 4,
    /// Its answer could not be taken in. An operator decides.
    Parked = 5,
    /// An operator gave its answer up.
    Dropped = 6,
}

/// Which effect: its aggregate, its kind and the revision with which it was wished.
pub(crate) type EffectId = (Key, &'static str, i64);

/// Locks the rows that exist, in one order.
pub(crate) async fn lock_all(txn: &Transaction, ids: &[EffectId]) -> Result<Vec<Model>, DbErr> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let one =
        |(key, kind, n): &EffectId| Column::Key.eq(key.to_string()).and(Column::Kind.eq(*kind)).and(Column::N.eq(*n));
    let those = Entity::find().filter(ids.iter().map(one).fold(Condition::any(), Condition::add));
    let sorted = those.order_by_asc(Column::Key).order_by_asc(Column::Kind).order_by_asc(Column::N);
    sorted.lock_exclusive().all(txn).await
}

/// Locks one row.
pub(crate) async fn lock(txn: &Transaction, key: &Key, kind: &str, n: i64) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id((key.to_string(), kind.to_owned(), n)).lock_exclusive().one(txn).await
}

/// Locks the newest row of this kind that is still to be done.
pub(crate) async fn lock_open(txn: &Transaction, key: &Key, kind: &str) -> Result<Option<Model>, DbErr> {
    let open = Entity::find().filter(Column::Key.eq(key.to_string())).filter(Column::Kind.eq(kind));
    open.filter(Column::State.is_in([State::Wished, State::Leased]))
        .order_by_desc(Column::N)
        .lock_exclusive()
        .one(txn)
        .await
}

/// Writes rows that were locked.
pub(crate) fn write(writes: &mut Writes, locked: impl IntoIterator<Item = Model>) {
    let update = OnConflict::columns([Column::Key, Column::Kind, Column::N])
        .update_columns([Column::State, Column::LeasedUntil, Column::Answer, Column::Attempts, Column::Reason])
        .to_owned();
    writes.upsert(locked, update);
}

/// The effects of these kinds that nobody works on.
fn due(kinds: &[&'static str], now: Micros) -> Select<Entity> {
    // A constant, for the sake of the partial index, as in its definition.
    let open = Entity::find().filter(Expr::col(Column::State).lt(Expr::cust((State::Answered as i16).to_string())));
    open.filter(Column::LeasedUntil.lte(now.0)).filter(Column::Kind.is_in(kinds.iter().copied()))
}

/// Whether there is anything to lease: asked without a transaction, because mostly there is not.
pub(crate) async fn any_due(
    connection: &impl ConnectionTrait,
    kinds: &[&'static str],
    now: Micros,
) -> Result<bool, DbErr> {
    due(kinds, now).exists(connection).await
}

/// Leases what is due for `lease`, and answers the rows as they were before.
pub(crate) async fn lease(
    txn: &Transaction,
    kinds: &[&'static str],
    now: Micros,
    lease: Duration,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let due = due(kinds, now)
        .order_by_asc(Column::LeasedUntil)
        .limit(limit)
        .lock_with_behavior(sea_orm::sea_query::LockType::Update, sea_orm::sea_query::LockBehavior::SkipLocked)
        .all(txn)
        .await?;
    let leased = due.iter().cloned().map(|row| {
        let attempts = row.attempts + i64::from(row.answer.is_none());
        Model { state: State::Leased, leased_until: now.plus(lease).0, attempts, ..row }
    });
    writes::write(txn, |writes| write(writes, leased)).await?;
    Ok(due)
}
