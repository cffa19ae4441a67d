//! The simulated provider's books: its charges, and the calls that made them what they are.

mod call;
mod charge;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::{Database, OpenError};
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, EntityTrait as _, QueryOrder as _, Schema};
use tokio::sync::oneshot;

use super::card::Card;
use crate::provider::{Outcome, Reservation};

pub use charge::{Model as Charge, State as ChargeState};

/// The provider's own database, and what waits to be written into it.
#[derive(Clone, Debug)]
pub(super) struct Books {
    db: Database,
    desk: Arc<Desk>,
}

/// Whoever has the turn writes for all that wait: a provider that commits each call by itself would cost more than all of billing.
#[derive(Debug, Default)]
struct Desk {
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

/// A call that is to be entered.
#[derive(Debug)]
struct Waiting {
    reference: String,
    entry: Entry,
    done: oneshot::Sender<Booked>,
}

/// What is written into the books.
#[derive(Debug)]
pub(super) enum Entry {
    Reserve(Reservation),
    /// Of this charge.
    Take(String),
    LetGo(String),
    GiveBack(String),
}

/// What stands in the books under a reference.
#[derive(Debug)]
pub(super) struct Booked {
    pub(super) outcome: Outcome,
    /// None if there is no such charge.
    pub(super) card: Option<Card>,
    /// It was written just now, and not by an earlier call.
    pub(super) first: bool,
}

impl Books {
    pub(super) async fn open(address: &str) -> Result<Self, OpenError> {
        // A kill loses nothing of it, and the power of a provider that is only played does not fail.
        let books = Self { db: Database::shared(address).await?, desk: Arc::default() };
        books.make_tables().await?;
        Ok(books)
    }

    /// Not by migrations: those of billing may be in the same database, under the same names.
    async fn make_tables(&self) -> Result<(), DbErr> {
        let txn = self.db.begin().await?;
        if txn.get_database_backend() == DbBackend::Postgres {
            // `if not exists` alone fails when two instances start together.
            txn.execute_unprepared("select pg_advisory_xact_lock(hashtext('simulated provider'))").await?;
        }
        let schema = Schema::new(txn.get_database_backend());
        txn.execute(schema.create_table_from_entity(charge::Entity).if_not_exists()).await?;
        txn.execute(schema.create_table_from_entity(call::Entity).if_not_exists()).await?;
        txn.commit().await
    }

    /// Writes an entry, unless there is one with this reference. Whoever comes second waits for the first, and gets its outcome.
    pub(super) async fn enter(&self, reference: &str, entry: Entry) -> Result<Booked, DbErr> {
        let (done, mut booked) = oneshot::channel();
        self.desk.waiting().push(Waiting { reference: reference.to_owned(), entry, done });
        let booked = tokio::select! { biased;
            booked = &mut booked => booked,
            turn = self.desk.turn.lock() => {
                // Whoever comes first lets those speak who were woken with them.
                tokio::task::yield_now().await;
                let waiting = std::mem::take(&mut *self.desk.waiting());
                if !waiting.is_empty() {
                    self.write(waiting).await?;
                }
                drop(turn);
                booked.await
            }
        };
        // Whoever wrote it has failed, or was dropped: nobody knows whether it was done.
        booked.map_err(|_| DbErr::Custom(format!("{reference} was not entered")))
    }

    async fn write(&self, mut waiting: Vec<Waiting>) -> Result<(), DbErr> {
        // In one order, so that two instances do not wait for each other.
        waiting.sort_by(|one, other| one.reference.cmp(&other.reference));
        let txn = self.db.begin().await?;
        let mut claimed = call::claim(&txn, waiting.iter().map(|one| (one.reference.as_str(), one.charge()))).await?;
        let first: Vec<bool> = waiting.iter().map(|one| claimed.remove(&one.reference)).collect();
        let new = || waiting.iter().zip(&first).filter(|(_, first)| **first).map(|(one, _)| one);
        charge::reserve(&txn, new().filter_map(Waiting::reservation)).await?;
        let mut charges = charge::lock(&txn, waiting.iter().map(Waiting::charge)).await?;
        let (mut refusals, mut moved) = (BTreeMap::new(), BTreeMap::<ChargeState, Vec<&str>>::new());
        for one in new() {
            match one.entry.change(charges.get_mut(one.charge())) {
                Ok(None) => {}
                Ok(Some(state)) => moved.entry(state).or_default().push(one.charge()),
                Err(refusal) => drop(refusals.insert(one.reference.as_str(), refusal)),
            }
        }
        charge::move_to(&txn, moved).await?;
        call::refuse(&txn, &refusals).await?;
        let again = waiting.iter().zip(&first).filter(|(_, first)| !**first).map(|(one, _)| one.reference.as_str());
        let mut outcomes: HashMap<String, Outcome> = call::find(&txn, again).await?;
        outcomes.extend(new().map(|one| {
            let refusal = refusals.get(one.reference.as_str()).map(|&refusal| Outcome::Refused(refusal.to_owned()));
            (one.reference.clone(), refusal.unwrap_or(Outcome::Done))
        }));
        txn.commit().await?;
        for (one, first) in waiting.into_iter().zip(first) {
            let card = charges.get(one.charge()).map(|charge| charge.card);
            if let Some(outcome) = outcomes.get(&one.reference).cloned() {
                // Whoever called may have gone; what was done stays done.
                let _ = one.done.send(Booked { outcome, card, first });
            }
        }
        Ok(())
    }

    pub(super) async fn outcome(&self, reference: &str) -> Result<Option<Outcome>, DbErr> {
        Ok(call::find(self.db.reader(), [reference]).await?.remove(reference))
    }

    pub(super) async fn charges(&self) -> Result<Vec<Charge>, DbErr> {
        charge::Entity::find().order_by_asc(charge::Column::Reference).all(self.db.reader()).await
    }
}

impl Desk {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The name of the charge that it is about.
    fn charge(&self) -> &str {
        match &self.entry {
            Entry::Reserve(_) => &self.reference,
            Entry::Take(charge) | Entry::LetGo(charge) | Entry::GiveBack(charge) => charge,
        }
    }

    fn reservation(&self) -> Option<(&str, &Reservation)> {
        let Entry::Reserve(reservation) = &self.entry else { return None };
        Some((&self.reference, reservation))
    }
}

impl Entry {
    /// Changes the charge, which is written already if it is new. Where its money is then, if it moved; or why it did not.
    fn change(&self, charge: Option<&mut Charge>) -> Result<Option<ChargeState>, &'static str> {
        let (from, to, refusal) = match self {
            Self::Reserve(_) => {
                return match charge.map(|charge| charge.state) {
                    None => Err("the card is not known"),
                    Some(ChargeState::Declined) => Err("the card was declined"),
                    Some(_) => Ok(None),
                };
            }
            Self::Take(_) => (ChargeState::Reserved, ChargeState::Taken, "the amount is not reserved"),
            Self::LetGo(_) => (ChargeState::Reserved, ChargeState::LetGo, "the amount is not reserved"),
            Self::GiveBack(_) => (ChargeState::Taken, ChargeState::GivenBack, "the amount was not taken"),
        };
        let charge = charge.filter(|charge| charge.state == from).ok_or(refusal)?;
        charge.state = to;
        Ok(Some(to))
    }
}
