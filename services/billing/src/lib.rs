//! Billing: payment methods, checks against fraud, and the payments of orders. The payment of an order is the fence between charging it
//! and canceling it: what is decided about it, whatever comes first, is one pure function, [`domain::decide`].
//!
//! - [`domain`]: the payment, the rules against fraud, and what is decided. No queries, nothing asynchronous.
//! - [`add_payment_method`]: what customers ask for.
//! - [`orders`], [`customers`]: what other services tell.
//! - [`effects`]: what is asked of the payment provider, and what follows from its answers.
//! - [`provider`]: the port to it, and a simulated one.
//! - [`queries`]: one's own payment methods and payments.
//! - [`store`]: the tables.

mod add_payment_method;
mod card_token;
mod customers;
#[doc(hidden)]
pub mod domain;
mod effects;
mod error;
mod orders;
mod provider;
mod queries;
mod settings;
mod store;

use std::sync::Arc;

use event::Schema;
use ledger::{Aggregate as _, Lookup};
use serve::Service;

use crate::domain::{Payment, PaymentMethod};

pub use card_token::CardToken;
pub use domain::Limits;
pub use provider::{Charge, ChargeState, Outcome, Provider, Reservation, Simulated, Unanswered};
pub use settings::Settings;

/// The billing service, with whoever moves the money for it.
pub fn service(schema: Arc<Schema>, provider: Arc<dyn Provider>, settings: Settings) -> Service {
    Service::new("billing", schema)
        .tables(store::migrations())
        .state(settings::Billing { provider, settings, payment_methods: Lookup::default() })
        .sessions()
        .projection::<Payment>()
        .prepared_command(PaymentMethod::KIND, add_payment_method::look_up, add_payment_method::add_payment_method)
        .subscription(orders::subscription())
        .subscription(customers::subscription())
        .effect(effects::charge, effects::charged)
        .effect(effects::refund, effects::refunded)
        .query(queries::list_payment_methods)
        .query(queries::get_payment)
}
