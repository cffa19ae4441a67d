//! Orders. An order is the fold of its own events; whatever happens to it is decided by one pure function, `domain::decide`.
//!
//! - `domain`: the order, its money, and what is decided about it. No queries, nothing asynchronous.
//! - `place_order`, `cancel_order`: what customers ask for.
//! - `payments`, `customers`: what other services tell.
//! - `queries`: reading, listing and watching orders, and their histories.
//! - `catalogue`: what can be ordered, and at which price.
//! - `store`: the tables.

mod cancel_order;
mod catalogue;
mod customers;
mod domain;
mod error;
mod payments;
mod place_order;
mod queries;
mod store;

use std::sync::Arc;

use event::Schema;
use ledger::Aggregate as _;
use serve::Service;

use crate::catalogue::Catalogue;
use crate::domain::Order;

/// The order service.
pub fn service(schema: Arc<Schema>) -> Service {
    Service::new("order", schema)
        .tables(store::migrations())
        .state(Catalogue::default())
        .sessions()
        .projection::<Order>()
        .command(Order::KIND, place_order::place_order)
        .command(Order::KIND, cancel_order::cancel_order)
        .subscription(payments::subscription())
        .subscription(customers::subscription())
        .query(queries::get_order)
        .query(queries::list_orders)
        .query(queries::get_order_history)
        .stream(queries::watch_order)
}
