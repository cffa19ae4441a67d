use event::Id;
use proto::billing::v1::payment_failed::Cause;
use proto::billing::v1::{
    PaymentCancelRequested, PaymentFailed, PaymentProcessed, PaymentRefundRequested, PaymentRefunded, PaymentRequested,
    PaymentVoided,
};

use super::{Event, Order, Payment, Refusal, Step};
use crate::error::Error;
use crate::provider::Outcome;

/// What a payment hears of.
#[derive(Clone, Debug)]
pub enum Input {
    /// An order was placed, and judged.
    Ordered(Result<Order, Refusal>),
    /// The order was canceled. `withdrawn`: what the provider was to be asked was taken back before it was.
    Canceled {
        withdrawn: bool,
    },
    /// The amount was taken, or nothing of it is held any more.
    Charged(Outcome),
    Refunded(Outcome),
}

/// What the provider is to be asked next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Charge(Order),
    Refund,
}

/// What follows from an input. Nothing, if the payment does not care any more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    pub events: Vec<Event>,
    pub act: Option<Act>,
}

/// Keys have no mutual order, so every input may come in every step: what comes too early is recorded, what comes too late is ignored.
///
/// Fails only if the provider refuses to give money back, which an operator must settle.
#[expect(clippy::match_same_arms, reason = "a table of transitions, read step by step")]
pub fn decide(id: Id, payment: &Payment, input: Input) -> Result<Decision, Error> {
    let facts = Facts { order_id: id.to_string(), payment };
    Ok(match (payment.step, input) {
        (Step::New, Input::Ordered(Ok(order))) => facts.requested(order.clone()).and(Act::Charge(order)),
        (Step::New, Input::Ordered(Err(refusal))) => facts.failed(refusal),
        (Step::New, Input::Canceled { .. }) | (Step::Charging, Input::Canceled { withdrawn: true }) => facts.voided(),
        (Step::Charging, Input::Canceled { withdrawn: false }) => facts.cancel_requested(),
        (Step::Captured, Input::Canceled { .. }) => facts.refund_requested().and(Act::Refund),

        (Step::Charging, Input::Charged(Outcome::Done)) => facts.processed(),
        (Step::Canceling, Input::Charged(Outcome::Done)) => facts.refund_requested().and(Act::Refund),
        (Step::Charging, Input::Charged(Outcome::Refused(reason))) => facts.declined(reason),
        (Step::Canceling, Input::Charged(Outcome::Refused(_))) => facts.voided(),

        (Step::Refunding, Input::Refunded(Outcome::Done)) => facts.refunded(),
        (Step::Refunding, Input::Refunded(Outcome::Refused(reason))) => return Err(Error::RefundRefused(reason)),

        // An order that failed here is canceled because of that; answers to what was given up change nothing; the rest are repetitions.
        _ => Decision::default(),
    })
}

/// Writes the events down.
struct Facts<'p> {
    order_id: String,
    payment: &'p Payment,
}

impl Facts<'_> {
    fn requested(self, order: Order) -> Decision {
        let Order { customer_id, amount, payment_method_id } = order;
        let Self { order_id, .. } = self;
        PaymentRequested { order_id, customer_id, amount: Some(amount.into()), payment_method_id }.into()
    }

    fn failed(self, refusal: Refusal) -> Decision {
        let Refusal { cause, reason, customer_id } = refusal;
        PaymentFailed { order_id: self.order_id, cause: cause.into(), reason, customer_id }.into()
    }

    fn declined(self, reason: String) -> Decision {
        let customer_id = self.payment.customer_id.clone().unwrap_or_default();
        self.failed(Refusal { cause: Cause::Declined, reason, customer_id })
    }

    fn processed(self) -> Decision {
        PaymentProcessed { amount: self.amount(), order_id: self.order_id }.into()
    }

    fn refund_requested(self) -> Decision {
        PaymentRefundRequested { amount: self.amount(), order_id: self.order_id }.into()
    }

    fn refunded(self) -> Decision {
        PaymentRefunded { amount: self.amount(), order_id: self.order_id }.into()
    }

    fn voided(self) -> Decision {
        PaymentVoided { order_id: self.order_id }.into()
    }

    fn cancel_requested(self) -> Decision {
        PaymentCancelRequested { order_id: self.order_id }.into()
    }

    fn amount(&self) -> Option<proto::money::v1::Money> {
        self.payment.amount.clone().map(Into::into)
    }
}

impl Decision {
    fn and(mut self, act: Act) -> Self {
        self.act = Some(act);
        self
    }
}

impl<E: Into<Event>> From<E> for Decision {
    fn from(event: E) -> Self {
        Self { events: vec![event.into()], act: None }
    }
}

#[cfg(test)]
mod tests;
