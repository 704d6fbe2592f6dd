//! The running log: the tree grows as the store commits, checkpoints are signed and cosigned for whoever waits, tiles are
//! published beside that. Trusts the store's order of leaves and the signer's key, which verifies every signature before use. If
//! this is wrong, receipts are handed out that no stranger can verify.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::append::Appended;
use crate::checkpoint::{Checkpoint, CheckpointSigner, SignedCheckpoint};
use crate::feed::Feed;
use crate::files::{Files, Resource};
use crate::merkle::{self, Hash, leaf_hash};
use crate::ml_dsa::MlDsaSigner;
use crate::note::VerifierKey;
use crate::proof::{Proven, TlogProof};
use crate::recover::{RECHECKED_LEAVES, recover};
use crate::rotation::{LogKeys, Retired};
use crate::source::LeafSource;
use crate::timestamp::archive;
use crate::tree::Tree;
use crate::trust::Trust;
use crate::witness::{Seat, Witness};
use crate::{AuditError, publish, witness};

/// LIMIT: how long a leaf that the store shows may stay unheard of, in milliseconds.
const HEARING_MS: u32 = 500;

/// Where a log lives, what it is called and who watches it.
pub struct LogOptions {
    /// The log's name, in every checkpoint.
    pub origin: String,
    /// The folder of static files.
    pub directory: PathBuf,
    /// Signs every checkpoint beside the HSM.
    pub ml_dsa: Option<MlDsaSigner>,
    /// The keys before, and until when they signed.
    pub retired: Vec<Retired>,
    /// Who is asked to cosign every checkpoint.
    pub witnesses: Vec<Witness>,
    /// How many of them must have cosigned a checkpoint before it is used.
    pub quorum: usize,
}

/// How the log stands, for health and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Leaves committed.
    pub size: u64,
    /// Leaves under the newest signed checkpoint.
    pub signed: u64,
    /// Leaves under the newest checkpoint with as many cosignatures as are asked for.
    pub cosigned: u64,
    /// Leaves under the newest head that is on disk with its tiles.
    pub published: u64,
    /// Whether the last attempt to publish failed.
    pub publishing_fails: bool,
}

#[derive(Default)]
pub(crate) struct Signed {
    /// The newest that the log's own key signed.
    latest: Option<Arc<SignedCheckpoint>>,
    /// The newest with as many cosignatures as are asked for; the same one where none are.
    cosigned: Option<Arc<SignedCheckpoint>>,
    /// Attempts begun since the start.
    begun: u64,
    failed: Option<(u64, Arc<AuditError>)>,
    stopped: bool,
}

pub(crate) struct Inner {
    pub(crate) tree: Tree,
    pub(crate) files: Files,
    pub(crate) seats: Vec<Seat>,
    pub(crate) published: AtomicU64,
    /// Leaves under `checkpoint` on disk, which lags `published` while witnesses are missing.
    pub(crate) checkpointed: AtomicU64,
    pub(crate) publishing_fails: AtomicBool,
    pub(crate) trust: Trust,
    key: VerifierKey,
    signer: Arc<dyn CheckpointSigner>,
    ml_dsa: Option<Arc<MlDsaSigner>>,
    signed: watch::Sender<Signed>,
    wanted: Notify,
}

/// A handle to the log; clones are the same log.
#[derive(Clone)]
pub struct Log {
    pub(crate) inner: Arc<Inner>,
}

