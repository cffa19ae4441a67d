//! The steps, and which of them are possible.

use ledger::Means;

use crate::Protection;
use crate::world::{Heard, Log, WishState, World};

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// Billing, the order's log.
    Billing,
    /// Order, the payment's log.
    Ordering,
}

/// What may happen next. A crash between two steps is a step that does not follow: nothing else is lost by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The customer's command arrives, perhaps again.
    Place,
    Cancel,
    /// The deadline fires.
    TimeOut,
    /// The broker loses what it has of a log.
    Lose(Reader),
    /// The stream brings a revision: any that it has, as often as it likes. `late`: what is missing did not follow in time.
    Bring(Reader, i64, bool),
    /// The reader hears from the owner how far its log is.
    Audit(Reader),
    /// The reader, which waits, reads the next revision from its owner.
    Read(Reader),
    /// A worker takes an effect on, and calls the provider.
    Begin(usize),
    /// The call arrives.
    Arrive(usize),
    /// Its answer comes back, and is taken in.
    Answer(usize),
    /// Its answer is lost, or its worker dies.
    GiveUp(usize),
    /// The effect's lease has run out: another attempt.
    Again(usize),
    /// The provider does not know old calls any more when they come again. Those that are on their way it still knows.
    Forget,
}

impl Step {
    /// Whether nothing prevents it for ever: what the system does by itself, in contrast to faults and people's whims.
    pub fn is_progress(self) -> bool {
        !matches!(self, Self::Cancel | Self::Lose(_) | Self::GiveUp(_) | Self::Forget)
    }
}

/// The steps that may come next; some change nothing.
pub fn possible(world: &World, without: Option<Protection>) -> Vec<Step> {
    let mut steps = vec![Step::Place];
    if world.placed.is_some() {
        steps.push(Step::Cancel);
    }
    steps.extend(world.deadline.then_some(Step::TimeOut));
    for reader in [Reader::Billing, Reader::Ordering] {
        let (log, heard) = of(world, reader);
        steps.extend((log.lost < log.end()).then_some(Step::Lose(reader)));
        steps.extend(
            (log.lost + 1..=log.end())
                .flat_map(|revision| [false, true].map(|late| Step::Bring(reader, revision, late))),
        );
        steps.extend((without != Some(Protection::Audit)).then_some(Step::Audit(reader)));
        steps.extend((heard.waits && heard.revision < log.end()).then_some(Step::Read(reader)));
    }
    for (number, wish) in world.wishes.iter().enumerate() {
        match wish.state {
            WishState::Wished => steps.push(Step::Begin(number)),
            WishState::Begun => {
                steps.extend(wish.calling.then_some(Step::Arrive(number)));
                if wish.unanswered {
                    steps.push(Step::Again(number));
                } else {
                    steps.push(Step::GiveUp(number));
                    steps.extend((!wish.calling && world.provider.has_done(wish.kind)).then_some(Step::Answer(number)));
                }
            }
            // A late call arrives whatever became of its effect.
            WishState::Over | WishState::Withdrawn => steps.extend(wish.calling.then_some(Step::Arrive(number))),
        }
    }
    let calling = world.wishes.iter().any(|wish| wish.calling);
    steps.extend((!calling && world.provider.taken > 0 && !world.provider.forgetful).then_some(Step::Forget));
    steps
}

/// The world after a step.
pub fn after(world: &World, step: Step, without: Option<Protection>) -> World {
    let mut next = world.clone();
    match step {
        Step::Place => next.place(without),
        Step::Cancel => next.cancel(without),
        Step::TimeOut => next.tell_order(order::domain::Input::TimedOut),
        Step::Lose(Reader::Billing) => next.order.lost = next.order.end(),
        Step::Lose(Reader::Ordering) => next.payment.lost = next.payment.end(),
        Step::Bring(reader, revision, late) => {
            next.hear(reader, revision, if late { Means::StreamLate } else { Means::Stream }, without);
        }
        Step::Audit(reader) => next.audit(reader),
        Step::Read(reader) => {
            next.hear(reader, of(world, reader).1.revision + 1, Means::Log { epoch: 1, absent: false }, without);
        }
        Step::Begin(number) => {
            next.wishes[number].state = WishState::Begun;
            next.wishes[number].calling = true;
        }
        Step::Arrive(number) => {
            next.wishes[number].calling = false;
            next.provider.act(world.wishes[number].kind, world.good_card);
        }
        Step::Answer(number) => next.answer(number),
        Step::GiveUp(number) => next.wishes[number].unanswered = true,
        Step::Again(number) => next.again(number, without),
        Step::Forget => next.provider.forgetful = true,
    }
    next
}

/// What a reader reads, and how far it is.
pub(crate) fn of(world: &World, reader: Reader) -> (&Log, &Heard) {
    match reader {
        Reader::Billing => (&world.order, &world.billing),
        Reader::Ordering => (&world.payment, &world.ordering),
    }
}
