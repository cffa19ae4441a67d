use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{integer, string};

pub(super) struct CreateCredential;

impl MigrationName for CreateCredential {
    fn name(&self) -> &'static str {
        "m1001_create_credential"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateCredential {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let address =
            Table::create().table("address").col(string("address").primary_key()).col(string("account_id")).to_owned();
        let credential = Table::create()
            .table("credential")
            .col(string("account_id").primary_key())
            .col(integer("version"))
            .col(string("hash"))
            .to_owned();
        manager.create_table(address).await?;
        manager.create_table(credential).await
    }
}
