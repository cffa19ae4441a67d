//! What billing tells of an order's payment.

use ledger::{Aggregate as _, Error, Result, Subscription, Tx};
use proto::billing::v1::{
    PaymentFailed, PaymentProcessed, PaymentRefundRequested, PaymentRefunded, PaymentVoided, payment_failed,
};

use crate::deadline::carry_out;
use crate::domain::{Input, Order};

/// A payment has its order's id, so both are changed under the order's lock.
pub(crate) fn subscription() -> Subscription {
    Subscription::new("payments", 1)
        .acts_on(Order::KIND)
        .on(processed)
        .on(failed)
        .on(voided)
        .on(refund_requested)
        .on(refunded)
}

async fn processed(cx: &mut Tx, _: PaymentProcessed) -> Result<()> {
    take_in(cx, Input::PaymentProcessed).await
}

async fn failed(cx: &mut Tx, event: PaymentFailed) -> Result<()> {
    // A cause of a later version: the key is parked until this code knows what to make of it.
    let cause = payment_failed::Cause::try_from(event.cause)
        .map_err(|_| Error::Failed(format!("a payment failed for the unknown cause {}", event.cause)))?;
    take_in(cx, Input::PaymentFailed { cause, reason: event.reason }).await
}

async fn voided(cx: &mut Tx, _: PaymentVoided) -> Result<()> {
    take_in(cx, Input::PaymentVoided).await
}

async fn refund_requested(cx: &mut Tx, _: PaymentRefundRequested) -> Result<()> {
    take_in(cx, Input::PaymentRefundRequested).await
}

async fn refunded(cx: &mut Tx, _: PaymentRefunded) -> Result<()> {
    take_in(cx, Input::PaymentRefunded).await
}

async fn take_in(cx: &mut Tx, input: Input) -> Result<()> {
    let mut order = cx.load::<Order>(cx.event()?.key.id()).await?;
    // Cannot be with one log. After a restore billing tells of an order that this log has lost: its key is parked and listed, for there is
    // money in it, and goes on if the order is placed again.
    if !order.exists() {
        return Err(Error::Failed(format!(
            "there is a payment of {} and no such order: a restore has lost it",
            order.key()
        )));
    }
    carry_out(cx, &mut order, input).await
}
