//! What every room shares: identifiers, sign requests, error codes, limits, configuration and the clock.
//! Pure data: no I/O, no cryptography. Everything here is parsed once at the edge; a value that exists is valid.
//! If this is wrong, two rooms can disagree about what was asked.

mod causes;
mod certificate;
mod change;
mod clock;
mod code;
pub mod config;
mod id;
pub mod limit;
mod mode;
mod request;
mod taproot;
mod tier;

pub use causes::causes;
pub use certificate::{Role, Serial, Subject, SubjectError};
pub use change::Change;
pub use clock::{Clock, ClockError, ManualClock, SystemClock, UnixMillis};
pub use code::Code;
pub use id::{ClientId, IdError, IdempotencyKey, KeyId, RequestId, Tenant, WalletId};
pub use mode::Mode;
pub use request::{Payload, SignRequest, TokenAccount};
pub use taproot::Taproot;
pub use tier::Tier;
