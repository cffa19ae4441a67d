//! Where tests may break the product, to see that it is noticed: [protections](Protection) that can be switched off, and
//! [points](Point) at which a process can die.
//!
//! Only builds with debug assertions have them, and [say so](told) when they start with one of them used. In a release [`without`] is `false`
//! and [`reach`] does nothing, and neither leaves anything behind in the code: what users run has no switch that turns a promise off.

mod point;
mod protection;

pub use point::{Interceptor, Point, reach};
pub use protection::{Protection, told, without};

/// Names the protections that are switched off in this process, separated by commas.
pub const WITHOUT: &str = "MILLRACE_WITHOUT";
/// Names the point at which this process dies, and at which time that it comes there: `relay-sent:2`.
pub const KILL_AT: &str = "MILLRACE_KILL_AT";
/// Names a file to which this process appends the name of each point that it comes to, one in a line.
pub const POINTS_TO: &str = "MILLRACE_KILL_POINTS_TO";
