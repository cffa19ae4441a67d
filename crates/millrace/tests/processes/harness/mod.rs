//! A shop of real processes, customers who retry until they know, and what must hold in the end.

mod balancer;
mod customers;
mod fleet;
mod gateways;
mod metrics;
mod processes;

pub(crate) use customers::{buy, retry, settle};
pub(crate) use fleet::Fleet;
pub(crate) use gateways::{Shoppers, serves};
pub(crate) use processes::{Database, Processes};
