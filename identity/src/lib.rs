//! Who asks: the peer of a connection, proved by its certificate chain, and whether it signed its request itself.
//!
//! Trusts the certificate authorities given to [`Authority::new`] and the caller's clock; nothing the peer says of
//! itself. [`Client`], [`Auditor`], [`Operator`] and [`Officer`] are evidence: no other crate can make one. If this is wrong,
//! someone signs as somebody else.
//!
//! ```compile_fail,E0451
//! // Evidence cannot be made, nor changed, outside this crate.
//! fn forge(client: chancery_identity::Client) -> chancery_identity::Client {
//!     chancery_identity::Client { id: "treasury".parse().unwrap(), ..client }
//! }
//! ```

mod application;
mod authority;
mod dates;
mod error;
pub mod issue;
pub mod login;
pub mod node;
pub mod officer;
mod peer;
mod revocation;
mod vouched;
pub mod webauthn;

pub use application::Application;
pub use authority::Authority;
pub use chancery_core::Role;
pub use dates::Dates;
pub use error::IdentityError;
pub use peer::{Auditor, Client, Fingerprint, Officer, Operator, Peer};
pub use vouched::{
    Algorithm, Draft, Fields, Message, Testimony, Vouched, authority_of, is_named_by, testimony,
};
