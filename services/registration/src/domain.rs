//! Accounts, sessions, signing keys and refresh tokens, and what is decided about them.

mod account;
mod refresh_token;
mod session;
mod signing_key;

pub(crate) use account::Account;
pub use refresh_token::{Family, Judgement, RefreshToken};
pub(crate) use session::Session;
pub(crate) use signing_key::SigningKey;

/// What is compared when addresses are: without the blanks around it, and without regard to case.
pub(crate) fn normal_address(address: &str) -> String {
    address.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_in_capitals_and_with_blanks_around_it() {
        assert_eq!(normal_address(" Ada@Example.ORG\t"), "ada@example.org");
    }
}
