//! What holds of all values, tried with those that chance draws, and shrunk to the smallest for which it does not.

#![cfg(test)]

mod cursors;
mod money;
mod orders;
mod payments;
mod values;

use proptest::test_runner::{Config, RngSeed};

/// So many values, the same each time; with `MILLRACE_FUZZ_SEED` others.
fn cases(cases: u32) -> Config {
    let seed = std::env::var("MILLRACE_FUZZ_SEED").map_or(4, |seed| seed.parse().unwrap());
    Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(seed), ..Config::default() }
}
