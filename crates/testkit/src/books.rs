//! Whether the shop's books are right, whoever reads them. Not by the product's own rules, whose mistakes they would share.

use std::collections::BTreeMap;

use proto::order::v1::{Order, OrderStatus, PaymentStatus};

/// Whether an order's status is final, and its money where that status says.
pub fn is_settled(order: &Order) -> bool {
    use PaymentStatus::{Captured, Failed, Refunded, Voided};
    match order.status() {
        OrderStatus::Processed => order.payment_status() == Captured,
        OrderStatus::Canceled => matches!(order.payment_status(), Voided | Refunded | Failed),
        OrderStatus::PaymentFailed | OrderStatus::CanceledFraud => order.payment_status() == Failed,
        _ => false,
    }
}

/// The provider has taken the price of each order that is CAPTURED, and nothing else, to the cent. `charges` are orders with what was taken for
/// them, in any number of parts. What is wrong, each with its order.
pub fn misbooked(orders: &[Order], charges: impl IntoIterator<Item = (String, i64)>) -> Vec<(String, String)> {
    let mut taken: BTreeMap<String, i64> = BTreeMap::new();
    for (order, minor) in charges {
        *taken.entry(order).or_default() += minor;
    }
    let mut wrong = Vec::new();
    for order in orders {
        let found = taken.remove(&order.order_id).unwrap_or(0);
        let stands = order.payment_status() == PaymentStatus::Captured;
        let price = order.total.as_ref().filter(|_| stands).map_or(0, |total| total.minor);
        if found != price {
            wrong.push((order.order_id.clone(), format!("{found} was taken instead of {price} for {order:?}")));
        }
    }
    let strange = taken.into_iter().filter(|(_, minor)| *minor != 0);
    wrong.extend(strange.map(|(order, minor)| {
        let what = format!("{minor} was taken for {order}, which is no order");
        (order, what)
    }));
    wrong
}
