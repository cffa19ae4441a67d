use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, binary, string};

pub(super) struct CreateOrderView;

impl MigrationName for CreateOrderView {
    fn name(&self) -> &'static str {
        "m1001_create_order_view"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateOrderView {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("order_view")
            .col(string("order_id").primary_key())
            .col(string("customer_id"))
            .col(big_integer("placed_at"))
            .col(binary("view"))
            .to_owned();
        manager.create_table(table).await?;
        // The order of ListOrders, from one customer's oldest to their newest.
        let newest = Index::create()
            .name("order_view_of_customer")
            .table("order_view")
            .col("customer_id")
            .col("placed_at")
            .col("order_id")
            .to_owned();
        manager.create_index(newest).await
    }
}
