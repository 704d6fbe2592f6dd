//! The room with the keys: PKCS#11 in a worker process of its own, and the parent's side that trusts none of its answers.
//! A signature leaves as [`Sealed`], verified here under the pinned public key and low-S.
//! If this is wrong, keys can be stolen through a lying token, or a wrong signature is released.

pub mod conformance;
mod counter;
mod custody;
mod error;
mod finding;
mod handle;
mod key;
mod seed;
mod signature;
mod supervisor;
mod taproot;
pub mod wire;
mod worker;
mod wrap;

pub use chancery_hd::{HARDENED, Path};
pub use custody::{BACKUP_KEY_BYTES, Custody, Found, KEYS, Survey, Use, WrappedKey};
pub use error::HsmError;
pub use finding::{Finding, Probe, Verdict};
pub use handle::{Health, Hsm, NewToken, Settings, State, init_token};
pub use key::{Algorithm, KeyError, KeyRef, PublicKey};
pub use seed::{Extended, Seed};
pub use signature::{MESSAGE_BYTES, Message, Sealed, Signature, WrongAnswer};
pub use supervisor::{Body, Ending, Launch, WORKER, worker_environment, worker_in};
pub use wire::Token;
pub use worker::worker_main;
pub use wrap::Wrapped;
