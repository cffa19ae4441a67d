//! The services as they are, in one thread, under a scheduler that a seed decides.
//!
//! Handlers, ledger, databases, lanes, relay, healing, audits, timers, effects and the calls between services are production's own; what is
//! simulated is the world around them: the broker, the network, the payment provider, the customers, the clocks, and death. Each run first
//! lets things go wrong, then lets them heal, waits until everything has come to rest, and checks every promise.
#![expect(clippy::future_not_send, reason = "a run stays on the thread on which it began")]

mod customers;
mod delivery;
mod fault;
mod folder;
mod gateway;
mod history;
mod instance;
mod lines;
mod network;
mod operator;
mod outages;
mod promises;
mod provider;
mod simulation;
mod weather;

// What the conformance tests hold to the real broker.
#[doc(hidden)]
pub mod broker;
#[doc(hidden)]
pub mod executor;
#[doc(hidden)]
pub mod sim;
#[doc(hidden)]
pub mod wire;

pub use fault::Fault;
pub use folder::sweep;
pub use lines::lines;
pub use simulation::{Report, run};

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use event::Schema;

    use super::*;

    /// How many seeds each of the tests below runs. `make sim` runs as many others as there is time for.
    const SEEDS: u64 = 12;

    fn promises_hold(seeds: std::ops::Range<u64>) {
        let schema = Arc::new(Schema::embedded().unwrap());
        for seed in seeds {
            let report = run(seed, Arc::clone(&schema));
            let violations = report.violations.join("\n");
            assert!(report.violations.is_empty(), "again with: make sim SEED={seed}\n{violations}");
            assert!(report.commands > 2, "seed {seed} did nothing");
        }
    }

    #[test]
    fn whatever_a_seed_makes_go_wrong_every_promise_holds() {
        promises_hold(0..SEEDS);
    }

    #[test]
    fn whatever_another_seed_makes_go_wrong_every_promise_holds() {
        promises_hold(1_000..1_000 + SEEDS);
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        let schema = Arc::new(Schema::embedded().unwrap());
        let (first, second) = (run(7, Arc::clone(&schema)), run(7, schema));
        assert_eq!((first.digest, first.turns, first.faults), (second.digest, second.turns, second.faults));
    }
}
