use event::Key;
use fault::{Protection, without};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{QueryOrder, QuerySelect};

use super::writes::Writes;

use crate::database::Transaction;

/// The newest revision of a key, in its owner's database: also the aggregate's lock.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "head")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    pub epoch: i64,
    pub revision: i64,
    pub history: Vec<u8>,
    /// When the newest event happened, in microseconds since 1970. The next one is never before it.
    pub time: i64,
    /// The folded state, a cache: a long history stays cheap.
    pub state: Vec<u8>,
    /// The version of the fold that made `state`.
    pub fold: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// Locks the heads that exist, in the order of their keys, so that two batches cannot wait for each other.
pub(crate) async fn lock(txn: &Transaction, keys: impl IntoIterator<Item = &Key>) -> Result<Vec<Model>, DbErr> {
    let keys: Vec<String> = keys.into_iter().map(Key::to_string).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let heads = Entity::find().filter(Column::Key.is_in(keys)).order_by_asc(Column::Key);
    if without(Protection::HeadLock) { heads } else { heads.lock_exclusive() }.all(txn).await
}

/// Writes new heads, which fails if another transaction wrote one of them first, and those that were locked.
pub(crate) fn write(writes: &mut Writes, new: Vec<Model>, locked: Vec<Model>) {
    let changing = [Column::Epoch, Column::Revision, Column::History, Column::Time, Column::State, Column::Fold];
    writes.insert(new);
    writes.upsert(locked, OnConflict::column(Column::Key).update_columns(changing).to_owned());
}

fn of(kind: &str) -> Select<Entity> {
    Entity::find().filter(Column::Key.starts_with(format!("{kind}/")))
}

/// The next keys of a kind, in the database's order.
pub(crate) async fn keys_after(
    connection: &impl ConnectionTrait,
    kind: &str,
    after: &str,
    limit: u64,
) -> Result<Vec<String>, DbErr> {
    let keys = of(kind).select_only().column(Column::Key).filter(Column::Key.gt(after));
    keys.order_by_asc(Column::Key).limit(limit).into_tuple().all(connection).await
}

pub(crate) async fn count(connection: &impl ConnectionTrait, kind: &str) -> Result<u64, DbErr> {
    of(kind).count(connection).await
}
