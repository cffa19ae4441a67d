//! A whole gateway from outside, as clients see it: with a real broker, and an owner that says what a test wants.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test reports by panicking")]

mod abuse;
mod busy;
mod commands;
mod crowds;
mod frames;
mod front;
mod queries;
mod refusals;
mod versions;
mod world;
