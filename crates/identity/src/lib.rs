//! Who is calling, and how the owner of what is called can be sure of it.
//!
//! - [`Principal`]: on whose behalf something is done, and by which service.
//! - [`keys`]: from the master key to one key per owner, and from that to one key per caller of that owner.
//! - [`seal`]: what a caller states about a request, authenticated; made by the gateway (or a calling service), verified by the owner.
//! - [`session`]: each service's own replica of which sessions have ended.
//! - [`token`]: access tokens, short-lived, signed by registration and verified at the gateway, where they end.
//!
//! Every secret here redacts itself when it is printed, is wiped when it is dropped, and is compared in constant time. Time and chance are
//! passed in.

pub mod keys;
pub mod seal;
pub mod session;
pub mod token;

mod principal;
mod secret;

pub use keys::{KeyError, MasterKey, OwnerKey, OwnerKeys, PairKey};
pub use principal::{Principal, STAFF};
pub use seal::{SealError, Sealer, Verified, Verifier};
pub use token::{Claims, Issuer, SigningKey, TokenError, TokenVerifier};
