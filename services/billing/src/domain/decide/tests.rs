//! Every interleaving of what can happen to a payment, in a small model of the world: an order that is placed and perhaps canceled, a
//! worker that performs the effects, and a provider. The ledger's fences are taken for granted: each input comes once.

use ledger::{Aggregate as _, At};

use super::*;
use crate::domain::Money;

const PRICE: i64 = 2499;

/// What the world is like, in one run.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fate {
    passes_checks: bool,
    pays: bool,
}

/// Where the money is, at the provider.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Charge {
    None,
    Taken,
    GivenBack,
}

/// How far a wish is.
#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Wished,
    Begun,
    /// The provider has done it, and its answer is on its way.
    Answered(Outcome),
}

#[derive(Clone, Debug, PartialEq)]
struct World {
    fate: Fate,
    payment: Payment,
    revision: i64,
    ordered: bool,
    canceled: bool,
    wish: Option<(Act, Phase)>,
    charge: Charge,
}

impl World {
    fn new(fate: Fate) -> Self {
        let (payment, wish) = (Payment::default(), None);
        Self { fate, payment, revision: 0, ordered: false, canceled: false, wish, charge: Charge::None }
    }

    /// All worlds that can come next.
    fn next(&self) -> Vec<Self> {
        let moves: [fn(&Self) -> Option<Self>; 3] = [Self::place, Self::cancel, Self::work];
        moves.iter().filter_map(|step| step(self)).collect()
    }

    fn place(&self) -> Option<Self> {
        let judged = if self.fate.passes_checks { Ok(order()) } else { Err(order().refused(Cause::Fraud, "why")) };
        let world = Self { ordered: true, ..self.clone() };
        (!self.ordered).then(|| world.hear(Input::Ordered(judged)))
    }

    fn cancel(&self) -> Option<Self> {
        let mut world = Self { canceled: true, ..self.clone() };
        let asks = self.payment.step == Step::Charging;
        let withdrawn = asks && world.wish.take_if(|(_, phase)| *phase == Phase::Wished).is_some();
        (!self.canceled).then(|| world.hear(Input::Canceled { withdrawn }))
    }

    /// The worker begins a wish, the provider does it, or its answer comes.
    fn work(&self) -> Option<Self> {
        let mut world = self.clone();
        let (act, phase) = world.wish.take()?;
        match phase {
            Phase::Wished => world.wish = Some((act, Phase::Begun)),
            Phase::Begun => world.wish = Some((act.clone(), Phase::Answered(world.perform(&act)))),
            Phase::Answered(outcome) => return Some(world.hear(answer(&act, outcome))),
        }
        Some(world)
    }

    /// A provider that is asked for what makes no sense would hide a mistake of ours by refusing it.
    fn perform(&mut self, act: &Act) -> Outcome {
        let (from, to, does) = match act {
            Act::Charge(order) => {
                assert_eq!(order.amount.minor, PRICE);
                (Charge::None, Charge::Taken, self.fate.pays)
            }
            Act::Refund => (Charge::Taken, Charge::GivenBack, true),
        };
        assert_eq!(self.charge, from, "{act:?} in {self:#?}");
        if !does {
            return Outcome::Refused("no".to_owned());
        }
        self.charge = to;
        Outcome::Done
    }

    fn hear(mut self, input: Input) -> Self {
        let id = Id::default();
        let Decision { events, act } =
            decide(id, &self.payment, input).expect("the model's provider refuses no refund");
        assert!(act.is_none() || !events.is_empty(), "each wish needs a revision of its own");
        for event in &events {
            self.revision += 1;
            self.payment.apply(event, &At { id, revision: self.revision, time: event::Micros(0) });
        }
        if let Some(act) = act {
            assert_eq!(self.wish, None, "one wish at a time");
            self.wish = Some((act, Phase::Wished));
        }
        self
    }

    fn check(&self) {
        let taken = if self.charge == Charge::Taken { PRICE } else { 0 };
        if is_final(self.payment.step) {
            assert_eq!(taken, 0, "{self:#?}");
        }
        if self.wish.is_some() || !self.ordered {
            return;
        }
        let stands = self.payment.step == Step::Captured;
        assert_eq!(taken, if stands { PRICE } else { 0 }, "money is conserved: {self:#?}");
        assert!(stands || is_final(self.payment.step), "every payment ends: {self:#?}");
        assert!(!(stands && self.canceled), "a canceled order is not paid: {self:#?}");
    }
}

