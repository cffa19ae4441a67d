//! What each step does, as production does it in one transaction.

use billing::Outcome;
use billing::domain::{self as payment, Act, Money as Price};
use event::Micros;
use ledger::Means;
use ledger::rules::{Cursor, State, Verdict, judge, moved, noted};
use order::domain::{self as ordering, Line, Money, Placement, Quote};
use proto::Name as _;
use proto::billing::v1 as told_by_billing;
use proto::order::v1 as told_by_order;

use crate::Protection;
use crate::saga::{Reader, of};
use crate::world::{Kind, Wish, WishState, World, customer, order_id};

impl World {
    pub(crate) fn place(&mut self, without: Option<Protection>) {
        if self.placed.is_some() && without != Some(Protection::Receipt) {
            return;
        }
        let unit_price = Money { currency: "EUR".to_owned(), minor: 2_499 };
        let lines = vec![Line { sku: "teapot".to_owned(), name: "Teapot".to_owned(), quantity: 1, unit_price }];
        let Some(quote) = Quote::of(lines) else { return };
        let placement = Placement {
            order_id: order_id(),
            customer_id: customer(),
            payment_method_id: customer(),
            quote,
            expected_total: None,
        };
        let done = self.command(ordering::Input::Place(placement));
        self.contradicted |= self.placed.is_some_and(|before| before != done);
        self.placed.get_or_insert(done);
        self.deadline |= done;
    }

    pub(crate) fn cancel(&mut self, without: Option<Protection>) {
        if self.canceled.is_some() && without != Some(Protection::Receipt) {
            return;
        }
        let done = self.command(ordering::Input::Cancel { by: customer() });
        self.contradicted |= self.canceled.is_some_and(|before| before != done);
        self.canceled.get_or_insert(done);
    }

    /// Whether it was carried out, and not refused.
    fn command(&mut self, input: ordering::Input) -> bool {
        let Ok(events) = ordering::decide(&self.order_now(), input) else { return false };
        self.append_to_order(&events);
        true
    }

    pub(crate) fn tell_order(&mut self, input: ordering::Input) {
        if let Ok(events) = ordering::decide(&self.order_now(), input) {
            self.append_to_order(&events);
        }
    }

    fn append_to_order(&mut self, events: &[ordering::Event]) {
        self.order.append(events);
        self.deadline &= self.order_now().status == told_by_order::OrderStatus::Pending;
    }

    /// What a reader makes of an event, by its cursor.
    pub(crate) fn hear(&mut self, reader: Reader, revision: i64, means: Means, without: Option<Protection>) {
        let (log, heard) = of(self, reader);
        let Some(record) = log.record(revision) else { return };
        let cursor = heard.cursor(log);
        let verdict = match without {
            // Whatever comes is applied.
            Some(Protection::Cursor) => Verdict::Apply,
            // What is missing is passed over.
            Some(Protection::GapHealing) if revision > cursor.revision => Verdict::Apply,
            _ => judge(&cursor, &record, means),
        };
        let cursor = match verdict {
            Verdict::Apply => moved(cursor, &record, Micros(0)),
            Verdict::Wait => Cursor { state: State::Waiting, ..noted(cursor, &record) },
            Verdict::Note => noted(cursor, &record),
            Verdict::Duplicate | Verdict::Gap | Verdict::Compare => cursor,
        };
        let (type_name, applied) = (record.type_name, verdict == Verdict::Apply);
        let heard = match reader {
            Reader::Billing => &mut self.billing,
            Reader::Ordering => &mut self.ordering,
        };
        heard.follow(&cursor);
        if !applied {
            return;
        }
        heard.handled.push(revision);
        match reader {
            Reader::Billing => self.billing_handles(&type_name, without),
            Reader::Ordering => self.order_handles(&type_name),
        }
    }

