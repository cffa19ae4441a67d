use ledger::{Aggregate, At, Rows};
use proto::billing::v1::{
    PaymentCancelRequested, PaymentFailed, PaymentProcessed, PaymentRefundRequested, PaymentRefunded, PaymentRequested,
    PaymentVoided,
};
use serde::{Deserialize, Serialize};

use super::Money;
use crate::store::payment;

ledger::event_set!(
    pub enum Event {
        PaymentRequested,
        PaymentProcessed,
        PaymentFailed,
        PaymentVoided,
        PaymentRefundRequested,
        PaymentRefunded,
        PaymentCancelRequested,
    }
);

/// The payment of an order, under the order's id. It is the fence between charging an order and canceling it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    pub step: Step,
    /// None where a cancel came before the order.
    pub customer_id: Option<String>,
    /// None if the provider was never asked.
    pub amount: Option<Money>,
    pub reason: String,
    /// The revision with which the provider was asked for the amount; 0 if it never was.
    pub requested: i64,
}

/// How far a payment is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Nothing has happened.
    #[default]
    New,
    /// The provider is asked for the amount.
    Charging,
    /// The same, and the order was canceled meanwhile.
    Canceling,
    /// The amount was taken.
    Captured,
    /// The provider is asked to give the amount back.
    Refunding,
    /// Final: the amount was given back.
    Refunded,
    /// Final: nothing was taken, because the order was canceled.
    Voided,
    /// Final: nothing was taken, because the order was refused.
    Failed,
}

impl Aggregate for Payment {
    const KIND: &'static str = "payment";
    const FOLD: i64 = 1;
    type Event = Event;

    fn apply(&mut self, event: &Event, at: &At) {
        match event {
            Event::PaymentRequested(requested) => {
                self.customer_id = Some(requested.customer_id.clone());
                self.amount = requested.amount.clone().map(Money::from);
                self.requested = at.revision;
            }
            Event::PaymentFailed(failed) => {
                self.customer_id = Some(failed.customer_id.clone());
                self.reason.clone_from(&failed.reason);
            }
            _ => {}
        }
        self.step = Step::after(event);
    }

    fn project(&self, at: &At, rows: &mut Rows) {
        rows.put(at.id.to_string(), payment::row(self, at));
    }
}

impl Step {
    const fn after(event: &Event) -> Self {
        match event {
            Event::PaymentRequested(_) => Self::Charging,
            Event::PaymentCancelRequested(_) => Self::Canceling,
            Event::PaymentProcessed(_) => Self::Captured,
            Event::PaymentFailed(_) => Self::Failed,
            Event::PaymentVoided(_) => Self::Voided,
            Event::PaymentRefundRequested(_) => Self::Refunding,
            Event::PaymentRefunded(_) => Self::Refunded,
        }
    }
}
