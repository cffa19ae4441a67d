//! What tests stand on: the real broker, real databases, and waiting for conditions instead of sleeping.
//!
//! A test that misses something panics with a sentence that says what to do. `make test` brings everything.
#![expect(clippy::expect_used, clippy::panic, reason = "a test kit reports by panicking")]

mod books;
mod client;
mod cluster;
mod eventually;
mod ledger;
mod nats;
mod postgres;
mod protos;

pub use books::{is_settled, misbooked};
pub use client::{Client, Done, Refusal};
pub use cluster::NatsCluster;
pub use eventually::{eventually, eventually_some, nothing_left, within};
pub use ledger::TestLedger;
pub use nats::NatsServer;
pub use postgres::Postgres;
pub use protos::changed_proto;
pub use tempfile::TempDir;

/// A folder of the test's own, such as for SQLite files; gone with the value.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("millrace-test-").tempdir().expect("the temporary folder must be writable")
}
