//! Verification of a whole log from its static files and a trust file alone, as an auditor with a copy does it: every
//! entry parses, every tile is the hash of what is below it, the root is the one that was signed, every outcome belongs
//! to an earlier decision. One pass; memory holds the decisions that have not ended yet.

use std::collections::HashMap;
use std::path::Path;

use crate::AuditError;
use crate::checkpoint::SignedCheckpoint;
use crate::files::{Files, Resource, entries};
use crate::merkle::{self, leaf_hash};
use crate::note::NoteError;
use crate::record::{Decision, Record, RecordError, Verdict};
use crate::tile::{Completed, Edge, WIDTH, edge_of, levels};
use crate::trust::Trust;
use crate::verify::belongs;

/// What is wrong with a log. Each is a finding about the files.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] AuditError),
    /// There is no checkpoint.
    #[error("there is no `checkpoint`")]
    NoCheckpoint,
    /// The checkpoint is not to be believed.
    #[error("the checkpoint is not to be believed: {0}")]
    Checkpoint(#[source] NoteError),
    /// A file that the checkpoint needs is not there.
    #[error("`{path}` is missing")]
    Missing {
        /// The file.
        path: String,
    },
    /// A file that is not what it must be.
    #[error("`{path}` does not match the entries")]
    Differs {
        /// The file.
        path: String,
    },
    /// An entry that is not a record.
    #[error("entry {index}: {source}")]
    Entry {
        /// Its index.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: RecordError,
    },
    /// An outcome that belongs to no earlier decision, or to one that has ended already.
    #[error("entry {index}: the outcome is of entry {decision}, but {rule}")]
    Outcome {
        /// Its index.
        index: u64,
        /// The entry it names.
        decision: u64,
        /// What does not hold.
        rule: &'static str,
    },
    /// The entries do not hash to the signed root.
    #[error("the {size} entries do not hash to the signed root")]
    Root {
        /// The checkpoint's size.
        size: u64,
    },
    /// The older checkpoint is of more entries than there are: the log was cut.
    #[error("the log has {size} entries, an older checkpoint covers {older}: it was cut")]
    Cut {
        /// Entries now.
        size: u64,
        /// Entries then.
        older: u64,
    },
    /// The older checkpoint is of other entries: history was changed.
    #[error("the first {older} entries are not those of the older checkpoint: history was changed")]
    Rewritten {
        /// Entries then.
        older: u64,
    },
}

/// What a verified log holds.
#[derive(Clone, Debug)]
pub struct LogReport {
    /// The checkpoint everything was verified under.
    pub checkpoint: SignedCheckpoint,
    /// Decisions.
    pub decisions: u64,
    /// Outcomes.
    pub outcomes: u64,
    /// Wallets made.
    pub wallets: u64,
    /// Policy bundles applied.
    pub policies: u64,
    /// Allowed decisions without an outcome: in flight when the checkpoint was signed, or ended by a crash.
    pub open: u64,
}

/// Verifies the log in `directory`. `older` is a checkpoint kept from before: its entries must be the first of this log.
/// `each` sees every entry in order, with the number of entries in all.
///
/// # Errors
/// The first [`LogError`] found.
pub fn verify_log(
    directory: &Path,
    trust: &Trust,
    older: Option<&SignedCheckpoint>,
    each: &mut dyn FnMut(u64, u64, &Record),
) -> Result<LogReport, LogError> {
    let files = Files::existing(directory);
    let note = files.read(Files::CHECKPOINT)?.ok_or(LogError::NoCheckpoint)?;
    let checkpoint = SignedCheckpoint::open(&note, trust).map_err(LogError::Checkpoint)?;
    let size = checkpoint.size();
    if let Some(older) = older.filter(|older| older.size() > size) {
        return Err(LogError::Cut { size, older: older.size() });
    }
    let report = LogReport { checkpoint, decisions: 0, outcomes: 0, wallets: 0, policies: 0, open: 0 };
    let mut pass = Pass { files, size, edge: Edge::default(), unended: HashMap::new(), report };
    for number in 0..size.div_ceil(WIDTH) {
        pass.bundle(number, older, each)?;
    }
    pass.finish()
}

