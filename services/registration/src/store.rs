//! The tables that only this service has. What opens a door (a password's hash, a refresh token's, a private key) is here and nowhere else.

pub(crate) mod address;
pub(crate) mod credential;
pub(crate) mod locale;
pub(crate) mod refresh_token;
pub(crate) mod signing_key;

mod m1001_create_credential;
mod m1002_create_refresh_token;
mod m1003_create_signing_key;
mod m1004_create_locale;
mod m1005_widen_version;

use std::fmt;

use sea_orm::DeriveValueType;
use sea_orm_migration::MigrationTrait;

pub(crate) fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![
        Box::new(m1001_create_credential::CreateCredential),
        Box::new(m1002_create_refresh_token::CreateRefreshToken),
        Box::new(m1003_create_signing_key::CreateSigningKey),
        Box::new(m1004_create_locale::CreateLocale),
        Box::new(m1005_widen_version::WidenVersion),
    ]
}

/// A column that no log may show.
#[derive(Clone, PartialEq, Eq, DeriveValueType)]
pub struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
