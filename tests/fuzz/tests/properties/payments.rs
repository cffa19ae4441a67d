//! A payment, whatever it hears and however often: what its log says about money.

use billing::Outcome;
use billing::domain::{Act, Event, Input, Limits, Money, Order, Payment, Step, check, decide};
use event::{Id, Micros};
use ledger::{Aggregate as _, At};
use proptest::prelude::*;
use proto::billing::v1::payment_failed::Cause;

use crate::cases;

fn order() -> impl Strategy<Value = Order> {
    (1..=i64::MAX).prop_map(|minor| Order {
        customer_id: "anna".to_owned(),
        amount: Money { currency: "EUR".to_owned(), minor },
        payment_method_id: "card".to_owned(),
    })
}

fn input() -> impl Strategy<Value = Input> {
    let outcome = || prop_oneof![Just(Outcome::Done), Just(Outcome::Refused("no".to_owned()))];
    prop_oneof![
        order().prop_map(|order| Input::Ordered(Ok(order))),
        order().prop_map(|order| Input::Ordered(Err(order.refused(Cause::Fraud, "why")))),
        any::<bool>().prop_map(|withdrawn| Input::Canceled { withdrawn }),
        outcome().prop_map(Input::Charged),
        outcome().prop_map(Input::Refunded),
    ]
}

/// A payment, and all that it said and wished.
#[derive(Default)]
struct Told {
    payment: Payment,
    events: Vec<Event>,
    acts: Vec<Act>,
}

impl Told {
    fn hear(&mut self, input: Input) {
        let id = Id::timed(1, [1; 10]);
        // The provider may refuse to give money back: then nothing has happened, and people are asked.
        let Ok(decision) = decide(id, &self.payment, input) else { return };
        for event in decision.events {
            let revision = i64::try_from(self.events.len()).unwrap() + 1;
            self.payment.apply(&event, &At { id, revision, time: Micros(revision) });
            self.events.push(event);
        }
        self.acts.extend(decision.act);
    }

    fn count(&self, is: fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| is(event)).count()
    }
}

/// The amount in an event that tells of money.
fn amount(event: &Event) -> Option<&proto::money::v1::Money> {
    match event {
        Event::PaymentRequested(event) => event.amount.as_ref(),
        Event::PaymentProcessed(event) => event.amount.as_ref(),
        Event::PaymentRefundRequested(event) => event.amount.as_ref(),
        Event::PaymentRefunded(event) => event.amount.as_ref(),
        Event::PaymentFailed(_) | Event::PaymentVoided(_) | Event::PaymentCancelRequested(_) => None,
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn whatever_it_hears_a_payment_ends_one_way_and_moves_one_amount(
        inputs in prop::collection::vec(input(), 0..20),
    ) {
        let mut told = Told::default();
        for input in inputs {
            let before = (told.payment.step, told.events.len());
            told.hear(input);
            if matches!(before.0, Step::Refunded | Step::Voided | Step::Failed) {
                prop_assert_eq!((told.payment.step, told.events.len()), before, "what is final stays");
            }
        }
        let ends = |event: &Event| {
            matches!(event, Event::PaymentRefunded(_) | Event::PaymentVoided(_) | Event::PaymentFailed(_))
        };
        let refund_asked = told.count(|event| matches!(event, Event::PaymentRefundRequested(_)));
        let refunded = told.count(|event| matches!(event, Event::PaymentRefunded(_)));
        prop_assert!(told.count(ends) <= 1, "refunded and voided, or failed");
        prop_assert!(refund_asked <= 1 && refunded <= refund_asked, "given back once, and only if it was asked for");
        prop_assert!(told.acts.iter().filter(|act| matches!(act, Act::Charge(_))).count() <= 1, "charged once");
        prop_assert_eq!(told.acts.iter().filter(|act| **act == Act::Refund).count(), refund_asked);
        let amounts: Vec<_> = told.events.iter().filter_map(amount).collect();
        prop_assert!(amounts.windows(2).all(|two| two[0] == two[1]), "one amount: {:?}", amounts);
        let moving = told.events.iter().filter(|event| amount(event).is_some()).count();
        prop_assert_eq!(amounts.len(), moving);
    }

    #[test]
    fn no_order_above_the_limit_is_charged(order in order(), most_minor in 1..=i64::MAX, known: bool) {
        let home = if known { "DE" } else { "" };
        let (amount, limits) = (order.amount.minor, Limits { most_minor });
        prop_assert_eq!(check(order.clone(), "DE", home, limits).is_ok(), amount <= most_minor);
        prop_assert!(check(order, "FR", "DE", limits).is_err());
    }
}
