//! A shop of real processes, customers who retry until they know, and what must hold in the end.

mod customers;
mod gateways;
mod processes;

pub(crate) use customers::{buy, settle};
pub(crate) use gateways::{Shoppers, serves};
pub(crate) use processes::{Database, Processes};
