//! Against a real nats-server.

#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod deliveries;
mod doorbell;
mod herds;
mod queue;
