//! How a shopper asks: again and again under one key, at either gateway, until it is known what came of it; and what of it is written down.

use proto::billing::v1::AddPaymentMethodRequest;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::order::v1::place_order_request::Line;
use proto::order::v1::{CancelOrderRequest, PlaceOrderRequest};
use tokio::time::{sleep, timeout};

use super::{ATTEMPT, Asks, Command, PAUSES, Shopper};
use crate::nemesis::answer::{Answer, Outcome};
use crate::nemesis::history::{Asked, Entry, Told, What};

impl Shopper {
    /// Calls until there is an answer. None if it was given up or refused.
    pub(super) async fn ask(&mut self, asked: Asked, command: &Command) -> Option<Answer> {
        let mut pause = PAUSES[0];
        loop {
            let about = match &command.asks {
                Asks::Cancel(order) => Some(order.clone()),
                _ => None,
            };
            let key = Some(command.key.clone());
            self.note(asked, What::Invoke, |entry| (entry.key, entry.about) = (key.clone(), about.clone()));
            let outcome = timeout(ATTEMPT, self.attempt(command)).await;
            let outcome = outcome.unwrap_or_else(|_| Outcome::MayStillHappen("given up".to_owned()));
            self.tell(asked, key, about, &outcome);
            match outcome {
                // Whether the content is another is only judged with the command.
                Outcome::Answered(answer) if is_unjudged(asked, &answer) => {}
                Outcome::Answered(answer) => return Some(*answer),
                Outcome::Refused(_) => return None,
                Outcome::LoggedOut => drop(self.log_in().await),
                Outcome::MayStillHappen(_) => {}
            }
            if self.gives_up() {
                return None;
            }
            self.turn();
            sleep(pause).await;
            pause = PAUSES[1].min(pause * 2);
        }
    }

    async fn attempt(&self, command: &Command) -> Outcome {
        let customer = match self.customer() {
            Ok(customer) => customer,
            Err(status) => return Outcome::MayStillHappen(status.to_string()),
        };
        let (channel, key) = (customer.channel(), Some(command.key.as_str()));
        match &command.asks {
            Asks::Card(card) => {
                let (card_token, country, label) = (card.clone(), "DE".to_owned(), "a card".to_owned());
                let message = AddPaymentMethodRequest { card_token, country, label };
                let Ok(request) = customer.request(message, key) else { return Outcome::LoggedOut };
                Outcome::of(
                    BillingServiceClient::new(channel)
                        .add_payment_method(request)
                        .await
                        .map(tonic::Response::into_inner),
                )
            }
            Asks::Order { sku, quantity, card } => {
                let lines = vec![Line { sku: sku.clone(), quantity: *quantity }];
                let message = PlaceOrderRequest { lines, payment_method_id: card.clone(), expected_total: None };
                let Ok(request) = customer.request(message, key) else { return Outcome::LoggedOut };
                Outcome::of(
                    OrderServiceClient::new(channel).place_order(request).await.map(tonic::Response::into_inner),
                )
            }
            Asks::Cancel(order_id) => {
                let message = CancelOrderRequest { order_id: order_id.clone() };
                let Ok(request) = customer.request(message, key) else { return Outcome::LoggedOut };
                Outcome::of(
                    OrderServiceClient::new(channel).cancel_order(request).await.map(tonic::Response::into_inner),
                )
            }
        }
    }

    /// The other gateway may know more.
    pub(super) const fn turn(&mut self) {
        if !self.once {
            self.prefers = 1 - self.prefers;
        }
    }

    pub(super) fn gives_up(&self) -> bool {
        self.once || self.street.closed.is_cancelled()
    }

    pub(super) fn tell(&self, asked: Asked, key: Option<String>, about: Option<String>, outcome: &Outcome) {
        self.note(asked, what_of(asked, outcome), |entry| {
            (entry.key, entry.about) = (key, about);
            fill(entry, outcome);
        });
    }

    pub(super) fn note(&self, asked: Asked, what: What, fill: impl FnOnce(&mut Entry)) {
        let mut entry = Entry::of(self.number, asked, what, self.prefers);
        fill(&mut entry);
        self.street.history.note(entry);
    }
}

fn is_unjudged(asked: Asked, answer: &Answer) -> bool {
    asked == Asked::PlaceOther && answer.told == Some(Told::Accepted)
}

/// Other content under the same key is to be refused; everything else is not.
fn what_of(asked: Asked, outcome: &Outcome) -> What {
    let is_reuse = |reason: &str| reason.contains("IDEMPOTENCY_KEY_REUSED");
    match (asked, outcome) {
        (Asked::PlaceOther, Outcome::Refused(reason)) if is_reuse(reason) => What::Ok,
        (Asked::PlaceOther, Outcome::Answered(answer)) if is_unjudged(asked, answer) => What::Info,
        (Asked::PlaceOther, Outcome::Answered(_)) | (_, Outcome::Refused(_)) => What::Fail,
        (_, Outcome::Answered(_)) => What::Ok,
        _ => What::Info,
    }
}

fn fill(entry: &mut Entry, outcome: &Outcome) {
    match outcome {
        Outcome::Answered(answer) => {
            entry.command = answer.command.rsplit('/').next().map(ToOwned::to_owned);
            entry.told = answer.told;
            entry.answer = Some(answer.print.clone()).filter(|print| !print.is_empty());
            if !answer.method.is_empty() {
                entry.about = Some(answer.method.clone());
            }
        }
        Outcome::Refused(reason) | Outcome::MayStillHappen(reason) => entry.error = Some(reason.clone()),
        Outcome::LoggedOut => entry.error = Some("logged out".to_owned()),
    }
}
