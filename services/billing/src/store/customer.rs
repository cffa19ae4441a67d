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
    /// By `account/`; null while no account is known.
    pub account_country: Option<String>,
    /// By `user/`.
    pub profile_country: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// Where the customer lives; empty if they do not tell. None while their account is not known.
    pub(crate) fn country(self) -> Option<String> {
        // The profile is made from the account, so what it says is never older.
        self.account_country.map(|account| self.profile_country.unwrap_or(account))
    }
}

pub(crate) async fn note_account(db: &impl ConnectionTrait, customer_id: String, country: String) -> Result<()> {
    let row =
        ActiveModel { customer_id: Set(customer_id), account_country: Set(Some(country)), profile_country: NotSet };
    put(db, row, Column::AccountCountry).await
}

pub(crate) async fn note_profile(db: &impl ConnectionTrait, customer_id: String, country: String) -> Result<()> {
    let row =
        ActiveModel { customer_id: Set(customer_id), account_country: NotSet, profile_country: Set(Some(country)) };
    put(db, row, Column::ProfileCountry).await
}

async fn put(db: &impl ConnectionTrait, row: ActiveModel, column: Column) -> Result<()> {
    let replace = OnConflict::column(Column::CustomerId).update_column(column).to_owned();
    Entity::insert(row).on_conflict(replace).exec_without_returning(db).await?;
    Ok(())
}
