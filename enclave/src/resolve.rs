//! The ends that no walk writes: permits left open by a crash or a failing store, failed signings, and pending requests
//! whose time is over. Each end is a leaf of its own, returns what was reserved and, where nothing was or can be released,
//! frees the idempotency key; what others may have signed with this party stays spent. If this is wrong, limits leak or a key is burnt.

use std::sync::Arc;
use std::time::Duration;

use chancery_audit::{self as audit, End, V1};
use chancery_core::{Code, RequestId, Tenant, limit};
use chancery_store::{RequestRow, RequestState, StoreError, Tx};

use crate::house::Books;
use crate::refusal::Refusal;

/// How often what is left open or expired is looked for.
const PERIOD: Duration = Duration::from_secs(1);

/// How a request ends, and why.
struct Ending {
    id: RequestId,
    tenant: Tenant,
    decision_leaf: u64,
    end: End,
    reason: Option<Code>,
}

/// Ends a permitted request that was not signed. A store that cannot record this leaves it to the sweep.
pub(crate) async fn fail(books: &Books, id: RequestId, tenant: Tenant, decision_leaf: u64, reason: Code) {
    let ending = Ending { id, tenant, decision_leaf, end: End::Failed, reason: Some(reason) };
    if let Err(refusal) = end(books, ending).await {
        tracing::error!(request = %id, %refusal, "a failed request stays open for now");
    }
}

async fn end(books: &Books, ending: Ending) -> Result<(), Refusal> {
    let Ending { id, tenant, decision_leaf, end, reason } = ending;
    let record = audit::Record::Outcome(audit::Outcome {
        v: V1,
        tenant,
        request_id: id,
        time_ms: books.clock.now()?,
        decision_leaf,
        outcome: end,
        signature_sha256: None,
        transaction_sha256: None,
        reason: reason.map(|code| code.as_str().to_owned()),
    });
    let state = match end {
        End::Failed => RequestState::Failed,
        End::Expired => RequestState::Expired,
        End::Released => return Err(Refusal::new(Code::Internal, "only the walk releases")),
    };
    books
        .store
        .write(move |tx| {
            let leaf = audit::append(tx, &record)?;
            // INVARIANT: the store refuses this move for a request that was released meanwhile.
            tx.finish_request(id, state, Some(leaf.index()), None)?;
            give_back(tx, id)?;
            if state == RequestState::Failed {
                tx.free_key(id)?;
            }
            Ok::<_, Refusal>(())
        })
        .await
        .map(drop)
}

/// Returns what a request held. INVARIANT: limits never under-count: where this party said its last word to others, they may have the
/// signature, and it stays spent.
fn give_back(tx: &mut Tx<'_>, id: RequestId) -> Result<(), StoreError> {
    if tx.rows().has_spoken(id)? { tx.settle(id) } else { tx.give_back(id) }
}

/// Ends every permit that no walk of this process holds, and every pending request whose time is over.
pub(crate) async fn sweep(books: &Books) -> Result<usize, Refusal> {
    let now = books.clock.now()?;
    let open = books.store.read(|rows| rows.unresolved(limit::PAGE_ROWS))?;
    let expired = books.store.read(|rows| rows.expired(now, limit::PAGE_ROWS))?;
    let left = open.into_iter().filter(|row| !books.walks.hold(row.id)).map(|row| (row, End::Failed));
    let mut ended = 0;
    for (row, how) in left.chain(expired.into_iter().map(|row| (row, End::Expired))) {
        let RequestRow { id, tenant, decision_leaf: Some(decision_leaf), .. } = row else { continue };
        let reason = (how == End::Failed).then_some(Code::Interrupted);
        end(books, Ending { id, tenant, decision_leaf, end: how, reason }).await?;
        tracing::info!(request = %id, outcome = how.as_str(), "ended");
        ended += 1;
    }
    Ok(ended)
}

/// Sweeps until the house closes, and looks what room its disks have.
pub(crate) async fn sweep_every_period(books: Arc<Books>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        books.disk.look();
        if let Err(refusal) = sweep(&books).await {
            tracing::warn!(%refusal, "open requests could not be ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_core::UnixMillis;
    use chancery_store::{Observer, Store};

    struct Deaf;

    impl Observer for Deaf {
        fn committed(&mut self, _: u64, _: &[[u8; 32]]) {}
    }

    /// Would catch a limit that opens again although another party may have the signature.
    #[tokio::test]
    async fn what_others_may_have_signed_stays_spent() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), Box::new(Deaf)).unwrap();
        let now = UnixMillis(1_000);
        for (spoken, left) in [(false, 0), (true, 7)] {
            let counter = format!("spoken {spoken}");
            let held = counter.clone();
            let end = move |tx: &mut Tx<'_>| {
                let id = RequestId::fresh();
                let leaf = tx.append_leaf(b"decided", &[0; 32])?;
                tx.insert_request(&permitted(id, leaf, now))?;
                tx.reserve(id, &held, now, 60_000, 7)?;
                if spoken {
                    tx.speak(&[9; 32], id)?;
                }
                let ended = tx.append_leaf(b"failed", &[1; 32])?;
                tx.finish_request(id, RequestState::Failed, Some(ended), None)?;
                give_back(tx, id)
            };
            store.write(end).await.unwrap();
            let spent = store.read(|rows| rows.spent(&counter, UnixMillis(2_000), 60_000)).unwrap();
            assert_eq!(spent, left, "{counter}");
        }
    }

    fn permitted(id: RequestId, leaf: u64, now: UnixMillis) -> RequestRow {
        RequestRow {
            id,
            tenant: Tenant::default(),
            client: "c".parse().unwrap(),
            wallet: "w".parse().unwrap(),
            idempotency_key: Some(id.to_string().parse().unwrap()),
            request_digest: [0; 32],
            state: RequestState::Permitted,
            decided_ms: now,
            expires_ms: None,
            signing_digest: [0; 32],
            decision_leaf: Some(leaf),
            outcome_leaf: None,
            record: vec![1],
            released: None,
        }
    }
}
