//! A provider for demos and tests. It is part of the world, not of billing: its books are its own, committed before it answers and
//! independently of billing's transactions, so that killing either at any moment shows what a real provider would show.

mod books;
mod card;

use std::time::Duration;

use async_trait::async_trait;
use ledger::OpenError;
use sea_orm::DbErr;

use super::{Outcome, Provider, Reservation, Unanswered};
use crate::card_token::CardToken;
use books::{Booked, Books, Entry};
use card::Card;

pub use books::{Charge, ChargeState};

/// Knows these tokens, each also with a suffix after a colon:
///
/// - `tok_approved`: does what it is asked;
/// - `tok_declined`: refuses to reserve;
/// - `tok_timeout`: reserves, but its first answer is lost;
/// - `tok_late`: does what it is asked, and answers late.
#[derive(Clone, Debug)]
pub struct Simulated {
    books: Books,
    late_by: Duration,
}

/// How late `tok_late` is answered: long enough to do something meanwhile, and shorter than billing's patience.
const LATE_BY: Duration = Duration::from_millis(1500);

impl Simulated {
    /// Opens its books, `sqlite://<path>` or `postgres://…` (tables `simulated_…`), and makes them if there are none. Others may have them
    /// open, too.
    pub async fn open(address: &str) -> Result<Self, OpenError> {
        Ok(Self { books: Books::open(address).await?, late_by: LATE_BY })
    }

    /// Answers `tok_late` after this delay.
    #[must_use]
    pub const fn late_by(mut self, delay: Duration) -> Self {
        self.late_by = delay;
        self
    }

    /// All charges, the oldest first. Who adds up what was [taken](Charge::taken) knows where the money is.
    pub async fn charges(&self) -> Result<Vec<Charge>, DbErr> {
        self.books.charges().await
    }

    async fn enter(&self, reference: &str, entry: Entry) -> Result<Booked, Unanswered> {
        let booked = self.books.enter(reference, entry).await.map_err(|error| unanswered(&error))?;
        if booked.card == Some(Card::Late) {
            tokio::time::sleep(self.late_by).await;
        }
        Ok(booked)
    }
}

#[async_trait]
impl Provider for Simulated {
    async fn knows(&self, card: &CardToken) -> Result<bool, Unanswered> {
        Ok(Card::of(card).is_some())
    }

    async fn authorize(&self, reference: &str, reservation: Reservation) -> Result<Outcome, Unanswered> {
        let booked = self.enter(reference, Entry::Reserve(reservation)).await?;
        if booked.card == Some(Card::Timeout) && booked.first {
            return Err(Unanswered("its answer was lost".to_owned()));
        }
        Ok(booked.outcome)
    }

    async fn capture(&self, reference: &str, charge: &str) -> Result<Outcome, Unanswered> {
        Ok(self.enter(reference, Entry::Take(charge.to_owned())).await?.outcome)
    }

    async fn void(&self, reference: &str, charge: &str) -> Result<Outcome, Unanswered> {
        Ok(self.enter(reference, Entry::LetGo(charge.to_owned())).await?.outcome)
    }

    async fn refund(&self, reference: &str, charge: &str) -> Result<Outcome, Unanswered> {
        Ok(self.enter(reference, Entry::GiveBack(charge.to_owned())).await?.outcome)
    }

    async fn ask(&self, reference: &str) -> Result<Option<Outcome>, Unanswered> {
        self.books.outcome(reference).await.map_err(|error| unanswered(&error))
    }
}

fn unanswered(error: &DbErr) -> Unanswered {
    Unanswered(error.to_string())
}
