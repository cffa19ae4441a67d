use std::collections::HashSet;

use OrderStatus::{Canceled, CanceledFraud, PaymentFailed, Pending, Processed};
use PaymentStatus::{Captured, Failed, RefundPending, Refunded, Voided};
use event::{Id, Micros};
use proto::billing::v1::payment_failed;

use super::*;
use crate::error::Error;

mod saga;

fn customer() -> Id {
    Id::timed(1, [1; 10])
}

fn quote() -> Quote {
    let unit_price = Money { currency: "EUR".to_owned(), minor: 2_499 };
    Quote::of(vec![Line { sku: "teapot".to_owned(), name: "Teapot".to_owned(), quantity: 2, unit_price }]).unwrap()
}

fn placement() -> Placement {
    Placement {
        order_id: Id::timed(2, [2; 10]),
        customer_id: customer(),
        payment_method_id: Id::timed(3, [3; 10]),
        quote: quote(),
        expected_total: None,
    }
}

fn failed(cause: payment_failed::Cause) -> Input {
    Input::PaymentFailed { cause, reason: "so it is".to_owned() }
}

/// Everything that can happen to an order that was placed.
fn inputs() -> Vec<Input> {
    use payment_failed::Cause;
    let causes = [Cause::Unspecified, Cause::Fraud, Cause::Declined, Cause::Unavailable, Cause::UnknownCustomer];
    let mut inputs = vec![
        Input::Cancel { by: customer() },
        Input::TimedOut,
        Input::PaymentProcessed,
        Input::PaymentVoided,
        Input::PaymentRefundRequested,
        Input::PaymentRefunded,
    ];
    inputs.extend(causes.map(failed));
    inputs
}

/// The order after an input, and what came of it. A refusal changes nothing.
fn step(order: &Order, input: Input) -> (Order, Vec<Event>) {
    let events = decide(order, input).unwrap_or_default();
    let mut next = order.clone();
    for event in &events {
        let at = At { id: placement().order_id, revision: next.revision + 1, time: Micros(1_000 + next.revision) };
        next.apply(event, &at);
    }
    (next, events)
}

fn after(inputs: impl IntoIterator<Item = Input>) -> Order {
    inputs.into_iter().fold(placed(), |order, input| step(&order, input).0)
}

fn placed() -> Order {
    step(&Order::default(), Input::Place(placement())).0
}

fn axes(order: &Order) -> (OrderStatus, PaymentStatus) {
    (order.status, order.payment)
}

/// Every order that any sequence of inputs leads to, one for each pair of statuses.
fn reachable() -> Vec<Order> {
    let (mut seen, mut orders, mut next) = (HashSet::from([axes(&placed())]), Vec::new(), vec![placed()]);
    while let Some(order) = next.pop() {
        let following = inputs().into_iter().map(|input| step(&order, input).0);
        next.extend(following.filter(|order| seen.insert(axes(order))));
        orders.push(order);
    }
    orders
}

/// Every order that can be, with everything that can happen to it next.
fn steps() -> impl Iterator<Item = (Order, Input, Order, Vec<Event>)> {
    reachable().into_iter().flat_map(|order| {
        inputs().into_iter().map(move |input| {
            let (next, events) = step(&order, input.clone());
            (order.clone(), input, next, events)
        })
    })
}

const fn is_final(status: OrderStatus) -> bool {
    !matches!(status, Pending | Processed)
}

#[test]
fn a_placed_order_is_pending_and_has_its_price() {
    let order = placed();
    assert_eq!(axes(&order), (Pending, PaymentStatus::None));
    assert_eq!((order.total.minor, order.total.currency.as_str(), order.revision), (4_998, "EUR", 1));
    assert_eq!(order.lines, quote().lines);
    assert_eq!((order.placed_at, order.changed_at), (1_000, 1_000));
}

#[test]
fn an_order_is_placed_only_once() {
    assert_eq!(decide(&placed(), Input::Place(placement())), Err(Error::NotYours));
}

#[test]
fn an_order_that_costs_something_else_is_not_placed() {
    let euros = |minor| Money { currency: "EUR".to_owned(), minor };
    let expecting = |expected| Input::Place(Placement { expected_total: Some(expected), ..placement() });
    let mismatch = Err(Error::TotalMismatch(euros(4_998)));
    assert_eq!(decide(&Order::default(), expecting(euros(4_997))), mismatch);
    assert_eq!(decide(&Order::default(), expecting(Money { currency: "USD".to_owned(), minor: 4_998 })), mismatch);
    assert_eq!(decide(&Order::default(), expecting(euros(4_998))).unwrap().len(), 1);
}

#[test]
fn a_paid_order_is_processed() {
    let order = after([Input::PaymentProcessed]);
    assert_eq!(axes(&order), (Processed, Captured));
}

