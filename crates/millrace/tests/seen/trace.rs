//! One trace tells the story of an order, from the client's call to the last event's effect; and what is logged on the way can be found by
//! the trace, the aggregate and the command.

use std::time::Duration;

use millrace::demo::{Customer, Person};
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::order::v1::place_order_request::Line;
use proto::order::v1::{OrderStatus, PlaceOrderRequest};
use serde_json::Value;
use testkit::{eventually, eventually_some, within};

use crate::up::{Span, Up, tree};

/// The client's own trace and span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALL: &str = "b7ad6b7169203331";

const STORY: &str = "\
gateway: millrace.order.v1.OrderService/PlaceOrder (server)
  gateway: publish millrace.cmd.order.place-order (producer)
    order: process millrace.cmd.order.place-order (consumer)
      order: publish millrace.evt.order.order.order-created (producer)
        billing: process millrace.evt.order.order.order-created (consumer)
          billing: effect charge (client)
            billing: publish millrace.evt.billing.payment.payment-processed (producer)
              order: process millrace.evt.billing.payment.payment-processed (consumer)
                order: publish millrace.evt.order.order.order-processed (producer)
                  billing: process millrace.evt.order.order.order-processed (consumer)
          billing: publish millrace.evt.billing.payment.payment-requested (producer)
            order: process millrace.evt.billing.payment.payment-requested (consumer)
";

#[tokio::test]
async fn one_trace_tells_the_story_of_an_order() {
    let up = Up::start("info").await;
    let (customer, card) = customer(&up, "tok_approved").await;
    let order = order(&customer, &card).await;

    let mut spans = Vec::new();
    within(Duration::from_secs(20), "every span of the story was exported", async || {
        spans = up.traces.of(&bytes(TRACE));
        spans.len() >= STORY.lines().count()
    })
    .await;
    assert_eq!(tree(&spans, &bytes(CALL)), STORY);

    for span in &spans {
        assert_eq!(attribute(span, "millrace.command_id"), order, "{span:?}");
        match span.name.split(' ').next().unwrap() {
            "publish" => is_as_the_conventions_want(span, "publish", "send"),
            "process" => {
                is_as_the_conventions_want(span, "process", "process");
                was_delivered_once_and_taken_in(span);
            }
            "effect" => assert_eq!(attribute(span, "millrace.key"), format!("payment/{order}")),
            _ => is_an_answered_call(span),
        }
    }
    let taken = named(&spans, "process millrace.cmd.order.place-order");
    assert_eq!(attribute(taken, "millrace.key"), format!("order/{order}"));
    assert_eq!(attribute(taken, "messaging.destination.name"), format!("millrace.cmd.order.place-order.{order}"));
    let heard = named(&spans, "process millrace.evt.billing.payment.payment-processed");
    assert_eq!(attribute(heard, "millrace.key"), format!("payment/{order}"));
    assert_eq!(attribute(heard, "messaging.consumer.group.name"), "order_payments");
}

#[tokio::test]
async fn a_log_line_is_found_by_its_trace_its_aggregate_and_its_command() {
    let up = Up::start("warn,millrace_messaging=debug").await;
    // The provider's first answer is lost, which is worth a warning.
    let (customer, card) = customer(&up, "tok_timeout").await;
    let order = order(&customer, &card).await;

    let line = eventually_some("the warning was logged", async || {
        lines(&up).into_iter().find(|line| line["trace_id"] == TRACE && line["level"] == "WARN")
    })
    .await;
    let expected = ["WARN".into(), "billing".into(), format!("payment/{order}"), order.clone()];
    assert_eq!(["level", "role", "key", "command_id"].map(|name| line[name].as_str().unwrap().to_owned()), expected);

    let key = format!("order/{order}");
    eventually("what was done to the order was logged", async || {
        let lines = lines(&up).into_iter().filter(|line| line["command_id"] == order && line["role"] == "order");
        let done: Vec<_> = lines.filter(|line| line["key"] == key && line["outcome"] == "completed").collect();
        done.len() == 1 && done[0]["trace_id"] == TRACE
    })
    .await;

    let attempts = eventually_some("both attempts were exported", async || {
        let mut spans = up.traces.of(&bytes(TRACE));
        spans.retain(|span| span.name == "effect charge");
        (spans.len() == 2).then_some(spans)
    })
    .await;
    let logged = attempts.iter().find(|span| span.id == bytes(line["span_id"].as_str().unwrap())).unwrap();
    assert!(logged.failed);
    assert_eq!(attempts.iter().filter(|span| span.failed).count(), 1);
}

