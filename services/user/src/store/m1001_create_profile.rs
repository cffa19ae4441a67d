use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, string};

pub(super) struct CreateProfile;

impl MigrationName for CreateProfile {
    fn name(&self) -> &'static str {
        "m1001_create_profile"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateProfile {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("profile")
            .col(string("user_id").primary_key())
            .col(string("display_name"))
            .col(string("country"))
            .col(string("locale"))
            .col(string("etag"))
            .col(big_integer("created_at"))
            .col(big_integer("updated_at"))
            .to_owned();
        manager.create_table(table).await
    }
}
