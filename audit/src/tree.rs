//! The log's tree while it runs: its right edge and the tiles not yet on disk in memory, older tiles read back through a
//! small cache. INVARIANT: every hash answered here is bound to the edge: a tile that is read is believed only if its
//! root is in its parent; one that is missing or damaged is made again from the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::AuditError;
use crate::files::{Files, Resource, bundle};
use crate::merkle::{self, Hash, Nodes};
use crate::source::{self, LeafSource};
use crate::tile::{Completed, Edge, Place, Tile, WIDTH, edge_of, levels};

/// LIMIT: full tiles that may wait for the publisher (16 KiB each, 2^20 leaves together).
const WAITING_TILES: usize = 4_096;
/// LIMIT: full tiles kept in memory after they were written or read (16 KiB each).
const CACHED_TILES: usize = 128;

type Key = (u32, u64);

#[derive(Default)]
struct Grown {
    edge: Edge,
    waiting: HashMap<Key, Arc<Tile>>,
    gap: Option<(u64, u64)>,
}

#[derive(Default)]
struct Cache {
    tiles: HashMap<Key, (u64, Arc<Tile>)>,
    clock: u64,
}

impl Cache {
    fn find(&mut self, key: Key) -> Option<Arc<Tile>> {
        self.clock += 1;
        let (used, tile) = self.tiles.get_mut(&key)?;
        *used = self.clock;
        Some(Arc::clone(tile))
    }

    fn keep(&mut self, key: Key, tile: Arc<Tile>) {
        self.clock += 1;
        if self.tiles.len() >= CACHED_TILES
            && let Some(oldest) = self.tiles.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key)
        {
            self.tiles.remove(&oldest);
        }
        self.tiles.insert(key, (self.clock, tile));
    }
}

pub(crate) struct Tree {
    grown: Mutex<Grown>,
    cache: Mutex<Cache>,
    files: Files,
    source: Arc<dyn LeafSource>,
}

