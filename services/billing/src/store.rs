//! The tables that only this service has.

pub(crate) mod customer;
pub(crate) mod payment;
pub(crate) mod payment_method;

mod m1001_create_payment_method;
mod m1002_create_payment;
mod m1003_create_customer;

use sea_orm_migration::MigrationTrait;

pub(crate) fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![
        Box::new(m1001_create_payment_method::CreatePaymentMethod),
        Box::new(m1002_create_payment::CreatePayment),
        Box::new(m1003_create_customer::CreateCustomer),
    ]
}
