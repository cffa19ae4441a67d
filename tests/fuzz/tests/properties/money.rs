//! What an order costs.

use order::domain::{Line, Money, Quote};
use proptest::prelude::*;

use crate::cases;

fn line(minor: i64, quantity: i32, currency: &str) -> Line {
    let unit_price = Money { currency: currency.to_owned(), minor };
    Line { sku: "tea".to_owned(), name: "Tea".to_owned(), quantity, unit_price }
}

/// Without a bound: what the lines cost together.
fn sum(lines: &[Line]) -> i128 {
    lines.iter().map(|line| i128::from(line.unit_price.minor) * i128::from(line.quantity)).sum()
}

/// Lines as the catalogue and the protos allow them, of prices up to the most that there is.
fn lines() -> impl Strategy<Value = Vec<Line>> {
    let minor = prop_oneof![0..2_000_000_i64, 0..=i64::MAX, Just(i64::MAX / 1000)];
    prop::collection::vec((minor, 1..=1000_i32).prop_map(|(minor, quantity)| line(minor, quantity, "EUR")), 1..100)
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn a_total_is_the_sum_of_its_lines_or_more_than_can_be_counted(lines in lines()) {
        let sum = sum(&lines);
        match Quote::of(lines.clone()) {
            Some(Quote { lines: kept, total }) => {
                prop_assert_eq!(i128::from(total.minor), sum);
                prop_assert!(total.minor >= 0 && total.currency == "EUR");
                prop_assert_eq!(kept, lines);
            }
            None => prop_assert!(i64::try_from(sum).is_err(), "{} can be counted", sum),
        }
    }

    #[test]
    fn the_order_of_lines_makes_no_difference(lines in lines(), cut in any::<prop::sample::Index>()) {
        let mut turned = lines.clone();
        turned.rotate_left(cut.index(lines.len()));
        prop_assert_eq!(Quote::of(turned).map(|quote| quote.total), Quote::of(lines).map(|quote| quote.total));
    }

    #[test]
    fn currencies_are_never_added_up(lines in lines(), at in any::<prop::sample::Index>()) {
        let mut mixed = lines;
        let at = at.index(mixed.len() + 1);
        mixed.insert(at, line(1, 1, "USD"));
        prop_assert_eq!(Quote::of(mixed), None);
    }

    /// No number overflows in silence, also of those that no check lets in.
    #[test]
    fn whatever_the_lines_say_a_total_that_is_given_is_right(
        lines in prop::collection::vec((any::<i64>(), any::<i32>()), 0..5),
    ) {
        let lines: Vec<_> = lines.into_iter().map(|(minor, quantity)| line(minor, quantity, "EUR")).collect();
        if let Some(quote) = Quote::of(lines.clone()) {
            prop_assert_eq!(i128::from(quote.total.minor), sum(&lines));
        }
    }
}
