//! What billing decides, without asking anybody.

mod check;
mod decide;
mod method;
mod money;
mod payment;

pub use check::{Order, Refusal, check};
pub use decide::{Act, Decision, Input, decide};
pub(crate) use method::PaymentMethod;
pub use money::Money;
pub use payment::{Event, Payment, Step};

pub use check::Limits;
