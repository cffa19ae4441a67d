//! An order does not wait for its payment for ever.

use ledger::{Fired, Loaded, Result, Timer, Tx};
use prost::Message;
use proto::order::v1::OrderStatus;

use crate::domain::{Input, Order, decide};
use crate::settings::Ordering;

/// Until then somebody must have said what becomes of the order's payment.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AnswerDeadline {}

impl Timer for AnswerDeadline {
    const NAME: &'static str = "answer-deadline";
}

/// Decides, writes down what was decided, and keeps the deadline for as long as the order waits.
pub(crate) async fn carry_out(cx: &mut Tx, order: &mut Loaded<Order>, input: Input) -> Result<()> {
    let waited = order.status == OrderStatus::Pending;
    let events = decide(order, input)?;
    cx.append(order, events).await?;
    let waits = order.status == OrderStatus::Pending;
    if waits && !waited {
        let due = cx.now().plus(cx.service::<Ordering>()?.settings.answer_within);
        cx.timer(order, due, &AnswerDeadline {})?;
    } else if waited && !waits {
        cx.cancel_timer::<Order, AnswerDeadline>(order);
    }
    Ok(())
}

/// Nobody has answered in time. What the others began is made good, as after any other cancel.
pub(crate) async fn passed(cx: &mut Tx, deadline: Fired<AnswerDeadline>) -> Result<()> {
    let mut order = cx.load::<Order>(deadline.key.id()).await?;
    carry_out(cx, &mut order, Input::TimedOut).await
}
