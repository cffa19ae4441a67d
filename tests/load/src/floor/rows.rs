//! The rows of an order that was placed, and how a batch of them is written.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::Message as _;
use proto::command::v1::{ConsistencyToken, Statement, consistency_token::Entry};
use proto::money::v1::Money;
use proto::order::v1::{
    FulfillmentStatus, Order, OrderCreated, OrderLine, OrderStatus, PaymentStatus, PlaceOrderRequest,
    PlaceOrderResponse,
};
use ring::hmac;
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, QueryBuilder, Sqlite};
use uuid::Uuid;

use super::{METHOD, new_uuid, now_us, sha256, timestamp};

/// The tables and indexes of the real ones.
pub(super) const TABLES: &str = "
    create table head (key text primary key, epoch integer, revision integer, history blob, time integer, state blob, fold integer);
    create table event_log (key text, revision integer, epoch integer, history blob, event_id blob unique, type_name text, body blob,
        time integer, principal text, command_id text, cause_id blob, traceparent text, tracestate text, published_at integer,
        position integer, primary key (key, revision));
    create index event_log_unpublished on event_log (time) where published_at is null;
    create table receipt (command_id text primary key, method text, principal text, fingerprint blob, state integer, token text,
        outcome blob, attempts integer, request blob);
    create table order_view (order_id text primary key, customer_id text, placed_at integer, view blob);
    create index order_view_of_customer on order_view (customer_id, placed_at, order_id);
    create table customer (customer_id text primary key, registered_at integer);
    create table session (session_id text primary key, ended_at integer);";

const PRICE: i64 = 2_499;

/// All that comes of one command.
pub(super) struct Placed {
    pub(super) order_id: String,
    pub(super) key: String,
    pub(super) customer_id: String,
    pub(super) principal: String,
    fingerprint: Vec<u8>,
    pub(super) event_id: Uuid,
    pub(super) event: Vec<u8>,
    pub(super) history: Vec<u8>,
    state: Vec<u8>,
    view: Vec<u8>,
    pub(super) response: Vec<u8>,
    pub(super) token: String,
    pub(super) time: i64,
    pub(super) traceparent: String,
}

