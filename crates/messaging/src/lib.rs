//! JetStream, and nothing else: what was committed goes out, what came in goes to the lanes. The only crate that names async-nats.
//!
//! Nothing here decides anything: the broker is a doorbell, and every duplicate, loss and reordering of its is an everyday case for the
//! ledger's cursors and receipts.
//!
//! - [`connect`], [`Streams`]: the connection, and the streams of a domain; [`Backoff`]: when to connect again, to whomever.
//! - [`Lanes`]: deals deliveries, from wherever they come, to the ledger in batches.
//! - [`Relay`]: publishes what was committed.
//! - [`CommandLoop`], [`SubscriptionLoop`]: bring commands and events to the lanes, and acknowledge after the commit.
//! - [`rings`]: tells those who watch a key that it was appended to, by whichever instance.
//! - [`Wire`], [`Brought`], [`Tasks`]: the broker and the runtime, as far as what is above uses them; a simulation has others.
//! - [`queue`], [`feed`]: the gateway's side.

mod backoff;
mod commands;
mod connection;
mod consume;
mod doorbell;
mod inbox;
mod jetstream;
mod lanes;
mod measured;
mod relay;
mod reply;
mod spans;
mod streams;
mod subscriptions;
mod tasks;
mod wire;

pub mod feed;
pub mod queue;

pub use async_nats::Client;
pub use backoff::Backoff;
pub use commands::{CommandLoop, Incoming, Intake};
pub use connection::{Broker, ConnectError, connect, reached};
pub use consume::Held;
pub use doorbell::rings;
pub use lanes::{Committed, Lanes};
pub use relay::Relay;
pub use reply::response;
pub use spans::process_event;
pub use streams::{StreamError, Streams};
pub use subscriptions::SubscriptionLoop;
pub use tasks::{Spawn, Tasks};
pub use wire::{Brought, Wire};
