//! Appending inside the store's transaction, and the evidence that it became durable. `Appended` can be made only from
//! what the store says it committed; the walk lets nothing reach a signer without one.

use crate::merkle::Hash;

/// A leaf as a transaction appended it: worth nothing until that transaction is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    index: u64,
    hash: Hash,
}

impl Leaf {
    /// Its place in the log.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Its hash in the tree.
    #[must_use]
    pub fn hash(&self) -> &Hash {
        &self.hash
    }
}

/// Evidence: this leaf is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended(Leaf);

impl Appended {
    /// The leaf's place in the log.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.0.index
    }

    /// The leaf's hash in the tree.
    #[must_use]
    pub fn hash(&self) -> &Hash {
        &self.0.hash
    }
}
