//! What billing decides, without asking anybody.

mod check;
mod decide;
mod method;
mod money;
mod payment;

pub(crate) use check::{Order, Refusal, check};
pub(crate) use decide::{Act, Decision, Input, decide};
pub(crate) use method::PaymentMethod;
pub(crate) use money::Money;
pub(crate) use payment::{Event, Payment, Step};

pub use check::Limits;
