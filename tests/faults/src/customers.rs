use std::collections::BTreeSet;
use std::time::Duration;

use millrace::demo::{Customer, Person};
use proto::order::v1::{Order, OrderStatus, PaymentStatus};
use testkit::within;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::Processes;

/// Customers who buy at the same time.
const CUSTOMERS: usize = 4;
/// Orders of one customer, as many as one page lists.
const ORDERS_MAX: usize = 100;
/// After the last kill everything works again; this is for a slow machine.
const TO_SETTLE: Duration = Duration::from_secs(90);

/// What one customer bought: the ids that the receipts told.
#[derive(Debug)]
pub struct Bought {
    pub(crate) customer: Customer,
    pub(crate) ids: BTreeSet<String>,
}

/// Customers place so many orders at least, and go on until `enough`; each under one key until the answer is known. Every tenth comes to
/// nothing, because the card is declined.
pub async fn buy(gateway: Channel, orders: usize, enough: CancellationToken) -> Vec<Bought> {
    let shopping = (0..CUSTOMERS).map(|number| shop(gateway.clone(), number, orders / CUSTOMERS, &enough));
    futures::future::join_all(shopping).await
}

async fn shop(gateway: Channel, number: usize, orders: usize, enough: &CancellationToken) -> Bought {
    let address = format!("customer-{number}@example.com");
    let person = Person { address: &address, password: "a password of some length", name: "Customer", country: "DE" };
    let customer = retry(|| Customer::enter(gateway.clone(), &person)).await;
    let good = retry(|| customer.add_card("tok_approved", "DE")).await;
    let bad = retry(|| customer.add_card("tok_declined", "DE")).await;
    let mut ids = BTreeSet::new();
    for order in (0..ORDERS_MAX).take_while(|order| *order < orders || !enough.is_cancelled()) {
        let key = format!("customer-{number}-order-{order}");
        let card = if order % 10 == 9 { &bad } else { &good };
        let (placed, _) = retry(|| customer.place(&key, "teapot", 1, card)).await;
        let command = placed.receipt.unwrap().command;
        let id = command.rsplit('/').next().unwrap().to_owned();
        assert!(ids.insert(id), "two keys came to one order");
    }
    Bought { customer, ids }
}

/// As a client does: what may still happen is asked for again, under the same key.
pub async fn retry<T, Call: Future<Output = Result<T, Status>>>(call: impl Fn() -> Call) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(status) if may_still_happen(&status) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(status) => panic!("refused: {status}"),
        }
    }
}

/// A connection that breaks under a call shows as CANCELLED, UNKNOWN or INTERNAL, without details of ours.
pub fn may_still_happen(status: &Status) -> bool {
    let broken =
        matches!(status.code(), Code::Cancelled | Code::Unknown | Code::Internal) && status.details().is_empty();
    broken || matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
}

/// Waits until every order has ended, and checks that each is there once and that the money adds up.
pub async fn settle(processes: &Processes, bought: &[Bought]) {
    let mut expected = 0;
    for one in bought {
        let orders = ended_orders(one).await;
        let ids: BTreeSet<_> = orders.iter().map(|order| order.order_id.clone()).collect();
        assert_eq!(ids, one.ids, "the orders that are there are not those that were placed");
        assert_eq!(orders.len(), ids.len(), "an order is there twice");
        expected +=
            orders.iter().filter(|order| is_paid(order)).map(|order| order.total.as_ref().unwrap().minor).sum::<i64>();
    }
    let provider = billing::Simulated::open(&processes.provider).await.unwrap();
    let charges = provider.charges().await.unwrap();
    assert_eq!(
        charges.iter().map(billing::Charge::taken).sum::<i64>(),
        expected,
        "what the provider took is not what the orders cost"
    );
}

async fn ended_orders(one: &Bought) -> Vec<Order> {
    let mut orders = Vec::new();
    within(TO_SETTLE, "every order ends", async || {
        let Ok(found) = one.customer.orders().await else { return false };
        orders = found;
        orders.len() >= one.ids.len() && orders.iter().all(|order| order.status() != OrderStatus::Pending)
    })
    .await;
    for order in &orders {
        assert!(matches!(order.status(), OrderStatus::Processed | OrderStatus::PaymentFailed), "{order:?}");
    }
    orders
}

fn is_paid(order: &Order) -> bool {
    order.payment_status() == PaymentStatus::Captured
}
