//! The generated messages of Millrace, and the descriptor set they come from. The reference is in the `.proto` files under `proto/`.
//!
//! No logic lives here. What the options in the descriptor set mean is read by the crate `event`.

#![allow(clippy::all, clippy::pedantic, rustdoc::all)]

include!(concat!(env!("OUT_DIR"), "/modules.rs"));
include!(concat!(env!("OUT_DIR"), "/impls.rs"));

pub use google::rpc;
pub use millrace::{billing, command, eventlog, money, operator, options, order, registration, user};
pub use prost::{Message, Name};

/// A fact in the past tense: a message with the option `(millrace.options.v1.event)`.
pub trait Event: Message + Name + Default {
    /// The kind of aggregate whose log the event is in, such as `order`.
    const AGGREGATE: &'static str;
}

/// A message as a detail of a `google.rpc.Status`, named as clients in all languages expect it.
pub fn any<M: Message + Name>(message: &M) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: message.encode_to_vec() }
}

/// The `domain` of every `ErrorInfo`.
pub const ERROR_DOMAIN: &str = "millrace";

/// The encoded `FileDescriptorSet` of all files, custom options and comments included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
