use serde::{Deserialize, Serialize};

/// An amount in the smallest unit of its currency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    pub currency: String,
    pub minor: i64,
}

impl From<proto::money::v1::Money> for Money {
    fn from(money: proto::money::v1::Money) -> Self {
        Self { currency: money.currency, minor: money.minor }
    }
}

impl From<Money> for proto::money::v1::Money {
    fn from(money: Money) -> Self {
        Self { currency: money.currency, minor: money.minor }
    }
}
