//! How a person logs in: a password that the server never sees (OPAQUE, RFC 9807), then an authenticator's assertion, or a
//! one-time code (TOTP, RFC 6238). Everything here is a value that goes from state to state; nothing reads a clock, a disk or
//! a socket. Trusts the randomness of the machine. If this is wrong, somebody reads, and is shown, what an officer is.

mod account;
mod client;
mod code;
mod keys;
mod opaque;
mod risk;
mod session;
mod setup;
mod totp;

pub use account::{Account, Admission};
pub use client::{Enrolling, Entering};
pub use code::Code;
pub use keys::{Agreed, Token};
pub use opaque::LoginError;
pub use risk::{Known, Mark, Sign};
pub use session::{Binding, Session};
pub use setup::{Setup, Started};
pub use totp::{TOTP_BYTES, TotpSecret};
