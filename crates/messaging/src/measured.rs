//! What is measured of deliveries. The handles of a lane are made once, for each method and subscription.

use std::collections::HashMap;

use event::Micros;
use ledger::{Delivery, Input, Ledger, Means, Outcome};
use meter::{Counter, Histogram};
use tokio::time::Instant;

/// All that can become of a command, and of an event.
const ENDS: [&str; 4] = ["completed", "rejected", "failed", "given_back"];
const TAKES: [&str; 7] = ["applied", "skipped", "duplicate", "noted", "gap", "given_back", "stranger"];

pub(crate) struct Meters {
    commands: HashMap<String, Commands>,
    subscriptions: HashMap<&'static str, Events>,
}

pub(crate) struct Commands {
    outcomes: [Counter; ENDS.len()],
    seconds: Histogram,
}

pub(crate) struct Events {
    outcomes: [Counter; TAKES.len()],
    healed: Counter,
    lag: Histogram,
}

/// One delivery, until it is known what became of it.
pub(crate) enum Measured<'m> {
    Command { meters: &'m Commands, began: Instant },
    Event { meters: &'m Events, time: Micros, from_log: bool },
    Nothing,
}

impl Meters {
    pub(crate) fn of(ledger: &Ledger) -> Self {
        let handlers = ledger.handlers();
        let commands = handlers.methods().map(|method| (method.to_owned(), Commands::of(method)));
        let subscriptions = handlers.subscriptions().map(|one| (one.name, Events::of(one.name)));
        Self { commands: commands.collect(), subscriptions: subscriptions.collect() }
    }

    pub(crate) fn measure(&self, delivery: &Delivery, began: Instant) -> Measured<'_> {
        let measured = match &delivery.input {
            Input::Command(command) => {
                self.commands.get(&command.method).map(|meters| Measured::Command { meters, began })
            }
            Input::Event(event) => self.subscriptions.get(event.subscription).map(|meters| Measured::Event {
                meters,
                time: event.record.time,
                from_log: matches!(event.means, Means::Log { .. }),
            }),
            Input::Answer(_) | Input::Timer(_) => None,
        };
        measured.unwrap_or(Measured::Nothing)
    }
}

impl Measured<'_> {
    /// `now`: by the clock that events have their times from, which is the database's.
    pub(crate) fn note(&self, outcome: &Outcome, now: Micros) {
        match self {
            Self::Command { meters, began } => {
                count(&ENDS, &meters.outcomes, outcome);
                if matches!(outcome, Outcome::Ended(_)) {
                    meters.seconds.record(began.elapsed());
                }
            }
            Self::Event { meters, time, from_log } => {
                count(&TAKES, &meters.outcomes, outcome);
                if *outcome == Outcome::Applied {
                    meters.lag.record(now.since(*time));
                    meters.healed.increment(u64::from(*from_log));
                }
            }
            Self::Nothing => {}
        }
    }
}

fn count(names: &[&str], counters: &[Counter], outcome: &Outcome) {
    if let Some(at) = names.iter().position(|name| *name == outcome.name()) {
        counters[at].increment(1);
    }
}

impl Commands {
    fn of(method: &str) -> Self {
        Self {
            outcomes: ENDS.map(|outcome| meter::COMMANDS.counter(&[method, outcome])),
            seconds: meter::COMMAND_SECONDS.histogram(&[method]),
        }
    }
}

impl Events {
    fn of(subscription: &str) -> Self {
        Self {
            outcomes: TAKES.map(|outcome| meter::EVENTS.counter(&[subscription, outcome])),
            healed: meter::HEALED.counter(&[subscription]),
            lag: meter::LAG_SECONDS.histogram(&[subscription]),
        }
    }
}
