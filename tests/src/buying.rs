//! What customers do in the stories, as a well-behaved client does it.

use std::time::{Duration, Instant};

use millrace::demo::Customer;
use proto::command::v1::{Receipt, State};
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::order::v1::{CancelOrderRequest, Order, OrderStatus, PlaceOrderResponse};
use testkit::eventually_some;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::{Code, Status};

/// The longest that a customer goes on asking.
const PATIENCE: Duration = Duration::from_mins(1);

/// Orders that are placed at once.
const AT_ONCE: usize = 8;

/// One teapot. The answer, and the order's id, which the receipt tells even when it only says ACCEPTED.
pub(crate) async fn buy(customer: &Customer, key: &str, card: &str) -> Result<(PlaceOrderResponse, String), Status> {
    let (placed, _) = customer.place(key, "teapot", 1, card).await?;
    let id = id_in(placed.receipt.as_ref().unwrap());
    Ok((placed, id))
}

/// The same, until there is an answer.
pub(crate) async fn buy_surely(customer: &Customer, key: &str, card: &str) -> (PlaceOrderResponse, String) {
    retry(|| buy(customer, key, card)).await
}

pub(crate) fn id_in(receipt: &Receipt) -> String {
    receipt.command.rsplit('/').next().unwrap().to_owned()
}

pub(crate) fn state_of(placed: &PlaceOrderResponse) -> State {
    placed.receipt.as_ref().unwrap().state()
}

/// Cancels an order, and waits for the outcome.
pub(crate) async fn cancel(customer: &Customer, order_id: &str) -> Result<Order, Status> {
    let ask = async || {
        let request = CancelOrderRequest { order_id: order_id.to_owned() };
        let request = customer.request(request, Some(&format!("cancel {order_id}")))?;
        Ok(OrderServiceClient::new(customer.channel()).cancel_order(request).await?.into_inner().order)
    };
    // Without the order the command is only ACCEPTED.
    eventually_some(&format!("the cancel of {order_id} ends"), async || ask().await.transpose()).await
}

/// How the order came to its end. It may not even be placed yet.
pub(crate) async fn ended(customer: &Customer, order_id: &str) -> OrderStatus {
    let is_pending = |order: &Order| order.status() == OrderStatus::Pending;
    let watch = async || customer.watch(order_id, |order| !is_pending(order)).await.ok();
    eventually_some(&format!("order {order_id} ends"), watch).await.status()
}

/// As a client does: what may still happen is asked for again, under the same key.
pub(crate) async fn retry<T, Call: Future<Output = Result<T, Status>>>(mut call: impl FnMut() -> Call) -> T {
    let began = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(status) if may_still_happen(&status) && began.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(status) => panic!("refused: {status:?}"),
        }
    }
}

/// A connection that breaks under a call shows as CANCELLED, UNKNOWN or INTERNAL, without details of ours.
fn may_still_happen(status: &Status) -> bool {
    let broken =
        matches!(status.code(), Code::Cancelled | Code::Unknown | Code::Internal) && status.details().is_empty();
    broken || matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Aborted)
}

/// Orders that one customer places, some at a time, while something else happens.
pub(crate) struct Load {
    placed: watch::Receiver<usize>,
    buyers: JoinSet<Vec<String>>,
}

impl Load {
    /// Begins to place orders under the keys `order-0`, `order-1`…
    pub(crate) fn begin(customer: &Customer, card: &str, orders: usize) -> Self {
        let (count, placed) = watch::channel(0);
        let mut buyers = JoinSet::new();
        for first in 0..AT_ONCE {
            let (customer, card, count) = (customer.clone(), card.to_owned(), count.clone());
            buyers.spawn(async move {
                let mut ids = Vec::new();
                for number in (first..orders).step_by(AT_ONCE) {
                    ids.push(buy_surely(&customer, &format!("order-{number}"), &card).await.1);
                    count.send_modify(|placed| *placed += 1);
                }
                ids
            });
        }
        Self { placed, buyers }
    }

    /// Waits until so many orders were answered.
    pub(crate) async fn reached(&mut self, orders: usize) {
        self.placed.wait_for(|placed| *placed >= orders).await.unwrap();
    }

    /// The ids of all orders.
    pub(crate) async fn end(self) -> Vec<String> {
        let ids = self.buyers.join_all().await.concat();
        let different: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len(), "two keys came to one order");
        ids
    }
}
