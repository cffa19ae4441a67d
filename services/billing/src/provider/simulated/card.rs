use sea_orm::{DeriveActiveEnum, EnumIter};

use crate::card_token::CardToken;

/// How a card behaves, decided by its token alone. The books keep this, and never the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "i16", db_type = "SmallInteger")]
pub(crate) enum Card {
    Approved = 1,
    Declined = 2,
    Timeout = 3,
    Late = 4,
}

impl Card {
    /// None for a token that was never given out.
    pub(super) fn of(token: &CardToken) -> Option<Self> {
        let token = token.expose();
        match token.split_once(':').map_or(token, |(name, _)| name) {
            "tok_approved" => Some(Self::Approved),
            "tok_declined" => Some(Self::Declined),
            "tok_timeout" => Some(Self::Timeout),
            "tok_late" => Some(Self::Late),
            _ => None,
        }
    }
}
