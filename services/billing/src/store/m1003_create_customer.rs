use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{string, string_null};

pub(super) struct CreateCustomer;

impl MigrationName for CreateCustomer {
    fn name(&self) -> &'static str {
        "m1003_create_customer"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateCustomer {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("customer")
            .col(string("customer_id").primary_key())
            .col(string_null("account_country"))
            .col(string_null("profile_country"))
            .to_owned();
        manager.create_table(table).await
    }
}
