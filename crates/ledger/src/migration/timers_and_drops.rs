//! What operators see and do, and what timers need for it.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, small_integer, string, string_null, text_null};

use crate::store::{cursor, effect, receipt, timer};

pub(super) struct TimersAndDrops;

impl MigrationName for TimersAndDrops {
    fn name(&self) -> &'static str {
        "m0002_timers_and_drops"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for TimersAndDrops {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column at a time.
        for column in timer_columns() {
            manager.alter_table(Table::alter().table("timer").add_column(column).to_owned()).await?;
        }
        manager.alter_table(Table::alter().table("receipt").add_column(text_null("reason")).to_owned()).await?;
        let dropped_until = big_integer("dropped").default(0).take();
        manager.alter_table(Table::alter().table("cursor").add_column(dropped_until).to_owned()).await?;
        manager.create_table(dropped()).await?;
        for index in indexes() {
            manager.create_index(index).await?;
        }
        manager.get_connection().execute_unprepared(&parked()).await.map(drop)
    }
}

fn timer_columns() -> [ColumnDef; 4] {
    [
        small_integer("state").default(timer::State::Set as i16).take(),
        big_integer("leased_until").default(0).take(),
        integer("taken").default(0).take(),
        big_integer("revision").default(0).take(),
    ]
}

/// What operators have given up, for ever.
fn dropped() -> TableCreateStatement {
    Table::create()
        .table("dropped")
        .col(string("id"))
        .col(big_integer("revision"))
        .col(string("kind"))
        .col(string("name"))
        .col(string("key"))
        .col(string("author"))
        .col(big_integer("time"))
        .col(text_null("reason"))
        .col(string_null("note"))
        .primary_key(Index::create().col("id").col("revision"))
        .to_owned()
}

/// Partial, so that they hold only what is due or set aside.
fn indexes() -> [IndexCreateStatement; 6] {
    let index = |name: &str, table: &'static str, column: &'static str, of: SimpleExpr| {
        Index::create().name(name).table(table).col(column).and_where(of).to_owned()
    };
    let state = |state: i16| Expr::col("state").eq(state);
    [
        index("timer_set", "timer", "leased_until", state(timer::State::Set as i16)),
        index("timer_parked", "timer", "key", state(timer::State::Parked as i16)),
        index("cursor_parked", "cursor", "key", state(cursor::State::Parked as i16)),
        index("effect_parked", "effect", "key", state(effect::State::Parked as i16)),
        index("receipt_failed", "receipt", "command_id", state(receipt::State::Failed as i16)),
        index("receipt_kept", "receipt", "command_id", Expr::col("request").is_not_null()),
    ]
}

/// All that is set aside, whatever it is, as one table to look at: each with an id of its own. What was dropped follows.
pub(super) fn parked() -> String {
    let part = |kind: &str, name: &str, key: &str, revision: &str, table: &str, state: i16| {
        let id = format!("'{kind}:' || {name} || ':' || {key}");
        // A key has many effects of one kind, but only one cursor and one timer.
        let id = if kind == "answer" { format!("{id} || ':' || {revision}") } else { id };
        format!(
            "select {id} as id, '{kind}' as kind, {name} as name, {key} as key, {revision} as revision, attempts, reason, \
             cast(null as varchar) as author, cast(null as bigint) as time, cast(null as varchar) as note \
             from {table} where state = {state}"
        )
    };
    let parts = [
        part("event", "subscription", "key", "revision + 1", "cursor", cursor::State::Parked as i16),
        part("answer", "kind", "key", "n", "effect", effect::State::Parked as i16),
        part("timer", "name", "key", "revision", "timer", timer::State::Parked as i16),
        part("command", "method", "command_id", "cast(0 as bigint)", "receipt", receipt::State::Failed as i16)
            + " and not exists (select 1 from dropped where dropped.id = 'command:' || method || ':' || command_id)",
        "select 'dropped:' || id || ':' || revision, kind, name, key, revision, 0, reason, author, time, note from dropped".to_owned(),
    ];
    format!("create view parked as {}", parts.join(" union all "))
}
