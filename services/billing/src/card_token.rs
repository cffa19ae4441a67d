use std::fmt;

use sea_orm::DeriveValueType;

/// What a payment provider gave an app for a card. Whoever has it can charge the card, so it shows itself to nobody who does not ask.
#[derive(Clone, PartialEq, Eq, DeriveValueType)]
pub struct CardToken(String);

impl CardToken {
    pub const fn new(token: String) -> Self {
        Self(token)
    }

    /// The token itself, for the provider alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CardToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CardToken(hidden)")
    }
}
