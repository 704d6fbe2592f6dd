//! Tiles (c2sp.org/tlog-tiles): 256 hashes of one level, with the seven levels between kept beside them so that a proof
//! is a handful of look-ups. `Edge` is the right edge of the tree: the one partial tile of each level.

use std::sync::Arc;

use crate::merkle::{Hash, Nodes, node_hash};

/// Hashes in a full tile.
pub(crate) const WIDTH: u64 = 256;

/// One tile, growing to the right.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tile {
    // rows[0] is what the file holds; rows[8] is the root of a full tile.
    rows: [Vec<Hash>; 9],
}

impl Tile {
    pub(crate) fn from_hashes(hashes: impl IntoIterator<Item = Hash>) -> Self {
        let mut tile = Self::default();
        hashes.into_iter().for_each(|hash| tile.push(hash));
        tile
    }

    /// From a tile file of `width` hashes; `None` where its length is another.
    pub(crate) fn from_bytes(bytes: &[u8], width: u64) -> Option<Self> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        (rest.is_empty() && hashes.len() as u64 == width).then(|| Self::from_hashes(hashes.iter().copied()))
    }

    /// Adds a hash on the right, which must not be asked of a full tile, and the nodes it completes.
    pub(crate) fn push(&mut self, hash: Hash) {
        let mut carry = Some(hash);
        for row in &mut self.rows {
            let Some(hash) = carry else { return };
            row.push(hash);
            carry = match row.as_slice() {
                [.., left, right] if row.len().is_multiple_of(2) => Some(node_hash(left, right)),
                _ => None,
            };
        }
    }

    /// The hash over `2^within` of the tile's hashes.
    pub(crate) fn node(&self, within: u32, offset: u64) -> Option<Hash> {
        self.rows.get(within as usize)?.get(usize::try_from(offset).ok()?).copied()
    }

    /// The hash over all 256, of a full tile.
    pub(crate) fn root(&self) -> Option<Hash> {
        self.node(8, 0)
    }

    /// The file of its first `width` hashes; shorter where there are fewer.
    pub(crate) fn bytes(&self, width: u64) -> Vec<u8> {
        let width = usize::try_from(width).unwrap_or(usize::MAX);
        self.rows.iter().take(1).flatten().take(width).flatten().copied().collect()
    }
}

/// Where a complete subtree is found: level, tile, row and place.
pub(crate) struct Place {
    pub(crate) level: u32,
    pub(crate) tile: u64,
    pub(crate) within: u32,
    pub(crate) offset: u64,
}

impl Place {
    pub(crate) fn of(height: u32, index: u64) -> Self {
        let (level, within) = (height / 8, height % 8);
        let per_tile = 8 - within;
        Self { level, tile: index >> per_tile, within, offset: index & ((1 << per_tile) - 1) }
    }
}

/// The tile of `level` that holds the right edge of a tree of `size` leaves, and how wide it is there.
pub(crate) fn edge_of(level: u32, size: u64) -> (u64, u64) {
    let hashes = size >> (8 * level);
    (hashes / WIDTH, hashes % WIDTH)
}

/// Levels with at least one hash in a tree of `size` leaves.
pub(crate) fn levels(size: u64) -> impl Iterator<Item = u32> {
    (0..8).take_while(move |level| size >> (8 * level) > 0)
}

/// A full tile as it leaves the edge.
pub(crate) struct Completed {
    pub(crate) level: u32,
    pub(crate) number: u64,
    pub(crate) tile: Arc<Tile>,
}

/// The partial tile of each level.
#[derive(Debug, Default)]
pub(crate) struct Edge {
    size: u64,
    right: Vec<Tile>,
}

impl Edge {
    /// The edge of a tree of `size` leaves from its partial tiles, level 0 first; a width of 0 where a level has none.
    pub(crate) fn from_tiles(size: u64, right: Vec<Tile>) -> Self {
        Self { size, right }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf; full tiles are handed over, the lowest level first.
    pub(crate) fn push(&mut self, leaf: Hash, mut completed: impl FnMut(Completed)) {
        let mut carry = Some(leaf);
        let mut level = 0;
        while let Some(hash) = carry.take() {
            if self.right.len() <= level {
                self.right.push(Tile::default());
            }
            let Some(tile) = self.right.get_mut(level) else { break };
            tile.push(hash);
            if let Some(root) = tile.root() {
                let tile = Arc::new(std::mem::take(tile));
                let number = self.size >> (8 * (level + 1));
                completed(Completed { level: u32::try_from(level).unwrap_or(u32::MAX), number, tile });
                carry = Some(root);
                level += 1;
            }
        }
        self.size += 1;
    }

    /// The partial tile of this level and number.
    pub(crate) fn tile(&self, level: u32, number: u64) -> Option<&Tile> {
        let (current, _) = edge_of(level, self.size);
        (number == current).then(|| self.right.get(level as usize)).flatten()
    }
}

/// The right edge alone knows every subtree that its own root is made of.
impl Nodes for Edge {
    type Error = ();

    fn node(&self, height: u32, index: u64) -> Result<Hash, ()> {
        let place = Place::of(height, index);
        self.tile(place.level, place.tile).and_then(|tile| tile.node(place.within, place.offset)).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{leaf_hash, root};

    /// The hash of leaves `low..high` by the definition of RFC 6962, 2.1.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => crate::merkle::empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(1 << (leaves.len() - 1).ilog2());
                node_hash(&by_definition(left), &by_definition(right))
            }
        }
    }

    #[test]
    fn the_edge_has_the_root_of_its_leaves_across_tile_borders() {
        let leaves: Vec<Hash> = (0..66_000_u32).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        for (leaf, size) in leaves.iter().zip(1_u64..) {
            edge.push(*leaf, |completed| {
                full.push((completed.level, completed.number, completed.tile.root()))
            });
            if [1, 2, 3, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 66_000].contains(&size) {
                let expected = by_definition(&leaves[..usize::try_from(size).unwrap()]);
                assert_eq!(root(&edge, size), Ok(expected), "{size}");
            }
        }
        assert_eq!(full.len(), 257 + 1);
        let (level, number, top) = full[256];
        assert_eq!(
            (level, number, top),
            (1, 0, Some(by_definition(&leaves[..65_536]))),
            "after 256 of level 0"
        );
        assert_eq!(full[0].2, Some(by_definition(&leaves[..256])));
    }
}
