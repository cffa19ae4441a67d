//! Somebody who buys, and asks again until they know what came of it.

mod asking;
mod errands;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace::demo::Customer;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::answer::Answer;
use super::history::{History, Told};

/// The longest that one attempt is waited for.
const ATTEMPT: Duration = Duration::from_secs(8);

/// Between two attempts, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// A shopper remembers so many orders.
const REMEMBERED: usize = 20;

const PRODUCTS: [&str; 5] = ["teapot", "teacup", "honey", "lamp", "bicycle"];

/// What all shoppers know.
#[derive(Clone, Debug)]
pub(super) struct Street {
    pub(super) history: Arc<History>,
    pub(super) gateways: [SocketAddr; 2],
    /// No more is begun.
    pub(super) closing: CancellationToken,
    /// What has no answer yet is given up.
    pub(super) closed: CancellationToken,
}

/// Somebody who buys, and asks again until they know.
pub(super) struct Shopper {
    street: Street,
    number: usize,
    chance: StdRng,
    channels: [Channel; 2],
    prefers: usize,
    /// Nothing is tried twice.
    once: bool,
    customer: Option<Customer>,
    cards: Vec<String>,
    placed: VecDeque<Placed>,
    open: Vec<Open>,
    keys: usize,
    people: usize,
}

/// An order that was answered COMPLETED or REJECTED.
#[derive(Clone, Debug)]
struct Placed {
    command: Command,
    answer: Answer,
}

/// A command that was only ACCEPTED, and the name under which its receipt knows it.
#[derive(Clone, Debug)]
struct Open {
    command: Command,
    name: String,
}

/// What was asked under a key.
#[derive(Clone, Debug)]
struct Command {
    key: String,
    asks: Asks,
}

#[derive(Clone, Debug)]
enum Asks {
    Card(String),
    Order { sku: String, quantity: i32, card: String },
    Cancel(String),
}

impl Shopper {
    pub(super) fn new(street: Street, number: usize, seed: u64) -> Self {
        let channels = street.gateways.map(|address| {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            let endpoint = endpoint.connect_timeout(Duration::from_secs(2)).keep_alive_while_idle(true);
            endpoint
                .http2_keep_alive_interval(Duration::from_secs(3))
                .keep_alive_timeout(Duration::from_secs(3))
                .connect_lazy()
        });
        Self {
            street,
            number,
            chance: StdRng::seed_from_u64(seed),
            channels,
            prefers: number % 2,
            once: false,
            customer: None,
            cards: Vec::new(),
            placed: VecDeque::new(),
            open: Vec::new(),
            keys: 0,
            people: 0,
        }
    }

    /// Enters, buys until it closes, and waits until all commands have ended.
    pub(super) async fn shop(mut self) {
        self.enter().await;
        while !self.street.closing.is_cancelled() {
            self.act().await;
            let pause = self.chance.random_range(0..60);
            sleep(Duration::from_millis(pause)).await;
        }
        while !self.open.is_empty() && !self.street.closed.is_cancelled() {
            self.follow_up().await;
        }
    }

    /// One call of each kind through one gateway, none of which is tried again.
    pub(super) async fn probe(mut self, gateway: usize) {
        (self.prefers, self.once) = (gateway, true);
        self.enter().await;
        let card = self.cards.first().cloned().unwrap_or_default();
        self.place("teapot", 1, card.clone()).await;
        self.place_again().await;
        self.place_other().await;
        self.read().await;
        self.place("honey", 2, card).await;
        self.cancel().await;
    }

    async fn act(&mut self) {
        match self.chance.random_range(0..100) {
            0..2 => self.add_card().await,
            2..4 => drop(self.log_in().await),
            4..6 if self.open.is_empty() => self.become_another().await,
            4..55 => {
                let sku = (*PRODUCTS.choose(&mut self.chance).unwrap()).to_owned();
                let quantity = self.chance.random_range(1..4);
                let card = self.cards.choose(&mut self.chance).cloned().unwrap_or_default();
                self.place(&sku, quantity, card).await;
            }
            55..58 => {
                let card = self.cards.first().cloned().unwrap_or_default();
                self.place("no such thing", 1, card).await;
            }
            58..68 => self.place_again().await,
            68..72 => self.place_other().await,
            72..83 => self.cancel().await,
            83..93 => self.read().await,
            _ => self.follow_up().await,
        }
    }

    fn customer(&self) -> Result<Customer, Status> {
        let customer = self.customer.as_ref().ok_or_else(|| Status::unavailable("nobody has entered"))?;
        Ok(customer.at(self.channels[self.prefers].clone()))
    }

    fn command(&mut self, asks: Asks) -> Command {
        self.keys += 1;
        Command { key: format!("key-{}-{}", self.number, self.keys), asks }
    }

    fn remember(&mut self, command: Command, answer: Answer) {
        if matches!(answer.told, Some(Told::Completed | Told::Rejected)) {
            if matches!(command.asks, Asks::Order { .. }) {
                self.placed.push_back(Placed { command, answer });
            }
        } else {
            self.open.push(Open { command, name: answer.command });
        }
        if self.placed.len() > REMEMBERED {
            self.placed.pop_front();
        }
    }

    fn any_placed(&mut self) -> Option<Placed> {
        if self.placed.is_empty() {
            return None;
        }
        let chosen = self.chance.random_range(0..self.placed.len());
        self.placed.get(chosen).cloned()
    }
}
