//! A tree in memory with every complete subtree, made by the definition and nothing else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests may panic")]

use chancery_audit::merkle::{Hash, Nodes, node_hash};

/// Every complete subtree, by height.
pub struct Complete(Vec<Vec<Hash>>);

impl Complete {
    pub fn of(leaves: Vec<Hash>) -> Self {
        let mut rows = vec![leaves];
        while rows.last().unwrap().len() > 1 {
            let next =
                rows.last().unwrap().chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
            rows.push(next);
        }
        Self(rows)
    }
}

impl Nodes for Complete {
    type Error = std::convert::Infallible;

    fn node(&self, height: u32, index: u64) -> Result<Hash, Self::Error> {
        Ok(self.0[height as usize][usize::try_from(index).unwrap()])
    }
}