    pub(crate) fn audit(&mut self, reader: Reader) {
        let end = of(self, reader).0.end();
        let heard = match reader {
            Reader::Billing => &mut self.billing,
            Reader::Ordering => &mut self.ordering,
        };
        if heard.revision < end {
            heard.noted = end;
            heard.waits = true;
        }
    }

    /// As `billing::orders`.
    fn billing_handles(&mut self, type_name: &str, without: Option<Protection>) {
        if type_name == told_by_order::OrderCreated::full_name() {
            if !self.exists() {
                let amount = Price { currency: "EUR".to_owned(), minor: 2_499 };
                let order = payment::Order {
                    customer_id: customer().to_string(),
                    amount,
                    payment_method_id: customer().to_string(),
                };
                self.tell_payment(payment::Input::Ordered(Ok(order)));
            }
        } else if type_name == told_by_order::OrderCanceled::full_name() {
            let withdrawn = self.payment_now().step == payment::Step::Charging && self.withdraw(without);
            self.tell_payment(payment::Input::Canceled { withdrawn });
        }
    }

    /// Takes the charge back, if nobody has begun it.
    fn withdraw(&mut self, without: Option<Protection>) -> bool {
        let open = |wish: &&mut Wish| match wish.state {
            WishState::Wished => true,
            WishState::Begun => without == Some(Protection::Fence),
            WishState::Over | WishState::Withdrawn => false,
        };
        let charge = self.wishes.iter_mut().filter(|wish| wish.kind == Kind::Charge).find(open);
        charge.map(|wish| wish.state = WishState::Withdrawn).is_some()
    }

    fn tell_payment(&mut self, input: payment::Input) {
        let Ok(decision) = payment::decide(order_id(), &self.payment_now(), input) else { return };
        self.payment.append(&decision.events);
        let wish = |kind| Wish { kind, state: WishState::Wished, calling: false, unanswered: false };
        self.wishes.extend(decision.act.map(|act| match act {
            Act::Charge(_) => wish(Kind::Charge),
            Act::Refund => wish(Kind::Refund),
        }));
    }

    /// As `order::payments`.
    fn order_handles(&mut self, type_name: &str) {
        use ordering::Input;
        let failed = |cause| Input::PaymentFailed { cause, reason: String::new() };
        let inputs = [
            (told_by_billing::PaymentProcessed::full_name(), Input::PaymentProcessed),
            (told_by_billing::PaymentFailed::full_name(), failed(told_by_billing::payment_failed::Cause::Declined)),
            (told_by_billing::PaymentVoided::full_name(), Input::PaymentVoided),
            (told_by_billing::PaymentRefundRequested::full_name(), Input::PaymentRefundRequested),
            (told_by_billing::PaymentRefunded::full_name(), Input::PaymentRefunded),
        ];
        if let Some((_, input)) = inputs.into_iter().find(|(name, _)| name == type_name) {
            self.tell_order(input);
        }
    }

    pub(crate) fn answer(&mut self, number: usize) {
        let refused = self.wishes[number].kind == Kind::Charge && self.provider.refused;
        self.take_in(number, if refused { Outcome::Refused(String::new()) } else { Outcome::Done });
    }

    fn take_in(&mut self, number: usize, outcome: Outcome) {
        self.wishes[number].state = WishState::Over;
        self.tell_payment(match self.wishes[number].kind {
            Kind::Charge => payment::Input::Charged(outcome),
            Kind::Refund => payment::Input::Refunded(outcome),
        });
    }

    /// Asks first what came of the call; what the provider has not seen is called again.
    pub(crate) fn again(&mut self, number: usize, without: Option<Protection>) {
        let kind = self.wishes[number].kind;
        let known = self.provider.has_done(kind) && without != Some(Protection::AskFirst);
        if known {
            self.answer(number);
        } else if without == Some(Protection::NotFoundIsNoOutcome) {
            self.take_in(number, Outcome::Refused(String::new()));
        } else {
            self.wishes[number].calling = true;
            self.wishes[number].unanswered = false;
        }
    }
}
