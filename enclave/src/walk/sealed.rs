//! Fourth step: a signature, verified and unread. It is opened only to be recorded and then released: the outcome is
//! durable, and both leaves are proved under a signed checkpoint, before a byte of it leaves this function.

use std::sync::Arc;

use chancery_audit::{self as audit, Appended, End, Leaf, PartyDecision, V1};
use chancery_store::{RequestState, Tx};

use super::Recorded;
use crate::answer::{Released, Signed};
use crate::enact::Enactment;
use crate::house::{Books, House};
use crate::kept;
use crate::keys::GAP;
use crate::receipts;
use crate::refusal::Refusal;

/// Signatures nobody has read, and the request they are for.
pub struct Sealed {
    pub(super) recorded: Recorded,
    pub(super) signatures: Vec<chancery_hsm::Sealed>,
    /// What the other parties that signed decided.
    pub(super) parties: Vec<PartyDecision>,
    /// What it changes here, if it does.
    pub(super) enactment: Option<Enactment>,
}

impl Sealed {
    /// Records the outcome, then opens the signature to the client with its receipt.
    ///
    /// # Errors
    /// What keeps the store from recording: nothing is released, and the resolver ends the request. What keeps the log
    /// from signing a checkpoint: the outcome stands, and a retry under the same key gets signature and receipt.
    pub async fn release(self, house: &Arc<House>) -> Result<Released, Refusal> {
        let Self { recorded, signatures, parties, enactment } = self;
        let Recorded { id, intent, leaf, record, kept, in_flight, .. } = recorded;
        let opened: Vec<_> = signatures.into_iter().map(chancery_hsm::Sealed::open).collect();
        let opened = Signed { parties, ..Signed::of(&opened, &intent)? };
        let outcome = audit::Outcome {
            v: V1,
            tenant: record.tenant.clone(),
            request_id: id,
            time_ms: house.clock.now()?,
            decision_leaf: leaf.index(),
            outcome: End::Released,
            signature_sha256: Some(opened.digest()),
            transaction_sha256: opened.transaction_digest(),
            reason: None,
        };

        // ORDER: the outcome first. A crash before this commit leaves a permit that the resolver ends as failed; nobody
        // has seen the signature. A crash after it leaves a released request, which a retry answers from the store.
        let used = intent.signings().iter().filter_map(|signing| Some(signing.key?.steps)).collect();
        let release = Release { outcome: outcome.clone(), released: kept::write(&opened)?, used, enactment };
        let (ended, changed) = record_release(&house.books, release).await?;
        if let Some((enactment, leaf)) = changed {
            enactment.take_effect(house, leaf);
        }
        drop(in_flight);

        // INVARIANT: both leaves are proved in this process, under a signed checkpoint, or nothing is released.
        let checkpoint = house
            .log
            .checkpoint_covering(ended.index())
            .await
            .map_err(|error| Refusal::from(error).of(id))?;
        let decided = house.log.prove(&leaf, &checkpoint)?;
        let ended = house.log.prove(&ended, &checkpoint)?;
        let approvals = receipts::approvals(house, id, record.review.as_ref(), &checkpoint)?;
        Ok(receipts::released(record, decided, approvals, kept, outcome, ended, opened))
    }
}

/// What a release leaves on record.
pub(crate) struct Release {
    pub outcome: audit::Outcome,
    /// What was released.
    pub released: Vec<u8>,
    /// The addresses that are spent from, of a wallet with many.
    pub used: Vec<[u32; 2]>,
    /// What changes with it.
    pub enactment: Option<Enactment>,
}

/// Puts a release on record, makes its reservations final and writes what changes with it: one transaction, after as many as
/// the change needs to be ready. Answers the change with its log index.
pub(crate) async fn record_release(
    books: &Arc<Books>,
    mut release: Release,
) -> Result<(Appended, Option<(Enactment, u64)>), Refusal> {
    let id = release.outcome.request_id;
    loop {
        let there = Arc::clone(books);
        let durable = books
            .store
            .write(move |tx| {
                let (leaf, changed) = release.step(&there, tx)?;
                Ok::<_, Refusal>((leaf, (changed, release)))
            })
            .await
            .map_err(|refusal| refusal.of(id))?;
        let (leaf, (changed, still)) = durable.split();
        match leaf.transpose() {
            Some(leaf) => {
                let ended = Appended::from_committed(leaf);
                return Ok((ended, still.enactment.zip(changed)));
            }
            None => release = still,
        }
    }
}

impl Release {
    /// One transaction; it runs on the store's writer. The outcome once it is written, and the change's log index.
    fn step(&mut self, books: &Books, tx: &mut Tx<'_>) -> Result<(Option<Leaf>, Option<u64>), Refusal> {
        let changed = match &mut self.enactment {
            None => None,
            Some(enactment) => match enactment.step(books, tx)? {
                None => return Ok((None, None)),
                changed => changed,
            },
        };
        let leaf = audit::append(tx, &audit::Record::Outcome(self.outcome.clone()))?;
        let id = self.outcome.request_id;
        tx.finish_request(id, RequestState::Released, Some(leaf.index()), Some(&self.released))?;
        tx.settle(id)?;
        if let Some(row) = tx.request(id)?.filter(|_| !self.used.is_empty()) {
            for [branch, index] in &self.used {
                // What was signed far beyond the gap may never have been paid: it moves no branch.
                let _: bool = tx.used_address(&row.tenant, &row.wallet, *branch, *index, GAP)?;
            }
        }
        Ok((Some(leaf), changed))
    }
}
