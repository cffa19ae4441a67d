//! The port to whoever moves the money.

mod simulated;

use async_trait::async_trait;

use crate::card_token::CardToken;

pub use simulated::{Charge, ChargeState, Simulated};

/// A payment provider.
///
/// Each call that moves money carries a reference of ours and is done at most once under it, for ever: a repetition gets the first
/// outcome. A charge is named by the reference under which it was authorized, and is always captured or refunded as a whole.
/// A call may be dropped at any await; like one that fails, it may then have been done or not, and only [`ask`](Self::ask) can tell.
#[async_trait]
pub trait Provider: std::fmt::Debug + Send + Sync {
    /// Whether the provider has given this token out.
    async fn knows(&self, card: &CardToken) -> Result<bool, Unanswered>;

    /// Reserves an amount on a card.
    async fn authorize(&self, reference: &str, reservation: Reservation) -> Result<Outcome, Unanswered>;

    /// Takes what was reserved.
    async fn capture(&self, reference: &str, charge: &str) -> Result<Outcome, Unanswered>;

    /// Lets go of what was reserved, and was not taken.
    async fn void(&self, reference: &str, charge: &str) -> Result<Outcome, Unanswered>;

    /// Gives back what was taken.
    async fn refund(&self, reference: &str, charge: &str) -> Result<Outcome, Unanswered>;

    /// What came of the call with this reference. None if it never arrived; it may still be on its way.
    async fn ask(&self, reference: &str) -> Result<Option<Outcome>, Unanswered>;
}

/// What to reserve.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// For people who compare the provider's list with ours.
    pub order_id: String,
    pub currency: String,
    /// In the currency's smallest unit; above 0.
    pub minor: i64,
    pub card: CardToken,
}

/// What the provider did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Nothing was done, and why, in words for the customer.
    Refused(String),
}

/// The provider gave no answer, and nobody knows whether it did what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("the payment provider did not answer: {0}")]
pub struct Unanswered(pub String);
