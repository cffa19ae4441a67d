use std::fmt::Display;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::command::v1::{Receipt, State};
use proto::order::v1::{Order, OrderStatus, PaymentStatus, PlaceOrderResponse};
use serve::telemetry::Recorder;
use tonic::Status;
use tonic::transport::Endpoint;
use uuid::Uuid;

use super::client::{Customer, Person};
use crate::Role;
use crate::shop::{Shop, ShopError};

/// Where the story took a turn that it must not take.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    #[error("while {chapter}: {status}", status = .status.message())]
    Call { chapter: String, status: Box<Status> },
    #[error("while {chapter}: expected {expected}, but it was {found}")]
    Turn { chapter: String, expected: String, found: String },
    #[error(transparent)]
    Shop(#[from] Arc<ShopError>),
    #[error("the gateway cannot be reached: {0}")]
    Gateway(#[from] tonic::transport::Error),
}

type Result<T> = std::result::Result<T, StoryError>;

/// The trace of an order goes on a little after it was PROCESSED: until every consumer has taken in what it must.
const TRACE_SETTLES: Duration = Duration::from_secs(3);

/// Tells the story, chapter by chapter.
pub async fn tell(shop: &mut Shop, recorder: &Recorder) -> Result<()> {
    let mut teller = Teller { begun: Instant::now(), chapter: String::new() };
    let channel = Endpoint::from_shared(format!("http://{}", shop.address(Role::Gateway)))?.connect_lazy();

    teller.chapter("Ada registers, logs in and adds a card");
    let person = Person { address: "ada@example.com", password: "correct horse battery", name: "Ada", country: "DE" };
    let entered = Customer::enter(channel, &person).await;
    let ada = teller.call(entered)?;
    let card = ada.add_card("tok_approved", "DE").await;
    let card = teller.call(card)?;
    teller.say(format_args!("user {}, payment method {card}", ada.user_id));

    let context = orders_that_go_as_they_go(&mut teller, &ada, &card).await?;
    orders_while_something_is_down(&mut teller, shop, &ada, &card).await?;
    a_retry(&mut teller, &ada, &card).await?;
    money_adds_up(&mut teller, &ada).await?;

    teller.chapter("The whole trace of the first order");
    let tree = settled_tree(recorder, &context).await;
    print(format_args!("\n{tree}"));
    teller.chapter("The end: every order came to what it should, and none twice");
    Ok(())
}

async fn orders_that_go_as_they_go(teller: &mut Teller, ada: &Customer, card: &str) -> Result<event::TraceContext> {
    teller.chapter("Ada orders two teapots");
    let placed = ada.place_surely(&new_key(), "teapot", 2, card).await;
    let (answer, context) = teller.call(placed)?;
    let order = teller.completed(ada, answer).await?;
    let order = ada.watch(&order, |order| order.status() != OrderStatus::Pending).await;
    teller.came_to(order, OrderStatus::Processed)?;

    teller.chapter("Ada orders a piano, which is more than the rules against fraud let pass");
    let placed = ada.place_surely(&new_key(), "piano", 1, card).await;
    let (answer, _) = teller.call(placed)?;
    let order = teller.completed(ada, answer).await?;
    let order = ada.watch(&order, |order| order.status() != OrderStatus::Pending).await;
    teller.came_to(order, OrderStatus::CanceledFraud)?;

    teller.chapter("Ada pays with a card that her bank declines");
    let declined = ada.add_card("tok_declined", "DE").await;
    let declined = teller.call(declined)?;
    let placed = ada.place_surely(&new_key(), "teapot", 1, &declined).await;
    let (answer, _) = teller.call(placed)?;
    let order = teller.completed(ada, answer).await?;
    let order = ada.watch(&order, |order| order.status() != OrderStatus::Pending).await;
    teller.came_to(order, OrderStatus::PaymentFailed)?;
    Ok(context)
}

async fn orders_while_something_is_down(
    teller: &mut Teller,
    shop: &mut Shop,
    ada: &Customer,
    card: &str,
) -> Result<()> {
    teller.chapter("The order service is stopped, and Ada orders all the same");
    shop.stop_role(Role::Order).await?;
    let placed = ada.place_surely(&new_key(), "teapot", 1, card).await;
    let (answer, _) = teller.call(placed)?;
    let name = answer.receipt.as_ref().map(|receipt| receipt.command.clone()).unwrap_or_default();
    let order = teller.told(answer.receipt.as_ref(), answer.order.as_ref());
    teller.expect("ACCEPTED", short(answer.receipt.unwrap_or_default().state().as_str_name()))?;
    let asked = ada.command(&name).await;
    let waiting = teller.call(asked)?.waiting_for;
    teller.say(format_args!("asked how it goes: it waits for {waiting}"));
    shop.start_role(Role::Order).await?;
    teller.say("the order service is back");
    let waited = ada.wait_command(&name).await;
    let waited = teller.call(waited)?.receipt.unwrap_or_default();
    teller.expect(State::Completed.as_str_name(), waited.state().as_str_name())?;
    let order = ada.watch(&order, |order| order.status() != OrderStatus::Pending).await;
    teller.came_to(order, OrderStatus::Processed)?;

    teller.chapter("Billing is stopped, and Ada orders all the same");
    shop.stop_role(Role::Billing).await?;
    let placed = ada.place_surely(&new_key(), "teapot", 3, card).await;
    let (answer, _) = teller.call(placed)?;
    let order = teller.completed(ada, answer).await?;
    let seen = ada.watch(&order, |_| true).await;
    teller.came_to(seen, OrderStatus::Pending)?;
    shop.start_role(Role::Billing).await?;
    teller.say("billing is back");
    let order = ada.watch(&order, |order| order.status() != OrderStatus::Pending).await;
    teller.came_to(order, OrderStatus::Processed)
}

async fn a_retry(teller: &mut Teller, ada: &Customer, card: &str) -> Result<()> {
    teller.chapter("Ada's phone loses an answer, and sends the same order again under the same key");
    let key = new_key();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let placed = ada.place_surely(&key, "teapot", 4, card).await;
        let (answer, _) = teller.call(placed)?;
        let replayed = answer.receipt.as_ref().is_some_and(|receipt| receipt.replayed);
        let id = teller.completed(ada, answer).await?;
        ids.push((id, replayed));
    }
    teller.expect(
        format!("{} again, as a replay", ids[0].0),
        format!("{} again, as {} replay", ids[1].0, if ids[1].1 { "a" } else { "no" }),
    )?;
    let order = ada.watch(&ids[0].0, |order| order.status() != OrderStatus::Pending).await;
    teller.came_to(order, OrderStatus::Processed)
}

