//! Callers that place orders, and what it took until they were answered, or until their orders were PROCESSED.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use futures::future::try_join_all;
use proto::command::v1::State;
use proto::order::v1::PlaceOrderRequest;
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::order::v1::place_order_request::Line;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Request;

use crate::customers::Customer;
use crate::samples::Samples;

/// How long one order may take until the run is given up.
const PATIENCE: Duration = Duration::from_mins(1);

/// What came of a number of orders.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) samples: Samples,
    pub(crate) took: Duration,
}

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "a number of orders")]
    pub(crate) fn orders(&self) -> f64 {
        self.samples.len() as f64
    }

    pub(crate) fn per_s(&self) -> f64 {
        self.orders() / self.took.as_secs_f64()
    }
}

/// When an order counts as done.
#[derive(Clone, Debug)]
pub(crate) enum Until {
    Answered,
    Processed(Arc<Processed>),
}

/// How long it goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    Time(Duration),
    Orders(usize),
}

/// So many callers at once: each places an order, waits until it is done, and places the next. The customers are dealt to them, and whoever
/// has several takes them in turn, so that a lone caller does not come to the limit of calls that one customer may make.
pub(crate) async fn closed(customers: &[Customer], callers: usize, until: &Until, bound: Bound) -> Result<Run> {
    let began = Instant::now();
    let begun = AtomicUsize::new(0);
    let goes_on = || match bound {
        Bound::Time(time) => began.elapsed() < time,
        Bound::Orders(orders) => begun.fetch_add(1, Ordering::Relaxed) < orders,
    };
    let caller = async |number: usize| -> Result<Samples> {
        let mut samples = Samples::default();
        let mut dealt = customers.iter().skip(number).step_by(callers).cycle();
        while goes_on()
            && let Some(customer) = dealt.next()
        {
            let sent = Instant::now();
            place(customer, until).await?;
            samples.push(sent.elapsed());
        }
        Ok(samples)
    };
    let all = try_join_all((0..callers).map(caller)).await?;
    let mut samples = Samples::default();
    samples.extend(all);
    Ok(Run { samples, took: began.elapsed() })
}

/// Orders arrive at a fixed rate, whether or not earlier ones are done. Each is measured from the moment at which it was to be sent, so that
/// a system that stalls is not spared what it kept waiting.
pub(crate) async fn open(customers: &[Customer], per_s: f64, time: Duration) -> Result<Run> {
    let began = Instant::now();
    let mut under_way = JoinSet::new();
    let mut samples = Samples::default();
    for number in 0_u32.. {
        let due = began + Duration::from_secs_f64(f64::from(number) / per_s);
        if due >= began + time {
            break;
        }
        sleep_until(due).await;
        let customer = customers[number as usize % customers.len()].clone();
        under_way.spawn(async move {
            place(&customer, &Until::Answered).await?;
            anyhow::Ok(due.elapsed())
        });
        while let Some(done) = under_way.try_join_next() {
            samples.push(done??);
        }
    }
    while let Some(done) = under_way.join_next().await {
        samples.push(done??);
    }
    Ok(Run { samples, took: began.elapsed() })
}

async fn place(customer: &Customer, until: &Until) -> Result<()> {
    let lines = vec![Line { sku: "teapot".to_owned(), quantity: 2 }];
    let payment_method_id = customer.payment_method_id.clone();
    let mut request = Request::new(PlaceOrderRequest { lines, payment_method_id, expected_total: None });
    request.metadata_mut().insert("authorization", customer.authorization.clone());
    request.metadata_mut().insert("idempotency-key", crate::floor::new_uuid().to_string().parse()?);
    let answer = OrderServiceClient::new(customer.channel.clone()).place_order(request).await;
    let receipt = answer.context("PlaceOrder")?.into_inner().receipt.context("no receipt")?;
    ensure!([State::Completed, State::Accepted].contains(&receipt.state()), "an order came to {:?}", receipt.state());
    match until {
        Until::Answered => Ok(()),
        Until::Processed(processed) => processed.wait_for(receipt.command.rsplit('/').next().unwrap_or_default()).await,
    }
}

/// The orders that were PROCESSED, as their events tell: heard on the subject, which costs the system next to nothing.
#[derive(Debug, Default)]
pub(crate) struct Processed(Mutex<HashMap<String, Heard>>);

#[derive(Debug)]
enum Heard {
    /// Perhaps before anybody asked.
    Already,
    Awaited(oneshot::Sender<()>),
}

impl Processed {
    pub(crate) async fn listen(nats_url: &str) -> Result<Arc<Self>> {
        let client = async_nats::connect(nats_url).await?;
        let mut events = client.subscribe("millrace.evt.order.order.order-processed.*").await?;
        client.flush().await?;
        let processed = Arc::new(Self::default());
        let listener = Arc::clone(&processed);
        tokio::spawn(async move {
            let _client = client;
            while let Some(event) = events.next().await {
                listener.hear(event.subject.rsplit('.').next().unwrap_or_default());
            }
        });
        Ok(processed)
    }

    fn hear(&self, order: &str) {
        // An event may come twice.
        if let Some(Heard::Awaited(sender)) = self.orders().insert(order.to_owned(), Heard::Already) {
            let _ = sender.send(());
        }
    }

    async fn wait_for(&self, order: &str) -> Result<()> {
        let (sender, receiver) = oneshot::channel();
        match self.orders().entry(order.to_owned()) {
            Entry::Vacant(vacant) => drop(vacant.insert(Heard::Awaited(sender))),
            Entry::Occupied(_) => return Ok(()),
        }
        let Ok(heard) = timeout(PATIENCE, receiver).await else { bail!("order {order} was not PROCESSED") };
        Ok(heard?)
    }

    fn orders(&self) -> MutexGuard<'_, HashMap<String, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
