//! What holds at the end of each story, wherever somebody died in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace::Role;
use proto::Message as _;
use proto::order::v1::Order;
use sea_orm::FromQueryResult;
use testkit::{is_settled, misbooked, nothing_left};

use super::shop::Shop;
use super::stories::Done;

/// Everything comes to its end by then. Longest is what waits for a lease that was held by the dead.
const PATIENCE: Duration = Duration::from_secs(90);

/// Which subscription of a service follows which aggregates.
const FOLLOWED: [(Role, &str, &str); 10] = [
    (Role::Registration, "users", "user/"),
    (Role::User, "accounts", "account/"),
    (Role::User, "sessions", "session/"),
    (Role::Order, "customers", "account/"),
    (Role::Order, "customers", "user/"),
    (Role::Order, "sessions", "session/"),
    (Role::Order, "payments", "payment/"),
    (Role::Billing, "customers", "account/"),
    (Role::Billing, "sessions", "session/"),
    (Role::Billing, "orders", "order/"),
];

/// Waits until everything has ended, and checks that it adds up.
pub(super) async fn everything_adds_up(shop: &Shop, done: &Done) {
    nothing_left(PATIENCE, async || {
        let mut unfinished = published_and_heard(shop, &[]).await;
        unfinished.extend(receipts(shop, done).await);
        if shop.site.shop().contains(&Role::Order) {
            unfinished.extend(effects_and_timers(shop).await);
            unfinished.extend(orders(shop).await.iter().filter(|order| !is_settled(order)).map(|o| format!("{o:?}")));
        }
        unfinished
    })
    .await;
    for role in shop.services() {
        log_has_no_gaps(shop, role).await;
    }
    if shop.site.shop().contains(&Role::Order) {
        let there: BTreeSet<_> = orders(shop).await.into_iter().map(|order| order.order_id).collect();
        assert_eq!(there, done.orders, "the orders that are there are not those that were placed");
        money_adds_up(shop).await;
    }
}

/// Waits until all that the others know is published, and heard by those of them that want to hear it.
pub(super) async fn all_but_one_are_quiet(shop: &Shop, away: Role) {
    nothing_left(PATIENCE, async || published_and_heard(shop, &[away]).await).await;
}

/// What is not published, or not heard by those who follow it.
async fn published_and_heard(shop: &Shop, away: &[Role]) -> Vec<String> {
    let mut unfinished = Vec::new();
    let mut heads = BTreeMap::new();
    let there: Vec<_> = shop.services().filter(|role| !away.contains(role)).collect();
    for role in &there {
        heads.extend(heads_of(shop, *role).await);
        let unpublished = shop.count(*role, "event_log where published_at is null").await;
        unfinished.extend((unpublished > 0).then(|| format!("{role} has {unpublished} events unpublished")));
    }
    for (role, subscription, aggregate) in FOLLOWED.iter().filter(|(role, ..)| there.contains(role)) {
        let cursors = cursors(shop, *role, subscription).await;
        for (key, revision) in heads.iter().filter(|(key, _)| key.starts_with(aggregate)) {
            let is_there = cursors.get(key) == Some(&(*revision, FLOWING));
            unfinished.extend(
                (!is_there)
                    .then(|| format!("{role}: {subscription} is not at {key} {revision}, but {:?}", cursors.get(key))),
            );
        }
    }
    unfinished
}

/// The newest revision of each key.
async fn heads_of(shop: &Shop, role: Role) -> BTreeMap<String, i64> {
    #[derive(FromQueryResult)]
    struct Row {
        key: String,
        revision: i64,
    }
    let rows = shop.query::<Row>(role, "select key, revision from head").await;
    rows.into_iter().map(|row| (row.key, row.revision)).collect()
}

const FLOWING: i16 = 1;

/// Where a subscription is, and in which state.
async fn cursors(shop: &Shop, role: Role, subscription: &str) -> BTreeMap<String, (i64, i16)> {
    #[derive(FromQueryResult)]
    struct Row {
        key: String,
        revision: i64,
        state: i16,
    }
    let sql = format!("select key, revision, state from cursor where subscription = '{subscription}'");
    let rows = shop.query::<Row>(role, &sql).await;
    rows.into_iter().map(|row| (row.key, (row.revision, row.state))).collect()
}

/// One for each command that was sent under a key, and each COMPLETED or REJECTED.
async fn receipts(shop: &Shop, done: &Done) -> Vec<String> {
    let mut wrong = Vec::new();
    for role in shop.services() {
        let commands = done.commands(role);
        let all = shop.count(role, "receipt").await;
        let ended = shop.count(role, "receipt where state in (2, 3)").await;
        let right = all == commands && ended == commands;
        wrong.extend((!right).then(|| format!("{role}: {commands} commands, {all} receipts, {ended} of them ended")));
    }
    wrong
}

/// What is neither answered nor withdrawn, and deadlines of orders that wait no longer.
async fn effects_and_timers(shop: &Shop) -> Vec<String> {
    let effects = shop.count(Role::Billing, "effect where state not in (3, 4)").await;
    let timers = shop.count(Role::Order, "timer").await;
    let open = |what: &str, count: i64| (count > 0).then(|| format!("{count} {what} are open"));
    open("effects", effects).into_iter().chain(open("timers", timers)).collect()
}

async fn orders(shop: &Shop) -> Vec<Order> {
    #[derive(FromQueryResult)]
    struct Row {
        view: Vec<u8>,
    }
    let rows = shop.query::<Row>(Role::Order, "select view from order_view").await;
    rows.iter().map(|row| Order::decode(row.view.as_slice()).unwrap()).collect()
}

/// Revisions are 1, 2, 3… and every head is where its log ends.
async fn log_has_no_gaps(shop: &Shop, role: Role) {
    let gaps = "(select key from event_log group by key having count(*) <> max(revision) or min(revision) <> 1)";
    assert_eq!(shop.count(role, gaps).await, 0, "a key of {role} has a gap in its log");
    let heads = "head where revision <> (select max(revision) from event_log where event_log.key = head.key)";
    assert_eq!(shop.count(role, heads).await, 0, "a head of {role} is not where its log ends");
}

async fn money_adds_up(shop: &Shop) {
    let provider = billing::Simulated::open(shop.provider()).await.unwrap();
    let charges = provider.charges().await.unwrap();
    let wrong =
        misbooked(&orders(shop).await, charges.into_iter().map(|charge| (charge.order_id.clone(), charge.taken())));
    assert!(wrong.is_empty(), "{wrong:#?}");
}
