//! The hash tree of RFC 6962 and RFC 9162: hashing, inclusion and consistency proofs, and their verification.
//! Trusts only SHA-256. If verification is wrong, a log can show two histories to two readers.
//! Own code rather than a library: see ADR 0003; a second implementation is run against it in tests.

use sha2::{Digest as _, Sha256};

/// A hash of the tree.
pub type Hash = [u8; 32];

/// LIMIT: the hashes of one proof. A tree of 2^63 leaves needs no more than 64.
pub const PROOF_HASHES: usize = 64;

/// `SHA-256(0x00 || body)` (RFC 9162, 2.1.1).
#[must_use]
pub fn leaf_hash(body: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(body).finalize().into()
}

/// `SHA-256(0x01 || left || right)` (RFC 9162, 2.1.1).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut block = [1; 65];
    let (head, tail) = block.split_at_mut(33);
    for (to, from) in head.iter_mut().skip(1).zip(left) {
        *to = *from;
    }
    tail.copy_from_slice(right);
    Sha256::digest(block).into()
}

/// The root of the tree without leaves: the hash of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The complete subtrees of a log.
pub trait Nodes {
    /// Why a hash cannot be read.
    type Error;

    /// The hash of leaves `index * 2^height .. (index + 1) * 2^height`. Asked only for subtrees within the log.
    ///
    /// # Errors
    /// Whatever keeps the hash from being read.
    fn node(&self, height: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The largest power of two below `width` (RFC 9162, 2.1.1: `k < n <= 2k`), for `width >= 2`.
fn split(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

/// The hash of leaves `low..high`, where `low` is a multiple of the next power of two at or above the width.
fn range_root<N: Nodes>(nodes: &N, low: u64, high: u64) -> Result<Hash, N::Error> {
    let mut right: Option<Hash> = None;
    // The binary digits of `high - low` name the complete subtrees, the smallest and rightmost first.
    let (mut width, mut end) = (high - low, high);
    while width > 0 {
        let height = width.trailing_zeros();
        end -= 1 << height;
        width -= 1 << height;
        let left = nodes.node(height, end >> height)?;
        right = Some(right.map_or(left, |right| node_hash(&left, &right)));
    }
    Ok(right.unwrap_or_else(empty_root))
}

/// The root of the first `size` leaves.
///
/// # Errors
/// Those of `nodes`.
pub fn root<N: Nodes>(nodes: &N, size: u64) -> Result<Hash, N::Error> {
    range_root(nodes, 0, size)
}

/// The inclusion proof of leaf `index` in the tree of `size` leaves (RFC 9162, 2.1.3.1), from the leaf up. Empty
/// where `index` is not below `size`.
///
/// # Errors
/// Those of `nodes`.
pub fn prove_inclusion<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let mut path = Vec::new();
    if index >= size {
        return Ok(path);
    }
    let (mut low, mut high) = (0, size);
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            path.push(range_root(nodes, middle, high)?);
            high = middle;
        } else {
            path.push(range_root(nodes, low, middle)?);
            low = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `old` leaves is the beginning of the tree of `new` leaves (RFC 9162, 2.1.4.1). Empty
/// where `old` is 0 or not below `new`.
///
/// # Errors
/// Those of `nodes`.
pub fn prove_consistency<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return Ok(path);
    }
    let (mut low, mut high) = (0, new);
    while old != high {
        let middle = low + split(high - low);
        if old <= middle {
            path.push(range_root(nodes, middle, high)?);
            high = middle;
        } else {
            path.push(range_root(nodes, low, middle)?);
            low = middle;
        }
    }
    // A subtree that begins at leaf 0 is the old tree itself, whose root the verifier has.
    if low != 0 {
        path.push(range_root(nodes, low, high)?);
    }
    path.reverse();
    Ok(path)
}

/// Whether `proof` shows `leaf` at `index` of the tree of `size` leaves with this root (RFC 9162, 2.1.3.2).
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            // The rightmost node has no sibling on these levels. It equals `last`, so it is not 0 here.
            if node & 1 == 0 {
                let skip = node.trailing_zeros();
                node >>= skip;
                last >>= skip;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `old` leaves with `old_root` begins the tree of `new` leaves with
/// `new_root` (RFC 9162, 2.1.4.2). An empty old tree begins every tree.
#[must_use]
pub fn verify_consistency(old: u64, new: u64, proof: &[Hash], old_root: &Hash, new_root: &Hash) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let mut proof = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { proof.next() };
    let Some(first) = first else { return false };
    let mut node = old - 1;
    let mut last = new - 1;
    let skip = node.trailing_ones();
    node >>= skip;
    last >>= skip;
    let (mut from_old, mut from_new) = (*first, *first);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            from_old = node_hash(sibling, &from_old);
            from_new = node_hash(sibling, &from_new);
            if node & 1 == 0 {
                let skip = node.trailing_zeros();
                node >>= skip;
                last >>= skip;
            }
        } else {
            from_new = node_hash(&from_new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && from_old == *old_root && from_new == *new_root
}
