//! What is asked of the payment provider. It is asked after the commit that decided it, and its answer is taken in by another.
//!
//! No wish holds a card's token: it is read from its table at the moment at which the provider is given it.

use event::{Id, Key};
use ledger::{Answered, Begun, Effect, Reader, Result, Tx};
use prost::Message;

use crate::card_token::CardToken;
use crate::domain::{Input, Order};
use crate::orders::carry_out;
use crate::provider::{Outcome, Reservation, Unanswered};
use crate::settings::Billing;

/// Reserve the price of an order.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Authorize {
    #[prost(string, tag = "1")]
    pub(crate) order_id: String,
    #[prost(string, tag = "2")]
    pub(crate) payment_method_id: String,
    #[prost(string, tag = "3")]
    pub(crate) currency: String,
    #[prost(int64, tag = "4")]
    pub(crate) minor: i64,
}

/// Take what was reserved.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Capture {
    #[prost(string, tag = "1")]
    pub(crate) charge: String,
}

/// Let go of what was reserved.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Void {
    #[prost(string, tag = "1")]
    pub(crate) charge: String,
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

impl Effect for Authorize {
    const KIND: &'static str = "authorize";
    type Answer = Answer;
}

impl Effect for Capture {
    const KIND: &'static str = "capture";
    type Answer = Answer;
}

impl Effect for Void {
    const KIND: &'static str = "void";
    type Answer = Answer;
}

impl Effect for Refund {
    const KIND: &'static str = "refund";
    type Answer = Answer;
}

pub(crate) async fn authorize(cx: Reader, begun: Begun<Authorize>) -> Result<Answer> {
    let Begun { wish, reference, ask_first } = begun;
    let billing = cx.service::<Billing>()?;
    let method = billing.payment_methods.find(cx.db(), &wish.payment_method_id).await?;
    let call = async {
        let Some(method) = method else { return Ok(Outcome::Refused("the payment method was removed".to_owned())) };
        billing.provider.authorize(&reference, wish.reservation(method.card_token)).await
    };
    once(billing, &reference, ask_first, call).await
}

pub(crate) async fn capture(cx: Reader, begun: Begun<Capture>) -> Result<Answer> {
    let Begun { wish, reference, ask_first } = begun;
    let billing = cx.service::<Billing>()?;
    once(billing, &reference, ask_first, billing.provider.capture(&reference, &wish.charge)).await
}

pub(crate) async fn void(cx: Reader, begun: Begun<Void>) -> Result<Answer> {
    let Begun { wish, reference, ask_first } = begun;
    let billing = cx.service::<Billing>()?;
    once(billing, &reference, ask_first, billing.provider.void(&reference, &wish.charge)).await
}

pub(crate) async fn refund(cx: Reader, begun: Begun<Refund>) -> Result<Answer> {
    let Begun { wish, reference, ask_first } = begun;
    let billing = cx.service::<Billing>()?;
    once(billing, &reference, ask_first, billing.provider.refund(&reference, &wish.charge)).await
}

/// Makes the call, unless an earlier attempt got through. A call that the provider has not seen is made under the same reference, so that
/// one which is still on its way to it does no harm.
async fn once(
    billing: &Billing,
    reference: &str,
    ask_first: bool,
    call: impl Future<Output = Result<Outcome, Unanswered>> + Send,
) -> Result<Answer> {
    if ask_first && let Some(outcome) = billing.in_time(billing.provider.ask(reference)).await? {
        return Ok(outcome.into());
    }
    Ok(billing.in_time(call).await?.into())
}

pub(crate) async fn authorized(cx: &mut Tx, answered: Answered<Authorize>) -> Result<()> {
    take_in(cx, &answered.key, Input::Authorized(answered.answer.into())).await
}

pub(crate) async fn captured(cx: &mut Tx, answered: Answered<Capture>) -> Result<()> {
    take_in(cx, &answered.key, Input::Captured(answered.answer.into())).await
}

pub(crate) async fn voided(cx: &mut Tx, answered: Answered<Void>) -> Result<()> {
    // What cannot be let go runs out by itself; nothing is taken either way.
    if !answered.answer.done {
        tracing::warn!(key = %answered.key, reason = answered.answer.refusal, "a reservation could not be let go");
    }
    take_in(cx, &answered.key, Input::Voided).await
}

pub(crate) async fn refunded(cx: &mut Tx, answered: Answered<Refund>) -> Result<()> {
    take_in(cx, &answered.key, Input::Refunded(answered.answer.into())).await
}

async fn take_in(cx: &mut Tx, key: &Key, input: Input) -> Result<()> {
    let payment = cx.load(key.id()).await?;
    carry_out(cx, payment, input).await
}

impl Authorize {
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
