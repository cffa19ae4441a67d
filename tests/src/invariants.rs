//! What holds at the end of every story, whatever happened in it.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace::Role;
use proto::Message as _;
use proto::order::v1::Order;
use sea_orm::FromQueryResult;
use testkit::{is_settled, misbooked, nothing_left};

use crate::shop::TestShop;

/// After the last fault everything comes to its end; this is for a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Checks that everything has ended and adds up, in all services and at the payment provider. `commands` is how many durable ones were
/// sent to the order service, each counted once however often it was retried.
pub(crate) async fn everything_adds_up(shop: &TestShop, commands: usize) {
    everything_adds_up_but(shop, commands, &[]).await;
}

/// The same, when these keys stand still on purpose.
pub(crate) async fn everything_adds_up_but(shop: &TestShop, commands: usize, still: &[String]) {
    nothing_left(PATIENCE, async || unfinished(shop, commands, still).await).await;
    for role in Role::services() {
        logs_have_no_gaps(shop, role.name()).await;
    }
    money_adds_up(shop).await;
}

/// What a service still has to do, or has done too often.
async fn unfinished(shop: &TestShop, commands: usize, still: &[String]) -> Vec<String> {
    let mut unfinished = Vec::new();
    let heads = heads(shop).await;
    for role in Role::services() {
        unfinished.extend(unpublished(shop, role.name()).await);
        unfinished.extend(behind(shop, role.name(), &heads, still).await);
    }
    unfinished.extend(unheard(shop, &heads, ("order", "payments", "payment/")).await);
    unfinished.extend(unheard(shop, &heads, ("billing", "orders", "order/")).await);
    unfinished.extend(open_effects(shop).await);
    let orders = orders(shop).await.into_iter().filter(|order| !still.contains(&format!("order/{}", order.order_id)));
    unfinished.extend(orders.filter(|order| !is_settled(order)).map(|order| format!("{order:?}")));
    unfinished.extend(receipts(shop, commands).await);
    unfinished
}

pub(crate) async fn orders(shop: &TestShop) -> Vec<Order> {
    #[derive(FromQueryResult)]
    struct Row {
        view: Vec<u8>,
    }
    let rows = shop.query::<Row>("order", "select view from order_view").await;
    rows.iter().map(|row| Order::decode(row.view.as_slice()).unwrap()).collect()
}

/// The newest revision of each key, by its owner.
async fn heads(shop: &TestShop) -> BTreeMap<String, i64> {
    #[derive(FromQueryResult)]
    struct Row {
        key: String,
        revision: i64,
    }
    let mut heads = BTreeMap::new();
    for role in Role::services() {
        let rows = shop.query::<Row>(role.name(), "select key, revision from head").await;
        heads.extend(rows.into_iter().map(|row| (row.key, row.revision)));
    }
    heads
}

#[derive(FromQueryResult)]
struct Cursor {
    subscription: String,
    key: String,
    revision: i64,
    state: i16,
    reason: Option<String>,
}

async fn cursors(shop: &TestShop, service: &str) -> Vec<Cursor> {
    shop.query(service, "select subscription, key, revision, state, reason from cursor").await
}

const FLOWING: i16 = 1;

/// The cursors that do not flow, or are not where their owner's log ends.
async fn behind(shop: &TestShop, service: &str, heads: &BTreeMap<String, i64>, still: &[String]) -> Vec<String> {
    let cursors = cursors(shop, service).await.into_iter().filter(|cursor| !still.contains(&cursor.key));
    let ended = |cursor: &Cursor| cursor.state == FLOWING && heads.get(&cursor.key) == Some(&cursor.revision);
    let told = |Cursor { subscription, key, revision, state, reason }| {
        format!("{service}: {subscription} is at {key} {revision}, in state {state}: {reason:?}")
    };
    cursors.filter(|cursor| !ended(cursor)).map(told).collect()
}

/// The keys of which a subscription has never heard.
async fn unheard(
    shop: &TestShop,
    heads: &BTreeMap<String, i64>,
    (service, subscription, aggregate): (&str, &str, &str),
) -> Vec<String> {
    let cursors = cursors(shop, service).await;
    let heard = |key: &str| cursors.iter().any(|cursor| cursor.subscription == subscription && cursor.key == key);
    let keys = heads.keys().filter(|key| key.starts_with(aggregate) && !heard(key));
    keys.map(|key| format!("{service} has never heard of {key}")).collect()
}

async fn unpublished(shop: &TestShop, service: &str) -> Option<String> {
    let count = count(shop, service, "select count(*) as count from event_log where published_at is null").await;
    (count > 0).then(|| format!("{service} has {count} events unpublished"))
}

async fn open_effects(shop: &TestShop) -> Option<String> {
    // Neither answered nor withdrawn.
    let count = count(shop, "billing", "select count(*) as count from effect where state not in (3, 4)").await;
    (count > 0).then(|| format!("{count} effects are open"))
}

/// A command leaves one receipt, COMPLETED or REJECTED.
async fn receipts(shop: &TestShop, commands: usize) -> Option<String> {
    let all = count(shop, "order", "select count(*) as count from receipt").await;
    let ended = count(shop, "order", "select count(*) as count from receipt where state in (2, 3)").await;
    let expected = i64::try_from(commands).unwrap();
    (all != expected || ended != expected)
        .then(|| format!("{expected} commands, {all} receipts, {ended} of them ended"))
}

pub(crate) async fn count(shop: &TestShop, service: &str, sql: &str) -> i64 {
    #[derive(FromQueryResult)]
    struct Row {
        count: i64,
    }
    shop.query::<Row>(service, sql).await.first().unwrap().count
}

/// Revisions are 1, 2, 3… and every head is where its log ends.
async fn logs_have_no_gaps(shop: &TestShop, service: &str) {
    let sql = "select count(*) as count from (select key from event_log group by key \
               having count(*) <> max(revision) or min(revision) <> 1) as gaps";
    assert_eq!(count(shop, service, sql).await, 0, "a key of {service} has a gap in its log");
    let sql = "select count(*) as count from head where revision <> \
               (select max(revision) from event_log where event_log.key = head.key)";
    assert_eq!(count(shop, service, sql).await, 0, "a head of {service} is not where its log ends");
}

async fn money_adds_up(shop: &TestShop) {
    let charges = charges(shop).await.into_iter();
    let wrong = misbooked(&orders(shop).await, charges.map(|charge| (charge.order_id.clone(), charge.taken())));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is in the provider's books.
pub(crate) async fn charges(shop: &TestShop) -> Vec<billing::Charge> {
    let provider = billing::Simulated::open(&shop.settings().provider()).await.unwrap();
    provider.charges().await.unwrap()
}
