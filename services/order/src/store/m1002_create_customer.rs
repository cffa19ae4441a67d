use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer_null, string, string_null};

pub(super) struct CreateCustomer;

impl MigrationName for CreateCustomer {
    fn name(&self) -> &'static str {
        "m1002_create_customer"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateCustomer {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("customer")
            .col(string("customer_id").primary_key())
            .col(big_integer_null("registered_at"))
            .col(string_null("display_name"))
            .to_owned();
        manager.create_table(table).await
    }
}
