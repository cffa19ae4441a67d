//! What somebody does who means harm to a gateway, or whose client is broken.
//!
//! - [`http2`]: HTTP/2 by hand, for what no client library does. The gateway's own tests use it, too.
//! - [`violations`]: frames that break the protocol, and what each must end.
//! - [`attack`]: all attacks, as a table.
//!
//! The binary runs the table against a shop of real processes, while an honest customer goes on buying: `make abuse`.

#![expect(clippy::expect_used, reason = "it is for tests alone, and a test reports by panicking")]

pub mod attack;
pub mod http2;
pub mod violations;
