//! An order, its customer, billing, and the payment provider, as far as they matter to each other; and one step of any of them.

use billing::domain::{Payment, Step as PaymentStep};
use event::{History, Id, Key, Micros, Record, TraceContext};
use ledger::rules::{Cursor, State};
use ledger::{Aggregate, At, EventSet};
use order::domain::Order;
use uuid::Uuid;

/// All that there is at one moment. Whatever can be derived is derived.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// Whether the provider takes the card.
    pub good_card: bool,
    pub order: Log,
    pub payment: Log,
    /// How far billing is with the order's log.
    pub billing: Heard,
    /// How far order is with the payment's log.
    pub ordering: Heard,
    /// The first answers to the customer's commands: whether they were carried out.
    pub placed: Option<bool>,
    pub canceled: Option<bool>,
    /// A command was answered in two ways.
    pub contradicted: bool,
    /// The timer by which billing must have told.
    pub deadline: bool,
    pub wishes: Vec<Wish>,
    pub provider: Provider,
}

/// A log, and which of its first entries the stream has lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Log {
    pub entries: Vec<Entry>,
    pub lost: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub type_name: String,
    pub body: Vec<u8>,
    pub history: [u8; 16],
}

/// A subscription's cursor, and what its handlers were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Heard {
    pub revision: i64,
    pub noted: i64,
    pub waits: bool,
    pub handled: Vec<i64>,
}

/// An effect of the payment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wish {
    pub kind: Kind,
    pub state: WishState,
    /// A call is on its way to the provider.
    pub calling: bool,
    /// The answer to the last call was lost.
    pub unanswered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Charge,
    Refund,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WishState {
    Wished,
    Begun,
    Over,
    Withdrawn,
}

/// What the provider has done, and whether it still knows calls that come again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Provider {
    pub taken: u8,
    pub given_back: u8,
    pub refused: bool,
    /// It takes a call that it has seen for a new one.
    pub forgetful: bool,
}

pub fn order_id() -> Id {
    Id::timed(2, [2; 10])
}

pub fn customer() -> Id {
    Id::timed(1, [1; 10])
}

impl World {
    pub fn new(good_card: bool) -> Self {
        Self {
            good_card,
            order: Log::default(),
            payment: Log::default(),
            billing: Heard::default(),
            ordering: Heard::default(),
            placed: None,
            canceled: None,
            contradicted: false,
            deadline: false,
            wishes: Vec::new(),
            provider: Provider::default(),
        }
    }

    pub fn order_now(&self) -> Order {
        self.order.fold()
    }

    pub fn payment_now(&self) -> Payment {
        self.payment.fold()
    }

    /// What the customer has paid, in prices of the order.
    pub fn paid(&self) -> i16 {
        i16::from(self.provider.taken) - i16::from(self.provider.given_back)
    }

    pub fn exists(&self) -> bool {
        self.payment_now().step != PaymentStep::New
    }
}

impl Log {
    /// The newest revision.
    pub fn end(&self) -> i64 {
        i64::try_from(self.entries.len()).unwrap_or(i64::MAX)
    }

    pub fn append<E: EventSet>(&mut self, events: &[E]) {
        for event in events {
            let (type_name, body) = event.encode();
            let History(history) = self.past().then(&type_name, &body);
            self.entries.push(Entry { type_name, body, history });
        }
    }

    fn past(&self) -> History {
        self.entries.last().map_or_else(History::default, |entry| History(entry.history))
    }

    fn fold<A: Aggregate>(&self) -> A {
        let mut state = A::default();
        for (entry, revision) in self.entries.iter().zip(1..) {
            if let Some(Ok(event)) = A::Event::decode(&entry.type_name, &entry.body) {
                state.apply(&event, &At { id: order_id(), revision, time: Micros(revision) });
            }
        }
        state
    }

    /// An entry as the stream, or its owner, brings it.
    pub fn record(&self, revision: i64) -> Option<Record> {
        let entry = self.entries.get(usize::try_from(revision - 1).ok()?)?;
        Some(Record {
            id: Uuid::nil(),
            source: order_id(),
            key: Key::new("order", order_id()),
            epoch: 1,
            revision,
            history: History(entry.history),
            type_name: entry.type_name.clone(),
            body: entry.body.clone().into(),
            time: Micros(revision),
            principal: String::new(),
            command_id: None,
            cause_id: None,
            trace: TraceContext::default(),
        })
    }
}

impl Heard {
    /// As the row that production judges by.
    pub fn cursor(&self, log: &Log) -> Cursor {
        let past = usize::try_from(self.revision).ok().and_then(|revision| log.entries.get(revision.checked_sub(1)?));
        Cursor {
            subscription: String::new(),
            key: String::new(),
            epoch: 1,
            revision: self.revision,
            history: past.map_or([0; 16], |entry| entry.history).to_vec(),
            state: if self.waits { State::Waiting } else { State::Flowing },
            due: None,
            noted: self.noted,
            attempts: 0,
            reason: None,
            dropped: 0,
        }
    }

    pub fn follow(&mut self, cursor: &Cursor) {
        (self.revision, self.noted) = (cursor.revision, cursor.noted);
        self.waits = cursor.state == State::Waiting;
    }
}

impl Provider {
    pub fn has_done(&self, kind: Kind) -> bool {
        match kind {
            Kind::Charge => self.taken > 0 || self.refused,
            Kind::Refund => self.given_back > 0,
        }
    }

    /// A call arrives.
    pub fn act(&mut self, kind: Kind, good_card: bool) {
        if self.has_done(kind) && !self.forgetful {
            return;
        }
        match kind {
            Kind::Charge if good_card => self.taken += 1,
            Kind::Charge => self.refused = true,
            Kind::Refund => self.given_back += 1,
        }
    }
}
