use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// As the ledger's `m0003_wide_numbers`.
pub(super) struct WidenVersion;

impl MigrationName for WidenVersion {
    fn name(&self) -> &'static str {
        "m1005_widen_version"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for WidenVersion {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        let wide = ColumnDef::new("version").big_integer().take();
        manager.alter_table(Table::alter().table("credential").modify_column(wide).to_owned()).await
    }
}
