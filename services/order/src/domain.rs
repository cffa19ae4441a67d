//! What an order is, and what is decided about it. Pure: no queries, nothing asynchronous, no clock.

mod decide;
mod money;
mod number;
#[cfg(test)]
mod tests;
mod view;

pub use decide::{Input, Placement, decide, is_settled};
pub use money::{Line, Money, Quote};

use ledger::{Aggregate, At, Rows};
use proto::order::v1::order_canceled::Cause;
use proto::order::v1::{
    FulfillmentStatus, OrderCanceled, OrderCreated, OrderPaymentChanged, OrderProcessed, OrderStatus, PaymentStatus,
};
use serde::{Deserialize, Serialize};

use crate::store::order_view;

ledger::event_set!(
    pub enum Event {
        OrderCreated,
        OrderProcessed,
        OrderCanceled,
        OrderPaymentChanged,
    }
);

/// An order as its events tell it. Before the first one all three statuses are UNSPECIFIED, and it is nobody's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub id: String,
    pub customer_id: String,
    #[serde(with = "number")]
    pub status: OrderStatus,
    #[serde(with = "number")]
    pub payment: PaymentStatus,
    #[serde(with = "number")]
    pub fulfillment: FulfillmentStatus,
    pub lines: Vec<Line>,
    pub total: Money,
    pub payment_method_id: String,
    /// If it came to nothing: why, in words for the customer.
    pub reason: String,
    pub revision: i64,
    /// In microseconds since 1970, as `changed_at`.
    pub placed_at: i64,
    pub changed_at: i64,
}

impl Aggregate for Order {
    const KIND: &'static str = "order";
    const FOLD: i64 = 1;
    type Event = Event;

    fn apply(&mut self, event: &Event, at: &At) {
        match event {
            Event::OrderCreated(created) => self.create(created, at),
            Event::OrderProcessed(_) => {
                self.status = OrderStatus::Processed;
                self.payment = PaymentStatus::Captured;
            }
            Event::OrderCanceled(canceled) => self.cancel(canceled),
            Event::OrderPaymentChanged(changed) => self.payment = changed.payment_status(),
        }
        self.revision = at.revision;
        self.changed_at = at.time.0;
    }

    fn project(&self, _at: &At, rows: &mut Rows) {
        rows.put(&self.id, order_view::row(self));
    }
}

impl Order {
    fn create(&mut self, created: &OrderCreated, at: &At) {
        *self = Self {
            id: created.order_id.clone(),
            customer_id: created.customer_id.clone(),
            status: OrderStatus::Pending,
            payment: PaymentStatus::None,
            fulfillment: FulfillmentStatus::None,
            lines: created.lines.iter().cloned().map(Line::from).collect(),
            total: created.total.clone().unwrap_or_default().into(),
            payment_method_id: created.payment_method_id.clone(),
            placed_at: at.time.0,
            ..Self::default()
        };
    }

    fn cancel(&mut self, canceled: &OrderCanceled) {
        self.status = match canceled.cause() {
            Cause::Fraud => OrderStatus::CanceledFraud,
            Cause::Payment => OrderStatus::PaymentFailed,
            Cause::Stock => OrderStatus::OutOfStock,
            Cause::Customer | Cause::Timeout | Cause::Unspecified => OrderStatus::Canceled,
        };
        // These two causes are billing's refusal, told in the same event.
        if matches!(canceled.cause(), Cause::Fraud | Cause::Payment)
            && decide::may_move(self.payment, PaymentStatus::Failed)
        {
            self.payment = PaymentStatus::Failed;
        }
        self.reason.clone_from(&canceled.reason);
    }
}
