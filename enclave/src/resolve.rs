//! The ends that no walk writes: permits left open by a crash or a failing store, failed signings, and pending requests
//! whose time is over. Each end is a leaf of its own, returns what was reserved and, where nothing was or can be released,
//! frees the idempotency key; what others may have signed with this party stays spent. If this is wrong, limits leak or a key is burnt.

use std::sync::Arc;
use std::time::Duration;

use chancery_audit::{self as audit, End, V1};
use chancery_core::{Code, RequestId, Tenant, limit};
use chancery_store::{RequestRow, RequestState};

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
            // INVARIANT: limits never under-count: where this party said its last word, others may have the signature.
            if tx.rows().has_spoken(id)? {
                tx.settle(id)?;
            } else {
                tx.give_back(id)?;
            }
            if state == RequestState::Failed {
                tx.free_key(id)?;
            }
            Ok::<_, Refusal>(())
        })
        .await
        .map(drop)
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
