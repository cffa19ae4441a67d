use event::Micros;
use proto::order::v1;

use super::Order;

/// The order as its customer sees it.
impl From<&Order> for v1::Order {
    fn from(order: &Order) -> Self {
        let order = order.clone();
        Self {
            order_id: order.id,
            customer_id: order.customer_id,
            status: order.status.into(),
            payment_status: order.payment.into(),
            fulfillment_status: order.fulfillment.into(),
            lines: order.lines.into_iter().map(Into::into).collect(),
            total: Some(order.total.into()),
            payment_method_id: order.payment_method_id,
            reason: order.reason,
            revision: order.revision,
            create_time: Some(Micros(order.placed_at).into()),
            update_time: Some(Micros(order.changed_at).into()),
        }
    }
}