impl Log {
    /// Opens the log with its witnesses, of whom none is asked yet: compares the store's leaves with the remembered head and repairs the static files. Reads up to
    /// 2^18 leaves, so it blocks; call it before serving. `feed` is of the observer that the store was opened with.
    ///
    /// # Errors
    /// [`AuditError::RolledBack`] and [`AuditError::Forked`] refuse a log that is not the one whose head was signed;
    /// [`AuditError::Head`] one whose remembered head cannot be read; else what the store or a file answered.
    pub fn open(
        source: Arc<dyn LeafSource>,
        feed: &Feed,
        options: LogOptions,
        signer: Arc<dyn CheckpointSigner>,
    ) -> Result<Self, AuditError> {
        let public_key = signer.public_key();
        let named = |_| AuditError::Origin { origin: options.origin.clone() };
        let key = VerifierKey::new(&options.origin, public_key).map_err(named)?;
        let witness_keys = options.witnesses.iter().map(|witness| witness.key.clone()).collect();
        let trust = Trust::in_key(&options.origin, public_key)
            .map_err(named)?
            .with_ml_dsa(options.ml_dsa.iter().map(|signer| signer.key().clone()).collect())
            .map_err(AuditError::Witnesses)?
            .with_witnesses(witness_keys, options.quorum)
            .map_err(AuditError::Witnesses)?
            .with_retired(&options.retired)
            .map_err(AuditError::Witnesses)?;
        let files = Files::create(&options.directory)?;
        // What this log remembers is its own word: it needs no witness, and an older release signed with Ed25519 alone.
        let recovered = recover(&*source, &files, &trust.in_own_word(), RECHECKED_LEAVES)?;
        let remembered = recovered.head.as_ref().map_or(0, SignedCheckpoint::size);
        // A head that lacks a signature of today is remembered, and signed again before anyone is shown it.
        let whole = |head: SignedCheckpoint| {
            SignedCheckpoint::open(head.note().as_bytes(), &trust.without_quorum()).ok().map(Arc::new)
        };
        let latest = recovered.head.and_then(whole);
        let cosigned = latest.clone().filter(|head| head.cosignatures().len() >= trust.quorum());
        let inner = Arc::new(Inner {
            tree: Tree::new(recovered.edge, files.clone(), source),
            files,
            seats: options.witnesses.into_iter().map(Seat::of).collect(),
            published: AtomicU64::new(remembered),
            // A damaged one is published again, and one that has too few cosignatures by now.
            checkpointed: AtomicU64::new(cosigned.as_ref().map_or(0, |_| recovered.checkpointed)),
            publishing_fails: AtomicBool::new(false),
            key,
            trust,
            signer,
            ml_dsa: options.ml_dsa.map(Arc::new),
            signed: watch::Sender::new(Signed { latest, cosigned, ..Signed::default() }),
            wanted: Notify::new(),
        });
        feed.follow(&inner);
        Ok(Self { inner })
    }

    /// Asks the witnesses, where cosignatures are asked for, what they have seen of this log: an older copy of the whole
    /// state has an older head as well, and only who stands outside can tell. Call it before [`Log::start`]; a witness that is
    /// away costs its time limit and keeps nothing from starting.
    ///
    /// # Errors
    /// [`AuditError::Contradicted`] where so many have seen a longer or another log that the others are too few.
    pub async fn recall(&self) -> Result<(), AuditError> {
        match (self.signed(), self.inner.trust.quorum()) {
            (Some(head), needed) if needed > 0 => witness::recall(&self.inner, &head, needed).await,
            _ => Ok(()),
        }
    }

    /// Starts signing and publishing, on the current tokio runtime. Call it once.
    #[must_use]
    pub fn start(&self) -> Keeper {
        let (stop, stopped) = watch::channel(false);
        let signing = tokio::spawn(sign_when_wanted(Arc::clone(&self.inner)));
        let publishing = tokio::spawn(publish::every_second(self.clone(), stopped));
        Keeper { inner: Arc::clone(&self.inner), stop, signing, publishing }
    }

    /// A signed checkpoint that covers leaf `index`, which must be committed, with as many cosignatures as are asked for.
    /// Whoever waits while one is being made shares the next one.
    ///
    /// # Errors
    /// [`AuditError::NoCheckpoint`] where the attempt failed; asking again makes a new attempt.
    pub async fn checkpoint_covering(&self, index: u64) -> Result<Arc<SignedCheckpoint>, AuditError> {
        self.heard_of(index).await?;
        let mut signed = self.inner.signed.subscribe();
        let asked = signed.borrow().begun;
        loop {
            {
                let signed = signed.borrow_and_update();
                if let Some(latest) = signed.cosigned.as_ref().filter(|latest| latest.size() > index) {
                    return Ok(Arc::clone(latest));
                }
                if signed.stopped {
                    return Err(AuditError::Stopping);
                }
                // An attempt begun before this call did not try to cover it, so its failure is not ours.
                if let Some((attempt, error)) = &signed.failed
                    && *attempt > asked
                {
                    return Err(AuditError::NoCheckpoint(Arc::clone(error)));
                }
            }
            self.inner.wanted.notify_one();
            signed.changed().await.map_err(|_| AuditError::Stopping)?;
        }
    }

