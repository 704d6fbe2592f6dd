//! Verification of a whole log from its static files and a trust file alone, as an auditor with a copy does it: every
//! entry parses, every tile is the hash of what is below it, the root is the one that was signed, every outcome belongs
//! to an earlier decision, every policy bundle is signed by those who must, and nothing is changed that nobody agreed to. One
//! pass, in bounded memory, that can be left at any bundle and gone on from there.

mod certificates;
mod change;
mod finding;
mod follow;
mod kept;
mod lane;
mod timestamps;

use std::collections::BTreeMap;
use std::thread;

use chancery_core::limit;
use serde::{Deserialize, Serialize};

pub use finding::{LogError, Reason};
pub use kept::{Kept, KeptError};
pub use timestamps::{Timestamped, Timestamps};

use crate::approval::{Approval, Review, Spoken};
use crate::checkpoint::SignedCheckpoint;
use crate::endorsement::Endorsed;
use crate::files::{Files, Resource};
use crate::merkle::{self, Hash};
use crate::mirror::{Mirror, MirrorError};
use crate::note::NOTE_BYTES;
use crate::record::{Outcome, Policy, Verdict};
use crate::rotation::{Turn, Turns};
use crate::tile::{Completed, Edge, WIDTH, edge_of, levels};
use crate::trust::Trust;
use crate::verify::{Decided, belongs};
use certificates::Issued;
use change::{Changed, Changes};
use lane::{Bundle, Lanes, Reading, Step};

/// LIMIT: decisions without an outcome at one time. An appliance ends those it left open at its start, and the pending ones
/// when their time is over; it comes nowhere near.
const OPEN: usize = 1 << 20;

/// LIMIT: what is said about one decision.
const APPROVALS: usize = limit::APPROVALS;

/// LIMIT: checkpoints that a chain of runs, none of which came to its end, remembers.
const SEEN: usize = 64;

/// Where a verification begins.
#[derive(Debug)]
pub enum Start<'a> {
    /// At the first entry.
    Afresh,
    /// At the first entry, and the log must hold the entries of this older checkpoint first.
    Since(&'a SignedCheckpoint),
    /// Where an earlier one came to.
    From(Box<Kept>),
}

/// Entries, by their kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Decisions.
    pub decisions: u64,
    /// Approvals and vetoes of pending requests.
    #[serde(default)]
    pub approvals: u64,
    /// Outcomes.
    pub outcomes: u64,
    /// Wallets made.
    pub wallets: u64,
    /// Policy bundles applied.
    pub policies: u64,
    /// What happened at officers' logins.
    #[serde(default)]
    pub logins: u64,
    /// Key ceremonies put on record.
    #[serde(default)]
    pub ceremonies: u64,
    /// Certificates issued or taken back, and their authority.
    #[serde(default)]
    pub clients: u64,
}

/// What a verified log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReport {
    /// The checkpoint everything was verified under.
    pub checkpoint: SignedCheckpoint,
    /// Entries verified before this run.
    pub resumed_from: u64,
    /// Its entries.
    pub counts: Counts,
    /// The rotations of the log's keys: which keys signed checkpoints of which sizes.
    pub turns: Vec<Turn>,
    /// Where the trust file knew only keys from before a rotation: what it comes to, by their word for the next.
    pub followed: Option<Trust>,
    /// Allowed decisions without an outcome: in flight when the checkpoint was signed, or ended by a crash.
    pub open: u64,
}

