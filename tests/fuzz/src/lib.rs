//! Feeds whatever reads what comes from outside with everything.
//!
//! A [`Target`] has bytes read by production's own code, and asserts what must hold whatever they are: what was read is written as it was, a
//! seal or token that was altered is never good, limits hold, and a refusal says why. `make fuzz` looks for bytes that reach code which none
//! has reached before (libFuzzer); [`short`] is the part of it that every test run has.

#![expect(clippy::unwrap_used, clippy::panic, reason = "for tests alone: whatever fails is a finding")]

pub mod short;

mod mutate;
mod targets;

/// Something that reads.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    /// What is read well, or nearly so, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Has the bytes read; panics if something does not hold.
    pub feed: fn(&[u8]),
    /// How many inputs a short run feeds it with.
    pub short: usize,
}

pub const TARGETS: [Target; 12] = [
    targets::names::TARGET,
    targets::envelopes::TARGET,
    targets::records::TARGET,
    targets::consistency_tokens::TARGET,
    targets::page_tokens::TARGET,
    targets::refresh_tokens::TARGET,
    targets::access_tokens::TARGET,
    targets::seals::TARGET,
    targets::keys::TARGET,
    targets::requests::TARGET,
    targets::refusals::TARGET,
    targets::calls::TARGET,
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
