use ledger::{Code, Rejection};

/// Why the service does not do what it is to.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("the payment provider does not know this card")]
    UnknownCardToken,
    /// Also for a payment that does not exist, in the same words: nobody learns which ids are taken.
    #[error("there is no payment of yours for such an order")]
    NotYours,
    #[error("a field of the request is malformed")]
    InvalidId { field: &'static str },
    /// Money is owed, and only people can settle it: the answer is set aside until an operator has.
    #[error("the payment provider refused a refund: {0}")]
    RefundRefused(String),
    /// No order service of ours writes such an event; its key is set aside.
    #[error("the order names no {0}")]
    MalformedOrder(&'static str),
}

impl From<Error> for ledger::Error {
    fn from(error: Error) -> Self {
        let refusal = |code, reason| Rejection::new(code, reason, error.to_string());
        let rejection = match &error {
            Error::UnknownCardToken => refusal(Code::InvalidArgument, "UNKNOWN_CARD_TOKEN")
                .field("card_token", "must be a token that the payment provider gave out"),
            Error::NotYours => refusal(Code::PermissionDenied, "PAYMENT_NOT_YOURS"),
            Error::InvalidId { field } => refusal(Code::InvalidArgument, "INVALID_FIELD")
                .field(*field, "must be an id: 22 characters of base64url"),
            Error::RefundRefused(_) | Error::MalformedOrder(_) => return Self::Failed(error.to_string()),
        };
        rejection.into()
    }
}
