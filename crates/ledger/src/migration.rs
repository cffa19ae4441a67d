//! The ledger's own tables. A service adds its own in migrations with later names.

mod timers_and_drops;
mod wide_numbers;

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, binary, binary_null, boolean, integer, small_integer, string, string_null,
    text_null, uuid, uuid_null,
};
use sea_orm_migration::sea_orm::DbBackend;

/// The migrations of the ledger, in order.
pub fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![
        Box::new(CreateLedger),
        Box::new(AddAudit),
        Box::new(timers_and_drops::TimersAndDrops),
        Box::new(wide_numbers::WideNumbers),
    ]
}

struct CreateLedger;

impl MigrationName for CreateLedger {
    fn name(&self) -> &'static str {
        "m0001_create_ledger"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateLedger {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [log(), head(), event_log(), subscription(), followed_log(), receipt()] {
            manager.create_table(table).await?;
        }
        for mut table in [cursor(), effect(), timer()] {
            // Short rows that are found by their key alone: SQLite then keeps them in one tree instead of two.
            if manager.get_database_backend() == DbBackend::Sqlite {
                table.extra("without rowid");
            }
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn log() -> TableCreateStatement {
    Table::create()
        .table("log")
        .col(small_integer("one").primary_key())
        .col(string("log_id"))
        .col(big_integer("epoch"))
        .col(big_integer("next_position"))
        .col(binary("fingerprint_key"))
        .to_owned()
}

fn head() -> TableCreateStatement {
    Table::create()
        .table("head")
        .col(string("key").primary_key())
        .col(big_integer("epoch"))
        .col(big_integer("revision"))
        .col(binary("history"))
        .col(big_integer("time"))
        .col(binary("state"))
        .col(integer("fold"))
        .to_owned()
}

fn event_log() -> TableCreateStatement {
    Table::create()
        .table("event_log")
        .col(string("key"))
        .col(big_integer("revision"))
        .col(big_integer("epoch"))
        .col(binary("history"))
        .col(uuid("event_id").unique_key())
        .col(string("type_name"))
        .col(binary("body"))
        .col(big_integer("time"))
        .col(string("principal"))
        .col(string_null("command_id"))
        .col(uuid_null("cause_id"))
        .col(string("traceparent"))
        .col(string("tracestate"))
        .col(big_integer_null("published_at"))
        .col(big_integer_null("position"))
        .primary_key(Index::create().col("key").col("revision"))
        .to_owned()
}

fn subscription() -> TableCreateStatement {
    Table::create()
        .table("subscription")
        .col(string("name").primary_key())
        .col(integer("version"))
        .col(big_integer_null("starts_at"))
        .to_owned()
}

/// How far a subscription's audit is with each owner that it follows.
fn followed_log() -> TableCreateStatement {
    Table::create()
        .table("followed_log")
        .col(string("subscription"))
        .col(string("owner"))
        .col(string("log_id"))
        .col(big_integer("epoch"))
        .col(big_integer("audited_position"))
        .col(uuid_null("audited_event_id"))
        .primary_key(Index::create().col("subscription").col("owner"))
        .to_owned()
}

fn cursor() -> TableCreateStatement {
    Table::create()
        .table("cursor")
        .col(string("subscription"))
        .col(string("key"))
        .col(big_integer("epoch"))
        .col(big_integer("revision"))
        .col(binary("history"))
        .col(small_integer("state"))
        .col(big_integer_null("due"))
        .col(big_integer("noted"))
        .col(integer("attempts"))
        .col(text_null("reason"))
        .primary_key(Index::create().col("subscription").col("key"))
        .to_owned()
}

fn receipt() -> TableCreateStatement {
    Table::create()
        .table("receipt")
        .col(string("command_id").primary_key())
        .col(string("method"))
        .col(string("principal"))
        .col(binary("fingerprint"))
        .col(small_integer("state"))
        .col(string("token"))
        .col(binary_null("outcome"))
        .col(integer("attempts"))
        .col(binary_null("request"))
        .to_owned()
}

fn effect() -> TableCreateStatement {
    Table::create()
        .table("effect")
        .col(string("key"))
        .col(string("kind"))
        .col(big_integer("n"))
        .col(binary("body"))
        .col(small_integer("state"))
        .col(big_integer("leased_until"))
        .col(binary_null("answer"))
        .col(integer("attempts"))
        .col(text_null("reason"))
        .primary_key(Index::create().col("key").col("kind").col("n"))
        .to_owned()
}

fn timer() -> TableCreateStatement {
    Table::create()
        .table("timer")
        .col(string("key"))
        .col(string("name"))
        .col(big_integer("due"))
        .col(binary("body"))
        .col(integer("attempts"))
        .col(text_null("reason"))
        .primary_key(Index::create().col("key").col("name"))
        .to_owned()
}

/// Partial, so that they hold only what is still to be done and cost next to nothing at rest.
fn indexes() -> [IndexCreateStatement; 3] {
    let unpublished = Expr::col("published_at").is_null();
    let waiting = Expr::col("state").eq(crate::store::cursor::State::Waiting as i16);
    let open = Expr::col("state").lt(crate::store::effect::State::Answered as i16);
    [
        Index::create().name("event_log_unpublished").table("event_log").col("time").and_where(unpublished).to_owned(),
        Index::create().name("cursor_due").table("cursor").col("due").and_where(waiting).to_owned(),
        Index::create().name("effect_open").table("effect").col("leased_until").and_where(open).to_owned(),
    ]
}

/// What the audit, the comparison and a log that is older than its readers need to remember.
struct AddAudit;

impl MigrationName for AddAudit {
    fn name(&self) -> &'static str {
        "m0002_add_audit"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for AddAudit {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let add = |table: &'static str, column: ColumnDef| Table::alter().table(table).add_column(column).to_owned();
        manager.alter_table(add("log", text_null("behind"))).await?;
        manager.alter_table(add("followed_log", string_null("compared_to"))).await?;
        manager.alter_table(add("followed_log", boolean("rebuilds").default(false).to_owned())).await?;
        manager.drop_index(Index::drop().name("cursor_due").table("cursor").to_owned()).await?;
        for index in audit_indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn audit_indexes() -> [IndexCreateStatement; 3] {
    use crate::store::cursor::State;
    let due = Expr::col("state").is_in([State::Waiting as i16, State::Comparing as i16]);
    let placed = Expr::col("position").is_not_null();
    let unplaced = Expr::col("position").is_null();
    [
        Index::create().name("cursor_due").table("cursor").col("due").and_where(due).to_owned(),
        Index::create().name("event_log_placed").table("event_log").col("position").and_where(placed).to_owned(),
        Index::create().name("event_log_unplaced").table("event_log").col("time").and_where(unplaced).to_owned(),
    ]
}
