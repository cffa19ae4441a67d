//! The generated messages of Millrace, and the descriptor set they come from. The reference is in the `.proto` files under `proto/`.
//!
//! No logic lives here. What the options in the descriptor set mean is read by the crate `event`.

#![allow(clippy::all, clippy::pedantic, rustdoc::all)]

include!(concat!(env!("OUT_DIR"), "/modules.rs"));
include!(concat!(env!("OUT_DIR"), "/impls.rs"));

pub use google::rpc;
pub use millrace::{billing, command, eventlog, money, options, order, registration, user};
pub use prost::{Message, Name};

/// A fact in the past tense: a message with the option `(millrace.options.v1.event)`.
pub trait Event: Message + Name + Default {
    /// The kind of aggregate whose log the event is in, such as `order`.
    const AGGREGATE: &'static str;
}

/// The encoded `FileDescriptorSet` of all files, custom options and comments included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
