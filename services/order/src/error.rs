use event::Id;
use ledger::{Code, Rejection};
use proto::order::v1::OrderStatus;

use crate::domain::Money;

/// Why the service refuses what it was asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// Also for an order that does not exist, in the same words: nobody learns which ids are taken.
    #[error("there is no such order of yours")]
    NotYours,
    #[error("the order had not been placed at that moment")]
    NotPlacedYet,
    #[error("only an order that is PENDING can be canceled")]
    NotPending(OrderStatus),
    /// The lines at fault, by their index, each with the product that the catalogue lacks. Never empty.
    #[error("the catalogue has no such product")]
    UnknownProducts(Vec<(usize, String)>),
    #[error("the order does not cost what was expected; nothing was ordered")]
    TotalMismatch(Money),
    #[error("an order cannot cost that much")]
    TooMuch,
    /// Its account was never opened, as far as the registration knows.
    #[error("the customer is not known")]
    UnknownCustomer,
    #[error("a field of the request is malformed")]
    Malformed { field: String, expected: &'static str },
    #[error("the page token is not one of ours")]
    InvalidPageToken,
}

impl From<Error> for ledger::Error {
    fn from(error: Error) -> Self {
        let refusal = |code, reason| Rejection::new(code, reason, error.to_string());
        let rejection = match &error {
            Error::NotYours => refusal(Code::PermissionDenied, "ORDER_NOT_YOURS"),
            Error::NotPlacedYet => refusal(Code::NotFound, "ORDER_NOT_PLACED_YET"),
            Error::NotPending(status) => {
                refusal(Code::FailedPrecondition, "ORDER_NOT_PENDING").with("status", status.as_str_name())
            }
            Error::UnknownProducts(lines) => lines
                .iter()
                .map(|(line, sku)| (format!("lines[{line}].sku"), format!("the catalogue has no `{sku}`")))
                .fold(refusal(Code::FailedPrecondition, "UNKNOWN_PRODUCT"), |rejection, (path, what)| {
                    rejection.field(path, what)
                }),
            Error::TotalMismatch(total) => refusal(Code::FailedPrecondition, "TOTAL_MISMATCH")
                .with("total_minor", total.minor)
                .with("currency", &total.currency),
            Error::TooMuch => refusal(Code::InvalidArgument, "TOTAL_TOO_LARGE"),
            Error::UnknownCustomer => refusal(Code::FailedPrecondition, "UNKNOWN_CUSTOMER"),
            Error::Malformed { field, expected } => {
                refusal(Code::InvalidArgument, "INVALID_FIELD").field(field, format!("must be {expected}"))
            }
            Error::InvalidPageToken => refusal(Code::InvalidArgument, "INVALID_PAGE_TOKEN")
                .field("page_token", "must be the `next_page_token` of an earlier page, or empty"),
        };
        rejection.into()
    }
}

/// The id in a field of a request.
pub(crate) fn id_in(field: &str, text: &str) -> Result<Id, Error> {
    text.parse()
        .map_err(|_| Error::Malformed { field: field.to_owned(), expected: "an id: 22 characters of base64url" })
}