    /// A reader of the store can see a leaf a moment before the observer hears of it: that moment is waited for.
    async fn heard_of(&self, index: u64) -> Result<(), AuditError> {
        for _ in 0..HEARING_MS {
            let size = self.inner.tree.size();
            if index < size {
                return Ok(());
            }
            if index >= self.inner.tree.committed()? {
                return Err(AuditError::OutOfRange { index, size });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err(AuditError::Gap { expected: self.inner.tree.size(), found: index })
    }

    /// Waits until a checkpoint with the cosignatures asked for covers more than `size` leaves.
    ///
    /// # Errors
    /// [`AuditError::Stopping`] once the log has stopped.
    pub async fn grown_beyond(&self, size: u64) -> Result<(), AuditError> {
        let grown = |signed: &Signed| {
            signed.stopped || signed.cosigned.as_ref().is_some_and(|latest| latest.size() > size)
        };
        let mut signed = self.inner.signed.subscribe();
        let signed = signed.wait_for(grown).await.map_err(|_| AuditError::Stopping)?;
        if signed.stopped { Err(AuditError::Stopping) } else { Ok(()) }
    }

    /// The newest checkpoint with as many cosignatures as are asked for; before there is one, the newest signed.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<SignedCheckpoint>> {
        let signed = self.inner.signed.borrow();
        signed.cosigned.clone().or_else(|| signed.latest.clone())
    }

    /// The newest checkpoint that the log's own key signed, cosigned or not.
    pub(crate) fn signed(&self) -> Option<Arc<SignedCheckpoint>> {
        self.inner.signed.borrow().latest.clone()
    }

    /// The keys in force.
    #[must_use]
    pub fn keys(&self) -> LogKeys {
        let ml_dsa = self.inner.ml_dsa.as_ref().map(|signer| signer.key().clone());
        LogKeys { key: self.inner.key.clone(), ml_dsa }
    }

    /// The checkpoint that ends with the entry `named`, signed by the keys in force and by those that shall be: the word of the
    /// one for the other.
    ///
    /// # Errors
    /// What a signer or the store answers; [`AuditError::OutOfRange`] for an entry that is not there.
    pub async fn vouch(
        &self,
        named: u64,
        signer: &dyn CheckpointSigner,
        ml_dsa: Option<&Arc<MlDsaSigner>>,
    ) -> Result<String, AuditError> {
        self.heard_of(named).await?;
        let (inner, size) = (&self.inner, named.saturating_add(1));
        let origin = inner.trust.origin().to_owned();
        let key = VerifierKey::new(&origin, signer.public_key());
        let key = key.map_err(|_| AuditError::Origin { origin: origin.clone() })?;
        let checkpoint = Checkpoint { origin, size, root: merkle::root(&inner.tree, size)? };
        let old =
            SignedCheckpoint::sign(checkpoint.clone(), &inner.key, &*inner.signer, inner.ml_dsa.as_ref());
        let old = old.await?;
        let new = SignedCheckpoint::sign(checkpoint, &key, signer, ml_dsa).await?;
        Ok(old.with_lines_of(&new))
    }

    /// Asks every witness to cosign a checkpoint that needs no cosignature, and keeps what comes of it.
    pub(crate) async fn invite(&self, checkpoint: Arc<SignedCheckpoint>) -> Arc<SignedCheckpoint> {
        let cosigned = witness::cosign(&self.inner, &checkpoint, self.inner.seats.len()).await;
        self.inner.signed.send_if_modified(|signed| {
            for kept in [&mut signed.latest, &mut signed.cosigned].into_iter().flatten() {
                if kept.checkpoint() == cosigned.checkpoint() {
                    *kept = Arc::clone(&cosigned);
                }
            }
            false
        });
        cosigned
    }

    /// Proves an appended leaf under a checkpoint, and verifies the proof before it is handed out.
    ///
    /// # Errors
    /// [`AuditError::NotIncluded`] where the checkpoint does not cover the leaf, or the tree does not hold it there.
    pub fn prove(&self, appended: &Appended, checkpoint: &SignedCheckpoint) -> Result<Proven, AuditError> {
        self.prove_hash(appended.index(), appended.hash(), checkpoint)
    }

    /// Proves a leaf of the past by its body, for a receipt that is made again. May read files.
    ///
    /// # Errors
    /// As [`Log::prove`].
    pub fn prove_body(
        &self,
        index: u64,
        body: &[u8],
        checkpoint: &SignedCheckpoint,
    ) -> Result<Proven, AuditError> {
        self.prove_hash(index, &leaf_hash(body), checkpoint)
    }

    fn prove_hash(
        &self,
        index: u64,
        leaf: &Hash,
        checkpoint: &SignedCheckpoint,
    ) -> Result<Proven, AuditError> {
        let size = checkpoint.size();
        if index >= size {
            return Err(AuditError::NotIncluded { index, size });
        }
        let hashes = merkle::prove_inclusion(&self.inner.tree, index, size)?;
        if !merkle::verify_inclusion(leaf, index, size, &hashes, checkpoint.root()) {
            return Err(AuditError::NotIncluded { index, size });
        }
        Ok(Proven::new(TlogProof::new(index, hashes, checkpoint)))
    }

    /// The proof that the first `old` leaves begin the first `new` leaves (RFC 9162, 2.1.4). May read files.
    ///
    /// # Errors
    /// [`AuditError::OutOfRange`] where `new` is beyond the log or below `old`.
    pub fn prove_consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, AuditError> {
        let size = self.inner.tree.size();
        if old > new || new > size {
            return Err(AuditError::OutOfRange { index: new.max(old), size });
        }
        merkle::prove_consistency(&self.inner.tree, old, new)
    }

    /// A static resource by its path: `checkpoint`, `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]` or a file of
    /// `timestamps/`. Answers for every width the signed log has had, so a checkpoint from a receipt can be followed before
    /// its tiles are on disk. May read the store or files.
    ///
    /// # Errors
    /// What the store or a file answered.
    pub fn resource(&self, path: &str) -> Result<Option<Vec<u8>>, AuditError> {
        if path == Files::CHECKPOINT {
            return Ok(self.latest().map(|latest| latest.note().as_bytes().to_vec()));
        }
        if archive::is_served(path) {
            return self.inner.files.read(path);
        }
        Resource::parse(path).map_or(Ok(None), |resource| self.inner.tree.resource(resource))
    }

    /// What a stranger needs to verify this log's receipts.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.inner.trust
    }

