//! People who use the shop: they buy, change their minds, rename themselves, ask twice, and leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use event::Id;
use prost::{Message as _, Name};
use proto::billing::v1::AddPaymentMethodRequest;
use proto::command::v1::{DeliverResponse, deliver_response};
use proto::order::v1::place_order_request::Line;
use proto::order::v1::{CancelOrderRequest, PlaceOrderRequest};
use proto::registration::v1::{LoginRequest, LoginResponse, LogoutRequest, RegisterRequest};
use proto::user::v1::{Profile, UpdateProfileRequest};

use crate::gateway::Gateway;
use crate::history::{History, What};
use crate::provider::DECLINED;
use crate::sim::Sim;

/// How many there are.
pub const CUSTOMERS: usize = 2;
/// What each buys at most.
const ORDERS: u64 = 4;
/// What can be bought; the last is too dear for the rules against fraud.
const SKUS: [&str; 3] = ["teapot", "teapot", "piano"];

/// Those who are still there.
#[derive(Clone, Default)]
pub struct Crowd(Arc<AtomicUsize>);

/// One of them. Clones are the same person at something else.
#[derive(Clone)]
pub struct Customer {
    sim: Sim,
    gateway: Gateway,
    history: History,
    crowd: Crowd,
}

impl Crowd {
    pub fn is_gone(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Customer {
    /// Opens an account and logs in.
    pub async fn enter(sim: Sim, history: History, crowd: Crowd, number: usize) -> Self {
        let mut gateway = Gateway::new(sim.clone());
        let (address, password) = (format!("customer-{number}@example.com"), "a password of some length".to_owned());
        let register = RegisterRequest {
            address: address.clone(),
            password: password.clone(),
            display_name: format!("Customer {number}"),
            country: "DE".to_owned(),
            locale: "en".to_owned(),
        };
        gateway.send(sim.chance().id(sim.now()), None, &register).await;
        let login = LoginRequest { address, password, device_name: String::new() };
        let answer = gateway.send(sim.chance().id(sim.now()), None, &login).await;
        let answer = LoginResponse::decode(response(&answer)).unwrap_or_default();
        (gateway.user, gateway.session) = (answer.user_id.parse().ok(), answer.session_id.parse().ok());
        Self { sim, gateway, history, crowd }
    }

    /// Does what this customer came for, much of it at once.
    pub async fn shop(self) {
        let card = self.add_card("tok_approved").await;
        let bad_card = self.add_card(DECLINED).await;
        for _ in 0..=self.sim.chance().below(ORDERS) {
            let (this, card) = (self.clone(), if self.sim.chance().below(5) == 0 { bad_card } else { card });
            self.at_once(async move { this.buy(card).await });
        }
        if self.sim.chance().below(2) == 0 {
            let this = self.clone();
            self.at_once(async move { this.rename().await });
        }
        if self.sim.chance().below(3) == 0 {
            let this = self.clone();
            self.at_once(async move {
                this.pause(20_000).await;
                this.leave().await;
            });
        }
    }

    /// Is counted as long as it is at work.
    pub fn at_once(&self, work: impl Future<Output = ()> + Send + 'static) {
        let crowd = self.crowd.clone();
        crowd.0.fetch_add(1, Ordering::Relaxed);
        self.sim.spawn("customers", async move {
            work.await;
            crowd.0.fetch_sub(1, Ordering::Relaxed);
        });
    }

    async fn add_card(&self, token: &str) -> Id {
        let request = AddPaymentMethodRequest {
            card_token: token.to_owned(),
            country: "DE".to_owned(),
            label: "my card".to_owned(),
        };
        let id = self.new_id();
        self.ask(id, None, What::AddCard, &request).await;
        id
    }

    async fn buy(self, card: Id) {
        self.pause(15_000).await;
        let sku = SKUS[usize::try_from(self.sim.chance().below(SKUS.len() as u64)).unwrap_or(0)];
        let lines = vec![Line { sku: sku.to_owned(), quantity: 1 }];
        let request = PlaceOrderRequest { lines, payment_method_id: card.to_string(), ..Default::default() };
        let order = self.new_id();
        if self.sim.chance().below(3) == 0 {
            let this = self.clone();
            self.at_once(async move { this.cancel(order).await });
        }
        if self.sim.chance().below(6) == 0 && self.leave_behind(order, What::Place, &request).await {
            return;
        }
        self.ask(order, None, What::Place, &request).await;
        if self.sim.chance().below(3) == 0 {
            self.pause(30_000).await;
            self.ask(order, None, What::Place, &request).await;
        }
        if self.sim.chance().below(4) == 0 {
            let lines = vec![Line { sku: "teapot".to_owned(), quantity: 7 }];
            let other = self.gateway.send(order, None, &PlaceOrderRequest { lines, ..request }).await;
            self.history.tell_other(order, &other);
        }
    }

    async fn cancel(self, order: Id) {
        self.pause(10_000).await;
        let request = CancelOrderRequest { order_id: order.to_string() };
        self.ask(self.new_id(), Some(order), What::Cancel(order), &request).await;
    }

    async fn rename(self) {
        for times in 0..=self.sim.chance().below(3) {
            self.pause(10_000).await;
            let profile = Profile { display_name: format!("Customer, renamed {times} times"), ..Default::default() };
            let request = UpdateProfileRequest { profile: Some(profile), update_mask: None };
            self.ask(self.new_id(), None, What::Rename, &request).await;
        }
    }

    async fn leave(self) {
        self.ask(self.new_id(), None, What::Logout, &LogoutRequest {}).await;
    }

    /// Asks for an order in whatever session there was.
    pub async fn intrude(self) {
        let lines = vec![Line { sku: "teapot".to_owned(), quantity: 1 }];
        let request = PlaceOrderRequest { lines, payment_method_id: self.new_id().to_string(), ..Default::default() };
        self.ask(self.new_id(), None, What::Intrude, &request).await;
    }

    async fn ask<Q: prost::Message + Name>(&self, id: Id, key: Option<Id>, what: What, request: &Q) {
        self.history.ask(id, what);
        let answer = self.gateway.send(id, key, request).await;
        self.history.tell(id, &answer);
    }

    /// Asks for what need not be waited for: that it was accepted is enough. False if nobody accepts it.
    async fn leave_behind<Q: prost::Message + Name>(&self, id: Id, what: What, request: &Q) -> bool {
        let subject = self.gateway.queue(id, request).await;
        if let Some(subject) = &subject {
            self.history.ask(id, what);
            self.history.leave(id, subject.clone());
        }
        subject.is_some()
    }

    fn new_id(&self) -> Id {
        self.sim.chance().id(self.sim.now())
    }

    async fn pause(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.sim.chance().below(ms))).await;
    }
}

fn response(answer: &DeliverResponse) -> bytes::Bytes {
    match &answer.outcome {
        Some(deliver_response::Outcome::Response(response)) => response.clone(),
        _ => bytes::Bytes::new(),
    }
}
