//! What a verification leaves for the next: how far it came, the right edge of the tree there, the decisions that can
//! still end, and the checkpoints seen. A later run goes on from here, so this file is trusted as `trust.json` is; its
//! digest finds one that was torn or damaged, not one that was forged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::certificates::Issued;
use super::change::Changes;
use super::{Counts, OPEN, Pass};
use crate::canonical::encode;
use crate::checkpoint::SignedCheckpoint;
use crate::digest::{Digest, HexBytes};
use crate::merkle;
use crate::note::NoteError;
use crate::rotation::Turns;
use crate::tile::{Edge, Tile, edge_of, levels};
use crate::trust::Trust;
use crate::verify::Decided;

/// The format written here. Format 1 did not know who must agree to changes, format 2 not which certificates were issued.
const FORMAT: u64 = 3;

/// Why a kept verification cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// Torn, cut or changed: the log must be verified from its beginning.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// Another program's.
    #[error("it has format {0}; this program reads format {FORMAT}")]
    Format(u64),
    /// Whole, but its checkpoints are not of the log in the trust file.
    #[error("it is not of the trusted log: {0}")]
    Foreign(#[source] NoteError),
}

/// A verification to go on from.
#[derive(Debug, Default)]
pub struct Kept {
    pub(super) edge: Edge,
    pub(super) open: BTreeMap<u64, Decided>,
    pub(super) changes: Changes,
    pub(super) issued: Issued,
    pub(super) counts: Counts,
    pub(super) turns: Box<Turns>,
    /// Those not reached yet and the newest seen, by size.
    pub(super) seen: Vec<SignedCheckpoint>,
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    v: u64,
    verified: u64,
    /// The hashes of each level's partial tile, level 0 first.
    edge: Vec<HexBytes>,
    open: Vec<Undecided>,
    #[serde(default)]
    changes: Changes,
    #[serde(default)]
    issued: Issued,
    counts: Counts,
    #[serde(skip_serializing_if = "Turns::is_empty", default)]
    turns: Turns,
    /// Signed notes.
    seen: Vec<String>,
    /// Of those who must have signed the bundles of these entries; none where nobody must.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    endorsers: Option<Digest>,
    /// Of this document without this field.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sha256: Option<Digest>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Undecided {
    leaf: u64,
    decision: Decided,
}

impl Kept {
    /// Reads what [`Pass::keep`](super::Pass::keep) wrote, and verifies its checkpoints again. Where other policy keys are
    /// asked for than then, or an older program wrote it, the entries are verified from the first one again; the checkpoints
    /// seen stay.
    ///
    /// # Errors
    /// [`KeptError`]; after [`KeptError::Damaged`] a verification from the beginning is the way on.
    pub fn parse(bytes: &[u8], trust: &Trust) -> Result<Self, KeptError> {
        let damaged = KeptError::Damaged;
        let Version { v } = serde_json::from_slice(bytes).map_err(|_| damaged("it is not JSON"))?;
        if !(1..=FORMAT).contains(&v) {
            return Err(KeptError::Format(v));
        }
        let document: Document =
            serde_json::from_slice(bytes).map_err(|_| damaged("it is not the JSON it must be"))?;
        if document.sha256.is_none() || document.sha256 != digest_of_text(bytes) {
            return Err(damaged("its digest is another"));
        }
        let open: Vec<_> =
            document.seen.iter().map(|note| SignedCheckpoint::open(note.as_bytes(), trust)).collect();
        let seen = open.into_iter().collect::<Result<Vec<_>, _>>().map_err(KeptError::Foreign)?;
        let edge = edge(document.verified, &document.edge).ok_or(damaged("its edge is none"))?;
        let newest = seen.last().ok_or(damaged("it names no checkpoint"))?;
        let root = merkle::root(&edge, edge.size()).ok();
        let fits = match edge.size() {
            size if size > newest.size() => false,
            size => seen.iter().filter(|seen| seen.size() == size).all(|seen| root == Some(*seen.root())),
        };
        if !fits {
            return Err(damaged("its edge is not of its checkpoint"));
        }
        if document.v != FORMAT || document.endorsers != endorsers(trust) {
            return Ok(Self { seen, ..Self::default() });
        }
        let open = document.open.into_iter().map(|open| (open.leaf, open.decision)).collect();
        let Document { changes, issued, counts, turns, .. } = document;
        Ok(Self { edge, open, changes, issued, counts, turns: Box::new(turns), seen })
    }

    /// Entries verified.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.edge.size()
    }
}

fn digest(document: &impl Serialize) -> Option<Digest> {
    encode(document).ok().map(|bytes| Digest::of(&bytes))
}

/// The digest of what is written, which an older program may have written without members of now.
fn digest_of_text(bytes: &[u8]) -> Option<Digest> {
    let mut document: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes).ok()?;
    document.remove("sha256");
    digest(&document)
}

/// Names who must have signed bundles.
fn endorsers(trust: &Trust) -> Option<Digest> {
    let endorsers = trust.endorsers();
    let keys: Vec<String> = endorsers.keys().iter().map(ToString::to_string).collect();
    (!keys.is_empty()).then(|| Digest::of(format!("{} of {}", endorsers.needed(), keys.join(",")).as_bytes()))
}

fn edge(size: u64, tiles: &[HexBytes]) -> Option<Edge> {
    let levels: Vec<u32> = levels(size).collect();
    if levels.len() != tiles.len() || size >= 1 << 53 {
        return None;
    }
    let tile =
        |(level, bytes): (&u32, &HexBytes)| Tile::from_bytes(bytes.as_bytes(), edge_of(*level, size).1);
    Some(Edge::from_tiles(size, levels.iter().zip(tiles).map(tile).collect::<Option<_>>()?))
}

/// The text of what was verified so far.
pub(super) fn write(pass: &Pass<'_>) -> Vec<u8> {
    let Pass { trust, edge, open, changes, issued, counts, turns, seen, .. } = pass;
    debug_assert!(open.len() <= OPEN, "the pass bounds it");
    let tile = |level| {
        let (number, width) = edge_of(level, edge.size());
        edge.tile(level, number).map(|tile| tile.bytes(width)).unwrap_or_default().into()
    };
    let undecided =
        |(leaf, decision): (&u64, &Decided)| Undecided { leaf: *leaf, decision: decision.clone() };
    let mut document = Document {
        v: FORMAT,
        verified: edge.size(),
        edge: levels(edge.size()).map(tile).collect(),
        open: open.iter().map(undecided).collect(),
        changes: changes.clone(),
        issued: issued.clone(),
        counts: *counts,
        turns: (**turns).clone(),
        seen: seen.iter().map(|seen| seen.note().to_owned()).collect(),
        endorsers: endorsers(trust),
        sha256: None,
    };
    document.sha256 = digest(&document);
    // Text of plain types: it has no key that JSON cannot carry.
    encode(&document).unwrap_or_default()
}
