use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::migration::timers_and_drops::parked;

/// Makes every number one of 64 bits, as SQLite's are: there, a column does not say how wide it is.
pub(super) struct WideNumbers;

impl MigrationName for WideNumbers {
    fn name(&self) -> &'static str {
        "m0003_wide_numbers"
    }
}

const NARROW: [(&str, &str); 7] = [
    ("head", "fold"),
    ("subscription", "version"),
    ("cursor", "attempts"),
    ("receipt", "attempts"),
    ("effect", "attempts"),
    ("timer", "attempts"),
    ("timer", "taken"),
];

#[async_trait::async_trait]
impl MigrationTrait for WideNumbers {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        // The view shows some of them, and keeps them as they are.
        manager.get_connection().execute_unprepared("drop view parked").await?;
        for (table, column) in NARROW {
            let wide = ColumnDef::new(column).big_integer().take();
            manager.alter_table(Table::alter().table(table).modify_column(wide).to_owned()).await?;
        }
        manager.get_connection().execute_unprepared(&parked()).await.map(drop)
    }
}
