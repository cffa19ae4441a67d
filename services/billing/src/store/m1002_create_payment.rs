use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, small_integer, string, string_null};

pub(super) struct CreatePayment;

impl MigrationName for CreatePayment {
    fn name(&self) -> &'static str {
        "m1002_create_payment"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreatePayment {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("payment")
            .col(string("order_id").primary_key())
            .col(string_null("customer_id"))
            .col(small_integer("state"))
            .col(string_null("currency"))
            .col(big_integer_null("minor"))
            .col(string("reason"))
            .col(big_integer("changed_at"))
            .to_owned();
        manager.create_table(table).await
    }
}
