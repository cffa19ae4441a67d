//! The transaction.
//!
//! A handler changes its state, appends its events to the service's event log, and leaves its result under the command's id, in one
//! database transaction. Nothing else is ever the source of truth. This crate knows the database and not the broker: what it takes in is a
//! [`Delivery`], and what became of it an [`Outcome`], so a test can drive it by hand.
//!
//! - For handlers: [`Tx`] (commands, events, answers), [`Reader`] (queries), [`Aggregate`], [`Rejection`], [`Effect`],
//!   [`Timer`].
//! - For what brings deliveries: [`Ledger`], [`Handlers`], [`Subscription`].

mod aggregate;
mod audit;
mod backlog;
mod book;
mod clock;
mod compare;
mod database;
mod delivery;
mod effects;
mod error;
mod followed;
mod handlers;
mod heads;
mod kept;
mod ledger;
mod migration;
pub mod operator;
mod passed;
mod processor;
mod projection;
mod reader;
mod reads;
mod rows;
mod standing;
mod store;
mod timer;
mod tx;
mod versions;

pub use aggregate::{Aggregate, At, EventSet, Loaded};
pub use audit::AuditedLog;
pub use backlog::{Backlog, Counted, Totals};
pub use clock::{Chance, Clock, process_now};
pub use compare::Compared;
pub use database::{Database, OpenError, Transaction, connect, private_file};
pub use delivery::{
    Answer, Caller, Command, CommandResult, Delivery, Ended, EventDelivery, Input, Means, Outcome, Prepared,
};
pub use effects::{LEASE, Leased};
pub use error::{Code, Error, Rejection, Result, internal};
pub use followed::LogPart;
pub use handlers::{Answered, Begun, Effect, Followed, Handler, Handlers, Subscription, reference};
pub use heads::{Heads, KeyHead, Place, Since};
pub use ledger::{Due, Ledger, Parts, Retry};
pub use migration::migrations;
pub use processor::Processed;
pub use projection::Rebuilt;
pub use reader::Reader;
pub use reads::{ByText, Lookup, Reads};
pub use rows::Rows;
pub use standing::{FollowedStanding, Standing, SubscriptionStanding};
pub use timer::{DueTimer, Fired, Timer};
pub use tx::Tx;

/// The rules by which cursors move, for the model that checks them.
#[doc(hidden)]
pub mod rules {
    pub use crate::processor::event::{Verdict, judge, moved, noted};
    pub use crate::store::cursor::{Model as Cursor, State};
}

#[doc(hidden)]
pub use proto;
