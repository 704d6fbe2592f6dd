//! Witnesses from the log's side (c2sp.org/tlog-witness): each is sent the checkpoint with the proof that it follows from
//! what that witness saw last, and its cosignature is verified before it is used. A witness that knows a longer or another
//! log than this one is evidence that this one was set back, and is never argued with.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chancery_core::limit;
use tokio::task::JoinSet;

use crate::AuditError;
use crate::checkpoint::{SignedCheckpoint, decimal};
use crate::cosignature::Cosignature;
use crate::log::Inner;
use crate::merkle;
use crate::note::{CosignerKey, NoteError};
use crate::submission::Submission;

/// Between two tries to reach a witness.
const PAUSE: Duration = Duration::from_millis(200);

/// LIMIT: how often a witness may correct the size it saw last. A request that was given up can still arrive and move it.
const CORRECTIONS: usize = 4;

/// Why a request did not reach a witness, or its answer not us.
pub type CourierError = Box<dyn std::error::Error + Send + Sync>;

/// A request that is under way.
pub type Carrying<'a> = Pin<Box<dyn Future<Output = Result<Reply, CourierError>> + Send + 'a>>;

/// Carries requests to one witness. A request that is dropped is given up.
pub trait Courier: Send + Sync {
    /// `POST <submission prefix>/add-checkpoint` with this body; at most [`limit::WITNESS_BYTES`] of the answer.
    fn add_checkpoint<'a>(&'a self, body: &'a str) -> Carrying<'a>;
}

/// What a witness answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// A witness and the way to it.
pub struct Witness {
    /// Its key.
    pub key: CosignerKey,
    /// The way.
    pub courier: Arc<dyn Courier>,
}

/// A witness, and what it is known to have seen of this log.
pub(crate) struct Seat {
    witness: Witness,
    seen: AtomicU64,
}

impl Seat {
    pub(crate) fn of(witness: Witness) -> Self {
        Self { witness, seen: AtomicU64::new(0) }
    }
}

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
enum Unwilling {
    #[error("it cannot be reached: {0}")]
    Away(#[source] CourierError),
    #[error("it did not answer in time")]
    Late,
    #[error("it has seen {seen} entries of this log, which has {size}: this log was rolled back")]
    Ahead { seen: u64, size: u64 },
    #[error("it has seen other entries of this log: this log forked")]
    Forked,
    #[error("it answered {0}")]
    Refused(u16),
    #[error("its cosignature is not to be used: {0}")]
    Wrong(#[from] NoteError),
    #[error("no proof can be made for it: {0}")]
    Unproved(#[from] AuditError),
}

impl Unwilling {
    /// Whether this witness has seen what this log is not.
    fn contradicts(&self) -> bool {
        matches!(self, Self::Ahead { .. } | Self::Forked)
    }
}

/// Asks all witnesses at once. Those that are dropped are given up.
fn ask_all(
    inner: &Arc<Inner>,
    checkpoint: &Arc<SignedCheckpoint>,
) -> JoinSet<Result<Cosignature, Option<Unwilling>>> {
    let mut asked = JoinSet::new();
    for seat in 0..inner.seats.len() {
        let (inner, checkpoint) = (Arc::clone(inner), Arc::clone(checkpoint));
        asked.spawn(async move {
            let seat = inner.seats.get(seat).ok_or(None)?;
            let limit = Duration::from_millis(limit::WITNESS_MS);
            let answer = tokio::time::timeout(limit, seat.ask(&inner, &checkpoint)).await;
            answer.unwrap_or(Err(Unwilling::Late)).map_err(|error| {
                seat.tell(&error);
                Some(error)
            })
        });
    }
    asked
}

/// Asks all witnesses until `enough` have cosigned or the time is over. Answers with what was got.
pub(crate) async fn cosign(
    inner: &Arc<Inner>,
    checkpoint: &Arc<SignedCheckpoint>,
    enough: usize,
) -> Arc<SignedCheckpoint> {
    let mut asked = ask_all(inner, checkpoint);
    let mut cosigned = SignedCheckpoint::clone(checkpoint);
    while cosigned.cosignatures().len() < enough
        && let Some(answer) = asked.join_next().await
    {
        // A task that panicked has got no cosignature.
        if let Ok(Ok(cosignature)) = answer {
            cosigned = cosigned.cosigned(cosignature);
        }
    }
    Arc::new(cosigned)
}

/// Whether the witnesses that are needed can still be had: those that are away may come back, those that have seen another
/// log than this checkpoint's never cosign again.
///
/// # Errors
/// [`AuditError::Contradicted`].
pub(crate) async fn recall(
    inner: &Arc<Inner>,
    checkpoint: &Arc<SignedCheckpoint>,
    needed: usize,
) -> Result<(), AuditError> {
    let mut asked = ask_all(inner, checkpoint);
    let (mut agree, mut against) = (0, 0);
    while agree < needed
        && let Some(answer) = asked.join_next().await
    {
        match answer {
            Ok(Ok(_)) => agree += 1,
            Ok(Err(Some(error))) if error.contradicts() => against += 1,
            _ => {}
        }
    }
    let witnesses = inner.seats.len();
    if witnesses - against < needed {
        return Err(AuditError::Contradicted { against, witnesses, needed });
    }
    Ok(())
}

impl Seat {
    fn tell(&self, error: &Unwilling) {
        let witness = self.witness.key.name();
        if error.contradicts() {
            tracing::error!(witness, %error, "a witness contradicts this log");
        } else {
            tracing::warn!(witness, %error, "a witness did not cosign");
        }
    }

    async fn ask(&self, inner: &Inner, checkpoint: &SignedCheckpoint) -> Result<Cosignature, Unwilling> {
        let size = checkpoint.size();
        for _ in 0..CORRECTIONS {
            let old = self.seen.load(Ordering::Acquire).min(size);
            let proof = merkle::prove_consistency(&inner.tree, old, size)?;
            let submission = Submission { old, proof, note: checkpoint.note().to_owned() };
            let reply = self.carry(&submission.to_string()).await;
            match reply.status {
                200 => {
                    let answer = String::from_utf8_lossy(&reply.body);
                    let cosignature = checkpoint.cosignature_in(&answer, &self.witness.key)?;
                    self.seen.store(size, Ordering::Release);
                    return Ok(cosignature);
                }
                409 => {
                    let told =
                        std::str::from_utf8(&reply.body).ok().and_then(|body| decimal(body.trim_end()));
                    let seen = told.ok_or(Unwilling::Refused(409))?;
                    if seen > size {
                        return Err(Unwilling::Ahead { seen, size });
                    }
                    // The witness was told its own size and still conflicts: its root is another.
                    if seen == old {
                        return Err(Unwilling::Forked);
                    }
                    self.seen.store(seen, Ordering::Release);
                }
                422 => return Err(Unwilling::Forked),
                status => return Err(Unwilling::Refused(status)),
            }
        }
        Err(Unwilling::Refused(409))
    }

    /// Tries again where the witness cannot be reached or cannot answer now; the caller bounds the time.
    async fn carry(&self, body: &str) -> Reply {
        let mut told = false;
        loop {
            let error = match self.witness.courier.add_checkpoint(body).await {
                Ok(reply) if reply.status < 500 => return reply,
                Ok(reply) => Unwilling::Refused(reply.status),
                Err(error) => Unwilling::Away(error),
            };
            if !std::mem::replace(&mut told, true) {
                self.tell(&error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
