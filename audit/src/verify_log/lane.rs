//! Reading, beside the pass: each lane takes every n-th bundle, reads it and its tile, hashes and parses its entries, and
//! hands the result over in order. LIMIT: a lane holds one bundle and at most two results.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use chancery_core::limit;

use super::certificates::Papers;
use super::change::Changed;
use super::finding::LogError;
use crate::approval::{Approval, Review};
use crate::files::{Resource, entries};
use crate::merkle::{Hash, leaf_hash};
use crate::mirror::Mirror;
use crate::record::{Outcome, Policy, Record};
use crate::rotation::Rotation;
use crate::tile::WIDTH;
use crate::verify::Decided;

/// LIMIT: a full bundle of the longest entries, in bytes.
const BUNDLE_BYTES: usize = 256 * (2 + limit::LEAF_BYTES);
/// A hash, in bytes.
const HASH: usize = 32;
/// LIMIT: a full tile, in bytes.
const TILE_BYTES: usize = 256 * HASH;

/// What the pass needs of an entry.
pub(super) enum Step {
    /// A decision: what its outcome is held to, what led to it where it had been pending, and what about it by itself does not
    /// hold.
    Decision(Box<Decided>, Option<Box<Review>>, Result<(), &'static str>),
    Approval(Box<Approval>),
    Outcome(Box<Outcome>),
    Wallet(Box<Changed>),
    Login,
    Ceremony,
    Authority,
    Client(Box<Changed>, Papers),
    Policy(Box<Policy>),
    Rotation(Box<Rotation>),
}

impl From<Record> for Step {
    fn from(record: Record) -> Self {
        match record {
            Record::Decision(decision) => {
                let (decided, sound) = (Decided::from(&decision), decision.fits_its_tier());
                Self::Decision(Box::new(decided), decision.review.map(Box::new), sound)
            }
            Record::Approval(approval) => Self::Approval(Box::new(approval)),
            Record::Outcome(outcome) => Self::Outcome(Box::new(outcome)),
            Record::Wallet(wallet) => Self::Wallet(Box::new(Changed::from(&wallet))),
            Record::Login(_) => Self::Login,
            Record::Ceremony(_) => Self::Ceremony,
            Record::Authority(_) => Self::Authority,
            Record::Client(added) => Self::Client(Box::new(Changed::from(&added)), Papers::from(&added)),
            Record::Revocation(revoked) => {
                Self::Client(Box::new(Changed::from(&revoked)), Papers::from(&revoked))
            }
            Record::Policy(policy) => Self::Policy(Box::new(policy)),
            Record::Rotation(rotation) => Self::Rotation(rotation),
        }
    }
}

/// The entries of one bundle, whose hashes are those of the level 0 tile.
pub(super) struct Bundle {
    pub(super) hashes: Vec<Hash>,
    pub(super) steps: Vec<Step>,
}

/// Reads the files of a log of `size` entries.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) mirror: &'a dyn Mirror,
    pub(super) size: u64,
}

/// What the lanes bring, in order.
pub(super) struct Lanes {
    lanes: Vec<Receiver<Result<Bundle, LogError>>>,
}

impl Lanes {
    /// Starts reading these bundles.
    pub(super) fn start<'scope, 'a: 'scope>(
        scope: &'scope Scope<'scope, '_>,
        reading: Reading<'a>,
        bundles: &Range<u64>,
    ) -> Self {
        let count = bundles.end - bundles.start;
        let lanes = (reading.mirror.lanes().max(1) as u64).min(count.max(1));
        let start = |lane| {
            let (sender, receiver) = sync_channel(1);
            let numbers = (bundles.start + lane..bundles.end).step_by(usize::try_from(lanes).unwrap_or(1));
            scope.spawn(move || reading.run(numbers, &sender));
            receiver
        };
        Self { lanes: (0..lanes).map(start).collect() }
    }

    /// The results, the first bundle first; ends after an error.
    pub(super) fn in_order(&self) -> impl Iterator<Item = Result<Bundle, LogError>> + '_ {
        // A lane that has ended has brought all of its bundles, or an error as its last.
        self.lanes.iter().cycle().map_while(|lane| lane.recv().ok())
    }
}

impl Reading<'_> {
    fn run(self, numbers: impl Iterator<Item = u64>, results: &SyncSender<Result<Bundle, LogError>>) {
        for number in numbers {
            let result = self.bundle(number);
            let failed = result.is_err();
            // Nobody listens any more once another lane's error was heard.
            if results.send(result).is_err() || failed {
                return;
            }
        }
    }

    fn bundle(self, number: u64) -> Result<Bundle, LogError> {
        let first = number * WIDTH;
        let width = WIDTH.min(self.size - first);
        let (bytes, found) = self.file(Resource::Entries { number, width }, BUNDLE_BYTES)?;
        let torn = || LogError::Bundle { path: found.path(), width: found.width() };
        let mut bodies =
            entries(&bytes, found.width()).filter(|_| bytes.len() <= BUNDLE_BYTES).ok_or_else(torn)?;
        bodies.truncate(usize::try_from(width).unwrap_or(usize::MAX));
        let hashes: Vec<Hash> = bodies.iter().map(|body| leaf_hash(body)).collect();
        let (tile, path) = self.tile(Resource::Tile { level: 0, number, width })?;
        let pairs = (first..).zip(hashes.iter().zip(tile.as_chunks::<HASH>().0));
        if let Some((index, _)) = pairs.into_iter().find(|(_, (ours, theirs))| ours != theirs) {
            return Err(LogError::Leaf { index, path });
        }
        let parse = |(index, body)| match Record::parse(body) {
            Ok(record) => Ok(Step::from(record)),
            Err(source) => Err(LogError::Entry { index, source }),
        };
        let steps = (first..).zip(bodies).map(parse).collect::<Result<_, _>>()?;
        Ok(Bundle { hashes, steps })
    }

    /// Whether the mirror's tile is this one.
    pub(super) fn tile_is(self, resource: Resource, expected: &[u8]) -> Result<(), LogError> {
        let (bytes, path) = self.tile(resource)?;
        if bytes.starts_with(expected) { Ok(()) } else { Err(LogError::Tile { path }) }
    }

    /// A tile's bytes, at least as wide as was asked for, and where they are from.
    pub(super) fn tile(self, resource: Resource) -> Result<(Vec<u8>, String), LogError> {
        let (bytes, found) = self.file(resource, TILE_BYTES)?;
        let expected = usize::try_from(found.width()).unwrap_or(0) * HASH;
        if bytes.len() == expected {
            Ok((bytes, found.path()))
        } else {
            Err(LogError::Length { path: found.path(), found: bytes.len(), expected })
        }
    }

    /// A tile or bundle of this width, or the full one where the log has grown since (c2sp.org/tlog-tiles).
    fn file(self, resource: Resource, limit: usize) -> Result<(Vec<u8>, Resource), LogError> {
        for candidate in [resource, resource.full()] {
            if let Some(bytes) = self.read(&candidate.path(), limit)? {
                return Ok((bytes, candidate));
            }
        }
        Err(LogError::Missing { path: resource.path() })
    }

    /// A file's bytes.
    pub(super) fn read(self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, LogError> {
        self.mirror.read(path, limit).map_err(|source| LogError::Mirror { path: path.to_owned(), source })
    }
}
