use ledger::{Code, Rejection};

/// Why the service refuses what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Also for a person who does not exist, in the same words.
    #[error("a profile is for its owner alone")]
    NotYours,
    #[error("the profile has not appeared yet; ask again in a moment")]
    NotHere,
    #[error("the profile was changed since its etag was read; read it again")]
    EtagMismatch { current: String },
    #[error("the mask names a field that cannot be changed")]
    UnknownPath(String),
    #[error("the mask names too many fields")]
    TooManyPaths,
    #[error("a field must not be empty")]
    Empty(&'static str),
    #[error("a field is malformed")]
    Malformed { field: &'static str, expected: &'static str },
}

const MASK: &str = "update_mask";

impl From<Error> for ledger::Error {
    fn from(error: Error) -> Self {
        let refusal = |code, reason| Rejection::new(code, reason, error.to_string());
        let invalid = |field: &str, what: String| refusal(Code::InvalidArgument, "INVALID_FIELD").field(field, what);
        let rejection = match &error {
            Error::NotYours => refusal(Code::PermissionDenied, "PROFILE_NOT_YOURS"),
            Error::NotHere => refusal(Code::NotFound, "PROFILE_NOT_FOUND"),
            Error::EtagMismatch { current } => refusal(Code::Aborted, "ETAG_MISMATCH").with("etag", current),
            Error::UnknownPath(path) => {
                invalid(MASK, format!("`{path}` is none of `display_name`, `country`, `locale` and `*`"))
            }
            Error::TooManyPaths => invalid(MASK, "too many paths".to_owned()),
            Error::Empty(field) => invalid(field, "must not be empty".to_owned()),
            Error::Malformed { field, expected } => invalid(field, format!("must be {expected}")),
        };
        rejection.into()
    }
}
