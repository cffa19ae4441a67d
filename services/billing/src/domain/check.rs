use proto::billing::v1::payment_failed::Cause;

use super::Money;

/// What an order may cost, and what else is no fraud.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// More than this, in the smallest unit of the currency, is judged a fraud.
    pub most_minor: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { most_minor: 1_000_000 }
    }
}

/// What is to be paid, by whom, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub customer_id: String,
    pub amount: Money,
    pub payment_method_id: String,
}

/// Why an order is not to be paid, for programs and in words for the customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub cause: Cause,
    pub reason: String,
    pub customer_id: String,
}

impl Order {
    pub fn refused(&self, cause: Cause, reason: impl Into<String>) -> Refusal {
        Refusal { cause, reason: reason.into(), customer_id: self.customer_id.clone() }
    }
}

/// The rules against fraud. `card` is where the card was issued, and `customer` where its owner lives, as ISO 3166-1 codes; empty if
/// nobody told.
pub fn check(order: Order, card: &str, customer: &str, limits: Limits) -> Result<Order, Refusal> {
    let Money { currency, minor } = &order.amount;
    if *minor > limits.most_minor {
        let most = limits.most_minor;
        let reason = format!("{minor} is above the limit of {most} ({currency}, in its smallest unit)");
        return Err(order.refused(Cause::Fraud, reason));
    }
    // The countries themselves are personal, and events are for ever.
    if !customer.is_empty() && card != customer {
        return Err(
            order.refused(Cause::Fraud, "the card was issued in another country than the one its owner lives in")
        );
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(minor: i64) -> Order {
        let amount = Money { currency: "EUR".to_owned(), minor };
        Order { customer_id: "anna".to_owned(), amount, payment_method_id: "card".to_owned() }
    }

    fn reason(minor: i64, card: &str, customer: &str) -> Option<String> {
        let checked = check(order(minor), card, customer, Limits { most_minor: 100 });
        checked.err().map(|refusal| refusal.reason)
    }

    #[test]
    fn an_order_up_to_the_limit_with_a_card_from_home_passes() {
        assert_eq!(reason(100, "DE", "DE"), None);
    }

    #[test]
    fn an_order_above_the_limit_is_refused_and_the_reason_names_both_amounts() {
        let reason = reason(101, "DE", "DE").expect("it is refused");
        assert!(reason.contains("101") && reason.contains("100"), "{reason}");
    }

    #[test]
    fn a_card_from_another_country_is_refused_and_the_reason_names_no_country() {
        let reason = reason(1, "FR", "DE").expect("it is refused");
        assert!(reason.contains("another country") && !reason.contains("DE"), "{reason}");
    }

    #[test]
    fn a_customer_who_did_not_tell_a_country_is_not_held_to_it() {
        assert_eq!(reason(1, "FR", ""), None);
    }
}
