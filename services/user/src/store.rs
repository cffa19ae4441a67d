//! The tables that only this service has.

pub(crate) mod profile;

mod m1001_create_profile;

use sea_orm_migration::MigrationTrait;

pub(crate) fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(m1001_create_profile::CreateProfile)]
}
