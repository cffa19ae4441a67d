//! What the binary is made of: the roles, and how they run, in one process or in many.
//!
//! - [`Role`]: the gateway and the services, and which of them calls which.
//! - [`Shop`]: any of them in one process, each on a thread of its own, started and stopped singly.
//! - [`settings`]: the flags and variables.
//! - [`up`], [`demo`], [`keys`], [`operator`]: the commands.

pub mod demo;
pub mod keys;
pub mod limits;
pub mod operator;
pub mod settings;
pub mod up;

mod roles;
mod running;
mod shop;

pub use broker;
pub use roles::Role;
pub use running::{Ended, Running};
pub use settings::Settings;
pub use shop::{Shop, ShopError};
