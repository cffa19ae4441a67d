use std::str::FromStr;

use event::{History, Id, Key, Micros, Record, TraceContext};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::ExprTrait as _;
use sea_orm::{Condition, DbBackend, FromQueryResult, QueryOrder, QuerySelect, Statement};
use serde_json::json;

use super::writes::Writes;

use crate::database::Transaction;

/// One event. The row stays after it was published: it is the outbox, the audit trail and what everything is healed from.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event_log")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    pub epoch: i64,
    pub history: Vec<u8>,
    #[sea_orm(unique)]
    pub event_id: Uuid,
    pub type_name: String,
    pub body: Vec<u8>,
    pub time: i64,
    pub principal: String,
    pub command_id: Option<String>,
    pub cause_id: Option<Uuid>,
    pub traceparent: String,
    pub tracestate: String,
    pub published_at: Option<i64>,
    pub position: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}

impl From<&Record> for Model {
    fn from(record: &Record) -> Self {
        Self {
            key: record.key.to_string(),
            revision: record.revision,
            epoch: record.epoch,
            history: record.history.0.to_vec(),
            event_id: record.id,
            type_name: record.type_name.clone(),
            body: record.body.to_vec(),
            time: record.time.0,
            principal: record.principal.clone(),
            command_id: record.command_id.map(|id| id.to_string()),
            cause_id: record.cause_id,
            traceparent: record.trace.traceparent.clone(),
            tracestate: record.trace.tracestate.clone(),
            published_at: None,
            position: None,
        }
    }
}

impl Model {
    fn into_record(self, source: Id) -> Result<Record, DbErr> {
        let malformed =
            |what: &str| DbErr::Type(format!("event {} of {}: its {what} cannot be read", self.revision, self.key));
        Ok(Record {
            id: self.event_id,
            source,
            key: Key::from_str(&self.key).map_err(|_| malformed("key"))?,
            epoch: self.epoch,
            revision: self.revision,
            history: History(self.history.as_slice().try_into().map_err(|_| malformed("history"))?),
            command_id: self
                .command_id
                .as_deref()
                .map(Id::from_str)
                .transpose()
                .map_err(|_| malformed("command id"))?,
            type_name: self.type_name,
            body: self.body.into(),
            time: Micros(self.time),
            principal: self.principal,
            cause_id: self.cause_id,
            trace: TraceContext { traceparent: self.traceparent, tracestate: self.tracestate },
        })
    }
}

fn records(rows: Vec<Model>, source: Id) -> Result<Vec<Record>, DbErr> {
    rows.into_iter().map(|row| row.into_record(source)).collect()
}

pub(crate) fn insert(writes: &mut Writes, appended: &[Record]) {
    writes.insert(appended.iter().map(Model::from));
}

/// The events of each key with greater revisions than given, sorted by key and revision.
pub(crate) async fn read(
    connection: &impl ConnectionTrait,
    ranges: &[(Key, i64)],
    limit: u64,
    source: Id,
) -> Result<Vec<Record>, DbErr> {
    if ranges.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: Vec<_> = ranges.iter().map(|(key, after)| json!({"key": key.to_string(), "after": after})).collect();
    let backend = connection.get_database_backend();
    // As alternatives of one condition they are a scan of the whole log to a Postgres that has not counted its rows yet. So each key is looked
    // up by itself, whatever anybody estimates.
    let sql = match backend {
        DbBackend::Postgres => {
            "select e.* from json_to_recordset($1::json) as wanted(key text, after bigint) cross join lateral \
             (select * from event_log where event_log.key = wanted.key and event_log.revision > wanted.after \
             order by event_log.revision limit $2) as e order by e.key, e.revision limit $2"
        }
        _ => {
            "select e.* from json_each($1) as wanted cross join event_log as e \
             where e.key = wanted.value ->> 'key' and e.revision > wanted.value ->> 'after' \
             order by e.key, e.revision limit $2"
        }
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = [serde_json::Value::from(wanted).to_string().into(), limit.into()];
    let rows = Entity::find().from_raw_sql(Statement::from_sql_and_values(backend, sql, values));
    records(rows.all(connection).await?, source)
}

/// How many events of one key are read at once.
const CHUNK: u64 = 1000;

/// All events of a key, in order.
pub(crate) async fn read_all(connection: &impl ConnectionTrait, key: &Key, source: Id) -> Result<Vec<Record>, DbErr> {
    let mut all: Vec<Record> = Vec::new();
    loop {
        let after = all.last().map_or(0, |record| record.revision);
        let chunk = read(connection, &[(key.clone(), after)], CHUNK, source).await?;
        let full = chunk.len() as u64 == CHUNK;
        all.extend(chunk);
        if !full {
            return Ok(all);
        }
    }
}

/// These events, as far as they exist.
pub(crate) async fn find_all(
    connection: &impl ConnectionTrait,
    ids: &[(Key, i64)],
    source: Id,
) -> Result<Vec<Record>, DbErr> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let one = |(key, revision): &(Key, i64)| Column::Key.eq(key.to_string()).and(Column::Revision.eq(*revision));
    let those = ids.iter().map(one).fold(Condition::any(), Condition::add);
    records(Entity::find().filter(those).all(connection).await?, source)
}

