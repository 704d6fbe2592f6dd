//! Fourth step: a signature, verified and unread. It is opened only to be recorded and then released: the outcome is
//! durable, and both leaves are proved under a signed checkpoint, before a byte of it leaves this function.

use std::sync::Arc;

use chancery_audit::{self as audit, Appended, End, V1};
use chancery_store::RequestState;

use super::Recorded;
use crate::answer::{Released, Signed};
use crate::house::{Books, House};
use crate::kept;
use crate::receipts;
use crate::refusal::Refusal;

/// Signatures nobody has read, and the request they are for.
pub struct Sealed {
    pub(super) recorded: Recorded,
    pub(super) signatures: Vec<chancery_hsm::Sealed>,
}

impl Sealed {
    /// Records the outcome, then opens the signature to the client with its receipt.
    ///
    /// # Errors
    /// What keeps the store from recording: nothing is released, and the resolver ends the request. What keeps the log
    /// from signing a checkpoint: the outcome stands, and a retry under the same key gets signature and receipt.
    pub async fn release(self, house: &Arc<House>) -> Result<Released, Refusal> {
        let Self { recorded: Recorded { id, intent, leaf, record, kept, in_flight, .. }, signatures } = self;
        let opened: Vec<_> = signatures.into_iter().map(chancery_hsm::Sealed::open).collect();
        let opened = Signed::of(&opened, &intent)?;
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
        let ended = record_release(house, outcome.clone(), kept::write(&opened)?, used).await?;
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

/// Puts a release on record, with what was released, makes its reservations final, and notes the addresses that are spent
/// from, of a wallet with many: one transaction.
pub(crate) async fn record_release(
    books: &Books,
    outcome: audit::Outcome,
    released: Vec<u8>,
    used: Vec<[u32; 2]>,
) -> Result<Appended, Refusal> {
    let id = outcome.request_id;
    let entry = audit::Record::Outcome(outcome);
    let durable = books
        .store
        .write(move |tx| {
            let leaf = audit::append(tx, &entry)?;
            tx.finish_request(id, RequestState::Released, Some(leaf.index()), Some(&released))?;
            tx.settle(id)?;
            for [branch, index] in &used {
                if let Some(row) = tx.request(id)? {
                    tx.used_address(&row.tenant, &row.wallet, *branch, *index)?;
                }
            }
            Ok::<_, Refusal>(leaf)
        })
        .await
        .map_err(|refusal| refusal.of(id))?;
    Ok(Appended::from_committed(durable))
}
