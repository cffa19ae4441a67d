use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, string};

pub(super) struct CreatePaymentMethod;

impl MigrationName for CreatePaymentMethod {
    fn name(&self) -> &'static str {
        "m1001_create_payment_method"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreatePaymentMethod {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("payment_method")
            .col(string("payment_method_id").primary_key())
            .col(string("user_id"))
            .col(string("country"))
            .col(string("label"))
            .col(string("card_token"))
            .col(big_integer("added_at"))
            .to_owned();
        manager.create_table(table).await?;
        // The order of ListPaymentMethods, from one user's oldest to their newest.
        let newest = Index::create()
            .name("payment_method_of_user")
            .table("payment_method")
            .col("user_id")
            .col("added_at")
            .col("payment_method_id")
            .to_owned();
        manager.create_index(newest).await
    }
}
