//! Commands that somebody puts into the queue by hand: they have no effect, and stop nobody.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use event::{Id, Micros, headers};
use identity::{Principal, seal};
use ledger::process_now;
use millrace::Role;
use millrace::demo::Customer;
use proto::Message as _;
use proto::command::v1::{Seal, State};
use proto::order::v1::place_order_request::Line;
use proto::order::v1::{OrderStatus, PlaceOrderRequest};

use crate::buying::{Load, buy, ended, state_of};
use crate::invariants::{everything_adds_up, orders};
use crate::sealing::Sealing;
use crate::shop::TestShop;
use crate::wire::{ORDER_COMMANDS, Wire};

const PLACE_ORDER: &str = "millrace.order.v1.OrderService/PlaceOrder";
const CANCEL_ORDER: &str = "millrace.order.v1.OrderService/CancelOrder";

/// A command as the gateway would put it into the queue.
#[derive(Clone)]
struct Forgery {
    id: Id,
    seal: Seal,
    body: Vec<u8>,
}

impl Forgery {
    fn of(customer: &Customer, card: &str, number: u8, method: &str) -> Self {
        let id = Id::timed(process_now().unix_ms(), [number; 10]);
        let lines = vec![Line { sku: "teapot".to_owned(), quantity: 1 }];
        let request = PlaceOrderRequest { lines, payment_method_id: card.to_owned(), expected_total: None };
        let gateway = Sealing::by(Role::Gateway, Role::Order);
        let user = customer.user_id.parse().ok();
        let sealing = Sealing { principal: Principal { user, ..gateway.principal.clone() }, ..gateway };
        let body = request.encode_to_vec();
        let seal = Seal::decode(sealing.command(method, id, &body).seal).unwrap();
        Self { id, seal, body }
    }

    fn subject(&self) -> String {
        format!("test.cmd.order.place-order.{}", self.id)
    }

    async fn put(&self, wire: &Wire) {
        let mut map = HeaderMap::new();
        map.insert(headers::SEAL, seal::to_text(&self.seal));
        wire.put(&self.subject(), map, self.body.clone()).await;
    }
}

/// What is wrong under a key that the owner knows.
fn wrong_ones(customer: &Customer, card: &str) -> Vec<Forgery> {
    let genuine = |number| Forgery::of(customer, card, number, PLACE_ORDER);
    let mut forged = genuine(1);
    forged.seal.mac = flipped(&forged.seal.mac);
    let mut altered = genuine(2);
    altered.seal.statement = flipped(&altered.seal.statement);
    let mut other_body = genuine(3);
    other_body.body.extend(genuine(3).body);
    let other_method = Forgery::of(customer, card, 4, CANCEL_ORDER);
    let other_command = Forgery { id: Id::timed(process_now().unix_ms(), [50; 10]), ..genuine(5) };
    let mut other_caller = genuine(6);
    other_caller.seal.caller = "billing".to_owned();
    vec![forged, altered, other_body, other_method, other_command, other_caller]
}

/// With one bit altered.
fn flipped(bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[0] ^= 1;
    bytes.into()
}

#[tokio::test]
async fn a_command_sealed_like_the_gateway_s_is_carried_out() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let wire = Wire::of(&shop).await;
    let genuine = Forgery::of(&customer, &card, 1, PLACE_ORDER);
    genuine.put(&wire).await;
    wire.is_gone(ORDER_COMMANDS, &genuine.subject()).await;
    assert_eq!(ended(&customer, &genuine.id.to_string()).await, OrderStatus::Processed);
    everything_adds_up(&shop, 1).await;
}

#[tokio::test]
async fn forged_and_altered_commands_are_dropped_under_load() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let wire = Wire::of(&shop).await;
    let mut load = Load::begin(&customer, &card, 50);
    load.reached(10).await;
    let wrong = wrong_ones(&customer, &card);
    for one in &wrong {
        one.put(&wire).await;
    }
    wire.put("test.cmd.order.place-order.no-id", HeaderMap::new(), "garbage").await;
    wire.put("test.cmd.order.place-order", HeaderMap::new(), "garbage").await;
    for one in &wrong {
        wire.is_gone(ORDER_COMMANDS, &one.subject()).await;
    }
    wire.is_gone(ORDER_COMMANDS, "test.cmd.order.place-order.no-id").await;
    for id in &load.end().await {
        assert_eq!(ended(&customer, id).await, OrderStatus::Processed);
    }
    assert_eq!(orders(&shop).await.len(), 50);
    everything_adds_up(&shop, 50).await;
}

/// More than the service takes at once, and than it looks at again while the customer waits. They are kept, for their key or their method may become known, but they keep nobody waiting.
#[tokio::test]
async fn a_flood_of_what_cannot_be_judged_yet_stops_nobody() {
    let shop = TestShop::with(|settings| settings.limits.answer_wait = Duration::from_secs(8)).await;
    let (customer, card) = shop.customer_with_card().await;
    let wire = Wire::of(&shop).await;
    for number in 0..300_u16 {
        let mut strange = Forgery::of(&customer, &card, 0, PLACE_ORDER);
        strange.seal.key_id = flipped(&strange.seal.key_id);
        strange.id = Id::timed(Micros(i64::from(number) * 1000).unix_ms(), [9; 10]);
        strange.put(&wire).await;
        let subject = format!("test.cmd.order.of-a-later-version.{}", strange.id);
        wire.put(&subject, HeaderMap::new(), "garbage").await;
    }
    let (placed, id) = buy(&customer, "key", &card).await.unwrap();
    assert_eq!(state_of(&placed), State::Completed);
    assert_eq!(ended(&customer, &id).await, OrderStatus::Processed);
    everything_adds_up(&shop, 1).await;
}