/// One event.
pub(crate) async fn find(
    connection: &impl ConnectionTrait,
    key: &Key,
    revision: i64,
    source: Id,
) -> Result<Option<Record>, DbErr> {
    Ok(find_all(connection, &[(key.clone(), revision)], source).await?.pop())
}

/// Events that happened until `until` and are not marked as published, the oldest first. Chosen by the mark and never by a number, because a
/// transaction that commits late would be missed.
pub(crate) async fn unpublished(
    connection: &impl ConnectionTrait,
    until: Micros,
    limit: u64,
    source: Id,
) -> Result<Vec<Record>, DbErr> {
    let rows = Entity::find()
        .filter(Column::PublishedAt.is_null())
        .filter(Column::Time.lte(until.0))
        .order_by_asc(Column::Time)
        .limit(limit);
    records(rows.all(connection).await?, source)
}

pub(crate) fn mark_published(writes: &mut Writes, ids: &[Uuid], now: Micros) {
    if !ids.is_empty() {
        let these = Entity::update_many().filter(Column::EventId.is_in(ids.iter().copied()));
        writes.add(&these.col_expr(Column::PublishedAt, Expr::value(now.0)));
    }
}

/// A row without its event: where it stands in its key and in the whole log.
#[derive(Clone, Debug, FromQueryResult)]
pub(crate) struct Placed {
    pub(crate) key: String,
    pub(crate) epoch: i64,
    pub(crate) revision: i64,
    pub(crate) history: Vec<u8>,
    pub(crate) event_id: Uuid,
    pub(crate) time: i64,
    pub(crate) position: i64,
}

/// Gives committed rows that have no position the ones from `next` on, and says how many there were. Rows that a transaction holds are
/// left for the next time: they then get greater positions, so nobody misses them, and nobody waits for anybody.
pub(crate) async fn place(txn: &Transaction, next: i64, limit: u64) -> Result<u64, DbErr> {
    let skip = match txn.get_database_backend() {
        DbBackend::Postgres => "for update skip locked",
        _ => "",
    };
    let sql = format!(
        "with unplaced as (select key, revision, time from event_log where position is null order by time limit $1 {skip}), \
         placed as (select key, revision, row_number() over (order by time, key, revision) as place from unplaced) \
         update event_log set position = $2 + placed.place - 1 from placed \
         where event_log.key = placed.key and event_log.revision = placed.revision"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let statement = Statement::from_sql_and_values(txn.get_database_backend(), sql, [limit.into(), next.into()]);
    Ok(txn.execute_raw(statement).await?.rows_affected())
}

/// Whether there are rows without a position.
pub(crate) async fn any_unplaced(connection: &impl ConnectionTrait) -> Result<bool, DbErr> {
    Entity::find().filter(Column::Position.is_null()).exists(connection).await
}

/// The rows after a position, in the order of positions.
pub(crate) async fn placed_after(
    connection: &impl ConnectionTrait,
    position: i64,
    limit: u64,
) -> Result<Vec<Placed>, DbErr> {
    let columns = [
        Column::Key,
        Column::Epoch,
        Column::Revision,
        Column::History,
        Column::EventId,
        Column::Time,
        Column::Position,
    ];
    let rows = Entity::find().select_only().columns(columns).filter(Column::Position.gt(position));
    rows.order_by_asc(Column::Position).limit(limit).into_model().all(connection).await
}

/// The id of the event at a position.
pub(crate) async fn id_at(connection: &impl ConnectionTrait, position: i64) -> Result<Option<Uuid>, DbErr> {
    let row = Entity::find().select_only().column(Column::EventId).filter(Column::Position.eq(position));
    row.into_tuple().one(connection).await
}

/// Whether the log has this event.
pub(crate) async fn has(connection: &impl ConnectionTrait, event_id: Uuid) -> Result<bool, DbErr> {
    Entity::find().filter(Column::EventId.eq(event_id)).exists(connection).await
}
