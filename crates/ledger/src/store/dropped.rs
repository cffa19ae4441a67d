use std::collections::HashSet;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{IntoActiveModel, QuerySelect};

use crate::database::Transaction;

/// Something that an operator has given up. The row stays for ever: it tells where this service differs from what others told.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "dropped")]
pub struct Model {
    /// That of the parked row.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    pub kind: String,
    pub name: String,
    pub key: String,
    pub author: String,
    /// In microseconds since 1970.
    pub time: i64,
    /// Why it was parked.
    pub reason: Option<String>,
    /// Why it was dropped.
    pub note: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

/// What was dropped before, after a database was restored, keeps its first author.
pub(crate) async fn insert(txn: &Transaction, row: Model) -> Result<(), DbErr> {
    let before = OnConflict::columns([Column::Id, Column::Revision]).do_nothing().to_owned();
    let rows = [row.into_active_model().reset_all()];
    Entity::insert_many(rows).on_conflict(before).exec_without_returning(txn).await?;
    Ok(())
}

/// Those of these ids of which something was dropped.
pub(crate) async fn among(
    connection: &impl ConnectionTrait,
    ids: impl IntoIterator<Item = &str>,
) -> Result<HashSet<String>, DbErr> {
    let ids = Entity::find().select_only().column(Column::Id).filter(Column::Id.is_in(ids));
    Ok(ids.into_tuple::<String>().all(connection).await?.into_iter().collect())
}
