//! Timestamps in a copy of a log, against the log that was verified: each is by an authority of the reader's choice over
//! just the checkpoint beside it, and that checkpoint is of the log's first entries. A log that was set back or written anew
//! after it was timestamped does not get past this.

use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::thread;

use chancery_core::limit;

use super::finding::LogError;
use super::lane::Reading;
use crate::checkpoint::SignedCheckpoint;
use crate::files::Resource;
use crate::merkle::{self, Hash, Nodes};
use crate::mirror::Mirror;
use crate::note::NOTE_BYTES;
use crate::tile::{Place, Tile, WIDTH, edge_of};
use crate::timestamp::archive::{INDEX, Index, NOTE, RESPONSE, path};
use crate::timestamp::{Timestamp, TimestampRoots};
use crate::trust::Trust;

/// LIMIT: tiles kept between two proofs.
const TILES: usize = 64;

/// The timestamps that a copy of a log lists.
pub struct Timestamps(Index);

/// A timestamped beginning of the log: its entries were there at that time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamped {
    /// When, and by whom.
    pub timestamp: Timestamp,
    /// How many entries, from the first.
    pub size: u64,
}

impl Timestamps {
    /// Reads the list. Read it before the log is verified: what is timestamped meanwhile may be of entries that the log
    /// then has not.
    ///
    /// # Errors
    /// [`LogError::Mirror`], or [`LogError::Index`] for no list.
    pub fn listed(mirror: &dyn Mirror) -> Result<Self, LogError> {
        let index = Reading { mirror, size: 0 }.read(INDEX, Index::BYTES)?;
        let Some(index) = index else { return Ok(Self(Index::default())) };
        Index::parse(&index).map(Self).ok_or(LogError::Index)
    }

    /// Verifies all of them against the log under `checkpoint`, the oldest first.
    ///
    /// # Errors
    /// A [`LogError`] of one of them.
    pub fn verify(
        &self,
        mirror: &dyn Mirror,
        trust: &Trust,
        roots: &TimestampRoots,
        checkpoint: &SignedCheckpoint,
    ) -> Result<Vec<Timestamped>, LogError> {
        let reading = Reading { mirror, size: checkpoint.size() };
        let trust = trust.without_quorum();
        let one = |number: &u64| read(reading, *number, &trust, roots);
        let lanes = mirror.lanes().max(1);
        let read: Result<Vec<Vec<Stamped>>, LogError> = thread::scope(|scope| {
            let lane = |lane| {
                let numbers = self.0.numbers().iter().skip(lane).step_by(lanes);
                scope.spawn(move || numbers.map(one).collect())
            };
            let lanes: Vec<_> = (0..lanes).map(lane).collect();
            lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        let mut stamped = read?.concat();
        stamped.sort_by_key(|one| one.number);
        let tiles = Tiles { reading, read: RefCell::default() };
        let mut proved = BTreeSet::new();
        for Stamped { number, checkpoint: older, .. } in &stamped {
            if proved.insert((older.size(), *older.root())) && !begins(&tiles, older, checkpoint)? {
                let (path, stamped) = (path(*number, NOTE), older.size());
                return Err(LogError::Contradicted { path, stamped, size: reading.size });
            }
        }
        Ok(stamped.into_iter().map(Timestamped::from).collect())
    }
}

#[derive(Clone)]
struct Stamped {
    number: u64,
    checkpoint: SignedCheckpoint,
    timestamp: Timestamp,
}

impl From<Stamped> for Timestamped {
    fn from(Stamped { checkpoint, timestamp, .. }: Stamped) -> Self {
        Self { timestamp, size: checkpoint.size() }
    }
}

/// One timestamp and its checkpoint, each verified for itself.
fn read(
    reading: Reading<'_>,
    number: u64,
    trust: &Trust,
    roots: &TimestampRoots,
) -> Result<Stamped, LogError> {
    let file = |kind, limit| {
        let path = path(number, kind);
        let bytes = reading.read(&path, limit)?.ok_or(LogError::Missing { path: path.clone() })?;
        Ok((bytes, path))
    };
    let (note, stamped) = file(NOTE, NOTE_BYTES)?;
    let (response, path) = file(RESPONSE, limit::TIMESTAMP_BYTES)?;
    let timestamp =
        Timestamp::verify(&note, &response, roots).map_err(|source| LogError::Timestamp { path, source })?;
    let checkpoint =
        SignedCheckpoint::open(&note, trust).map_err(|source| LogError::Stamped { path: stamped, source })?;
    Ok(Stamped { number, checkpoint, timestamp })
}

/// Whether the log under `newest` begins with the entries of `older`.
fn begins(tiles: &Tiles<'_>, older: &SignedCheckpoint, newest: &SignedCheckpoint) -> Result<bool, LogError> {
    let (old, new) = (older.size(), newest.size());
    let proof = merkle::prove_consistency(tiles, old, new)?;
    Ok(merkle::verify_consistency(old, new, &proof, older.root(), newest.root()))
}

/// The tiles of the copy. A proof is made of them and verified, so they are not believed.
struct Tiles<'a> {
    reading: Reading<'a>,
    read: RefCell<BTreeMap<(u32, u64), Tile>>,
}

impl Nodes for Tiles<'_> {
    type Error = LogError;

    fn node(&self, height: u32, index: u64) -> Result<Hash, LogError> {
        let Place { level, tile: number, within, offset } = Place::of(height, index);
        let (last, width) = edge_of(level, self.reading.size);
        let resource = Resource::Tile { level, number, width: if number < last { WIDTH } else { width } };
        let mut read = self.read.borrow_mut();
        let tile = match read.entry((level, number)) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(place) => {
                let (bytes, _) = self.reading.tile(resource)?;
                place.insert(Tile::from_hashes(bytes.as_chunks().0.iter().copied()))
            }
        };
        let node = tile.node(within, offset);
        // What is asked for next is mostly to the right: the oldest are asked for no more.
        while read.len() > TILES {
            read.pop_first();
        }
        node.ok_or_else(|| LogError::Tile { path: resource.path() })
    }
}
