use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use event::{Key, Micros};
use fault::{Protection, without};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait as _, OnConflict};
use sea_orm::{Condition, DbBackend, FromQueryResult, IntoActiveModel, Iterable as _, QueryOrder, QuerySelect};

use super::writes::{self, Writes};

use crate::database::Transaction;

/// How far a subscription is with a key.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "cursor")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub subscription: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    pub epoch: i64,
    /// The newest revision that was applied.
    pub revision: i64,
    pub history: Vec<u8>,
    pub state: State,
    /// When a WAITING key is to be tried again, in microseconds since 1970.
    pub due: Option<i64>,
    /// The newest revision that was heard of.
    pub noted: i64,
    /// How often the next revision has failed.
    pub attempts: i64,
    /// Why the key waits or is parked.
    pub reason: Option<String>,
    /// Up to this revision events are skipped, because an operator dropped them; mostly 0.
    pub dropped: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// Whether a key's events are applied as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "i16", db_type = "SmallInteger")]
pub enum State {
    /// The next revision is applied when it comes.
    Flowing = 1,
    /// A revision is missing, or has failed, or needs what is not here yet. Tried again when it is due.
    Waiting = 2,
    /// It failed for good. An operator decides.
    Parked = 3,
    /// What was applied is to be compared with the owner's log, when it is due. Like WAITING otherwise.
    Comparing = 4,
}

/// Which cursor: the subscription's name and the key.
pub(crate) type CursorId = (&'static str, Key);

fn those(ids: &[CursorId]) -> Condition {
    let mut keys: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (subscription, key) in ids {
        keys.entry(subscription).or_default().push(key.to_string());
    }
    keys.into_iter()
        .map(|(subscription, keys)| Column::Subscription.eq(subscription).and(Column::Key.is_in(keys)))
        .fold(Condition::any(), Condition::add)
}

/// Locks the rows in one order, and gives those that are missing as they begin. A revision is applied only under this lock.
pub(crate) async fn lock(txn: &Transaction, ids: &[CursorId]) -> Result<Vec<Model>, DbErr> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = Entity::find().filter(those(ids)).order_by_asc(Column::Subscription).order_by_asc(Column::Key);
    if txn.get_database_backend() == DbBackend::Postgres {
        insert_missing(txn, ids).await?;
        return if without(Protection::CursorLock) { rows } else { rows.lock_exclusive() }.all(txn).await;
    }
    // One transaction at a time writes SQLite: nobody else can insert what is missing before this one has written it.
    let mut rows = rows.all(txn).await?;
    let here: HashSet<(String, String)> = rows.iter().map(|row| (row.subscription.clone(), row.key.clone())).collect();
    rows.extend(ids.iter().map(empty).filter(|row| !here.contains(&(row.subscription.clone(), row.key.clone()))));
    Ok(rows)
}

/// The next rows of one subscription for keys of these kinds, in the order of their keys, locked.
pub(crate) async fn lock_after(
    txn: &Transaction,
    subscription: &str,
    aggregates: &[&str],
    after: &str,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    // Not a range: what lies between two texts depends on the database's collation.
    let kinds = aggregates.iter().map(|aggregate| Column::Key.starts_with(format!("{aggregate}/")));
    let rows = Entity::find().filter(Column::Subscription.eq(subscription)).filter(Column::Key.gt(after));
    let ours = rows.filter(kinds.fold(Condition::any(), Condition::add));
    ours.order_by_asc(Column::Key).limit(limit).lock_exclusive().all(txn).await
}

async fn insert_missing(txn: &Transaction, ids: &[CursorId]) -> Result<(), DbErr> {
    let missing = OnConflict::columns([Column::Subscription, Column::Key]).do_nothing().to_owned();
    let rows = ids.iter().map(empty).map(|row| row.into_active_model().reset_all());
    Entity::insert_many(rows).on_conflict(missing).exec_without_returning(txn).await?;
    Ok(())
}

/// The cursor of a key of which nothing has come yet.
fn empty((subscription, key): &CursorId) -> Model {
    Model {
        subscription: (*subscription).to_owned(),
        key: key.to_string(),
        epoch: 0,
        revision: 0,
        history: vec![0; 16],
        state: State::Flowing,
        due: None,
        noted: 0,
        attempts: 0,
        reason: None,
        dropped: 0,
    }
}

/// Writes rows that were locked.
pub(crate) fn write(writes: &mut Writes, locked: impl IntoIterator<Item = Model>) {
    let columns = Column::iter().filter(|column| !matches!(column, Column::Subscription | Column::Key));
    let update = OnConflict::columns([Column::Subscription, Column::Key]).update_columns(columns).to_owned();
    writes.upsert(locked, update);
}

pub(crate) async fn find(
    connection: &impl ConnectionTrait,
    subscription: &str,
    key: &Key,
) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id((subscription.to_owned(), key.to_string())).one(connection).await
}

/// Those of these rows that there are.
pub(crate) async fn find_all(connection: &impl ConnectionTrait, ids: &[CursorId]) -> Result<Vec<Model>, DbErr> {
    Entity::find().filter(those(ids)).all(connection).await
}

/// The rows of these subscriptions that wait, or are to be compared, and are due.
fn due(names: &[&'static str], now: Micros) -> Select<Entity> {
    // Constants and no parameters: SQLite uses the partial index only where it sees that it may, and else prepares the statement each time.
    let states = [State::Waiting, State::Comparing].map(|state| Expr::cust((state as i16).to_string()));
    let waiting = Entity::find().filter(Expr::col(Column::State).is_in(states)).filter(Column::Due.lte(now.0));
    waiting.filter(Column::Subscription.is_in(names.iter().copied()))
}

/// Whether there is anything to take: asked without a transaction, because mostly there is not.
pub(crate) async fn any_due(
    connection: &impl ConnectionTrait,
    names: &[&'static str],
    now: Micros,
) -> Result<bool, DbErr> {
    due(names, now).exists(connection).await
}

/// Takes rows that are due, by making them due again only after `lease`: whoever else looks will not see them meanwhile.
pub(crate) async fn take_due(
    txn: &Transaction,
    names: &[&'static str],
    now: Micros,
    lease: Duration,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let rows = due(names, now)
        .order_by_asc(Column::Due)
        .limit(limit)
        .lock_with_behavior(sea_orm::sea_query::LockType::Update, sea_orm::sea_query::LockBehavior::SkipLocked)
        .all(txn)
        .await?;
    let taken = rows.iter().cloned().map(|row| Model { due: Some(now.plus(lease).0), ..row });
    writes::write(txn, |writes| write(writes, taken)).await?;
    Ok(rows)
}

/// How many keys of a subscription are still to be compared.
pub(crate) async fn comparing(connection: &impl ConnectionTrait, subscription: &str) -> Result<u64, DbErr> {
    let rows = Entity::find().filter(Column::State.eq(State::Comparing)).filter(Column::Subscription.eq(subscription));
    rows.count(connection).await
}

/// How many keys a subscription has in a state.
#[derive(FromQueryResult)]
pub(crate) struct Count {
    pub(crate) subscription: String,
    pub(crate) state: State,
    pub(crate) keys: i64,
}

/// How many keys each subscription has in each state.
pub(crate) async fn counts(connection: &impl ConnectionTrait) -> Result<Vec<Count>, DbErr> {
    let counted = Entity::find().select_only().columns([Column::Subscription, Column::State]);
    let counted = counted.column_as(Column::Key.count(), "keys").group_by(Column::Subscription).group_by(Column::State);
    counted.into_model().all(connection).await
}