fn lines(up: &Up) -> Vec<Value> {
    // The last line may not be written to its end.
    up.said("log").lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn is_an_answered_call(span: &Span) {
    assert_eq!(attribute(span, "rpc.system.name"), "grpc");
    assert_eq!(attribute(span, "rpc.method"), span.name);
    assert_eq!(attribute(span, "rpc.status_code"), "OK");
    assert_eq!(attribute(span, "network.peer.address"), "127.0.0.1");
}

fn is_as_the_conventions_want(span: &Span, operation: &str, operation_type: &str) {
    let template = attribute(span, "messaging.destination.template");
    assert_eq!(span.name, format!("{operation} {template}"));
    assert!(attribute(span, "messaging.destination.name").starts_with(&format!("{template}.")), "{span:?}");
    assert_eq!(attribute(span, "messaging.system"), "nats");
    assert_eq!(attribute(span, "messaging.operation.name"), operation);
    assert_eq!(attribute(span, "messaging.operation.type"), operation_type);
    assert_eq!(attribute(span, "messaging.message.conversation_id"), attribute(span, "millrace.command_id"));
    assert_eq!(attribute(span, "server.address"), "127.0.0.1");
    assert!(!attribute(span, "messaging.message.id").is_empty());
}

fn was_delivered_once_and_taken_in(span: &Span) {
    assert_eq!(span.links, std::slice::from_ref(&span.parent), "{span:?}");
    assert_eq!(attribute(span, "millrace.delivered"), "1");
    assert!(attribute(span, "messaging.nats.stream").starts_with("millrace_"), "{span:?}");
    assert!(attribute(span, "messaging.nats.sequence").parse::<u64>().unwrap() > 0);
    assert!(["completed", "applied", "skipped"].contains(&attribute(span, "millrace.outcome")), "{span:?}");
}

/// Somebody who has ordered before: order and billing know them, so that nothing has to wait.
async fn customer(up: &Up, card_token: &str) -> (Customer, String) {
    let person = Person { address: "ada@example.com", password: "correct horse battery", name: "Ada", country: "DE" };
    let customer = Customer::enter(up.gateway(), &person).await.unwrap();
    let card = customer.add_card("tok_approved", "DE").await.unwrap();
    let (placed, _) = customer.place("before", "teapot", 1, &card).await.unwrap();
    ended(&customer, placed.receipt.unwrap().command.rsplit('/').next().unwrap()).await;
    let card = customer.add_card(card_token, "DE").await.unwrap();
    (customer, card)
}

/// An order within the client's own trace, from its call to its end.
async fn order(customer: &Customer, card: &str) -> String {
    let lines = vec![Line { sku: "teapot".to_owned(), quantity: 2 }];
    let request = PlaceOrderRequest { lines, payment_method_id: card.to_owned(), expected_total: None };
    let mut request = customer.request(request, Some("traced")).unwrap();
    request.metadata_mut().insert("traceparent", format!("00-{TRACE}-{CALL}-01").parse().unwrap());
    let placed = OrderServiceClient::new(customer.channel()).place_order(request).await.unwrap().into_inner();
    let order = placed.order.unwrap().order_id;
    ended(customer, &order).await;
    order
}

async fn ended(customer: &Customer, order: &str) {
    // A slow machine answers ACCEPTED, and then there is no order yet.
    let watch = async || customer.watch(order, |order| order.status() != OrderStatus::Pending).await.ok();
    let order = testkit::eventually_some("the order ends", watch).await;
    assert_eq!(order.status(), OrderStatus::Processed);
}

fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    spans.iter().find(|span| span.name == name).unwrap()
}

#[track_caller]
fn attribute<'s>(span: &'s Span, name: &str) -> &'s str {
    span.attributes.get(name).unwrap_or_else(|| panic!("no {name} in {span:?}"))
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
