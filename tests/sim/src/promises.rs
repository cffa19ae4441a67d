//! What must hold once nothing goes wrong any more.

use std::collections::{BTreeMap, BTreeSet};

use event::Id;
use prost::Message as _;
use proto::order::v1::Order;
use sea_orm::{DatabaseConnection, DbBackend, FromQueryResult, Statement};
use testkit::{is_settled, misbooked};

use crate::executor::Owner;
use crate::history::{Answer, Told, What};
use crate::instance::Premises;
use crate::provider::ChargeState;
use crate::sim::{SERVICES, Sim};

const FLOWING: i16 = 1;

#[derive(FromQueryResult)]
struct Head {
    key: String,
    revision: i64,
    history: Vec<u8>,
}

#[derive(FromQueryResult)]
struct Cursor {
    subscription: String,
    key: String,
    epoch: i64,
    revision: i64,
    history: Vec<u8>,
    state: i16,
    reason: Option<String>,
}

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

#[derive(FromQueryResult)]
struct View {
    view: Vec<u8>,
}

#[derive(FromQueryResult)]
struct Ended {
    ended_at: Option<i64>,
}

/// The databases, as somebody sees them who looks from outside.
struct Databases(BTreeMap<Owner, DatabaseConnection>);

impl Databases {
    async fn of(premises: &Premises) -> Self {
        let mut databases = BTreeMap::new();
        for service in SERVICES {
            let url = format!("sqlite://{}", premises.database(service).display());
            let database = ledger::connect(&url).await;
            databases.insert(service, database.unwrap_or_else(|error| unreachable!("it was open before: {error}")));
        }
        Self(databases)
    }

    async fn rows<R: FromQueryResult>(&self, service: Owner, sql: &str) -> Vec<R> {
        let statement = Statement::from_string(DbBackend::Sqlite, sql);
        let rows = R::find_by_statement(statement).all(&self.0[service]).await;
        rows.unwrap_or_else(|error| unreachable!("{service}: {sql}: {error}"))
    }

    async fn count(&self, service: Owner, sql: &str) -> i64 {
        self.rows::<Count>(service, sql).await.first().map_or(0, |row| row.count)
    }

    async fn orders(&self) -> Vec<Order> {
        let rows = self.rows::<View>("order", "select view from order_view").await;
        rows.iter().filter_map(|row| Order::decode(row.view.as_slice()).ok()).collect()
    }
}

/// What is still to be done, and would be done by itself.
pub async fn unfinished(sim: &Sim, premises: &Premises) -> Vec<String> {
    let databases = Databases::of(premises).await;
    let (mut unfinished, mut heads) = (Vec::new(), BTreeMap::new());
    for service in SERVICES {
        let rows = databases.rows::<Head>(service, "select key, revision, history from head").await;
        heads.extend(rows.into_iter().map(|head| (head.key, (head.revision, head.history))));
        let sql = "select count(*) as count from event_log where published_at is null";
        let unpublished = databases.count(service, sql).await;
        unfinished.extend((unpublished > 0).then(|| format!("{service} has {unpublished} events unpublished")));
        // Neither answered nor withdrawn.
        let open = databases.count(service, "select count(*) as count from effect where state not in (3, 4)").await;
        unfinished.extend((open > 0).then(|| format!("{service} has {open} open effects")));
    }
    unfinished.extend(sim.wired().broker.queued().into_iter().map(|subject| format!("{subject} is queued")));
    for service in SERVICES {
        unfinished.extend(behind(sim, &databases, service, &heads).await);
    }
    // What diverged because a database was restored is in somebody's hands: they were shown it.
    let orders = databases.orders().await.into_iter().filter(|order| !sim.listed().contains(&order.order_id));
    unfinished.extend(orders.filter(|order| !is_settled(order)).map(|order| format!("not settled: {order:?}")));
    unfinished
}

/// The keys that a service follows, and with which it is not where their owner's log ends.
async fn behind(
    sim: &Sim,
    databases: &Databases,
    service: Owner,
    heads: &BTreeMap<String, (i64, Vec<u8>)>,
) -> Vec<String> {
    let sql = "select subscription, key, epoch, revision, history, state, reason from cursor";
    let cursors = databases.rows::<Cursor>(service, sql).await;
    // An owner whose database was restored may have lost a key altogether: then nothing has come of it yet.
    let at = |cursor: &Cursor| match heads.get(&cursor.key) {
        Some((revision, past)) => (*revision, past) == (cursor.revision, &cursor.history),
        None => cursor.revision == 0,
    };
    let mut behind: Vec<String> = cursors
        .iter()
        .filter(|cursor| cursor.state != FLOWING || !at(cursor))
        .map(|one| {
            let Cursor { subscription, key, epoch, revision, state, reason, .. } = one;
            let head = heads.get(key).map_or(0, |(revision, _)| *revision);
            format!("{service}: {subscription} is at {key} {revision} of {head}, in epoch {epoch} and state {state}: {reason:?}")
        })
        .collect();
    let Some(instance) = sim.instance(service) else { return behind };
    for subscription in instance.opened.ledger.handlers().subscriptions() {
        let heard: BTreeSet<_> = cursors
            .iter()
            .filter(|cursor| cursor.subscription == subscription.name)
            .map(|cursor| &cursor.key)
            .collect();
        for followed in subscription.follows() {
            let begin = format!("{}/", followed.aggregate);
            let unheard = heads.keys().filter(|key| key.starts_with(&begin) && !heard.contains(key));
            behind.extend(unheard.map(|key| format!("{service}: {} has never heard of {key}", subscription.name)));
        }
    }
    behind
}

