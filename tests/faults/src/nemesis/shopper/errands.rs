//! What a shopper does, one errand at a time.

use millrace::demo::{Customer, Person};
use proto::order::v1::GetOrderRequest;
use proto::order::v1::order_service_client::OrderServiceClient;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::{ATTEMPT, Asks, Command, Open, PAUSES, Placed, Shopper};
use crate::nemesis::answer::{Answer, Outcome};
use crate::nemesis::history::{Asked, What};

/// A read whose token is of what a restored database has lost is behind for ever, so nobody waits for it for ever.
const READS: usize = 10;

const CARDS: [&str; 6] = ["tok_approved", "tok_approved", "tok_approved", "tok_declined", "tok_timeout", "tok_late"];

impl Shopper {
    pub(super) async fn enter(&mut self) {
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
    pub(super) async fn become_another(&mut self) {
        self.people += 1;
        self.customer = None;
        self.cards.clear();
        self.placed.clear();
        self.enter().await;
    }

    pub(super) async fn log_in(&mut self) -> Option<()> {
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

    pub(super) async fn add_card(&mut self) {
        // Whoever has none yet takes one that is good.
        let card = if self.cards.is_empty() { CARDS[0] } else { CARDS.choose(&mut self.chance).unwrap() };
        let command = self.command(Asks::Card(card.to_owned()));
        if let Some(answer) = self.ask(Asked::AddCard, &command).await
            && !answer.method.is_empty()
        {
            self.cards.push(answer.method);
        }
    }

    pub(super) async fn place(&mut self, sku: &str, quantity: i32, card: String) {
        // Without a card nothing is asked for that would be refused as malformed.
        if card.is_empty() {
            return;
        }
        let command = self.command(Asks::Order { sku: sku.to_owned(), quantity, card });
        if let Some(answer) = self.ask(Asked::Place, &command).await {
            self.remember(command, answer);
        }
    }

    pub(super) async fn place_again(&mut self) {
        if let Some(placed) = self.any_placed() {
            self.ask(Asked::PlaceAgain, &placed.command).await;
        }
    }

    /// Under the same key, more of the same.
    pub(super) async fn place_other(&mut self) {
        let Some(Placed { mut command, .. }) = self.any_placed() else { return };
        if let Asks::Order { quantity, .. } = &mut command.asks {
            *quantity += 10;
            self.ask(Asked::PlaceOther, &command).await;
        }
    }

    pub(super) async fn cancel(&mut self) {
        let Some(order) = self.placed.back().and_then(|placed| placed.answer.order.clone()) else { return };
        let command = self.command(Asks::Cancel(order.order_id));
        if let Some(answer) = self.ask(Asked::Cancel, &command).await {
            self.remember(command, answer);
        }
    }

    /// Reads an order with the token of its receipt.
    pub(super) async fn read(&mut self) {
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
    pub(super) async fn follow_up(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let chosen = self.chance.random_range(0..self.open.len());
        let Open { command, name } = self.open.swap_remove(chosen);
        if self.chance.random_bool(0.5) {
            self.wait(&command, &name).await;
        }
        let asked = match command.asks {
            Asks::Cancel(_) => Asked::Cancel,
            _ => Asked::PlaceAgain,
        };
        match self.ask(asked, &command).await {
            Some(answer) => self.remember(command, answer),
            None => self.open.push(Open { command, name }),
        }
    }

    /// Asks once what became of a command, by its name.
    async fn wait(&mut self, command: &Command, name: &str) {
        let key = Some(command.key.clone());
        self.note(Asked::Wait, What::Invoke, |entry| entry.key.clone_from(&key));
        let waited = timeout(ATTEMPT, async { self.customer()?.wait_command(name).await }).await;
        let outcome = Outcome::of(waited.unwrap_or_else(|_| Err(Status::deadline_exceeded("given up"))));
        self.tell(Asked::Wait, key, None, &outcome);
        if matches!(outcome, Outcome::LoggedOut) {
            self.log_in().await;
        }
    }
}
