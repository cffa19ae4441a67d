//! Billing as its customers, the other services and the payment provider see it.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

mod cancels;
mod charges;
mod checks;
mod payment_methods;
mod payments;
mod provider;
mod secrets;
mod shop;
mod watched;