/// Which promises are broken, once everything is finished.
///
/// Where a database was `restored`, what was done after it was copied is nowhere, and nobody was promised that it would be.
pub async fn broken(sim: &Sim, premises: &Premises, told: &BTreeMap<Id, Told>, restored: bool) -> Vec<String> {
    let databases = Databases::of(premises).await;
    let mut broken = logs_with_gaps(&databases).await;
    if restored {
        return broken;
    }
    let orders = databases.orders().await;
    broken.extend(contradicted(told));
    broken.extend(accepted_and_not_done(sim, told, &databases).await);
    broken.extend(lost_or_doubled(told, &orders));
    broken.extend(unbalanced(premises, &orders));
    broken.extend(sessions_that_go_on(told, &databases).await);
    broken
}

/// Commands that were answered in two ways, or not as they should.
fn contradicted(told: &BTreeMap<Id, Told>) -> Vec<String> {
    let wrong = |told: &Told| {
        let reused = told.others.iter().all(|answer| *answer == Answer::KeyReused);
        !reused || !matches!(told.answers.as_slice(), [Answer::Completed(_) | Answer::Rejected(_)])
    };
    let waited_for = told.iter().filter(|(_, told)| told.left.is_none());
    waited_for.filter(|(_, told)| wrong(told)).map(|(id, told)| format!("{id} was answered so: {told:?}")).collect()
}

/// Commands that were accepted, and have no outcome although no broker has lost them. Nobody has asked for them again.
async fn accepted_and_not_done(sim: &Sim, told: &BTreeMap<Id, Told>, databases: &Databases) -> Vec<String> {
    let mut broken = Vec::new();
    let left = told.iter().filter_map(|(id, told)| Some((id, told.left.as_ref()?)));
    for (id, subject) in left.filter(|(_, subject)| !sim.has_lost(subject)) {
        let ended = format!("select count(*) as count from receipt where command_id = '{id}' and state in (2, 3)");
        if databases.count("order", &ended).await != 1 {
            broken.push(format!("order {id} was accepted, and nothing came of it: {subject}"));
        }
    }
    broken
}

/// The orders that are there are those that customers were told of, and no others.
fn lost_or_doubled(told: &BTreeMap<Id, Told>, orders: &[Order]) -> Vec<String> {
    let placed = |told: &Told| matches!(told.what, What::Place | What::Intrude) && told.is_completed();
    let expected: BTreeSet<String> =
        told.iter().filter(|(_, told)| placed(told)).map(|(id, _)| id.to_string()).collect();
    let left: BTreeSet<String> =
        told.iter().filter(|(_, told)| told.left.is_some()).map(|(id, _)| id.to_string()).collect();
    let found: BTreeSet<String> = orders.iter().map(|order| order.order_id.clone()).collect();
    let lost = expected.difference(&found).map(|id| format!("order {id} is lost"));
    let unknown = found.difference(&expected).filter(|id| !left.contains(*id));
    let unknown = unknown.map(|id| format!("order {id} was never told of"));
    lost.chain(unknown).collect()
}

fn unbalanced(premises: &Premises, orders: &[Order]) -> Vec<String> {
    let taken = premises.provider.charges().into_iter().filter(|charge| charge.state == ChargeState::Taken);
    let wrong = misbooked(orders, taken.map(|charge| (charge.order_id, charge.minor)));
    wrong.into_iter().map(|(_, what)| what).collect()
}

/// Revisions are 1, 2, 3… and every head is where its log ends.
async fn logs_with_gaps(databases: &Databases) -> Vec<String> {
    let mut broken = Vec::new();
    for service in SERVICES {
        let sql = "select count(*) as count from (select key from event_log group by key \
                   having count(*) <> max(revision) or min(revision) <> 1)";
        let gaps = databases.count(service, sql).await;
        let sql = "select count(*) as count from head where revision <> \
                   (select max(revision) from event_log where event_log.key = head.key)";
        let astray = databases.count(service, sql).await;
        if gaps + astray > 0 {
            broken.push(format!("{service} has {gaps} logs with gaps, and {astray} heads that are not where they end"));
        }
    }
    broken
}

/// Who has left has left everywhere, and gets nothing done any more.
async fn sessions_that_go_on(told: &BTreeMap<Id, Told>, databases: &Databases) -> Vec<String> {
    let left = told.values().filter(|told| told.what == What::Logout && told.is_completed()).count();
    let mut broken = Vec::new();
    for service in ["user", "order", "billing"] {
        let ended = databases.rows::<Ended>(service, "select ended_at from session where ended_at is not null").await;
        if ended.iter().filter(|row| row.ended_at.is_some()).count() != left {
            broken.push(format!("{service} knows of {} sessions that have ended, and {left} have", ended.len()));
        }
    }
    let intruded = told.values().filter(|told| told.what == What::Intrude && told.is_completed()).count();
    let may = crate::customers::CUSTOMERS - left;
    if intruded > may {
        broken.push(format!("{intruded} orders were taken from {may} sessions that go on"));
    }
    broken
}
