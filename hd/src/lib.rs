//! Keys derived from one seed: BIP-32 and SLIP-10, BIP-39 phrases, SLIP-39 shares. No I/O: it runs in the HSM worker, which
//! opens a seed for one signature, and on the machine of a cold wallet. A private key never leaves a [`Key`].
//! If this is wrong, coins are sent to addresses that nobody can spend from, or a seed is left behind in memory.

mod derive;
mod path;
mod phrase;
pub mod slip39;

pub use derive::{Curve, Extended, Key, scrub_stack};
pub use path::{DEPTH, HARDENED, Path};
pub use phrase::{phrase_of, seed_of_phrase};

/// Bytes of a seed that is made here. SLIP-39 shares carry it as their master secret, BIP-32 as its own.
pub const SEED_BYTES: usize = 32;

/// What went wrong. No message holds any byte of a secret.
#[derive(Debug, thiserror::Error)]
pub enum HdError {
    /// BIP-32 takes 128 to 512 bits.
    #[error("a seed has 16 to 64 bytes")]
    Seed,
    /// Not a path of numbers below 2^31, hardened by `'` or `h`.
    #[error("not a derivation path such as `m/84'/0'/0'/0/5`")]
    Path,
    /// Ed25519 has no other steps (SLIP-10).
    #[error("an Ed25519 key is derived by hardened steps alone")]
    NotHardened,
    /// Once in 2^127.
    #[error("the path leads to no key; take the next index")]
    NoKey,
    /// Not a message of the form that the curve signs.
    #[error("the message has not the form that the key signs")]
    Message,
    /// Not a BIP-39 phrase.
    #[error("the phrase is not one of BIP-39: {0}")]
    Phrase(&'static str),
    /// SLIP-39.
    #[error(transparent)]
    Share(#[from] slip39::ShareError),
    /// No secret memory.
    #[error(transparent)]
    Memory(#[from] chancery_secret::SecretError),
}