#[test]
fn a_refused_payment_ends_the_order_and_says_why() {
    for (cause, status) in [
        (payment_failed::Cause::Fraud, CanceledFraud),
        (payment_failed::Cause::Declined, PaymentFailed),
        (payment_failed::Cause::Unavailable, PaymentFailed),
        (payment_failed::Cause::UnknownCustomer, PaymentFailed),
    ] {
        let order = after([failed(cause)]);
        assert_eq!((axes(&order), order.reason.as_str()), ((status, Failed), "so it is"));
    }
}

#[test]
fn a_refusal_after_a_cancel_moves_only_the_money() {
    let order = after([Input::Cancel { by: customer() }, failed(payment_failed::Cause::Fraud)]);
    assert_eq!((axes(&order), order.reason.as_str()), ((Canceled, Failed), "canceled by the customer"));
}

#[test]
fn a_charge_that_wins_over_a_cancel_is_given_back() {
    let cancel = Input::Cancel { by: customer() };
    let answers = [Input::PaymentProcessed, Input::PaymentRefundRequested, Input::PaymentRefunded];
    let statuses = [Captured, RefundPending, Refunded];
    for (told, payment) in statuses.into_iter().enumerate() {
        let inputs = std::iter::once(cancel.clone()).chain(answers[..=told].iter().cloned());
        assert_eq!(axes(&after(inputs)), (Canceled, payment));
    }
}

#[test]
fn only_the_customer_can_cancel_and_only_while_it_is_pending() {
    let stranger = Input::Cancel { by: Id::timed(9, [9; 10]) };
    assert_eq!(decide(&placed(), stranger), Err(Error::NotYours));
    for order in reachable().iter().filter(|order| order.status != Pending) {
        let refused = decide(order, Input::Cancel { by: customer() });
        assert_eq!(refused, Err(Error::NotPending(order.status)));
    }
}

#[test]
fn nothing_happens_to_an_order_that_does_not_exist() {
    for input in inputs() {
        let is_cancel = matches!(input, Input::Cancel { .. });
        let outcome = decide(&Order::default(), input);
        assert_eq!(outcome, if is_cancel { Err(Error::NotYours) } else { Ok(Vec::new()) });
    }
}

#[test]
fn billing_is_never_refused() {
    for (order, input) in reachable().iter().flat_map(|order| inputs().into_iter().map(move |input| (order, input))) {
        let is_cancel = matches!(input, Input::Cancel { .. });
        assert!(is_cancel || decide(order, input.clone()).is_ok(), "{input:?} after {:?}", axes(order));
    }
}

#[test]
fn a_final_status_never_changes_and_money_never_goes_backwards() {
    for (order, input, next, _) in steps() {
        let case = format!("{input:?} after {:?}", axes(&order));
        assert!(order.status == next.status || !is_final(order.status), "{case}");
        assert!(order.status != Processed || next.status != Pending, "{case}");
        assert!(order.payment == next.payment || decide::may_move(order.payment, next.payment), "{case}");
        assert_eq!((order.total, order.lines), (next.total, next.lines), "{case}");
    }
}

#[test]
fn no_order_is_processed_without_its_money() {
    for order in reachable().iter().filter(|order| order.status == Processed) {
        assert!(matches!(order.payment, Captured | RefundPending | Refunded), "{:?}", axes(order));
    }
}

#[test]
fn no_refused_order_keeps_money() {
    for order in reachable().iter().filter(|order| matches!(order.status, CanceledFraud | PaymentFailed)) {
        assert!(matches!(order.payment, Failed | Voided | RefundPending | Refunded), "{:?}", axes(order));
    }
}

#[test]
fn an_answer_that_comes_again_is_ignored() {
    for (_, input, next, _) in steps().filter(|(_, input, ..)| !matches!(input, Input::Cancel { .. })) {
        assert_eq!(decide(&next, input.clone()), Ok(Vec::new()), "{input:?} again at {:?}", axes(&next));
    }
}

#[test]
fn there_is_an_event_whenever_something_changed_and_only_then() {
    for (order, input, next, events) in steps() {
        assert_eq!(events.len(), usize::from(axes(&order) != axes(&next)), "{input:?} after {:?}", axes(&order));
    }
}

#[test]
fn what_is_settled_changes_no_more() {
    for (order, input, next, _) in steps().filter(|(order, ..)| is_settled(order.status, order.payment)) {
        assert_eq!(axes(&order), axes(&next), "{input:?}");
    }
}

#[test]
fn a_stored_state_is_read_back() {
    for order in reachable() {
        let stored = serde_json::to_vec(&order).unwrap();
        assert_eq!(serde_json::from_slice::<Order>(&stored).unwrap(), order);
    }
    let unknown = serde_json::to_string(&placed()).unwrap().replace("\"status\":1", "\"status\":99");
    assert!(serde_json::from_str::<Order>(&unknown).is_err());
}