struct Pass {
    files: Files,
    size: u64,
    edge: Edge,
    unended: HashMap<u64, Box<Decision>>,
    report: LogReport,
}

impl Pass {
    fn bundle(
        &mut self,
        number: u64,
        older: Option<&SignedCheckpoint>,
        each: &mut dyn FnMut(u64, u64, &Record),
    ) -> Result<(), LogError> {
        let first = number * WIDTH;
        let width = WIDTH.min(self.size - first);
        let resource = Resource::Entries { number, width };
        let (bytes, found) = self.read(resource)?;
        let differs = || LogError::Differs { path: found.path() };
        let (Resource::Entries { width: in_file, .. } | Resource::Tile { width: in_file, .. }) = found;
        let bodies = entries(&bytes, in_file).ok_or_else(differs)?;
        for (index, body) in (first..first + width).zip(bodies) {
            let record = Record::parse(body).map_err(|source| LogError::Entry { index, source })?;
            self.follow(index, &record)?;
            each(index, self.size, &record);
            let mut full = Vec::new();
            self.edge.push(leaf_hash(body), |completed| full.push(completed));
            for Completed { level, number, tile } in full {
                self.tile_is(Resource::Tile { level, number, width: WIDTH }, &tile.bytes(WIDTH))?;
            }
            if let Some(older) = older.filter(|older| older.size() == self.edge.size())
                && merkle::root(&self.edge, older.size()).ok() != Some(*older.root())
            {
                return Err(LogError::Rewritten { older: older.size() });
            }
        }
        Ok(())
    }

    /// A tile or bundle of this width, or the full one where the log has grown since (c2sp.org/tlog-tiles).
    fn read(&self, resource: Resource) -> Result<(Vec<u8>, Resource), LogError> {
        let full = match resource {
            Resource::Tile { level, number, .. } => Resource::Tile { level, number, width: WIDTH },
            Resource::Entries { number, .. } => Resource::Entries { number, width: WIDTH },
        };
        for candidate in [resource, full] {
            if let Some(bytes) = self.files.read_resource(candidate)? {
                return Ok((bytes, candidate));
            }
        }
        Err(LogError::Missing { path: resource.path() })
    }

    fn tile_is(&self, resource: Resource, expected: &[u8]) -> Result<(), LogError> {
        let (bytes, found) = self.read(resource)?;
        let whole = if found == resource { bytes.len() == expected.len() } else { bytes.len() == 8_192 };
        if whole && bytes.starts_with(expected) {
            Ok(())
        } else {
            Err(LogError::Differs { path: found.path() })
        }
    }

    fn follow(&mut self, index: u64, record: &Record) -> Result<(), LogError> {
        match record {
            Record::Decision(decision) => {
                self.report.decisions += 1;
                if decision.outcome != Verdict::Denied {
                    self.unended.insert(index, Box::new(decision.clone()));
                }
            }
            Record::Outcome(outcome) => {
                self.report.outcomes += 1;
                let wrong = |rule| LogError::Outcome { index, decision: outcome.decision_leaf, rule };
                let decision = self
                    .unended
                    .remove(&outcome.decision_leaf)
                    .ok_or_else(|| wrong("that is no decision that could still end"))?;
                belongs(outcome, index, &decision, outcome.decision_leaf).map_err(wrong)?;
            }
            Record::Wallet(_) => self.report.wallets += 1,
            Record::Policy(_) => self.report.policies += 1,
        }
        Ok(())
    }

    fn finish(mut self) -> Result<LogReport, LogError> {
        for level in levels(self.size) {
            let (number, width) = edge_of(level, self.size);
            if let Some(tile) = self.edge.tile(level, number).filter(|_| width > 0) {
                self.tile_is(Resource::Tile { level, number, width }, &tile.bytes(width))?;
            }
        }
        if merkle::root(&self.edge, self.size).ok() != Some(*self.report.checkpoint.root()) {
            return Err(LogError::Root { size: self.size });
        }
        let allowed = self.unended.values().filter(|decision| decision.outcome == Verdict::Allowed);
        self.report.open = allowed.count() as u64;
        Ok(self.report)
    }
}
