use ledger::{Code, Rejection};

/// Why the service refuses what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is an account with this address, under another password")]
    AddressTaken,
    /// Also for an address that is not known, in the same words: nobody learns who has an account.
    #[error("the address or the password is wrong")]
    WrongCredentials,
    /// Whatever is wrong with it, in the same words.
    #[error("the refresh token is not good, or not any more; log in again")]
    InvalidRefreshToken,
    #[error("the call belongs to no session")]
    NoSession,
    /// Also for staff: one whose token was stolen must not be able to make others staff.
    #[error("only operators may decide who is staff")]
    OperatorsOnly,
    #[error("there is no such user")]
    NoSuchUser,
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let refusal = |code, reason| Self::new(code, reason, error.to_string());
        match error {
            Error::AddressTaken => refusal(Code::AlreadyExists, "ADDRESS_TAKEN"),
            Error::WrongCredentials => refusal(Code::Unauthenticated, "WRONG_CREDENTIALS"),
            Error::InvalidRefreshToken => refusal(Code::Unauthenticated, "INVALID_REFRESH_TOKEN"),
            Error::NoSession => refusal(Code::Unauthenticated, "NO_SESSION"),
            Error::OperatorsOnly => refusal(Code::PermissionDenied, "OPERATORS_ONLY"),
            Error::NoSuchUser => refusal(Code::NotFound, "NO_SUCH_USER"),
        }
    }
}

impl From<Error> for ledger::Error {
    fn from(error: Error) -> Self {
        Rejection::from(error).into()
    }
}

/// What the slow step of a command found out is not so any more. It is begun anew, by whoever sent it.
pub(crate) fn overtaken() -> ledger::Error {
    ledger::Error::Transient("the account was changed while its password was compared".to_owned())
}
