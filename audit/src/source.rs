//! Where committed leaves come from: the store, which is the truth; tiles are made from it. Kept as a trait so that
//! recovery and tests can run over any sequence of leaves.

use std::ops::Range;

use chancery_store::Store;

use crate::AuditError;
use crate::merkle::{Hash, leaf_hash};

/// Committed leaves, in order, never changing.
pub trait LeafSource: Send + Sync {
    /// How many there are.
    ///
    /// # Errors
    /// [`AuditError::Store`].
    fn size(&self) -> Result<u64, AuditError>;

    /// The bodies of the leaves in `range`, all of which are committed.
    ///
    /// # Errors
    /// [`AuditError::Store`].
    fn bodies(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, AuditError>;
}

impl LeafSource for Store {
    fn size(&self) -> Result<u64, AuditError> {
        Ok(self.read(|rows| rows.tree_size())?)
    }

    fn bodies(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, AuditError> {
        let leaves = self.read(|rows| rows.leaves(range))?;
        Ok(leaves.into_iter().map(|leaf| leaf.body).collect())
    }
}

/// The bodies of `range`, or an error where the source came up short.
pub(crate) fn bodies(source: &dyn LeafSource, range: Range<u64>) -> Result<Vec<Vec<u8>>, AuditError> {
    let bodies = source.bodies(range.clone())?;
    let size = range.start + bodies.len() as u64;
    if size == range.end { Ok(bodies) } else { Err(AuditError::OutOfRange { index: size, size }) }
}

/// The leaf hashes of some bodies.
pub(crate) fn hashes(bodies: &[Vec<u8>]) -> impl Iterator<Item = Hash> + '_ {
    bodies.iter().map(|body| leaf_hash(body))
}