    /// How the log stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            size: self.inner.tree.size(),
            signed: self.signed().map_or(0, |latest| latest.size()),
            cosigned: self.inner.signed.borrow().cosigned.as_ref().map_or(0, |latest| latest.size()),
            published: self.inner.published.load(Ordering::Acquire),
            publishing_fails: self.inner.publishing_fails.load(Ordering::Acquire),
        }
    }
}

/// One signature and one round of the witnesses at a time: whoever asks meanwhile waits for the next, which covers them all.
async fn sign_when_wanted(inner: Arc<Inner>) {
    loop {
        inner.wanted.notified().await;
        if inner.signed.borrow().stopped {
            return;
        }
        let mut attempt = 0;
        inner.signed.send_if_modified(|signed| {
            signed.begun += 1;
            attempt = signed.begun;
            false
        });
        let result = match sign_newest(&inner).await {
            Ok(checkpoint) => {
                // Nobody waits for this half: a wake would only ask for another round.
                inner.signed.send_if_modified(|signed| {
                    signed.latest = Some(Arc::clone(&checkpoint));
                    false
                });
                cosign_enough(&inner, checkpoint).await
            }
            Err(error) => Err(error),
        };
        inner.signed.send_modify(|signed| match result {
            Ok(checkpoint) => signed.cosigned = Some(checkpoint),
            Err(error) => {
                tracing::warn!(%error, "no checkpoint can be used");
                signed.failed = Some((attempt, Arc::new(error)));
            }
        });
    }
}

async fn sign_newest(inner: &Inner) -> Result<Arc<SignedCheckpoint>, AuditError> {
    let (size, root) = inner.tree.head()?;
    if let Some(latest) = inner.signed.borrow().latest.as_ref().filter(|latest| latest.size() == size) {
        return Ok(Arc::clone(latest));
    }
    let checkpoint = Checkpoint { origin: inner.trust.origin().to_owned(), size, root };
    let ml_dsa = inner.ml_dsa.as_ref();
    SignedCheckpoint::sign(checkpoint, &inner.key, &*inner.signer, ml_dsa).await.map(Arc::new)
}

/// INVARIANT: where cosignatures are asked for, no checkpoint without them reaches a receipt. Where none are, nobody waits
/// for a witness.
async fn cosign_enough(
    inner: &Arc<Inner>,
    checkpoint: Arc<SignedCheckpoint>,
) -> Result<Arc<SignedCheckpoint>, AuditError> {
    let needed = inner.trust.quorum();
    if needed == 0 {
        return Ok(checkpoint);
    }
    if let Some(had) = inner.signed.borrow().cosigned.as_ref().filter(|had| had.size() == checkpoint.size()) {
        return Ok(Arc::clone(had));
    }
    let cosigned = witness::cosign(inner, &checkpoint, needed).await;
    match cosigned.cosignatures().len() {
        found if found < needed => Err(AuditError::NotCosigned { found, needed }),
        _ => Ok(cosigned),
    }
}

/// Keeps a started log signing and publishing until it is stopped.
pub struct Keeper {
    inner: Arc<Inner>,
    stop: watch::Sender<bool>,
    signing: tokio::task::JoinHandle<()>,
    publishing: tokio::task::JoinHandle<Result<(), AuditError>>,
}

impl Keeper {
    /// Publishes what is committed, then stops. Call it when nothing appends any more.
    ///
    /// # Errors
    /// What kept the last tiles from being written. They are made from the store at the next start.
    pub async fn stop(self) -> Result<(), AuditError> {
        self.stop.send_replace(true);
        // A task that panicked has published nothing.
        let last = self.publishing.await.unwrap_or(Err(AuditError::Stopping));
        self.inner.signed.send_modify(|signed| signed.stopped = true);
        self.inner.wanted.notify_one();
        if let Err(error) = self.signing.await {
            tracing::warn!(%error, "the signing task did not end by itself");
        }
        last
    }
}
