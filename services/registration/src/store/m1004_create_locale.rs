use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::string;

pub(super) struct CreateLocale;

impl MigrationName for CreateLocale {
    fn name(&self) -> &'static str {
        "m1004_create_locale"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateLocale {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table =
            Table::create().table("locale").col(string("user_id").primary_key()).col(string("locale")).to_owned();
        manager.create_table(table).await
    }
}
