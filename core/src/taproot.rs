//! How a secp256k1 key signs for taproot (BIP-340, BIP-341), whoever has it: a seed in the HSM's worker, or parties together.

use serde::{Deserialize, Serialize};

/// A way to spend what is locked by a taproot output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Taproot {
    /// By the key: it is tweaked with the root of the scripts beside it, or, where there are none, with nothing but itself.
    Key(Option<[u8; 32]>),
    /// By a script, named by its leaf's hash: the key signs as it is.
    Leaf([u8; 32]),
}
