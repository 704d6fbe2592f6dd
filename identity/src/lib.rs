//! Who asks: the peer of a connection, proved by its certificate chain.
//!
//! Trusts the certificate authorities given to [`Authority::new`] and the caller's clock; nothing the peer says of
//! itself. [`Client`], [`Auditor`] and [`Operator`] are evidence: no other crate can make one. If this is wrong,
//! someone signs as somebody else.
//!
//! ```compile_fail
//! // Evidence has no constructor outside this crate.
//! let peer = chancery_identity::Client { tenant: Default::default(), id: "a".parse().unwrap(), fingerprint: [0; 32] };
//! ```

mod authority;
mod error;
mod name;
mod peer;

pub use authority::Authority;
pub use error::IdentityError;
pub use peer::{Auditor, Client, Fingerprint, Operator, Peer, Role};
