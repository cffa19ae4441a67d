//! The order service with one customer, and words to use it by.
#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use event::{Event, Id, Key, Micros, Schema};
use proto::billing::v1::{PaymentFailed, PaymentProcessed, payment_failed};
use proto::order::v1::{
    CancelOrderRequest, GetOrderRequest, GetOrderResponse, Order, OrderStatus, PaymentStatus, PlaceOrderRequest,
    PlaceOrderResponse, place_order_request::Line,
};
use proto::registration::v1::RegistrationNew;
use testkit::{Client, Done, TestLedger};

pub struct Shop {
    pub ledger: TestLedger,
    pub customer: Id,
}

impl Shop {
    pub async fn open() -> Self {
        Self::with(TestLedger::open(service()).await).await
    }

    pub async fn on_postgres() -> Self {
        Self::with(TestLedger::on_postgres(service()).await).await
    }

    async fn with(ledger: TestLedger) -> Self {
        let shop = Self { customer: ledger.new_id(), ledger };
        shop.register(shop.customer).await;
        shop
    }

    pub async fn register(&self, id: Id) {
        self.ledger.hear(id, &registration(id)).await;
    }

    pub fn customer(&self) -> Client<'_> {
        self.ledger.user(self.customer)
    }

    pub fn stranger(&self) -> Client<'_> {
        self.ledger.user(self.ledger.new_id())
    }

    /// Lets a second pass, so that whatever comes next has a moment of its own.
    pub fn tick(&self) -> Micros {
        self.ledger.advance(Duration::from_secs(1));
        self.ledger.now()
    }

    pub async fn place(&self, request: PlaceOrderRequest) -> Order {
        let placed: PlaceOrderResponse = self.customer().send(request).await.completed();
        placed.order.unwrap()
    }

    pub async fn place_a_teapot(&self) -> Id {
        self.place(order_of(&[("teapot", 1)])).await.order_id.parse().unwrap()
    }

    pub async fn cancel(&self, id: Id) -> Done {
        self.customer().send(CancelOrderRequest { order_id: id.to_string() }).await
    }

    /// Billing tells the next thing about the order's payment.
    pub async fn hear(&self, order: Id, event: &impl Event) -> Done {
        self.ledger.hear(order, event).await
    }

    pub async fn get(&self, id: Id) -> Order {
        let request = GetOrderRequest { order_id: id.to_string(), as_of: None };
        self.customer().ask::<_, GetOrderResponse>(request).await.unwrap().order.unwrap()
    }

    pub async fn axes(&self, id: Id) -> (OrderStatus, PaymentStatus) {
        axes(&self.get(id).await)
    }
}

pub fn axes(order: &Order) -> (OrderStatus, PaymentStatus) {
    (order.status(), order.payment_status())
}

pub fn order_of(lines: &[(&str, i32)]) -> PlaceOrderRequest {
    let lines = lines.iter().map(|&(sku, quantity)| Line { sku: sku.to_owned(), quantity }).collect();
    PlaceOrderRequest { lines, payment_method_id: Id::timed(3, [3; 10]).to_string(), expected_total: None }
}

pub fn registration(id: Id) -> RegistrationNew {
    RegistrationNew { user_id: id.to_string(), display_name: "Ada".to_owned(), ..RegistrationNew::default() }
}

pub fn processed() -> PaymentProcessed {
    PaymentProcessed::default()
}

pub fn failed(cause: payment_failed::Cause) -> PaymentFailed {
    PaymentFailed { cause: cause.into(), reason: "the amount is unusual".to_owned(), ..PaymentFailed::default() }
}

pub fn key(order: Id) -> Key {
    Key::new("order", order)
}

fn service() -> serve::Service {
    millrace_order::service(Arc::new(Schema::embedded().unwrap()), millrace_order::Settings::default())
}
