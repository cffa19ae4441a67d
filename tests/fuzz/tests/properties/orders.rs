//! An order, whatever it hears and however often.

use event::{Id, Micros};
use ledger::{Aggregate as _, At};
use order::domain::{Event, Input, Line, Money, Order, Placement, Quote, decide, is_settled};
use proptest::prelude::*;
use proto::billing::v1::payment_failed::Cause;
use proto::order::v1::{OrderStatus, PaymentStatus};

use crate::cases;

fn id(n: u8) -> Id {
    Id::timed(n.into(), [n; 10])
}

fn placement() -> impl Strategy<Value = Placement> {
    (0..=i64::MAX / 1000, 1..=1000_i32).prop_map(|(minor, quantity)| {
        let unit_price = Money { currency: "EUR".to_owned(), minor };
        let line = Line { sku: "tea".to_owned(), name: "Tea".to_owned(), quantity, unit_price };
        let quote = Quote::of(vec![line]).unwrap();
        Placement { order_id: id(1), customer_id: id(2), payment_method_id: id(3), quote, expected_total: None }
    })
}

fn input() -> impl Strategy<Value = Input> {
    let cause = prop_oneof![Just(Cause::Fraud), Just(Cause::Declined), Just(Cause::Unavailable)];
    prop_oneof![
        placement().prop_map(Input::Place),
        (2..4_u8).prop_map(|by| Input::Cancel { by: id(by) }),
        Just(Input::TimedOut),
        Just(Input::PaymentProcessed),
        cause.prop_map(|cause| Input::PaymentFailed { cause, reason: "so it is".to_owned() }),
        Just(Input::PaymentVoided),
        Just(Input::PaymentRefundRequested),
        Just(Input::PaymentRefunded),
    ]
}

/// Tells the order; what came of it.
fn hear(order: &mut Order, input: Input) -> usize {
    let Ok(events) = decide(order, input) else { return 0 };
    for event in &events {
        let revision = order.revision + 1;
        order.apply(event, &At { id: id(1), revision, time: Micros(revision) });
    }
    events.len()
}

/// What a customer is owed once it is so far: what was taken can only be given back.
const fn is_taken(payment: PaymentStatus) -> bool {
    matches!(payment, PaymentStatus::Captured | PaymentStatus::RefundPending | PaymentStatus::Refunded)
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn whatever_it_hears_an_order_goes_forward_and_keeps_its_price(
        first in placement(), inputs in prop::collection::vec(input(), 0..20),
    ) {
        let mut order = Order::default();
        hear(&mut order, Input::Place(first.clone()));
        for input in inputs {
            let before = order.clone();
            let said = hear(&mut order, input);
            prop_assert_eq!((&order.total, &order.lines), (&first.quote.total, &first.quote.lines));
            prop_assert!(said <= 1 && order.revision == before.revision + i64::try_from(said).unwrap());
            if before.status != OrderStatus::Pending {
                prop_assert_eq!(order.status, before.status, "what is decided stays");
            }
            prop_assert!(!is_taken(before.payment) || is_taken(order.payment), "money that was taken is forgotten");
            if is_settled(before.status, before.payment) {
                prop_assert_eq!(said, 0, "settled, and yet something happened");
            }
            prop_assert!(order.status != OrderStatus::Processed || is_taken(order.payment), "goods for nothing");
        }
    }

    #[test]
    fn nobody_but_its_customer_cancels_an_order(first in placement(), by in 3..=255_u8) {
        let mut order = Order::default();
        hear(&mut order, Input::Place(first));
        let refused = decide(&order, Input::Cancel { by: id(by) });
        prop_assert!(refused.is_err());
        let events = decide(&order, Input::Cancel { by: id(2) }).unwrap();
        prop_assert!(matches!(events.as_slice(), [Event::OrderCanceled(_)]));
    }
}
