use event::Micros;
use ledger::Result;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;

/// A customer, as far as the events have come. Each column is told by one kind of aggregate alone, because keys have no mutual order.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "customer")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub customer_id: String,
    /// When the account was opened, in microseconds since 1970. By `account/`.
    pub registered_at: Option<i64>,
    /// By `user/`.
    pub display_name: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) async fn note_registered(db: &impl ConnectionTrait, customer_id: String, moment: Micros) -> Result<()> {
    let row = ActiveModel { customer_id: Set(customer_id), registered_at: Set(Some(moment.0)), display_name: NotSet };
    put(db, row, Column::RegisteredAt).await
}

pub(crate) async fn note_name(db: &impl ConnectionTrait, customer_id: String, name: String) -> Result<()> {
    let row = ActiveModel { customer_id: Set(customer_id), registered_at: NotSet, display_name: Set(Some(name)) };
    put(db, row, Column::DisplayName).await
}

async fn put(db: &impl ConnectionTrait, row: ActiveModel, column: Column) -> Result<()> {
    let replace = OnConflict::column(Column::CustomerId).update_column(column).to_owned();
    Entity::insert(row).on_conflict(replace).exec_without_returning(db).await?;
    Ok(())
}
