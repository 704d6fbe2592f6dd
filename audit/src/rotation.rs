//! The rotation of the log's keys: an entry names the next keys, a checkpoint over it is signed by the keys in force and by the
//! next ones, and the entry that carries this checkpoint puts them in force. Checkpoints that cover it are the new keys'.
//! If this is wrong, whoever has an old key goes on as the log, or a reader loses the log at its rotation.

use chancery_core::{Tenant, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::checkpoint::SignedCheckpoint;
use crate::digest::{Digest, V1};
use crate::note::{MlDsaKey, NoteError, VerifierKey};
use crate::trust::{LOG_KEYS, Trust};

/// The keys that sign a log's checkpoints together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogKeys {
    /// Ed25519.
    pub key: VerifierKey,
    /// ML-DSA-44, where the log has such a key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ml_dsa: Option<MlDsaKey>,
}

/// The log's keys are rotated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The format: 1.
    pub v: V1,
    /// The tenant of the appliance.
    pub tenant: Tenant,
    /// When, in milliseconds since 1970.
    pub time_ms: UnixMillis,
    /// SHA-256 of the script of the ceremony that it is part of.
    pub script: Digest,
    /// The keys in force before.
    pub before: LogKeys,
    /// The keys in force after.
    pub after: LogKeys,
    /// The word of the keys before for those after; the entry that has it puts them in force, the one without names them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vouched: Option<Vouched>,
}

/// The word of the keys before for those after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vouched {
    /// The index of the entry that names the keys.
    pub named: u64,
    /// A checkpoint that ends with that entry, signed by all four keys.
    pub checkpoint: String,
}

/// Keys that signed until others were in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retired {
    /// The keys.
    pub keys: LogKeys,
    /// The entries of the largest checkpoint that they may have signed: those before the one that retired them.
    pub size: u64,
}

/// A rotation that was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// The entry that put the keys after in force.
    pub leaf: u64,
    /// The keys before.
    pub before: LogKeys,
    /// The keys after.
    pub after: LogKeys,
}

impl LogKeys {
    /// A checkpoint of `origin` that these keys signed.
    ///
    /// # Errors
    /// [`NoteError`].
    pub(crate) fn open(&self, origin: &str, note: &str) -> Result<SignedCheckpoint, NoteError> {
        let trust = Trust::in_key(origin, *self.key.key())?;
        let trust = trust.with_ml_dsa(self.ml_dsa.iter().cloned().collect());
        SignedCheckpoint::open(note.as_bytes(), &trust.map_err(|_| NoteError::Key("the name"))?)
    }
}

impl Rotation {
    /// Whether the other is of the same rotation.
    fn is_of(&self, other: &Self) -> bool {
        (&self.script, &self.before, &self.after) == (&other.script, &other.before, &other.after)
    }
}

/// An entry that named keys, and the root of the tree that ends with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    leaf: u64,
    root: Option<Digest>,
    rotation: Box<Rotation>,
}

/// What a reader knows of a log's rotations, entry by entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Turns {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    named: Option<Named>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) done: Vec<Turn>,
}

impl Turns {
    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_none() && self.done.is_empty()
    }

    /// Takes an entry in.
    pub(crate) fn follow(
        &mut self,
        origin: &str,
        leaf: u64,
        rotation: Box<Rotation>,
    ) -> Result<(), &'static str> {
        if self.done.last().is_some_and(|last| last.after != rotation.before) {
            return Err("it replaces other keys than those in force");
        }
        let Some(vouched) = &rotation.vouched else {
            self.named = Some(Named { leaf, root: None, rotation });
            return Ok(());
        };
        let named =
            self.named.take().filter(|named| named.leaf == vouched.named && named.rotation.is_of(&rotation));
        let named = named.ok_or("no entry before it names these keys")?;
        let by = |keys: &LogKeys| keys.open(origin, &vouched.checkpoint);
        let old = by(&rotation.before).map_err(|_| "the keys before do not vouch for those after")?;
        by(&rotation.after).map_err(|_| "the keys after have not signed")?;
        if old.size() != named.leaf.saturating_add(1) || named.root != Some(Digest::from_bytes(*old.root())) {
            return Err(
                "the checkpoint of the keys before does not end with the entry that names those after",
            );
        }
        if self.done.len() + 1 >= LOG_KEYS {
            return Err("there were more rotations than a trust file holds keys");
        }
        let Rotation { before, after, .. } = *rotation;
        self.done.push(Turn { leaf, before, after });
        Ok(())
    }

    /// Whether the root of the tree of `size` entries is needed: [`Self::rooted`] takes it.
    pub(crate) fn wants_root(&self, size: u64) -> bool {
        self.named
            .as_ref()
            .is_some_and(|named| named.root.is_none() && named.leaf.checked_add(1) == Some(size))
    }

    pub(crate) fn rooted(&mut self, root: [u8; 32]) {
        if let Some(named) = &mut self.named {
            named.root = Some(Digest::from_bytes(root));
        }
    }

    /// The keys that must have signed what covers all entries so far; none where they were never rotated.
    pub(crate) fn in_force(&self) -> Option<&LogKeys> {
        self.done.last().map(|turn| &turn.after)
    }
}
