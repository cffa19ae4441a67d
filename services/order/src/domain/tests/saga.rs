//! An order, its customer and a billing that keeps its word, in every order in which what they say can arrive.

use super::*;

/// What the payment provider and the fraud rules make of the order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Approved,
    Declined,
    Fraud,
}

/// How far billing is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Idle,
    /// It wishes the charge, and nobody has begun it.
    Wishing,
    Charging,
    Taken,
    Refunding,
    Over,
}

#[derive(Clone, Debug)]
struct World {
    fate: Fate,
    order: Order,
    said_by_order: Vec<Event>,
    heard_by_billing: usize,
    phase: Phase,
    is_canceling: bool,
    /// What the provider holds of the customer's money.
    taken: i64,
    said_by_billing: Vec<Input>,
    heard_by_order: usize,
    has_canceled: bool,
    has_timed_out: bool,
}

impl World {
    fn new(fate: Fate) -> Self {
        let (order, said_by_order) = step(&Order::default(), Input::Place(placement()));
        Self {
            fate,
            order,
            said_by_order,
            heard_by_billing: 0,
            phase: Phase::Idle,
            is_canceling: false,
            taken: 0,
            said_by_billing: Vec::new(),
            heard_by_order: 0,
            has_canceled: false,
            has_timed_out: false,
        }
    }

    fn tell_order(mut self, input: Input) -> Self {
        let (order, events) = step(&self.order, input);
        self.order = order;
        self.said_by_order.extend(events);
        self
    }

    fn cancel(self) -> Option<Self> {
        let able = !self.has_canceled;
        able.then(|| Self { has_canceled: true, ..self.tell_order(Input::Cancel { by: customer() }) })
    }

    fn time_out(self) -> Option<Self> {
        let able = !self.has_timed_out;
        able.then(|| Self { has_timed_out: true, ..self.tell_order(Input::TimedOut) })
    }

    fn order_hears(self) -> Option<Self> {
        let input = self.said_by_billing.get(self.heard_by_order)?.clone();
        Some(Self { heard_by_order: self.heard_by_order + 1, ..self.tell_order(input) })
    }

    fn billing_hears(mut self) -> Option<Self> {
        let event = self.said_by_order.get(self.heard_by_billing)?.clone();
        self.heard_by_billing += 1;
        match (event, self.phase) {
            (Event::OrderCreated(_), Phase::Idle) if self.fate == Fate::Fraud => {
                self.say(failed(payment_failed::Cause::Fraud), Phase::Over);
            }
            (Event::OrderCreated(_), Phase::Idle) => self.phase = Phase::Wishing,
            (Event::OrderCanceled(_), Phase::Wishing) => self.say(Input::PaymentVoided, Phase::Over),
            (Event::OrderCanceled(_), Phase::Charging) => self.is_canceling = true,
            (Event::OrderCanceled(_), Phase::Taken) => self.say(Input::PaymentRefundRequested, Phase::Refunding),
            _ => {}
        }
        Some(self)
    }

    /// The provider is asked, or answers.
    fn provider_answers(mut self) -> Option<Self> {
        match (self.phase, self.is_canceling) {
            (Phase::Wishing, _) => self.phase = Phase::Charging,
            (Phase::Charging, true) if self.fate == Fate::Declined => self.say(Input::PaymentVoided, Phase::Over),
            (Phase::Charging, false) if self.fate == Fate::Declined => {
                self.say(failed(payment_failed::Cause::Declined), Phase::Over);
            }
            (Phase::Charging, is_canceling) => {
                self.taken += self.order.total.minor;
                if is_canceling {
                    self.say(Input::PaymentRefundRequested, Phase::Refunding);
                } else {
                    self.say(Input::PaymentProcessed, Phase::Taken);
                }
            }
            (Phase::Refunding, _) => {
                self.taken -= self.order.total.minor;
                self.say(Input::PaymentRefunded, Phase::Over);
            }
            (Phase::Idle | Phase::Taken | Phase::Over, _) => return None,
        }
        Some(self)
    }

    fn say(&mut self, input: Input, phase: Phase) {
        self.said_by_billing.push(input);
        self.phase = phase;
    }

    /// What can happen next, apart from a cancel and a deadline, which may never come.
    fn next(&self) -> Vec<Self> {
        let next = [self.clone().order_hears(), self.clone().billing_hears(), self.clone().provider_answers()];
        next.into_iter().flatten().collect()
    }
}

#[test]
fn every_order_ends_and_its_money_adds_up() {
    let mut worlds = [Fate::Approved, Fate::Declined, Fate::Fraud].map(World::new).to_vec();
    let mut ends = HashSet::new();
    while let Some(world) = worlds.pop() {
        let next = world.next();
        if next.is_empty() {
            let order = &world.order;
            ends.insert(axes(order));
            let stands = order.status == Processed;
            assert_eq!(world.taken, if stands { order.total.minor } else { 0 }, "{world:#?}");
            assert!(
                if stands { order.payment == Captured } else { is_settled(order.status, order.payment) },
                "{world:#?}"
            );
        }
        worlds.extend(next.into_iter().chain(world.clone().cancel()).chain(world.time_out()));
    }
    let all = [(Processed, Captured), (Canceled, Voided), (Canceled, Refunded), (Canceled, Failed)];
    assert_eq!(ends, all.into_iter().chain([(PaymentFailed, Failed), (CanceledFraud, Failed)]).collect());
}
