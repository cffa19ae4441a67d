//! How much is still to be done.

use event::Micros;
use sea_orm::{FromQueryResult, Statement};

use crate::delivery::Caller;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::store::cursor::State as CursorState;
use crate::store::effect::State as EffectState;
use crate::store::timer::State as TimerState;

/// What a database holds that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// When this was so.
    pub now: Micros,
    pub totals: Totals,
    /// Keys that do not flow, by subscription; the state is `waiting`, `comparing` or `parked`. Where there are none there is no row.
    pub keys: Vec<Counted>,
    /// What failed for good and was not dropped, by kind (`event`, `answer`, `timer`, `command`). Where there is none there is no row.
    pub parked: Vec<Counted>,
}

/// Times are in microseconds since 1970; none where there is nothing.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Totals {
    /// Events that are not marked as published.
    pub unpublished: i64,
    /// When the oldest of them happened.
    pub oldest_unpublished: Option<i64>,
    /// Effects that have no answer yet.
    pub effects: i64,
    /// When the first of them is, or was, due.
    pub next_effect: Option<i64>,
    /// Timers that have not fired.
    pub timers: i64,
    /// When the first of them is, or was, due.
    pub next_timer: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Counted {
    pub name: String,
    pub state: String,
    pub count: i64,
}

impl Ledger {
    /// Looks how much is still to be done. Each part has a partial index, so this is cheap as long as there is little.
    pub async fn backlog(&self) -> Result<Backlog> {
        let reader = self.reader(Caller::default()).await?;
        let statement = |sql: String| Statement::from_string(self.0.db.backend(), sql);
        let totals = Totals::find_by_statement(statement(totals())).one(&reader.db).await?;
        let totals = totals.ok_or_else(|| Error::Failed("a row of sub-selects is missing".to_owned()))?;
        let keys = Counted::find_by_statement(statement(keys())).all(&reader.db).await?;
        let parked = Counted::find_by_statement(statement(PARKED.to_owned())).all(&reader.db).await?;
        Ok(Backlog { now: reader.now, totals, keys, parked })
    }
}

fn totals() -> String {
    let unpublished = "from event_log where published_at is null";
    let effects = format!("from effect where state < {}", EffectState::Answered as i16);
    let timers = format!("from timer where state = {}", TimerState::Set as i16);
    format!(
        "select (select count(*) {unpublished}) as unpublished, (select min(time) {unpublished}) as oldest_unpublished, \
         (select count(*) {effects}) as effects, (select min(leased_until) {effects}) as next_effect, \
         (select count(*) {timers}) as timers, (select min(leased_until) {timers}) as next_timer"
    )
}

/// One part for each state, and the conditions as the partial indexes have them: SQLite uses an index only where they are the same. It would
/// also scan the whole primary key in order to group by its first column, but not by what is no column.
fn keys() -> String {
    let (waiting, parked) = (CursorState::Waiting as i16, CursorState::Parked as i16);
    let comparing = CursorState::Comparing as i16;
    let due = format!("state in ({waiting}, {comparing})");
    let part = |name: &str, condition: String| {
        format!(
            "select subscription || '' as name, '{name}' as state, count(*) as count from cursor where {condition} group by subscription || ''"
        )
    };
    let parts = [
        part("waiting", format!("{due} and state = {waiting}")),
        part("comparing", format!("{due} and state = {comparing}")),
        part("parked", format!("state = {parked}")),
    ];
    parts.join(" union all ")
}

/// What was dropped has an author.
const PARKED: &str =
    "select kind as name, 'parked' as state, count(*) as count from parked where author is null group by kind";