async fn money_adds_up(teller: &mut Teller, ada: &Customer) -> Result<()> {
    teller.chapter("Ada looks at all her orders");
    let orders = ada.orders().await;
    let orders = teller.call(orders)?;
    for order in &orders {
        let (status, total) = (short(order.status().as_str_name()), price(order));
        teller.say(format_args!("{}  {status:<15} {total:>14}", order.order_id));
    }
    teller.expect(6, orders.len())?;
    let captured = |order: &&Order| order.payment_status() == PaymentStatus::Captured;
    teller.expect(4, orders.iter().filter(captured).count())
}

async fn settled_tree(recorder: &Recorder, context: &event::TraceContext) -> String {
    let deadline = Instant::now() + TRACE_SETTLES;
    let mut spans = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let seen = recorder.spans(context).len();
        if seen == spans || Instant::now() > deadline {
            return recorder.tree(context);
        }
        spans = seen;
    }
}

struct Teller {
    begun: Instant,
    chapter: String,
}

impl Teller {
    fn chapter(&mut self, title: &str) {
        title.clone_into(&mut self.chapter);
        print(format_args!("\n{:>7.2} s  {title}", self.begun.elapsed().as_secs_f64()));
    }

    fn say(&self, line: impl Display) {
        print(format_args!("{:>7.2} s    {line}", self.begun.elapsed().as_secs_f64()));
    }

    fn call<T>(&self, result: std::result::Result<T, Status>) -> Result<T> {
        result.map_err(|status| StoryError::Call { chapter: self.chapter.clone(), status: Box::new(status) })
    }

    fn expect(&self, expected: impl Display, found: impl Display) -> Result<()> {
        let (expected, found) = (expected.to_string(), found.to_string());
        if expected == found {
            Ok(())
        } else {
            Err(StoryError::Turn { chapter: self.chapter.clone(), expected, found })
        }
    }

    /// Says how an order was answered, and gives its id, which the receipt tells even when it only says ACCEPTED.
    fn told(&self, receipt: Option<&Receipt>, order: Option<&Order>) -> String {
        let receipt = receipt.cloned().unwrap_or_default();
        let id = receipt.command.rsplit('/').next().unwrap_or_default().to_owned();
        let state = short(receipt.state().as_str_name());
        let replayed = if receipt.replayed { ", as it was answered before" } else { "" };
        let cost = order.map(|order| format!(", {}", price(order))).unwrap_or_default();
        self.say(format_args!("order {id}: {state}{cost}{replayed}"));
        id
    }

    /// The same for an order that is carried out at once, or a little later where the machine is slow.
    async fn completed(&self, customer: &Customer, answer: PlaceOrderResponse) -> Result<String> {
        let receipt = answer.receipt.unwrap_or_default();
        let id = self.told(Some(&receipt), answer.order.as_ref());
        let ended = match receipt.state() {
            State::Accepted => {
                let waited = self.call(customer.wait_command(&receipt.command).await)?.receipt.unwrap_or_default();
                self.told(Some(&waited), None);
                waited
            }
            _ => receipt,
        };
        self.expect("COMPLETED", short(ended.state().as_str_name()))?;
        Ok(id)
    }

    fn came_to(&self, order: std::result::Result<Order, Status>, expected: OrderStatus) -> Result<()> {
        let order = self.call(order)?;
        let status = short(order.status().as_str_name());
        let reason = if order.reason.is_empty() { String::new() } else { format!(" ({})", order.reason) };
        self.say(format_args!(
            "order {}: {status}{reason}, payment {}",
            order.order_id,
            short(order.payment_status().as_str_name())
        ));
        self.expect(short(expected.as_str_name()), status)
    }
}

/// A UUIDv7, as the client guides tell: ids then begin with a time.
#[expect(clippy::disallowed_methods, reason = "this is a client, which draws its own keys")]
fn new_key() -> String {
    Uuid::now_v7().to_string()
}

fn short(name: &str) -> &str {
    ["ORDER_STATUS_", "PAYMENT_STATUS_", "STATE_"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

fn price(order: &Order) -> String {
    let total = order.total.clone().unwrap_or_default();
    format!("{}.{:02} {}", total.minor / 100, total.minor % 100, total.currency)
}

/// The story is this command's output.
fn print(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
