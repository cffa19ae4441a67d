use event::Id;
use proto::billing::v1::payment_failed;
use proto::order::v1::order_canceled::Cause;
use proto::order::v1::{OrderCanceled, OrderCreated, OrderPaymentChanged, OrderProcessed, OrderStatus, PaymentStatus};

use super::{Event, Money, Order, Quote};
use crate::error::Error;

/// What happens to an order from outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Place(Placement),
    /// By whoever says to be its customer.
    Cancel {
        by: Id,
    },
    /// Nobody has told in time what becomes of its payment.
    TimedOut,
    PaymentProcessed,
    PaymentFailed {
        cause: payment_failed::Cause,
        reason: String,
    },
    PaymentVoided,
    PaymentRefundRequested,
    PaymentRefunded,
}

/// What a customer orders, at our prices.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    pub order_id: Id,
    pub customer_id: Id,
    pub payment_method_id: Id,
    pub quote: Quote,
    /// What the customer was told that it costs.
    pub expected_total: Option<Money>,
}

/// What comes of an input. Only customers are ever refused: keys have no mutual order, so what billing tells may come early, late or
/// again, and is then recorded as far as it is news, and otherwise ignored.
pub fn decide(order: &Order, input: Input) -> Result<Vec<Event>, Error> {
    match input {
        Input::Place(placement) => place(order, placement),
        Input::Cancel { by } => cancel(order, by),
        // Nobody asks this of what is not there; if somebody does, there is nothing to decide.
        _ if order.status == OrderStatus::Unspecified => Ok(Vec::new()),
        Input::TimedOut => Ok(timed_out(order)),
        Input::PaymentProcessed => Ok(processed(order)),
        Input::PaymentFailed { cause, reason } => Ok(failed(order, cause, reason)),
        Input::PaymentVoided => Ok(moved(order, PaymentStatus::Voided)),
        Input::PaymentRefundRequested => Ok(moved(order, PaymentStatus::RefundPending)),
        Input::PaymentRefunded => Ok(moved(order, PaymentStatus::Refunded)),
    }
}

/// Whether nothing will happen to the order any more: its status is final, and if it came to nothing, so did its payment. PROCESSED is
/// not final, because the goods are still to come.
pub const fn is_settled(status: OrderStatus, payment: PaymentStatus) -> bool {
    use PaymentStatus::{Failed, Refunded, Voided};
    match status {
        OrderStatus::Unspecified | OrderStatus::Pending | OrderStatus::Processed => false,
        OrderStatus::Completed => true,
        OrderStatus::Canceled | OrderStatus::CanceledFraud | OrderStatus::PaymentFailed | OrderStatus::OutOfStock => {
            matches!(payment, Voided | Refunded | Failed)
        }
    }
}

/// Whether money that is in one place may next be in another: forward only, and what was taken can only be given back.
pub(super) const fn may_move(from: PaymentStatus, to: PaymentStatus) -> bool {
    use PaymentStatus::{Authorized, Captured, Failed, None, RefundPending, Refunded, Unspecified, Voided};
    match from {
        None => !matches!(to, None | Unspecified),
        Authorized => matches!(to, Captured | RefundPending | Refunded | Voided | Failed),
        Captured => matches!(to, RefundPending | Refunded),
        RefundPending => matches!(to, Refunded),
        Unspecified | Refunded | Voided | Failed => false,
    }
}

fn place(order: &Order, placement: Placement) -> Result<Vec<Event>, Error> {
    let Placement { order_id, customer_id, payment_method_id, quote, expected_total } = placement;
    // The order has its command's id, and a command that was done is answered from its receipt: this is none of ours.
    if order.status != OrderStatus::Unspecified {
        return Err(Error::NotYours);
    }
    if expected_total.is_some_and(|expected| expected != quote.total) {
        return Err(Error::TotalMismatch(quote.total));
    }
    let created = OrderCreated {
        order_id: order_id.to_string(),
        customer_id: customer_id.to_string(),
        lines: quote.lines.into_iter().map(Into::into).collect(),
        total: Some(quote.total.into()),
        payment_method_id: payment_method_id.to_string(),
    };
    Ok(vec![created.into()])
}

fn cancel(order: &Order, by: Id) -> Result<Vec<Event>, Error> {
    if order.customer_id != by.to_string() {
        return Err(Error::NotYours);
    }
    match order.status {
        OrderStatus::Pending => Ok(vec![canceled(order, Cause::Customer, "canceled by the customer".to_owned())]),
        status => Err(Error::NotPending(status)),
    }
}

fn timed_out(order: &Order) -> Vec<Event> {
    match order.status {
        OrderStatus::Pending => {
            vec![canceled(order, Cause::Timeout, "the payment was not answered in time".to_owned())]
        }
        _ => Vec::new(),
    }
}

fn processed(order: &Order) -> Vec<Event> {
    let news = may_move(order.payment, PaymentStatus::Captured);
    match order.status {
        OrderStatus::Pending if news => vec![OrderProcessed { order_id: order.id.clone() }.into()],
        // The order came to nothing meanwhile. Billing heard that too, and gives back what it took.
        _ => moved(order, PaymentStatus::Captured),
    }
}

fn failed(order: &Order, cause: payment_failed::Cause, reason: String) -> Vec<Event> {
    if order.status != OrderStatus::Pending {
        return moved(order, PaymentStatus::Failed);
    }
    let cause = match cause {
        payment_failed::Cause::Fraud => Cause::Fraud,
        _ => Cause::Payment,
    };
    vec![canceled(order, cause, reason)]
}

fn canceled(order: &Order, cause: Cause, reason: String) -> Event {
    OrderCanceled { order_id: order.id.clone(), cause: cause.into(), reason }.into()
}

/// The money moved, and the order's status does not follow from that.
fn moved(order: &Order, to: PaymentStatus) -> Vec<Event> {
    let changed = || OrderPaymentChanged { order_id: order.id.clone(), payment_status: to.into() }.into();
    may_move(order.payment, to).then(changed).into_iter().collect()
}