/// What is folded, as JSON.
#[derive(Serialize)]
struct Folded<'o> {
    id: &'o str,
    customer_id: &'o str,
    status: i32,
    lines: Vec<(&'o str, i32, i64)>,
    total: (&'o str, i64),
    payment_method_id: &'o str,
    revision: i64,
    placed_at: i64,
    changed_at: i64,
}

impl Placed {
    pub(super) fn new(statement: &Statement, request: &PlaceOrderRequest, traceparent: &str) -> Result<Self> {
        let (order_id, customer_id, time) = (statement.command_id.clone(), statement.user_id.clone(), now_us());
        let money = |minor| Some(Money { currency: "EUR".to_owned(), minor });
        let line = |line: &proto::order::v1::place_order_request::Line| OrderLine {
            sku: line.sku.clone(),
            quantity: line.quantity,
            unit_price: money(PRICE),
            name: "Teapot, cast iron".to_owned(),
        };
        let lines: Vec<_> = request.lines.iter().map(line).collect();
        let total = PRICE * lines.iter().map(|line| i64::from(line.quantity)).sum::<i64>();
        let order = order(&order_id, &customer_id, lines, (money(total), time), &request.payment_method_id);
        let event = OrderCreated {
            order_id: order_id.clone(),
            customer_id: customer_id.clone(),
            lines: order.lines.clone(),
            total: order.total.clone(),
            payment_method_id: order.payment_method_id.clone(),
        };
        let (event, key) = (event.encode_to_vec(), format!("order/{order_id}"));
        let token = ConsistencyToken {
            entries: vec![Entry { key: key.clone(), epoch: 1, revision: 1 }],
            ..ConsistencyToken::default()
        };
        let fingerprint_key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        Ok(Self {
            fingerprint: hmac::sign(&fingerprint_key, &statement.request_hash).as_ref().to_vec(),
            principal: format!("user/{customer_id}"),
            event_id: new_uuid(),
            history: sha256(&[&[0; 16], &event]),
            state: folded(&order, total, time)?,
            view: order.encode_to_vec(),
            response: PlaceOrderResponse { order: Some(order), receipt: None }.encode_to_vec(),
            token: URL_SAFE_NO_PAD.encode(token.encode_to_vec()),
            traceparent: traceparent.to_owned(),
            order_id,
            key,
            customer_id,
            event,
            time,
        })
    }
}

fn order(
    order_id: &str,
    customer_id: &str,
    lines: Vec<OrderLine>,
    (total, time): (Option<Money>, i64),
    payment_method_id: &str,
) -> Order {
    Order {
        order_id: order_id.to_owned(),
        customer_id: customer_id.to_owned(),
        status: OrderStatus::Pending.into(),
        payment_status: PaymentStatus::None.into(),
        fulfillment_status: FulfillmentStatus::None.into(),
        lines,
        total,
        payment_method_id: payment_method_id.to_owned(),
        reason: String::new(),
        revision: 1,
        create_time: Some(timestamp(time)),
        update_time: Some(timestamp(time)),
    }
}

fn folded(order: &Order, total: i64, time: i64) -> Result<Vec<u8>> {
    let folded = Folded {
        id: &order.order_id,
        customer_id: &order.customer_id,
        status: order.status,
        lines: order.lines.iter().map(|line| (line.name.as_str(), line.quantity, PRICE)).collect(),
        total: ("EUR", total),
        payment_method_id: &order.payment_method_id,
        revision: 1,
        placed_at: time,
        changed_at: time,
    };
    Ok(serde_json::to_vec(&folded)?)
}

/// Looks what is there already, and writes each table once.
pub(super) async fn write(database: &mut SqliteConnection, placed: &[&Placed], marks: &[Uuid]) -> Result<()> {
    let mut txn = database.begin_with("begin immediate").await?;
    let ids = |placed: &&Placed| placed.order_id.clone();
    let receipts = found(&mut txn, "select command_id from receipt where command_id in (", placed, ids).await?;
    let heads = found(&mut txn, "select key from head where key in (", placed, |placed| placed.key.clone()).await?;
    ensure!(receipts + heads == 0, "a command came twice");
    let customers = |placed: &&Placed| placed.customer_id.clone();
    found(&mut txn, "select customer_id from customer where customer_id in (", placed, customers).await?;
    let sessions = "select session_id from session where ended_at is not null and session_id in (";
    found(&mut txn, sessions, placed, customers).await?;
    insert(&mut txn, placed).await?;
    if !marks.is_empty() {
        let mut query = QueryBuilder::new("update event_log set published_at = ");
        query.push_bind(now_us()).push(" where event_id in (");
        let mut list = query.separated(", ");
        for id in marks {
            list.push_bind(id.as_bytes().to_vec());
        }
        query.push(")").build().execute(&mut *txn).await?;
    }
    txn.commit().await.context("cannot commit")
}

async fn found(
    txn: &mut SqliteConnection,
    select: &str,
    placed: &[&Placed],
    name: impl Fn(&&Placed) -> String,
) -> Result<usize> {
    let mut query = QueryBuilder::<Sqlite>::new(select);
    let mut list = query.separated(", ");
    for one in placed {
        list.push_bind(name(one));
    }
    Ok(query.push(")").build().fetch_all(txn).await?.len())
}

async fn insert(txn: &mut SqliteConnection, placed: &[&Placed]) -> Result<()> {
    let mut heads = QueryBuilder::<Sqlite>::new("insert into head ");
    heads.push_values(placed, |mut row, one| {
        row.push_bind(&one.key).push_bind(1).push_bind(1).push_bind(&one.history[..16]);
        row.push_bind(one.time).push_bind(&one.state).push_bind(1);
    });
    heads.build().execute(&mut *txn).await?;
    let mut events = QueryBuilder::<Sqlite>::new("insert into event_log ");
    events.push_values(placed, |mut row, one| {
        row.push_bind(&one.key).push_bind(1).push_bind(1).push_bind(&one.history[..16]);
        row.push_bind(one.event_id.as_bytes().to_vec()).push_bind("millrace.order.v1.OrderCreated");
        row.push_bind(&one.event).push_bind(one.time).push_bind(&one.principal).push_bind(&one.order_id);
        row.push_bind(None::<Vec<u8>>).push_bind(&one.traceparent).push_bind("");
        row.push_bind(None::<i64>).push_bind(None::<i64>);
    });
    events.build().execute(&mut *txn).await?;
    let mut views = QueryBuilder::<Sqlite>::new("insert into order_view ");
    views.push_values(placed, |mut row, one| {
        row.push_bind(&one.order_id).push_bind(&one.customer_id).push_bind(one.time).push_bind(&one.view);
    });
    views.build().execute(&mut *txn).await?;
    let mut receipts = QueryBuilder::<Sqlite>::new("insert into receipt ");
    receipts.push_values(placed, |mut row, one| {
        row.push_bind(&one.order_id).push_bind(METHOD).push_bind(&one.principal).push_bind(&one.fingerprint);
        row.push_bind(2).push_bind(&one.token).push_bind(&one.response).push_bind(0).push_bind(None::<Vec<u8>>);
    });
    receipts.build().execute(&mut *txn).await?;
    Ok(())
}