// A panic while a lock is held cannot leave these half changed: each change is one push or one insert.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tree {
    pub(crate) fn new(edge: Edge, files: Files, source: Arc<dyn LeafSource>) -> Self {
        let grown = Grown { edge, ..Grown::default() };
        Self { grown: Mutex::new(grown), cache: Mutex::default(), files, source }
    }

    pub(crate) fn size(&self) -> u64 {
        lock(&self.grown).edge.size()
    }

    /// Leaves in the store, of which the tree may not have heard yet.
    pub(crate) fn committed(&self) -> Result<u64, AuditError> {
        self.source.size()
    }

    /// Adds committed leaves, about a microsecond each and without I/O. Those already there are passed over; a gap is remembered and stops every checkpoint.
    pub(crate) fn grow(&self, first: u64, leaves: &[Hash]) {
        let mut grown = lock(&self.grown);
        let Grown { edge, waiting, gap } = &mut *grown;
        for (index, leaf) in (first..).zip(leaves) {
            if index > edge.size() && gap.is_none() {
                *gap = Some((edge.size(), index));
            }
            if index == edge.size() && gap.is_none() {
                edge.push(*leaf, |Completed { level, number, tile }| {
                    waiting.insert((level, number), tile);
                });
            }
        }
    }

    /// The newest size and its root, if the log may sign it.
    pub(crate) fn head(&self) -> Result<(u64, Hash), AuditError> {
        let grown = lock(&self.grown);
        if let Some((expected, found)) = grown.gap {
            return Err(AuditError::Gap { expected, found });
        }
        if grown.waiting.len() > WAITING_TILES {
            return Err(AuditError::Unpublished { tiles: grown.waiting.len() });
        }
        let size = grown.edge.size();
        let root =
            merkle::root(&grown.edge, size).map_err(|()| AuditError::OutOfRange { index: size, size })?;
        Ok((size, root))
    }

    /// The bytes of a tile or bundle; `None` where the tree has not grown to it.
    pub(crate) fn resource(&self, resource: Resource) -> Result<Option<Vec<u8>>, AuditError> {
        match resource {
            Resource::Tile { level, number, width } => {
                if level >= 8 {
                    return Ok(None);
                }
                {
                    let grown = lock(&self.grown);
                    let (current, have) = edge_of(level, grown.edge.size());
                    if number > current || (number == current && width > have) {
                        return Ok(None);
                    }
                    if let Some(tile) = grown.edge.tile(level, number) {
                        return Ok(Some(tile.bytes(width)));
                    }
                }
                Ok(Some(self.full(level, number)?.bytes(width)))
            }
            Resource::Entries { number, width } => {
                let first = number.saturating_mul(WIDTH);
                if first.saturating_add(width) > self.size() {
                    return Ok(None);
                }
                let bodies = source::bodies(&*self.source, first..first + width)?;
                // Every leaf was bounded by `Record::body` when it was made.
                bundle(&bodies).map(Some).ok_or(AuditError::LeafTooLong { bytes: usize::from(u16::MAX) + 1 })
            }
        }
    }

    /// What must be written so that the files show `to` leaves where they show `from` now.
    pub(crate) fn changes(from: u64, to: u64) -> Vec<Resource> {
        let mut changes = Vec::new();
        for level in levels(to) {
            let (before, width_before) = edge_of(level, from);
            let (last, width) = edge_of(level, to);
            let mut add = |number, width| {
                changes.push(Resource::Tile { level, number, width });
                if level == 0 {
                    changes.push(Resource::Entries { number, width });
                }
            };
            (before..last).for_each(|number| add(number, WIDTH));
            if width > 0 && (last, width) != (before, width_before) {
                add(last, width);
            }
        }
        changes
    }

    /// Lets go of the tiles that are on disk now that `size` leaves are published.
    pub(crate) fn published(&self, size: u64) {
        let written: Vec<_> = {
            let mut grown = lock(&self.grown);
            let on_disk = |&(level, number): &Key| number < edge_of(level, size).0;
            grown.waiting.extract_if(|key, _| on_disk(key)).collect()
        };
        let mut cache = lock(&self.cache);
        written.into_iter().for_each(|(key, tile)| cache.keep(key, tile));
    }

    fn full(&self, level: u32, number: u64) -> Result<Arc<Tile>, AuditError> {
        if let Some(tile) = lock(&self.grown).waiting.get(&(level, number)) {
            return Ok(Arc::clone(tile));
        }
        if let Some(tile) = lock(&self.cache).find((level, number)) {
            return Ok(tile);
        }
        let root = self.node(8 * (level + 1), number)?;
        let resource = Resource::Tile { level, number, width: WIDTH };
        let read = self.files.read_resource(resource)?.and_then(|bytes| Tile::from_bytes(&bytes, WIDTH));
        let tile = match read.filter(|tile| tile.root() == Some(root)) {
            Some(tile) => Arc::new(tile),
            None => {
                tracing::warn!(path = resource.path(), "tile missing or damaged: made again from the store");
                rebuild(&*self.source, level, number)?
                    .filter(|tile| tile.root() == Some(root))
                    .ok_or(AuditError::Forked { size: self.size() })?
            }
        };
        lock(&self.cache).keep((level, number), Arc::clone(&tile));
        Ok(tile)
    }
}

impl Nodes for Tree {
    type Error = AuditError;

    fn node(&self, height: u32, index: u64) -> Result<Hash, AuditError> {
        let place = Place::of(height, index);
        {
            let grown = lock(&self.grown);
            let size = grown.edge.size();
            if height >= 64 || index >= size >> height {
                return Err(AuditError::OutOfRange { index, size });
            }
            if let Some(tile) = grown.edge.tile(place.level, place.tile) {
                let node = tile.node(place.within, place.offset);
                return node.ok_or(AuditError::OutOfRange { index, size });
            }
        }
        let tile = self.full(place.level, place.tile)?;
        tile.node(place.within, place.offset).ok_or(AuditError::OutOfRange { index, size: self.size() })
    }
}

/// A full tile from the leaves below it: 256 of them for level 0, 65,536 for level 1.
pub(crate) fn rebuild(
    source: &dyn LeafSource,
    level: u32,
    number: u64,
) -> Result<Option<Arc<Tile>>, AuditError> {
    let leaves = 1_u64 << (8 * (level + 1));
    let (mut edge, mut rebuilt) = (Edge::default(), None);
    for chunk in 0..leaves / WIDTH {
        let first = number * leaves + chunk * WIDTH;
        let bodies = source::bodies(source, first..first + WIDTH)?;
        for hash in source::hashes(&bodies) {
            edge.push(hash, |completed| {
                if completed.level == level {
                    rebuilt = Some(completed.tile);
                }
            });
        }
    }
    Ok(rebuilt)
}
