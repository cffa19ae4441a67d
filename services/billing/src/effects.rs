//! What is asked of the payment provider. It is asked after the commit that decided it, and its answer is taken in by another.
//!
//! No wish holds a card's token: it is read from its table at the moment at which the provider is given it.

use event::{Id, Key};
use fault::{Protection, without};
use ledger::{Answered, Begun, Effect, Reader, Result, Tx};
use prost::Message;

use crate::card_token::CardToken;
use crate::domain::{Input, Order};
use crate::orders::carry_out;
use crate::provider::{Outcome, Reservation, Unanswered};
use crate::settings::Billing;

/// Take the price of an order.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Charge {
    #[prost(string, tag = "1")]
    pub(crate) order_id: String,
    #[prost(string, tag = "2")]
    pub(crate) payment_method_id: String,
    #[prost(string, tag = "3")]
    pub(crate) currency: String,
    #[prost(int64, tag = "4")]
    pub(crate) minor: i64,
}

/// Give back what was taken.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Refund {
    #[prost(string, tag = "1")]
    pub(crate) charge: String,
}

/// What the provider did.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Answer {
    #[prost(bool, tag = "1")]
    done: bool,
    /// If it was not done: why, in words for the customer.
    #[prost(string, tag = "2")]
    refusal: String,
}

impl Effect for Charge {
    const KIND: &'static str = "charge";
    type Answer = Answer;
}

impl Effect for Refund {
    const KIND: &'static str = "refund";
    type Answer = Answer;
}

/// Reserves the amount, and takes it at once: two calls, and both are over before the payment is told. Each has a reference of its own,
/// made from the effect's, so an attempt goes on where an earlier one was left. The charge is known by that of its reservation.
pub(crate) async fn charge(cx: Reader, begun: Begun<Charge>) -> Result<Answer> {
    let Begun { wish, reference, ask_first } = begun;
    let billing = cx.service::<Billing>()?;
    let method = billing.payment_methods.find(cx.db(), &wish.payment_method_id).await?;
    let reserve = async {
        let Some(method) = method else { return Ok(Outcome::Refused("the payment method was removed".to_owned())) };
        billing.provider.authorize(&reference, wish.reservation(method.card_token)).await
    };
    let reserved = once(billing, &reference, ask_first, reserve).await?;
    if reserved != Outcome::Done {
        return Ok(reserved.into());
    }
    let capture = format!("{reference}/capture");
    let taken = once(billing, &capture, ask_first, billing.provider.capture(&capture, &reference)).await?;
    if taken != Outcome::Done {
        let_go(billing, &reference, ask_first).await?;
    }
    Ok(taken.into())
}

/// What was reserved and cannot be taken is let go, so that the customer can use it.
async fn let_go(billing: &Billing, charge: &str, ask_first: bool) -> Result<()> {
    let void = format!("{charge}/void");
    // What cannot be let go runs out by itself; nothing is taken either way.
    if let Outcome::Refused(reason) = once(billing, &void, ask_first, billing.provider.void(&void, charge)).await? {
        tracing::warn!(charge, reason, "a reservation could not be let go");
    }
    Ok(())
}

pub(crate) async fn refund(cx: Reader, begun: Begun<Refund>) -> Result<Answer> {
    let Begun { wish, reference, ask_first } = begun;
    let billing = cx.service::<Billing>()?;
    Ok(once(billing, &reference, ask_first, billing.provider.refund(&reference, &wish.charge)).await?.into())
}

/// Makes the call, unless an earlier attempt got through. A call that the provider has not seen is made under the same reference, so that
/// one which is still on its way to it does no harm.
async fn once(
    billing: &Billing,
    reference: &str,
    ask_first: bool,
    call: impl Future<Output = Result<Outcome, Unanswered>> + Send,
) -> Result<Outcome> {
    if ask_first {
        if let Some(outcome) = billing.in_time(billing.provider.ask(reference)).await? {
            return Ok(outcome);
        }
        if without(Protection::NotFoundIsNoOutcome) {
            return Ok(Outcome::Refused("the provider has not seen it".to_owned()));
        }
    }
    billing.in_time(call).await
}

pub(crate) async fn charged(cx: &mut Tx, answered: Answered<Charge>) -> Result<()> {
    take_in(cx, &answered.key, Input::Charged(answered.answer.into())).await
}

pub(crate) async fn refunded(cx: &mut Tx, answered: Answered<Refund>) -> Result<()> {
    take_in(cx, &answered.key, Input::Refunded(answered.answer.into())).await
}

async fn take_in(cx: &mut Tx, key: &Key, input: Input) -> Result<()> {
    let payment = cx.load(key.id()).await?;
    carry_out(cx, payment, input).await
}

impl Charge {
    pub(crate) fn new(order_id: Id, order: Order) -> Self {
        let Order { amount, payment_method_id, .. } = order;
        Self { order_id: order_id.to_string(), payment_method_id, currency: amount.currency, minor: amount.minor }
    }

    fn reservation(self, card: CardToken) -> Reservation {
        let Self { order_id, currency, minor, .. } = self;
        Reservation { order_id, currency, minor, card }
    }
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self { done: true, refusal: String::new() },
            Outcome::Refused(refusal) => Self { done: false, refusal },
        }
    }
}

impl From<Answer> for Outcome {
    fn from(Answer { done, refusal }: Answer) -> Self {
        if done { Self::Done } else { Self::Refused(refusal) }
    }
}