fn order() -> Order {
    let amount = Money { currency: "EUR".to_owned(), minor: PRICE };
    Order { customer_id: "anna".to_owned(), amount, payment_method_id: "card".to_owned() }
}

fn answer(act: &Act, outcome: Outcome) -> Input {
    match act {
        Act::Charge(_) => Input::Charged(outcome),
        Act::Refund => Input::Refunded(outcome),
    }
}

const fn is_final(step: Step) -> bool {
    matches!(step, Step::Refunded | Step::Voided | Step::Failed)
}

/// All worlds that can be, whatever comes when.
fn reachable() -> Vec<World> {
    let mut seen: Vec<World> = Vec::new();
    let fates = (0..4).map(|bits| Fate { passes_checks: bits & 1 > 0, pays: bits & 2 > 0 });
    let mut open: Vec<World> = fates.map(World::new).collect();
    while let Some(world) = open.pop() {
        if !seen.contains(&world) {
            open.extend(world.next());
            seen.push(world);
        }
    }
    seen
}

/// All that a payment can hear of, in whatever step it is.
fn inputs() -> Vec<Input> {
    let refused = || Outcome::Refused("no".to_owned());
    let mut inputs = vec![Input::Ordered(Ok(order())), Input::Ordered(Err(order().refused(Cause::Fraud, "why")))];
    inputs.extend([Input::Canceled { withdrawn: true }, Input::Canceled { withdrawn: false }]);
    for outcome in [Outcome::Done, refused()] {
        inputs.extend([Input::Charged(outcome.clone()), Input::Refunded(outcome)]);
    }
    inputs
}

fn types(decision: &Decision) -> Vec<String> {
    let name = |event: &Event| ledger::EventSet::encode(event).0.rsplit('.').next().unwrap_or_default().to_owned();
    decision.events.iter().map(name).collect()
}

#[test]
fn whatever_comes_when_money_is_conserved_and_every_payment_ends() {
    let worlds = reachable();
    worlds.iter().for_each(World::check);
    for step in [Step::Captured, Step::Refunded, Step::Voided, Step::Failed] {
        assert!(worlds.iter().any(|world| world.payment.step == step), "no world reaches {step:?}");
    }
}

#[test]
fn a_payment_can_hear_anything_at_any_time_and_only_a_refused_refund_needs_people() {
    for world in reachable() {
        for input in inputs() {
            let decided = decide(Id::default(), &world.payment, input.clone());
            let refused_refund =
                matches!(input, Input::Refunded(Outcome::Refused(_))) && world.payment.step == Step::Refunding;
            assert_eq!(decided.is_err(), refused_refund, "{input:?} in {world:#?}");
        }
    }
}

#[test]
fn what_is_final_stays_as_it_is() {
    for world in reachable().iter().filter(|world| is_final(world.payment.step)) {
        for input in inputs() {
            assert_eq!(decide(Id::default(), &world.payment, input), Ok(Decision::default()));
        }
    }
}

#[test]
fn the_amount_and_the_customer_are_in_the_events_of_an_order_that_is_paid() {
    let placed = World::new(Fate { passes_checks: true, pays: true }).place().expect("it is new");
    let decision = decide(Id::default(), &placed.payment, Input::Charged(Outcome::Done)).expect("it is decided");
    let Some(Event::PaymentProcessed(processed)) = decision.events.first() else { panic!("{decision:?}") };
    assert_eq!(processed.amount.as_ref().map(|amount| amount.minor), Some(PRICE));
    assert_eq!(placed.payment.customer_id.as_deref(), Some("anna"));
}

#[test]
fn a_cancel_that_comes_before_the_order_wins_over_it() {
    let canceled = World::new(Fate { passes_checks: true, pays: true }).cancel().expect("it is new");
    assert_eq!(canceled.payment.step, Step::Voided);
    assert_eq!(decide(Id::default(), &canceled.payment, Input::Ordered(Ok(order()))), Ok(Decision::default()));
}

#[test]
fn a_cancel_while_the_provider_is_asked_is_noted_and_refunded_afterwards() {
    let payment = Payment { step: Step::Charging, ..Payment::default() };
    let noted = decide(Id::default(), &payment, Input::Canceled { withdrawn: false }).expect("it is decided");
    assert_eq!(types(&noted), ["PaymentCancelRequested"]);
    let payment = Payment { step: Step::Canceling, ..payment };
    let refund = decide(Id::default(), &payment, Input::Charged(Outcome::Done)).expect("it is decided");
    assert_eq!((types(&refund), refund.act), (vec!["PaymentRefundRequested".to_owned()], Some(Act::Refund)));
}
