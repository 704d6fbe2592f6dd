//! Where nonces and polynomials come from.

use frost_ed25519::rand_core::{CryptoRngCore, OsRng};

/// A source of randomness for one run of a machine: the operating system's, or a seeded one that a simulation replays. A nonce
/// from a source that repeats itself gives the share away, so nothing that ships makes another than [`Random::os`].
pub struct Random(Box<dyn CryptoRngCore + Send>);

impl Random {
    /// The operating system's.
    #[must_use]
    pub fn os() -> Self {
        Self(Box::new(OsRng))
    }

    /// Of this source. For simulations and vectors.
    #[must_use]
    pub fn of(source: impl CryptoRngCore + Send + 'static) -> Self {
        Self(Box::new(source))
    }

    pub(crate) fn source(&mut self) -> &mut (dyn CryptoRngCore + Send) {
        &mut *self.0
    }
}
