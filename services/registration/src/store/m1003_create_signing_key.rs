use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, binary, string};

pub(super) struct CreateSigningKey;

impl MigrationName for CreateSigningKey {
    fn name(&self) -> &'static str {
        "m1003_create_signing_key"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateSigningKey {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("signing_key")
            .col(string("key_id").primary_key())
            .col(binary("public_key"))
            .col(string("key_pair"))
            .col(big_integer("drawn_at"))
            .to_owned();
        manager.create_table(table).await
    }
}
