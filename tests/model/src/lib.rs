//! Every way in which an order can go: its customer, order, billing, a broker that loses, doubles and reorders, workers that die, and a
//! provider that answers late or not at all. What is decided, and how a cursor moves, is decided by production's own functions; around
//! them, the model does in a few lines what the ledger does in transactions.
//!
//! The space is finite and searched to its end. A model without one of the [protections](Protection) shows what it is good for, by the
//! [fewest steps](shortest_failure) to a broken promise.

mod acts;
mod saga;
mod world;

use proto::order::v1::OrderStatus;
use stateright::{Checker as _, Expectation, HasDiscoveries, Model, Property};

pub use saga::{Reader, Step};
pub use world::World;

/// What keeps an order right, by the names that the switches of the product have where there is one. A model may lack one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// A command that was answered is answered from its receipt.
    Receipt,
    /// A revision is applied only where the cursor stands.
    Cursor,
    /// What is missing is waited for.
    GapHealing,
    /// The owner is asked how far its log is.
    Audit,
    /// What was begun is not withdrawn.
    Fence,
    /// A call whose answer was lost is asked for before it is made again.
    AskFirst,
    /// A call that the provider has not seen may still be on its way.
    NotFoundIsNoOutcome,
}

/// Within so many steps each missing protection shows.
pub const STEPS: usize = 16;

impl Protection {
    pub const ALL: [Self; 7] = [
        Self::Receipt,
        Self::Cursor,
        Self::GapHealing,
        Self::Audit,
        Self::Fence,
        Self::AskFirst,
        Self::NotFoundIsNoOutcome,
    ];
}

/// One order.
#[derive(Clone, Debug, Default)]
pub struct Saga {
    pub without: Option<Protection>,
}

impl Saga {
    /// Nothing is left to be done that would be done by itself.
    fn is_at_rest(&self, world: &World) -> bool {
        let steps = saga::possible(world, self.without);
        !steps
            .into_iter()
            .filter(|step| step.is_progress())
            .any(|step| saga::after(world, step, self.without) != *world)
    }

    fn ends(&self, world: &World) -> bool {
        world.order_now().status != OrderStatus::Pending || !self.is_at_rest(world)
    }

    fn money_is_right(&self, world: &World) -> bool {
        let price = i16::from(world.order_now().status == OrderStatus::Processed);
        world.paid() == price || !self.is_at_rest(world)
    }

    fn converges(&self, world: &World) -> bool {
        let (billing, ordering) = (&world.billing, &world.ordering);
        (billing.revision == world.order.end() && ordering.revision == world.payment.end()) || !self.is_at_rest(world)
    }
}

/// What goes wrong in a model, with the fewest steps that lead there; None if nothing does within so many steps.
pub fn shortest_failure(saga: &Saga, most: usize) -> Option<(&'static str, Vec<Step>)> {
    (2..=most).find_map(|depth| {
        let checker = saga.clone().checker().target_max_depth(depth).finish_when(HasDiscoveries::AnyFailures);
        let found = checker.spawn_bfs().join();
        let mut always = saga.properties().into_iter().filter(|one| one.expectation == Expectation::Always);
        always.find_map(|one| Some((one.name, found.discovery(one.name)?.into_actions())))
    })
}

fn in_order(revisions: &[i64]) -> bool {
    revisions.iter().zip(1..).all(|(revision, expected)| *revision == expected)
}

impl Model for Saga {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(true), World::new(false)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        steps.extend(saga::possible(world, self.without));
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let next = saga::after(world, step, self.without);
        (next != *world).then_some(next)
    }

    /// Without a cursor the same event is handled without end: a few times tell enough.
    fn within_boundary(&self, world: &World) -> bool {
        world.billing.handled.len() <= 8 && world.ordering.handled.len() <= 8
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("every order ends", Self::ends),
            Property::always("the customer has paid for what stands and for nothing else", Self::money_is_right),
            Property::always("nobody pays twice", |_, world: &World| world.provider.taken <= 1),
            Property::always("nobody is paid back twice", |_, world: &World| world.provider.given_back <= 1),
            Property::always("each reader handles each revision once and in order", |_, world: &World| {
                in_order(&world.billing.handled) && in_order(&world.ordering.handled)
            }),
            Property::always("each reader comes to the end of the log", Self::converges),
            Property::always("a command has one answer", |_, world: &World| !world.contradicted),
            Property::sometimes("an order is processed", |_, world: &World| {
                world.order_now().status == OrderStatus::Processed
            }),
            Property::sometimes("a payment fails", |_, world: &World| {
                world.order_now().status == OrderStatus::PaymentFailed
            }),
            Property::sometimes("what was taken is given back", |_, world: &World| world.provider.given_back == 1),
            Property::sometimes("a charge is withdrawn", |_, world: &World| {
                world.wishes.iter().any(|wish| wish.state == world::WishState::Withdrawn)
            }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_right_whichever_way_it_goes() {
        let whole = Saga::default().checker().threads(2).spawn_bfs().join();
        whole.assert_properties();
        assert!(whole.unique_state_count() > 10_000, "{} states are not every way", whole.unique_state_count());
    }

    #[test]
    fn without_any_one_protection_something_breaks() {
        for without in Protection::ALL {
            let failure = shortest_failure(&Saga { without: Some(without) }, STEPS);
            assert!(failure.is_some(), "without {without:?} nothing is found");
        }
    }
}
