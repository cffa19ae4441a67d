use std::collections::BTreeSet;
use std::time::Duration;

use millrace::demo::{Customer, Person};
use proto::command::v1::State;
use proto::order::v1::OrderStatus;
use testkit::within;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::{Bought, may_still_happen, retry};

/// Customers who buy at the same time. They begin at one gateway and the other by turns.
const SHOPPERS: usize = 8;

/// As many as one page lists.
const ORDERS_MAX: usize = 100;

/// For a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Customers who know two gateways, and go to the other one when a call fails.
#[derive(Debug)]
pub struct Shoppers {
    tasks: JoinSet<(Bought, usize)>,
    /// How much each has.
    bought: watch::Receiver<[usize; SHOPPERS]>,
    enough: CancellationToken,
}

impl Shoppers {
    /// They pay with cards of this kind.
    pub async fn enter(gateways: &[Channel; 2], card: &'static str) -> Self {
        for gateway in gateways {
            serves(gateway).await;
        }
        let (count, bought) = watch::channel([0; SHOPPERS]);
        let (mut tasks, enough) = (JoinSet::new(), CancellationToken::new());
        for number in 0..SHOPPERS {
            let shopper = Shopper::enter(gateways, number).await;
            tasks.spawn(shopper.shop(card, tally(&count, number), enough.clone()));
        }
        Self { tasks, bought, enough }
    }

    /// Waits until they have bought so many more.
    pub async fn bought(&mut self, more: usize) {
        let until = self.bought.borrow().iter().sum::<usize>() + more;
        self.wait_for(|bought| bought.iter().sum::<usize>() >= until).await;
    }

    /// Waits until each has bought one more: whatever they were at is over, so what happens next meets other calls.
    pub async fn all_went_on(&mut self) {
        let before = *self.bought.borrow();
        self.wait_for(|bought| bought.iter().zip(before).all(|(now, before)| *now > before)).await;
    }

    async fn wait_for(&mut self, enough: impl FnMut(&[usize; SHOPPERS]) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, self.bought.wait_for(enough)).await;
        waited.expect("they go on buying").expect("no shopper panicked");
    }

    /// What each has bought, and how many calls were made again.
    pub async fn leave(self) -> (Vec<Bought>, usize) {
        self.enough.cancel();
        let (bought, retried): (Vec<_>, Vec<_>) = self.tasks.join_all().await.into_iter().unzip();
        (bought, retried.into_iter().sum())
    }
}

/// Notes what one of them has bought.
fn tally(bought: &watch::Sender<[usize; SHOPPERS]>, number: usize) -> impl Fn() + Send + use<> {
    let bought = bought.clone();
    move || bought.send_modify(|bought| bought[number] += 1)
}

/// Waits until a gateway does.
pub async fn serves(gateway: &Channel) {
    within(PATIENCE, "the gateway serves", async || {
        let request = HealthCheckRequest { service: String::new() };
        HealthClient::new(gateway.clone()).check(request).await.is_ok()
    })
    .await;
}

/// The same customer at either gateway.
struct Shopper {
    at: [Customer; 2],
    prefers: usize,
    retried: usize,
}

impl Shopper {
    async fn enter(gateways: &[Channel; 2], number: usize) -> Self {
        let address = format!("shopper-{number}@example.com");
        let person =
            Person { address: &address, password: "a password of some length", name: "Shopper", country: "DE" };
        let customer = retry(|| Customer::enter(gateways[0].clone(), &person)).await;
        let at = gateways.clone().map(|gateway| customer.at(gateway));
        Self { at, prefers: number % 2, retried: 0 }
    }

    /// Buys, watches what was bought, and looks at all of it, again and again.
    async fn shop(mut self, card: &str, tally: impl Fn(), enough: CancellationToken) -> (Bought, usize) {
        let card = self.call(|at| async move { at.add_card(card, "DE").await }).await;
        let mut ids = BTreeSet::new();
        for order in (0..ORDERS_MAX).take_while(|_| !enough.is_cancelled()) {
            let (key, card) = (format!("order-{order}"), card.clone());
            let place = |at: Customer| {
                let (key, card) = (key.clone(), card.clone());
                async move { at.place(&key, "teapot", 1, &card).await }
            };
            let command = self.call(place).await.0.receipt.unwrap().command;
            let id = command.rsplit('/').next().unwrap().to_owned();
            self.call(|at| ended(at, command.clone(), id.clone())).await;
            self.call(|at| async move { at.orders().await }).await;
            assert!(ids.insert(id), "two keys came to one order");
            tally();
        }
        (Bought { customer: self.at[self.prefers].clone(), ids }, self.retried)
    }

    /// Calls a gateway, and the other one if that fails; then it must not.
    async fn call<T, Call>(&mut self, call: impl Fn(Customer) -> Call) -> T
    where
        Call: Future<Output = Result<T, Status>>,
    {
        match call(self.at[self.prefers].clone()).await {
            Ok(answer) => return answer,
            Err(status) if may_still_happen(&status) => {}
            Err(status) => panic!("refused: {status}"),
        }
        self.prefers = 1 - self.prefers;
        self.retried += 1;
        call(self.at[self.prefers].clone()).await.unwrap_or_else(|status| panic!("a second retry: {status}"))
    }
}

/// The order is not there before its command has ended.
async fn ended(at: Customer, command: String, id: String) -> Result<(), Status> {
    // A command may wait for a leader of its queue's nodes longer than one call for it.
    while at.wait_command(&command).await?.receipt.is_some_and(|receipt| receipt.state() == State::Accepted) {}
    at.watch(&id, |order| order.status() != OrderStatus::Pending).await.map(drop)
}
