use sea_orm::entity::prelude::*;

/// Which account an address belongs to.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "address")]
pub struct Model {
    /// In lower case, without blanks around it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub address: String,
    pub account_id: String,
}

impl ActiveModelBehavior for ActiveModel {}
