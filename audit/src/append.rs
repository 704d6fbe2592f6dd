//! Appending inside the store's transaction, and the evidence that it became durable. `Appended` can be made only from
//! what the store says it committed; the walk lets nothing reach a signer without one.

use chancery_store::{Committed, Tx};

use crate::AuditError;
use crate::merkle::{Hash, leaf_hash};
use crate::record::Record;

/// Appends a record inside a store job. The leaf is final only when the job is committed.
///
/// # Errors
/// Those of [`Record::body`], and the store's.
pub fn append(tx: &mut Tx<'_>, record: &Record) -> Result<Leaf, AuditError> {
    let body = record.body()?;
    let hash = leaf_hash(&body);
    let index = tx.append_leaf(&body, &hash)?;
    Ok(Leaf { index, hash })
}

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
    /// The leaf that the store says it committed (see `Committed::split` for a job that returns more).
    #[must_use]
    pub fn from_committed(leaf: Committed<Leaf>) -> Self {
        Self(leaf.into_inner())
    }

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
