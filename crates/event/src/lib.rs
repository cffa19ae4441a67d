//! What an event is, before anything is done with it: its key, its revision, its envelope, and how that is written on the wire. No I/O.
//!
//! - [`Id`], [`Key`]: what things are called.
//! - [`Record`]: one row of an event log, wherever it is.
//! - [`ConsistencyToken`]: what a caller has seen.
//! - [`headers`]: a record as NATS headers (CloudEvents 1.0, binary mode), and back.
//! - [`subject`]: the names of subjects, streams and commands.
//! - [`Schema`]: what the options in the proto files say of methods, events and fields; [`to_json`]: messages for people, without what is secret.

mod consistency;
mod id;
mod key;
mod record;
mod schema;
mod shown;
mod wire;

pub mod headers;
pub mod subject;

pub use consistency::{ConsistencyToken, InvalidToken, Seen};
pub use id::{Id, InvalidId};
pub use key::{InvalidKey, Key};
pub use proto::Event;
pub use record::{History, InvalidTimestamp, Micros, Record, TraceContext};
pub use schema::{
    Access, Delivery, EventKind, Kind, Method, Schema, SchemaError, hidden_fields, is_personal, is_secret,
};
pub use shown::to_json;
pub use wire::InvalidRecord;
