//! Accounts and sessions: who somebody is, and the tokens that say so.
//!
//! - [`domain`]: accounts, sessions and refresh tokens, and what is decided about them. No queries, nothing asynchronous.
//! - [`register`], [`login`], [`refresh`], [`logout`]: what people ask for.
//! - [`staff`]: what operators decide about people.
//! - [`ensure_signing_key`]: what the service asks of itself when it starts.
//! - [`passwords`]: hashing, in a bounded pool.
//! - [`tokens`]: what a session's owner gets.
//! - [`users`]: what other services tell. [`queries`]: what they ask.
//! - [`store`]: the tables, with all that no event may hold.
//!
//! Whether a session may act is judged by its own aggregate here, and by replicas of it everywhere else.

mod domain;
mod ensure_signing_key;
mod error;
mod login;
mod logout;
mod passwords;
mod queries;
mod refresh;
mod register;
mod settings;
mod staff;
mod store;
mod tokens;
mod users;

use std::sync::Arc;

use event::Schema;
use ledger::Aggregate as _;
use proto::registration::v1::EnsureSigningKeyRequest;
use serve::Service;

use crate::domain::{Account, Session, SigningKey};

pub use passwords::{Hashing, Passwords};
pub use settings::Settings;

/// What reads what clients send, for the tests that feed it with everything.
#[doc(hidden)]
pub mod reading {
    pub use crate::domain::{Family, Judgement, RefreshToken};
}

/// The registration service.
pub fn service(schema: Arc<Schema>, settings: Settings) -> Service {
    Service::new("registration", schema)
        .tables(store::migrations())
        .state(settings)
        .prepared_command(Account::KIND, register::prepare, register::register)
        .prepared_command(Session::KIND, login::prepare, login::login)
        .command(Session::KIND, refresh::refresh)
        .command(Session::KIND, logout::logout)
        .command(Account::KIND, staff::grant)
        .command(Account::KIND, staff::revoke)
        .command(SigningKey::KIND, ensure_signing_key::ensure_signing_key)
        .timer(ensure_signing_key::renew)
        .subscription(users::subscription())
        .query(queries::list_signing_keys)
        .at_start(&EnsureSigningKeyRequest {})
}
