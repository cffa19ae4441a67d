//! The nemesis: a shop of real processes, to which everything is done that a data centre does to one, while customers buy.
//!
//! A run has phases. It is quiet; faults are done by a [plan](Plan) that is drawn from a seed; everything heals; everything comes to rest, or
//! it is said what does not; and then the [checks](check) look at the history of all calls, at the databases and at the provider's books.

mod answer;
pub mod books;
pub mod check;
mod consumers;
mod drain;
mod fault;
pub mod history;
mod plan;
mod postgres;
mod proxy;
mod report;
mod run;
mod shop;
mod shopper;
mod strike;

pub use fault::{Edge, Fault, Kind, Target};
pub use plan::Plan;
pub use report::Report;
pub use run::{Options, Say, forget, run};
pub use strike::Rewind;
