//! How a trace goes on: from a call into the event log, from there to the broker, and into whoever reads it.
//!
//! - [`current`], [`follow`], [`link`], [`go_on`]: a [`TraceContext`](event::TraceContext) from a span, and a span from one.
//! - [`inject`], [`extract`]: the same through gRPC metadata.
//! - [`span`]: the spans that cross a border (calls, publishing, processing), named after OpenTelemetry's conventions.
//! - [`Passing`]: what stands in for OpenTelemetry where nobody keeps spans.
//! - [`role`]: which role of the process a thread works for.
//!
//! Nothing here exports anything; the crate `serve` sets that up. Without it every function does nothing, and contexts are empty.

mod context;
mod passing;

pub mod role;
pub mod span;

pub use context::{current, extract, follow, go_on, inject, link, of};
pub use passing::{Passing, passed_by};