/// Verifies the log that `mirror` has a copy of. `each` is told at the start, after every bundle and at the end, on this
/// thread; an error of it ends the verification.
///
/// # Errors
/// The first [`LogError`] found, in the order of the entries.
pub fn verify_log(
    mirror: &dyn Mirror,
    trust: &Trust,
    start: Start<'_>,
    each: &mut dyn FnMut(&Pass<'_>) -> Result<(), MirrorError>,
) -> Result<LogReport, LogError> {
    let reading = Reading { mirror, size: 0 };
    let note = reading.read(Files::CHECKPOINT, NOTE_BYTES)?.ok_or(LogError::NoCheckpoint)?;
    let (checkpoint, followed) = match SignedCheckpoint::open(&note, trust) {
        Ok(checkpoint) => (checkpoint, None),
        Err(error) => {
            let (checkpoint, trust) =
                follow::followed(reading, trust, &note, error).map_err(LogError::Checkpoint)?;
            (checkpoint, Some(trust))
        }
    };
    let trust = followed.as_ref().unwrap_or(trust);
    let mut pass = Pass::begin(mirror, trust, checkpoint, start)?;
    pass.pins_hold()?;
    let mut tell = |pass: &Pass<'_>| each(pass).map_err(LogError::Stopped);
    tell(&pass)?;
    if pass.verified() < pass.size() {
        let bundles = pass.verified() / WIDTH..pass.size().div_ceil(WIDTH);
        thread::scope(|scope| {
            let lanes = Lanes::start(scope, pass.reading, &bundles);
            for bundle in lanes.in_order() {
                pass.take(bundle?)?;
                if pass.verified() < pass.size() {
                    tell(&pass)?;
                }
            }
            Ok(())
        })?;
        pass.finish()?;
        tell(&pass)?;
    }
    Ok(pass.report(followed.clone()))
}

/// A verification under way.
pub struct Pass<'a> {
    reading: Reading<'a>,
    trust: &'a Trust,
    edge: Edge,
    open: BTreeMap<u64, Decided>,
    changes: Changes,
    issued: Issued,
    counts: Counts,
    turns: Box<Turns>,
    resumed_from: u64,
    /// Checkpoints whose entries must be the first of this log: those not reached yet, and the newest.
    seen: Vec<SignedCheckpoint>,
    newest: SignedCheckpoint,
}

impl<'a> Pass<'a> {
    fn begin(
        mirror: &'a dyn Mirror,
        trust: &'a Trust,
        newest: SignedCheckpoint,
        start: Start<'_>,
    ) -> Result<Self, LogError> {
        let Kept { edge, open, changes, issued, counts, turns, mut seen } = match start {
            Start::Afresh => Kept::default(),
            Start::Since(older) => Kept { seen: vec![older.clone()], ..Kept::default() },
            Start::From(kept) => *kept,
        };
        let size = newest.size();
        if let Some(older) = seen.last().filter(|older| older.size() > size) {
            return Err(LogError::Cut { size, older: older.size() });
        }
        match seen.last() {
            Some(last) if last.size() == size && last.root() != newest.root() => {
                return Err(LogError::Rewritten { older: size });
            }
            Some(last) if last.size() == size => {}
            _ => seen.push(newest.clone()),
        }
        if seen.len() > SEEN {
            seen.remove(SEEN - 1);
        }
        let (reading, resumed_from) = (Reading { mirror, size }, edge.size());
        Ok(Self { reading, trust, edge, open, changes, issued, counts, turns, resumed_from, seen, newest })
    }

