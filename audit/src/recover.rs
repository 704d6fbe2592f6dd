//! Start: the store's leaves against the newest head this log remembers having signed. A log that is shorter, or whose
//! root at that size is another, refuses to start. Tile files are believed for nothing but speed, and those missing or
//! damaged are made again; nothing is written before the remembered root was found.

use crate::AuditError;
use crate::checkpoint::SignedCheckpoint;
use crate::files::{Files, Resource, bundle};
use crate::merkle::{self, Hash};
use crate::note::NoteError;
use crate::source::{self, LeafSource};
use crate::tile::{Completed, Edge, Tile, WIDTH, edge_of, levels};
use crate::tree::rebuild;
use crate::trust::Trust;

/// LIMIT: the leaves before the head that are read again at every start; older ones are bound to the head by the tiles
/// above them, and read in full by `verify_log`.
pub(crate) const RECHECKED_LEAVES: u64 = 1 << 18;

/// LIMIT: files written in one go.
const FILES_AT_ONCE: usize = 64;

pub(crate) struct Recovered {
    pub(crate) edge: Edge,
    pub(crate) head: Option<SignedCheckpoint>,
    /// Leaves under the `checkpoint` on disk; 0 where it is missing or damaged and must be published again.
    pub(crate) checkpointed: u64,
}

/// Rebuilds the tree's edge, repairs the files up to the remembered head and writes the full tiles after it.
pub(crate) fn recover(
    source: &dyn LeafSource,
    files: &Files,
    trust: &Trust,
    rechecked: u64,
) -> Result<Recovered, AuditError> {
    let total = source.size()?;
    let Remembered { head, checkpointed, in_head } = remembered_head(files, trust)?;
    let remembered = head.as_ref().map_or(0, SignedCheckpoint::size);
    if head.is_none() && total > 0 {
        tracing::warn!(
            leaves = total,
            "no head is remembered: a shorter or other log could not be told from this one"
        );
    }
    if remembered > total {
        return Err(AuditError::RolledBack { remembered, found: total });
    }
    let recent = remembered.saturating_sub(rechecked) / WIDTH * WIDTH;
    let mut replay = Replay { source, files, damaged: Vec::new() };
    // A damaged tile can spoil the shortcut; the leaves themselves then decide.
    let from_tiles = if recent > 0 { replay.edge_from_tiles(recent, remembered)? } else { None };
    let edge = match (&head, from_tiles) {
        (None, _) => Edge::default(),
        (Some(head), Some(edge)) => match replay.up_to_head(edge, head)? {
            Some(edge) => {
                replay.look_at_older(recent);
                edge
            }
            None => replay.whole_log(head)?,
        },
        (Some(head), None) => replay.whole_log(head)?,
    };
    replay.repair()?;
    if let Some(head) = head.as_ref().filter(|head| in_head != head.size()) {
        files.write(&[(Files::HEAD.to_owned(), head.note().as_bytes().to_vec())])?;
    }
    let edge = replay.beyond_head(edge, total)?;
    Ok(Recovered { edge, head, checkpointed })
}

/// What the two copies say.
struct Remembered {
    /// The newer one that verifies.
    head: Option<SignedCheckpoint>,
    /// The size of each; 0 where it is missing or damaged.
    checkpointed: u64,
    in_head: u64,
}

fn remembered_head(files: &Files, trust: &Trust) -> Result<Remembered, AuditError> {
    let mut newest: Option<SignedCheckpoint> = None;
    let mut sizes = [0; 2];
    let mut damaged = None;
    for (path, size) in [Files::CHECKPOINT, Files::HEAD].into_iter().zip(&mut sizes) {
        let Some(note) = files.read(path)? else { continue };
        match SignedCheckpoint::open(&note, trust) {
            Ok(head) => {
                *size = head.size();
                if newest.as_ref().is_none_or(|newest| head.size() > newest.size()) {
                    newest = Some(head);
                }
            }
            // No damage makes this: somebody went on with a key that was replaced.
            Err(source @ NoteError::Retired { .. }) => {
                return Err(AuditError::Head { path: path.to_owned(), source });
            }
            Err(source) => damaged = Some(AuditError::Head { path: path.to_owned(), source }),
        }
    }
    match (&newest, damaged) {
        (None, Some(error)) => return Err(error),
        (Some(_), Some(error)) => {
            tracing::warn!(%error, "one copy of the remembered head is damaged; the other one counts");
        }
        (_, None) => {}
    }
    let [checkpointed, in_head] = sizes;
    Ok(Remembered { head: newest, checkpointed, in_head })
}

struct Replay<'a> {
    source: &'a dyn LeafSource,
    files: &'a Files,
    damaged: Vec<Resource>,
}

