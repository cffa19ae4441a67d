use std::collections::BTreeMap;

use proto::order::v1::place_order_request;

use crate::domain::{Line, Money, Quote};
use crate::error::Error;

/// What can be ordered. Handlers get it from their context, so that it can become a replica of a catalogue service's events one day.
#[derive(Debug)]
pub(crate) struct Catalogue(BTreeMap<&'static str, Product>);

#[derive(Debug)]
struct Product {
    name: &'static str,
    price: Money,
}

/// The products: number, name, and the price in cents.
const PRODUCTS: [(&str, &str, i64); 10] = [
    ("teapot", "Teapot, cast iron", 2_499),
    ("teacup", "Teacup, porcelain", 899),
    ("kettle", "Kettle, 1.7 l", 3_990),
    ("green-tea", "Green tea, 250 g", 1_250),
    ("honey", "Honey, 500 g", 790),
    ("notebook", "Notebook, dotted", 1_190),
    ("lamp", "Reading lamp", 4_950),
    ("bicycle", "City bicycle", 74_900),
    ("telescope", "Telescope, 150 mm", 129_900),
    // Beyond what billing lets pass without a second look.
    ("piano", "Grand piano", 1_249_900),
];

const CURRENCY: &str = "EUR";

impl Default for Catalogue {
    fn default() -> Self {
        Self::of(PRODUCTS)
    }
}

impl Catalogue {
    fn of(products: impl IntoIterator<Item = (&'static str, &'static str, i64)>) -> Self {
        let product =
            |(sku, name, minor)| (sku, Product { name, price: Money { currency: CURRENCY.to_owned(), minor } });
        Self(products.into_iter().map(product).collect())
    }

    /// The lines at today's prices, as they stand: two of one product stay two.
    pub(crate) fn price(&self, lines: &[place_order_request::Line]) -> Result<Quote, Error> {
        if lines.is_empty() {
            return Err(Error::Malformed { field: "lines".to_owned(), expected: "at least one line" });
        }
        let unknown = lines.iter().enumerate().filter(|(_, line)| !self.0.contains_key(line.sku.as_str()));
        let unknown: Vec<_> = unknown.map(|(index, line)| (index, line.sku.clone())).collect();
        if !unknown.is_empty() {
            return Err(Error::UnknownProducts(unknown));
        }
        if let Some(index) = lines.iter().position(|line| line.quantity < 1) {
            return Err(Error::Malformed { field: format!("lines[{index}].quantity"), expected: "at least 1" });
        }
        Quote::of(lines.iter().filter_map(|line| self.line(line)).collect()).ok_or(Error::TooMuch)
    }

    fn line(&self, line: &place_order_request::Line) -> Option<Line> {
        let product = self.0.get(line.sku.as_str())?;
        let (name, unit_price) = (product.name.to_owned(), product.price.clone());
        Some(Line { sku: line.sku.clone(), name, quantity: line.quantity, unit_price })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[(&str, i32)]) -> Vec<place_order_request::Line> {
        lines.iter().map(|&(sku, quantity)| place_order_request::Line { sku: sku.to_owned(), quantity }).collect()
    }

    #[test]
    fn lines_are_kept_as_given_and_added_up() {
        let quote = Catalogue::default().price(&lines(&[("teapot", 2), ("honey", 1), ("teapot", 1)])).unwrap();
        assert_eq!(quote.lines.len(), 3);
        assert_eq!(quote.total, Money { currency: "EUR".to_owned(), minor: 3 * 2_499 + 790 });
    }

    #[test]
    fn every_unknown_product_is_named() {
        let refused = Catalogue::default().price(&lines(&[("unicorn", 1), ("teapot", 1), ("", 1)]));
        assert_eq!(refused, Err(Error::UnknownProducts(vec![(0, "unicorn".to_owned()), (2, String::new())])));
    }

    #[test]
    fn no_line_lowers_the_price() {
        for quantity in [0, -1, i32::MIN] {
            let refused = Catalogue::default().price(&lines(&[("piano", 1), ("teapot", quantity)]));
            assert!(matches!(refused, Err(Error::Malformed { field, .. }) if field == "lines[1].quantity"));
        }
    }

    #[test]
    fn an_order_that_costs_more_than_can_be_counted_is_refused() {
        let catalogue = Catalogue::of([("star", "A star", i64::MAX / 2)]);
        assert_eq!(catalogue.price(&lines(&[("star", 3)])), Err(Error::TooMuch));
        assert_eq!(catalogue.price(&lines(&[("star", 1), ("star", 2)])), Err(Error::TooMuch));
    }

    #[test]
    fn an_order_of_nothing_is_refused() {
        assert!(matches!(Catalogue::default().price(&[]), Err(Error::Malformed { field, .. }) if field == "lines"));
    }
}