    /// Entries verified so far, those of earlier runs included.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.edge.size()
    }

    /// Entries verified before this run.
    #[must_use]
    pub fn resumed_from(&self) -> u64 {
        self.resumed_from
    }

    /// Entries in all.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.reading.size
    }

    /// What a later run can go on from, for [`Kept::parse`].
    #[must_use]
    pub fn keep(&self) -> Vec<u8> {
        kept::write(self)
    }

    fn take(&mut self, bundle: Bundle) -> Result<(), LogError> {
        let first = self.edge.size() / WIDTH * WIDTH;
        let known = usize::try_from(self.edge.size() - first).unwrap_or(usize::MAX);
        self.goes_on(first, bundle.hashes.get(..known).unwrap_or_default())?;
        let new = bundle.hashes.into_iter().zip(bundle.steps).skip(known);
        for (index, (hash, step)) in (self.edge.size()..).zip(new) {
            self.follow(index, step)?;
            let mut full = Vec::new();
            self.edge.push(hash, |completed| full.push(completed));
            if self.turns.wants_root(self.edge.size()) {
                self.turns.rooted(merkle::root(&self.edge, self.edge.size()).unwrap_or_default());
            }
            // Level 0 was compared where it was read.
            for Completed { level, number, tile } in full.into_iter().filter(|full| full.level > 0) {
                self.reading.tile_is(Resource::Tile { level, number, width: WIDTH }, &tile.bytes(WIDTH))?;
            }
            self.pins_hold()?;
        }
        Ok(())
    }

    /// Whether the entries that an earlier run verified of this bundle are still the same.
    fn goes_on(&self, first: u64, known: &[Hash]) -> Result<(), LogError> {
        let width = known.len() as u64;
        let before = self.edge.tile(0, first / WIDTH).map(|tile| tile.bytes(width)).unwrap_or_default();
        if known.as_flattened() == before {
            Ok(())
        } else {
            Err(LogError::Rewritten { older: first + width })
        }
    }

    /// Whether the checkpoints of just this size have this root; those passed are forgotten but for the newest.
    fn pins_hold(&mut self) -> Result<(), LogError> {
        let size = self.edge.size();
        let here = self.seen.iter().take_while(|seen| seen.size() <= size).count();
        let Some(passed) = self.seen.get(..here).filter(|passed| !passed.is_empty()) else { return Ok(()) };
        let root = merkle::root(&self.edge, size).ok();
        if passed.iter().any(|seen| seen.size() == size && root != Some(*seen.root())) {
            let signed_now = size == self.newest.size();
            return Err(if signed_now {
                LogError::Root { size }
            } else {
                LogError::Rewritten { older: size }
            });
        }
        let last = self.seen.len().saturating_sub(1);
        self.seen.drain(..here.min(last));
        Ok(())
    }

    fn follow(&mut self, index: u64, step: Step) -> Result<(), LogError> {
        let outcome = if let Step::Outcome(outcome) = &step { Some(&**outcome) } else { None };
        let wrong = |rule| LogError::Change { index, rule };
        self.changes.next(outcome).map_err(wrong)?;
        match step {
            Step::Decision(decided, review, sound) => {
                self.counts.decisions += 1;
                let decision = review.as_ref().map_or(index, |review| review.decision_leaf);
                sound.map_err(|rule| LogError::Review { index, decision, rule })?;
                if let Some(review) = &review {
                    self.review(index, &decided, review)?;
                }
                // A denial has no outcome, and of a request that waits on the first decision is the one that ends.
                if decided.outcome == Verdict::Allowed
                    || decided.outcome == Verdict::Pending && review.is_none()
                {
                    if self.open.len() >= OPEN {
                        return Err(LogError::Open { index, open: self.open.len() });
                    }
                    self.open.insert(index, *decided);
                }
            }
            Step::Approval(approval) => {
                self.counts.approvals += 1;
                self.speak(index, &approval)?;
            }
            Step::Outcome(outcome) => {
                self.counts.outcomes += 1;
                self.end(index, &outcome)?;
            }
            Step::Wallet(changed) => {
                self.counts.wallets += 1;
                self.changes.change(&changed, &self.open).map_err(wrong)?;
            }
            Step::Login => self.counts.logins += 1,
            Step::Ceremony => self.counts.ceremonies += 1,
            Step::Authority => self.counts.clients += 1,
            Step::Client(changed, papers) => {
                self.counts.clients += 1;
                self.changes.change(&changed, &self.open).map_err(wrong)?;
                self.issued.take(&papers).map_err(|rule| LogError::Certificate { index, rule })?;
            }
            Step::Rotation(rotation) => {
                let wrong = |rule| LogError::Rotation { index, rule };
                self.turns.follow(self.trust.origin(), index, rotation).map_err(wrong)?;
            }
            Step::Policy(policy) => {
                self.counts.policies += 1;
                self.is_endorsed(index, &policy)?;
                self.changes.change(&Changed::from(&*policy), &self.open).map_err(wrong)?;
                self.changes.put_in_force(&policy).map_err(wrong)?;
            }
        }
        Ok(())
    }

    /// An approval is of a decision that waits.
    fn speak(&mut self, index: u64, approval: &Approval) -> Result<(), LogError> {
        let decision = approval.decision_leaf;
        let wrong = |rule| LogError::Approval { index, decision, rule };
        let waiting = self.open.get_mut(&decision).filter(|decided| decided.outcome == Verdict::Pending);
        let decided = waiting.ok_or_else(|| wrong("that is no decision that waits"))?;
        if decided.tenant != approval.tenant || decided.request_id != approval.request_id {
            return Err(wrong("it is of another request"));
        }
        if decided.approvals.len() >= APPROVALS {
            return Err(wrong("more was said about it than an appliance takes"));
        }
        decided.approvals.push(Spoken::of(index, approval));
        Ok(())
    }

    /// A decision about a request that waited takes the first one's place, and counts only what was said.
    fn review(&mut self, index: u64, decided: &Decided, review: &Review) -> Result<(), LogError> {
        let wrong = |rule| LogError::Review { index, decision: review.decision_leaf, rule };
        review.check().map_err(wrong)?;
        let waited =
            self.open.get(&review.decision_leaf).ok_or_else(|| wrong("that is no decision that waits"))?;
        let follows = waited.outcome == Verdict::Pending
            && waited.tenant == decided.tenant
            && waited.request_id == decided.request_id
            && waited.time_ms <= decided.time_ms;
        if !follows {
            return Err(wrong("that is of another request, or did not wait"));
        }
        if !review.approvals.iter().all(|spoken| waited.approvals.contains(spoken)) {
            return Err(wrong("it counts an approval that is not in the log"));
        }
        // One that leaves it waiting says that nothing but a cold wallet's signature is missing; it waits on as it did.
        if decided.outcome != Verdict::Pending {
            self.open.remove(&review.decision_leaf);
        }
        Ok(())
    }

    fn is_endorsed(&self, index: u64, policy: &Policy) -> Result<(), LogError> {
        let Policy { tenant, bundle, signatures, .. } = policy;
        let of = Endorsed { origin: self.trust.origin(), tenant, bundle };
        let confirmed = self.trust.endorsers().confirm(signatures, of);
        confirmed.map_err(|source| LogError::Endorsement { index, bundle: *bundle, source })
    }

    fn end(&mut self, index: u64, outcome: &Outcome) -> Result<(), LogError> {
        let wrong = |rule| LogError::Outcome { index, decision: outcome.decision_leaf, rule };
        let decision = self
            .open
            .remove(&outcome.decision_leaf)
            .ok_or_else(|| wrong("that is no decision that could still end"))?;
        belongs(outcome, index, &decision, outcome.decision_leaf).map_err(wrong)
    }

    /// The partial tiles above level 0, and that the pass came to the signed root.
    fn finish(&mut self) -> Result<(), LogError> {
        let size = self.size();
        for level in levels(size).filter(|level| *level > 0) {
            let (number, width) = edge_of(level, size);
            if let Some(tile) = self.edge.tile(level, number).filter(|_| width > 0) {
                self.reading.tile_is(Resource::Tile { level, number, width }, &tile.bytes(width))?;
            }
        }
        // INVARIANT: said again at the end, because nothing before it may be what the promise rests on.
        if self.edge.size() != size || merkle::root(&self.edge, size).ok() != Some(*self.newest.root()) {
            return Err(LogError::Root { size });
        }
        // INVARIANT: whatever the trust file holds, a key that was replaced does not speak for what came after.
        if let Some(keys) = self.turns.in_force() {
            let (origin, note) = (self.trust.origin(), self.newest.note());
            keys.open(origin, note).map_err(|source| LogError::KeyRetired { size, source })?;
        }
        Ok(())
    }

    fn report(self, followed: Option<Trust>) -> LogReport {
        let allowed = self.open.values().filter(|decision| decision.outcome == Verdict::Allowed);
        LogReport {
            open: allowed.count() as u64,
            turns: self.turns.done,
            followed,
            checkpoint: self.newest,
            resumed_from: self.resumed_from,
            counts: self.counts,
        }
    }
}
