mod asking;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace::demo::{Customer, Person};
use proto::order::v1::GetOrderRequest;
use proto::order::v1::order_service_client::OrderServiceClient;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::answer::{Answer, Outcome};
use super::history::{Asked, History, Told, What};

/// The longest that one attempt is waited for.
const ATTEMPT: Duration = Duration::from_secs(8);

/// Between two attempts, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// A read whose token is of what a restored database has lost is behind for ever, so nobody waits for it for ever.
const READS: usize = 10;

/// A shopper remembers so many orders.
const REMEMBERED: usize = 20;

const CARDS: [&str; 6] = ["tok_approved", "tok_approved", "tok_approved", "tok_declined", "tok_timeout", "tok_late"];
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
    /// Commands that were only ACCEPTED.
    open: Vec<Command>,
    keys: usize,
    people: usize,
}

/// An order that was answered COMPLETED or REJECTED.
#[derive(Clone, Debug)]
struct Placed {
    command: Command,
    answer: Answer,
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

    async fn enter(&mut self) {
        let mut pause = PAUSES[0];
        while self.log_in().await.is_none() && !self.gives_up() {
            sleep(pause).await;
            pause = PAUSES[1].min(pause * 2);
        }
        for _ in 0..3 {
            self.add_card().await;
        }
    }

    /// Somebody else comes, and knows nothing of this one's.
    async fn become_another(&mut self) {
        self.people += 1;
        self.customer = None;
        self.cards.clear();
        self.placed.clear();
        self.enter().await;
    }

    async fn log_in(&mut self) -> Option<()> {
        let address = format!("shopper-{}-{}@example.com", self.number, self.people);
        let person =
            Person { address: &address, password: "a password of some length", name: "Shopper", country: "DE" };
        self.note(Asked::Register, What::Invoke, |_| {});
        let entered = timeout(ATTEMPT, Customer::enter(self.channels[self.prefers].clone(), &person)).await;
        match entered.unwrap_or_else(|_| Err(Status::deadline_exceeded("given up"))) {
            Ok(customer) => {
                self.note(Asked::Register, What::Ok, |entry| entry.about = Some(customer.user_id.clone()));
                self.customer = Some(customer);
                Some(())
            }
            Err(status) => {
                let what = if matches!(Outcome::of::<Answer>(Err(status.clone())), Outcome::Refused(_)) {
                    What::Fail
                } else {
                    What::Info
                };
                self.note(Asked::Register, what, |entry| entry.error = Some(status.to_string()));
                self.turn();
                None
            }
        }
    }

    async fn add_card(&mut self) {
        // Whoever has none yet takes one that is good.
        let card = if self.cards.is_empty() { CARDS[0] } else { CARDS.choose(&mut self.chance).unwrap() };
        let command = self.command(Asks::Card(card.to_owned()));
        if let Some(answer) = self.ask(Asked::AddCard, &command).await
            && !answer.method.is_empty()
        {
            self.cards.push(answer.method);
        }
    }

    async fn place(&mut self, sku: &str, quantity: i32, card: String) {
        // Without a card nothing is asked for that would be refused as malformed.
        if card.is_empty() {
            return;
        }
        let command = self.command(Asks::Order { sku: sku.to_owned(), quantity, card });
        if let Some(answer) = self.ask(Asked::Place, &command).await {
            self.remember(command, answer);
        }
    }

    async fn place_again(&mut self) {
        if let Some(placed) = self.any_placed() {
            self.ask(Asked::PlaceAgain, &placed.command).await;
        }
    }

    /// Under the same key, more of the same.
    async fn place_other(&mut self) {
        let Some(Placed { mut command, .. }) = self.any_placed() else { return };
        if let Asks::Order { quantity, .. } = &mut command.asks {
            *quantity += 10;
            self.ask(Asked::PlaceOther, &command).await;
        }
    }

    async fn cancel(&mut self) {
        let Some(order) = self.placed.back().and_then(|placed| placed.answer.order.clone()) else { return };
        let command = self.command(Asks::Cancel(order.order_id));
        if let Some(answer) = self.ask(Asked::Cancel, &command).await {
            self.remember(command, answer);
        }
    }

    /// Reads an order with the token of its receipt.
    async fn read(&mut self) {
        let Some(Placed { answer, .. }) = self.any_placed() else { return };
        let Some(order) = answer.order else { return };
        for _ in 0..READS {
            self.note(Asked::Read, What::Invoke, |entry| entry.about = Some(order.order_id.clone()));
            let read = timeout(ATTEMPT, self.get(&order.order_id, &answer.token)).await;
            let (what, seen, error) = match read.unwrap_or_else(|_| Err(Status::deadline_exceeded("given up"))) {
                Ok(seen) => (What::Ok, Some(seen), None),
                Err(status) => match Outcome::of::<Answer>(Err(status)) {
                    Outcome::Refused(reason) => (What::Fail, None, Some(reason)),
                    Outcome::LoggedOut => (What::Info, None, Some("logged out".to_owned())),
                    other => (What::Info, None, Some(format!("{other:?}"))),
                },
            };
            self.note(Asked::Read, what, |entry| {
                entry.about = Some(order.order_id.clone());
                entry.revisions = seen.map(|seen| (order.revision, seen));
                entry.error.clone_from(&error);
            });
            if what != What::Info || self.gives_up() {
                return;
            }
            if error.as_deref() == Some("logged out") {
                self.log_in().await;
            }
            self.turn();
            sleep(PAUSES[1]).await;
        }
    }

    async fn get(&self, order: &str, token: &str) -> Result<i64, Status> {
        let customer = self.customer()?;
        let mut request = customer.request(GetOrderRequest { order_id: order.to_owned(), as_of: None }, None)?;
        let token = token.parse().map_err(|_| Status::internal("the token is no header"))?;
        request.metadata_mut().insert("consistency-token", token);
        let answer = OrderServiceClient::new(customer.channel()).get_order(request).await?;
        Ok(answer.into_inner().order.unwrap_or_default().revision)
    }

    /// Waits for a command that was only ACCEPTED, and asks again under its key.
    async fn follow_up(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let chosen = self.chance.random_range(0..self.open.len());
        let command = self.open.swap_remove(chosen);
        let asked = match command.asks {
            Asks::Cancel(_) => Asked::Cancel,
            _ => Asked::PlaceAgain,
        };
        match self.ask(asked, &command).await {
            Some(answer) => self.remember(command, answer),
            None => self.open.push(command),
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
            self.open.push(command);
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
