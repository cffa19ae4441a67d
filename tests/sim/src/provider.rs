//! A payment provider, which is part of the world: calls reach it late or not at all, its answers get lost, and after a day it does not know a
//! reference any more when it is called again. What it is asked for, it finds for ever.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use billing::{CardToken, Outcome, Provider, Reservation, Unanswered};
use event::Micros;

use crate::fault::Fault;
use crate::sim::Sim;

/// How long a reference keeps a call from being made twice: a day, as with providers that there are, or minutes, so that it is often forgotten.
/// No call is on its way for as long.
const REMEMBERED: [Duration; 2] = [Duration::from_hours(24), Duration::from_mins(3)];
/// How long a call may be on its way, in milliseconds.
const LATE_MS: u64 = 90_000;
/// Once in so many calls.
const ODDS: u64 = 12;

/// A card that nobody can take money from.
pub const DECLINED: &str = "tok_declined";

/// The provider, and its books. Clones share them.
#[derive(Clone)]
pub struct SimulatedProvider {
    sim: Sim,
    remembered: Duration,
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    calls: Vec<Call>,
    charges: Vec<Charge>,
    /// Calls that arrive later.
    on_their_way: usize,
}

struct Call {
    reference: String,
    outcome: Outcome,
    at: Micros,
}

/// An amount that was reserved.
#[derive(Clone, Debug)]
pub struct Charge {
    pub reference: String,
    pub order_id: String,
    pub minor: i64,
    pub state: ChargeState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeState {
    Reserved,
    Taken,
    LetGo,
    GivenBack,
}

/// What it is called for.
#[derive(Clone)]
enum Act {
    Reserve(Reservation),
    Take(String),
    LetGo(String),
    GiveBack(String),
}

impl SimulatedProvider {
    pub fn new(sim: Sim) -> Self {
        let remembered = REMEMBERED[usize::from(sim.chance().below(2) == 0)];
        Self { sim, remembered, books: Arc::default() }
    }

    /// Whether a call has left somebody, and not arrived.
    pub fn is_called(&self) -> bool {
        self.books().on_their_way > 0
    }

    pub fn charges(&self) -> Vec<Charge> {
        self.books().charges.clone()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(&self, reference: &str, act: Act) -> Result<Outcome, Unanswered> {
        if self.sim.strikes(Fault::ProviderNotReached, ODDS) {
            return Err(unanswered());
        }
        if self.sim.strikes(Fault::ProviderLate, ODDS) {
            let (this, reference) = (self.clone(), reference.to_owned());
            let late = Duration::from_millis(self.sim.chance().below(LATE_MS));
            self.books().on_their_way += 1;
            self.sim.spawn("world", async move {
                tokio::time::sleep(late).await;
                this.arrives(&reference, act);
                this.books().on_their_way -= 1;
            });
            tokio::time::sleep(Duration::from_millis(LATE_MS)).await;
            return Err(unanswered());
        }
        self.sim.way().await;
        let outcome = self.arrives(reference, act);
        if self.sim.strikes(Fault::ProviderUnanswered, ODDS) {
            return Err(unanswered());
        }
        self.sim.way().await;
        Ok(outcome)
    }

    fn arrives(&self, reference: &str, act: Act) -> Outcome {
        let now = self.sim.now();
        let mut books = self.books();
        let known = books.calls.iter().find(|call| call.reference == reference && now.since(call.at) < self.remembered);
        if let Some(known) = known {
            return known.outcome.clone();
        }
        let outcome = books.enter(reference, act);
        books.calls.push(Call { reference: reference.to_owned(), outcome: outcome.clone(), at: now });
        outcome
    }
}

impl Books {
    fn enter(&mut self, reference: &str, act: Act) -> Outcome {
        let (charge, from, to) = match act {
            Act::Reserve(reservation) if reservation.card.expose().starts_with(DECLINED) => {
                return Outcome::Refused("the card was declined".to_owned());
            }
            Act::Reserve(Reservation { order_id, minor, .. }) => {
                let state = ChargeState::Reserved;
                self.charges.push(Charge { reference: reference.to_owned(), order_id, minor, state });
                return Outcome::Done;
            }
            Act::Take(charge) => (charge, ChargeState::Reserved, ChargeState::Taken),
            Act::LetGo(charge) => (charge, ChargeState::Reserved, ChargeState::LetGo),
            Act::GiveBack(charge) => (charge, ChargeState::Taken, ChargeState::GivenBack),
        };
        let found = self.charges.iter_mut().find(|one| one.reference == charge && one.state == from);
        let Some(found) = found else { return Outcome::Refused(format!("there is no charge that is {from:?}")) };
        found.state = to;
        Outcome::Done
    }
}

#[async_trait]
impl Provider for SimulatedProvider {
    async fn knows(&self, card: &CardToken) -> Result<bool, Unanswered> {
        self.sim.way().await;
        Ok(card.expose().starts_with("tok_"))
    }

    async fn authorize(&self, reference: &str, reservation: Reservation) -> Result<Outcome, Unanswered> {
        self.call(reference, Act::Reserve(reservation)).await
    }

    async fn capture(&self, reference: &str, charge: &str) -> Result<Outcome, Unanswered> {
        self.call(reference, Act::Take(charge.to_owned())).await
    }

    async fn void(&self, reference: &str, charge: &str) -> Result<Outcome, Unanswered> {
        self.call(reference, Act::LetGo(charge.to_owned())).await
    }

    async fn refund(&self, reference: &str, charge: &str) -> Result<Outcome, Unanswered> {
        self.call(reference, Act::GiveBack(charge.to_owned())).await
    }

    async fn ask(&self, reference: &str) -> Result<Option<Outcome>, Unanswered> {
        self.sim.way().await;
        let found = self.books().calls.iter().find(|call| call.reference == reference).map(|call| call.outcome.clone());
        self.sim.way().await;
        Ok(found)
    }
}

fn unanswered() -> Unanswered {
    Unanswered("it did not answer".to_owned())
}

impl std::fmt::Debug for SimulatedProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimulatedProvider")
    }
}
