use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{IntoActiveModel as _, QueryOrder, QuerySelect};

use crate::database::Transaction;

/// Which version of the code owns a subscription's work.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "subscription")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub version: i64,
    /// Work is wanted for events from this moment on, in microseconds since 1970; none: from the beginning.
    pub starts_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}

/// Writes the rows that are missing.
pub(crate) async fn insert_missing(txn: &Transaction, rows: Vec<Model>) -> Result<(), DbErr> {
    if rows.is_empty() {
        return Ok(());
    }
    let missing = OnConflict::column(Column::Name).do_nothing().to_owned();
    let rows = rows.into_iter().map(|row| row.into_active_model().reset_all());
    Entity::insert_many(rows).on_conflict(missing).exec_without_returning(txn).await?;
    Ok(())
}

/// Locks one row.
pub(crate) async fn lock(txn: &Transaction, name: &str) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(name.to_owned()).lock_exclusive().one(txn).await
}

/// Writes a row, which was locked.
pub(crate) async fn write(txn: &Transaction, locked: Model) -> Result<(), DbErr> {
    locked.into_active_model().reset_all().update(txn).await.map(drop)
}

/// Holds the rows shared, so that no other version takes a subscription over before this transaction has ended.
pub(crate) async fn share(
    txn: &Transaction,
    names: impl IntoIterator<Item = &'static str>,
) -> Result<Vec<Model>, DbErr> {
    Entity::find().filter(Column::Name.is_in(names)).order_by_asc(Column::Name).lock_shared().all(txn).await
}

pub(crate) async fn find(connection: &impl ConnectionTrait, name: &str) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(name.to_owned()).one(connection).await
}

pub(crate) async fn all(connection: &impl ConnectionTrait) -> Result<Vec<Model>, DbErr> {
    Entity::find().all(connection).await
}
