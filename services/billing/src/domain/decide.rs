use event::Id;
use proto::billing::v1::payment_failed::Cause;
use proto::billing::v1::{
    PaymentAuthorized, PaymentCancelRequested, PaymentFailed, PaymentProcessed, PaymentRefundRequested,
    PaymentRefunded, PaymentRequested, PaymentVoided,
};

use super::{Event, Order, Payment, Refusal, Step};
use crate::error::Error;
use crate::provider::Outcome;

/// What a payment hears of.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// An order was placed, and judged.
    Ordered(Result<Order, Refusal>),
    /// The order was canceled. `withdrawn`: what the provider was to be asked was taken back before it was.
    Canceled {
        withdrawn: bool,
    },
    Authorized(Outcome),
    Captured(Outcome),
    /// The reservation is gone: it was let go, or it had run out.
    Voided,
    Refunded(Outcome),
}

/// What the provider is to be asked next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Authorize(Order),
    Capture,
    Void,
    Refund,
}

/// What follows from an input. Nothing, if the payment does not care any more.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Decision {
    pub(crate) events: Vec<Event>,
    pub(crate) act: Option<Act>,
}

/// Keys have no mutual order, so every input may come in every step: what comes too early is recorded, what comes too late is ignored.
///
/// Fails only if the provider refuses to give money back, which an operator must settle.
#[expect(clippy::match_same_arms, reason = "a table of transitions, read step by step")]
pub(crate) fn decide(id: Id, payment: &Payment, input: Input) -> Result<Decision, Error> {
    let facts = Facts { order_id: id.to_string(), payment };
    Ok(match (payment.step, input) {
        (Step::New, Input::Ordered(Ok(order))) => facts.requested(order.clone()).and(Act::Authorize(order)),
        (Step::New, Input::Ordered(Err(refusal))) => facts.failed(refusal),
        (Step::New, Input::Canceled { .. }) | (Step::Authorizing, Input::Canceled { withdrawn: true }) => {
            facts.voided()
        }
        (Step::Capturing, Input::Canceled { withdrawn: true }) => facts.cancel_requested().and(Act::Void),
        (Step::Authorizing | Step::Capturing, Input::Canceled { withdrawn: false }) => facts.cancel_requested(),
        (Step::Captured, Input::Canceled { .. }) => facts.refund_requested().and(Act::Refund),

        (Step::Authorizing, Input::Authorized(Outcome::Done)) => facts.authorized().and(Act::Capture),
        (Step::AuthorizingInVain, Input::Authorized(Outcome::Done)) => facts.authorized().and(Act::Void),
        (Step::Authorizing, Input::Authorized(Outcome::Refused(reason))) => facts.declined(reason),
        (Step::AuthorizingInVain, Input::Authorized(Outcome::Refused(_))) => facts.voided(),

        (Step::Capturing, Input::Captured(Outcome::Done)) => facts.processed(),
        (Step::Canceling, Input::Captured(Outcome::Done)) => facts.refund_requested().and(Act::Refund),
        // What was reserved and cannot be taken is let go, so that the customer can use it.
        (Step::Capturing, Input::Captured(Outcome::Refused(reason))) => facts.declined(reason).and(Act::Void),
        (Step::Canceling, Input::Captured(Outcome::Refused(_))) => facts.voided().and(Act::Void),

        (Step::Canceling, Input::Voided) => facts.voided(),
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

    fn authorized(self) -> Decision {
        PaymentAuthorized { amount: self.amount(), order_id: self.order_id }.into()
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
