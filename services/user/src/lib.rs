//! Profiles: what people want others to know of them.
//!
//! - [`domain`]: the profile, and what is decided about it. No queries, nothing asynchronous.
//! - [`accounts`]: a profile appears because an account was opened.
//! - [`update_profile`]: what people ask for. [`queries`]: what they read.
//! - [`store`]: the tables.

mod accounts;
mod domain;
mod error;
mod queries;
mod store;
mod update_profile;

use std::sync::Arc;

use event::Schema;
use ledger::Aggregate as _;
use serve::Service;

use crate::domain::User;

/// The user service.
pub fn service(schema: Arc<Schema>) -> Service {
    Service::new("user", schema)
        .tables(store::migrations())
        .sessions()
        .projection::<User>()
        .command(User::KIND, update_profile::update_profile)
        .subscription(accounts::subscription())
        .query(queries::get_profile)
}
