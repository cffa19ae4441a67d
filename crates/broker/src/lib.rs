//! A nats-server as a child process, for whoever has no broker of their own: `millrace up`, the demo and the tests.
//!
//! [`Binary`] finds a usable executable. [`Server`] is one running process on one store. [`Broker`] keeps one running behind a supervising
//! process, which ends it however the parent ends. Nothing here speaks the NATS protocol beyond the greeting that tells that it serves.

mod binary;
mod child;
mod launch;
mod lock;
mod server;
mod supervisor;

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

pub use binary::{Binary, MINIMUM, Version};
pub use child::{Broker, Config};
pub use launch::free_port;
pub use lock::Lock;
pub use server::{Server, Settings, tick};
pub use supervisor::{SUBCOMMAND, supervise};

/// Why there is no broker. Each is one sentence that an operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no nats-server was found: put version {MINIMUM} or newer on PATH, name it in MILLRACE_NATS_SERVER, or let scripts/nats-server fetch it"
    )]
    NotFound,
    #[error("{path} is nats-server {found}, but {MINIMUM} or newer is needed")]
    TooOld { path: PathBuf, found: Version },
    #[error("{path} cannot be run as nats-server: {reason}")]
    Unusable { path: PathBuf, reason: String },
    #[error("the broker's store {store} is in use by process {holder}")]
    InUse { store: PathBuf, holder: String },
    #[error("the broker's store {store} cannot be used: {source}")]
    Store { store: PathBuf, source: io::Error },
    #[error("port {0} on 127.0.0.1, where the broker was to listen, is taken")]
    PortTaken(u16),
    #[error("no free port was found on 127.0.0.1 for the broker")]
    NoPort,
    #[error("nats-server ended while it started ({status}): {last_words}")]
    Ended { status: ExitStatus, last_words: String },
    #[error("nats-server did not serve within {0:?}")]
    Slow(Duration),
    #[error("the broker was told to stop while it started")]
    Stopped,
    #[error("the broker's supervisor {path} cannot be run: {reason}")]
    Supervisor { path: PathBuf, reason: String },
    /// What another process said, as it said it.
    #[error("{0}")]
    Reported(String),
}
