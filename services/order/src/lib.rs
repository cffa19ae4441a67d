//! Orders. An order is the fold of its own events; whatever happens to it is decided by one pure function, `domain::decide`.
//!
//! - `domain`: the order, its money, and what is decided about it. No queries, nothing asynchronous.
//! - `place_order`, `cancel_order`: what customers ask for.
//! - `payments`, `customers`: what other services tell; `deadline`: what is done if they tell nothing.
//! - `queries`: reading, listing and watching orders, and their histories.
//! - `catalogue`: what can be ordered, and at which price.
//! - `store`: the tables.

mod cancel_order;
mod catalogue;
mod customers;
mod deadline;
#[doc(hidden)]
pub mod domain;
mod error;
mod payments;
mod place_order;
mod queries;
mod settings;
mod store;

use std::sync::Arc;

use event::Schema;
use ledger::Aggregate as _;
use serve::Service;

use crate::catalogue::Catalogue;
use crate::domain::Order;
use crate::settings::Ordering;

pub use settings::Settings;

/// What reads what clients send, for the tests that feed it with everything.
#[doc(hidden)]
pub mod reading {
    pub use crate::queries::page_token;
    pub use crate::store::order_view::Place;
}

/// The order service.
pub fn service(schema: Arc<Schema>, settings: Settings) -> Service {
    Service::new("order", schema)
        .tables(store::migrations())
        .state(Ordering { settings, catalogue: Catalogue::default() })
        .sessions()
        .projection::<Order>()
        .command(Order::KIND, place_order::place_order)
        .reads(place_order::reads)
        .command(Order::KIND, cancel_order::cancel_order)
        .subscription(payments::subscription())
        .subscription(customers::subscription())
        .deadline(deadline::passed)
        .query(queries::get_order)
        .query(queries::list_orders)
        .query(queries::get_order_history)
        .stream(queries::watch_order)
}
