use proto::{money, order};
use serde::{Deserialize, Serialize};

/// An amount in the smallest unit of its currency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// The ISO 4217 code.
    pub currency: String,
    pub minor: i64,
}

/// A product, how many of it, and the price of one at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub sku: String,
    pub name: String,
    pub quantity: i32,
    pub unit_price: Money,
}

/// Priced lines and what they cost together. There is at least one line, and all are in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    pub lines: Vec<Line>,
    pub total: Money,
}

impl Money {
    /// None if that is more than can be counted.
    pub fn times(&self, quantity: i32) -> Option<Self> {
        let minor = self.minor.checked_mul(quantity.into())?;
        Some(Self { currency: self.currency.clone(), minor })
    }

    /// None if that is more than can be counted, or in another currency.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        let minor = self.minor.checked_add(other.minor)?;
        (self.currency == other.currency).then(|| Self { currency: self.currency.clone(), minor })
    }
}

impl Quote {
    /// None if there is no line, if the total is more than can be counted, or if currencies are mixed.
    pub fn of(lines: Vec<Line>) -> Option<Self> {
        let amounts = lines.iter().map(|line| line.unit_price.times(line.quantity));
        let total = amounts.reduce(|sum, amount| sum?.plus(&amount?))??;
        Some(Self { lines, total })
    }
}

impl From<money::v1::Money> for Money {
    fn from(money: money::v1::Money) -> Self {
        Self { currency: money.currency, minor: money.minor }
    }
}

impl From<Money> for money::v1::Money {
    fn from(money: Money) -> Self {
        Self { currency: money.currency, minor: money.minor }
    }
}

impl From<order::v1::OrderLine> for Line {
    fn from(line: order::v1::OrderLine) -> Self {
        let unit_price = line.unit_price.unwrap_or_default().into();
        Self { sku: line.sku, name: line.name, quantity: line.quantity, unit_price }
    }
}

impl From<Line> for order::v1::OrderLine {
    fn from(line: Line) -> Self {
        let unit_price = Some(line.unit_price.into());
        Self { sku: line.sku, name: line.name, quantity: line.quantity, unit_price }
    }
}