impl Replay<'_> {
    /// The edge at `size` leaves from the tiles that were published at `published`.
    fn edge_from_tiles(&self, size: u64, published: u64) -> Result<Option<Edge>, AuditError> {
        let mut right = Vec::new();
        for level in levels(size) {
            let (number, need) = edge_of(level, size);
            let (last, width) = edge_of(level, published);
            let width = if number < last { WIDTH } else { width };
            let tile = if need == 0 {
                Some(Tile::default())
            } else {
                let bytes = self.files.read_resource(Resource::Tile { level, number, width })?;
                bytes.and_then(|bytes| {
                    let (hashes, _) = bytes.as_chunks::<32>();
                    let prefix = hashes.get(..usize::try_from(need).ok()?)?;
                    Some(Tile::from_hashes(prefix.iter().copied()))
                })
            };
            let Some(tile) = tile else { return Ok(None) };
            right.push(tile);
        }
        Ok(Some(Edge::from_tiles(size, right)))
    }

    fn whole_log(&mut self, head: &SignedCheckpoint) -> Result<Edge, AuditError> {
        self.damaged.clear();
        self.up_to_head(Edge::default(), head)?.ok_or(AuditError::Forked { size: head.size() })
    }

    /// Adds the leaves up to the head's size and looks at the files they belong to; `None` where the root is another.
    fn up_to_head(&mut self, mut edge: Edge, head: &SignedCheckpoint) -> Result<Option<Edge>, AuditError> {
        while edge.size() < head.size() {
            let first = edge.size();
            let next = head.size().min((first / WIDTH + 1) * WIDTH);
            let bodies = source::bodies(self.source, first..next)?;
            let width = next - first / WIDTH * WIDTH;
            let entries = Resource::Entries { number: first / WIDTH, width };
            self.compare(entries, bundle(&bodies))?;
            let mut full = Vec::new();
            source::hashes(&bodies).for_each(|hash| edge.push(hash, |completed| full.push(completed)));
            for Completed { level, number, tile } in full {
                self.compare(Resource::Tile { level, number, width: WIDTH }, Some(tile.bytes(WIDTH)))?;
            }
        }
        if root_of(&edge) != Some(*head.root()) {
            return Ok(None);
        }
        for level in levels(head.size()) {
            let (number, width) = edge_of(level, head.size());
            if width > 0 {
                let bytes = edge.tile(level, number).map(|tile| tile.bytes(width));
                self.compare(Resource::Tile { level, number, width }, bytes)?;
            }
        }
        Ok(Some(edge))
    }

    fn compare(&mut self, resource: Resource, expected: Option<Vec<u8>>) -> Result<(), AuditError> {
        if self.files.read_resource(resource)? != expected {
            self.damaged.push(resource);
        }
        Ok(())
    }

    /// Notes the tiles of the first `size` leaves that are not there or of the wrong length.
    fn look_at_older(&mut self, size: u64) {
        for level in levels(size) {
            for number in 0..edge_of(level, size).0 {
                let tile = Resource::Tile { level, number, width: WIDTH };
                if self.files.length(tile) != Some(WIDTH * 32) {
                    self.damaged.push(tile);
                }
                let entries = Resource::Entries { number, width: WIDTH };
                if level == 0 && self.files.length(entries).is_none() {
                    self.damaged.push(entries);
                }
            }
        }
    }

    fn repair(&mut self) -> Result<(), AuditError> {
        for resources in self.damaged.chunks(FILES_AT_ONCE) {
            let mut writes = Vec::new();
            for resource in resources {
                tracing::warn!(
                    path = resource.path(),
                    "log file missing or damaged: made again from the store"
                );
                if let Some(bytes) = self.made_again(*resource)? {
                    writes.push((resource.path(), bytes));
                }
            }
            self.files.write(&writes)?;
        }
        Ok(())
    }

    fn made_again(&self, resource: Resource) -> Result<Option<Vec<u8>>, AuditError> {
        match resource {
            Resource::Tile { level, number, width: WIDTH } => {
                Ok(rebuild(self.source, level, number)?.map(|tile| tile.bytes(WIDTH)))
            }
            Resource::Tile { level, number, width } => {
                let below = 1_u64 << (8 * level);
                let first = number * WIDTH * below;
                let mut tile = Tile::default();
                for hash in 0..width {
                    let mut edge = Edge::default();
                    let (mut at, end) = (first + hash * below, first + (hash + 1) * below);
                    while at < end {
                        let next = end.min(at + WIDTH);
                        let bodies = source::bodies(self.source, at..next)?;
                        source::hashes(&bodies).for_each(|hash| edge.push(hash, |_| {}));
                        at = next;
                    }
                    let Some(root) = root_of(&edge) else { return Ok(None) };
                    tile.push(root);
                }
                Ok(Some(tile.bytes(width)))
            }
            Resource::Entries { number, width } => {
                let first = number * WIDTH;
                Ok(bundle(&source::bodies(self.source, first..first + width)?))
            }
        }
    }

    /// Adds the leaves that were committed but never covered by a published checkpoint. Their full tiles are written at
    /// once, so that a lost folder does not fill the memory.
    fn beyond_head(&self, mut edge: Edge, total: u64) -> Result<Edge, AuditError> {
        let mut writes = Vec::new();
        while edge.size() < total {
            let first = edge.size();
            let number = first / WIDTH;
            let next = total.min((number + 1) * WIDTH);
            let bodies = source::bodies(self.source, first..next)?;
            source::hashes(&bodies).for_each(|hash| {
                edge.push(hash, |Completed { level, number, tile }| {
                    let tile_path = Resource::Tile { level, number, width: WIDTH }.path();
                    writes.push((tile_path, tile.bytes(WIDTH)));
                });
            });
            if next.is_multiple_of(WIDTH)
                && let Some(bytes) = bundle(&source::bodies(self.source, number * WIDTH..next)?)
            {
                writes.push((Resource::Entries { number, width: WIDTH }.path(), bytes));
            }
            if writes.len() >= FILES_AT_ONCE || edge.size() == total {
                self.files.write(&std::mem::take(&mut writes))?;
            }
        }
        Ok(edge)
    }
}

fn root_of(edge: &Edge) -> Option<Hash> {
    merkle::root(edge, edge.size()).ok()
}

#[cfg(test)]
mod tests;
