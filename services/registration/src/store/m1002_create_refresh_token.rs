use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, binary, binary_null, string};

pub(super) struct CreateRefreshToken;

impl MigrationName for CreateRefreshToken {
    fn name(&self) -> &'static str {
        "m1002_create_refresh_token"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateRefreshToken {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("refresh_token")
            .col(string("session_id").primary_key())
            .col(big_integer("generation"))
            .col(binary("family_hash"))
            .col(binary("current_hash"))
            .col(binary_null("previous_hash"))
            .to_owned();
        manager.create_table(table).await
    }
}
