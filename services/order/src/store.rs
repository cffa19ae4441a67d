//! The tables that only this service has.

pub(crate) mod customer;
pub(crate) mod order_view;

mod m1001_create_order_view;
mod m1002_create_customer;

use sea_orm_migration::MigrationTrait;

pub(crate) fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(m1001_create_order_view::CreateOrderView), Box::new(m1002_create_customer::CreateCustomer)]
}
