//! Key ceremonies: what people agree to do with a token's keys, done step by step before witnesses, and provable later.
//! The only place beside the enclave that reaches a token, and the only one where shares and the backup key are; none of
//! it is in the daemon. If this is wrong, a wallet's keys are lost with their token, or fewer people than agreed have them.

mod act;
mod backup;
mod cold;
mod console;
mod drill;
mod error;
mod house;
mod kind;
mod run;
mod script;
mod seed;
mod share;
mod store;
mod transcript;
mod verify;
mod vss;

pub use backup::Backup;
pub use chancery_hd::{Extended, HARDENED, Path};
pub use chancery_secret::harden_process;
pub use cold::{ColdSeed, SEED};
pub use console::{Console, IDENTITY_BYTES};
pub use drill::{Drill, Drilled};
pub use error::CeremonyError;
pub use kind::{Act, Kind};
pub use run::{Door, Ended, Room, Stage};
pub use script::{Custodian, Person, Plan, PlannedKey, Role, Script, Source};
pub use seed::{Joined, SeedShares};
pub use share::{Holder, Shares, fresh_identity};
pub use store::{BACKUP, SCRIPT, SHARES, TRANSCRIPT};
pub use transcript::{Entry, Event, Hand, Transcript};
pub use verify::{Verified, verify};
