use testkit::misbooked;

use super::Evidence;

/// The provider has taken the price of each order that is CAPTURED, and nothing else, to the cent.
pub(super) fn money_is_conserved(evidence: &Evidence) -> Vec<String> {
    let charges = evidence.books.charges.iter().map(|charge| (charge.order_id.clone(), charge.taken));
    // What an operator was shown is the operator's to decide.
    let is_listed =
        |order: &str| ["order", "payment"].iter().any(|kind| evidence.was_parked(&format!("{kind}/{order}")));
    let wrong = misbooked(&evidence.books.orders, charges).into_iter();
    wrong.filter(|(order, _)| !is_listed(order)).map(|(_, what)| what).collect()
}

#[cfg(test)]
mod tests {
    use proto::money::v1::Money;
    use proto::order::v1::{Order, PaymentStatus};

    use super::super::made_up::evidence;
    use super::*;
    use crate::nemesis::books::Charged;

    fn seen(payment: PaymentStatus, taken: i64) -> Evidence {
        let mut seen = evidence([]);
        let total = Some(Money { currency: "EUR".to_owned(), minor: 500 });
        let order = Order { order_id: "1".to_owned(), payment_status: payment.into(), total, ..Order::default() };
        seen.books.orders = vec![order];
        seen.books.charges = vec![Charged { order_id: "1".to_owned(), taken, ..Charged::default() }];
        seen
    }

    #[test]
    fn a_cent_too_much_or_too_little_is_found() {
        assert!(money_is_conserved(&seen(PaymentStatus::Captured, 500)).is_empty());
        assert!(money_is_conserved(&seen(PaymentStatus::Refunded, 0)).is_empty());
        assert_eq!(money_is_conserved(&seen(PaymentStatus::Captured, 501)).len(), 1);
        assert_eq!(money_is_conserved(&seen(PaymentStatus::Captured, 0)).len(), 1);
        assert_eq!(money_is_conserved(&seen(PaymentStatus::Voided, 500)).len(), 1);
    }

    #[test]
    fn money_for_what_is_no_order_is_found_unless_an_operator_was_shown_it() {
        let mut seen = seen(PaymentStatus::Captured, 500);
        seen.books.orders.clear();
        assert_eq!(money_is_conserved(&seen).len(), 1);
        seen.parked.push(("order/1".to_owned(), "diverged".to_owned()));
        assert!(money_is_conserved(&seen).is_empty());
    }
}
