//! A shop of real processes for tests: each role a process of the `millrace` executable, as in production; a broker and databases of their
//! own; customers who retry until they know; and what must hold in the end.
//!
//! [`Processes`] is one of each role, [`Fleet`] several behind one address each. Both kill what they started when they go, and print the
//! processes' last words if the test failed.
//!
//! [`kill_points`] lets a process die at each point at which that could hurt.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "for tests alone")]

mod balancer;
mod customers;
mod executable;
mod fleet;
mod gateways;
pub mod kill_points;
mod metrics;
pub mod nemesis;
mod processes;

pub use balancer::Balancer;
pub use customers::{Bought, buy, may_still_happen, retry, settle};
pub use executable::executable;
pub use fleet::Fleet;
pub use gateways::{Shoppers, serves};
pub use metrics::total;
pub use processes::{Database, Processes, channel, free_address};
