//! The walk of one sign request: these steps, in this order, and no other way to a signature. Each step consumes the one
//! before and holds the evidence of its room; a skipped room does not compile (`tests/walk`).
//! If this is wrong, money moves without a decision, or without a record of it.

mod authenticated;
mod brought;
mod recorded;
mod sealed;
mod understood;
mod waiting;

use std::sync::Arc;

use chancery_core::{Change, Code, IdempotencyKey, SignRequest};
use chancery_identity::{Client, Operator, Vouched};

pub use authenticated::Authenticated;
pub use brought::Brought;
pub use recorded::{Recorded, Unsealed};
pub use sealed::Sealed;
#[cfg(test)]
pub(crate) use sealed::{Release, record_release};
pub use understood::{Decided, Understood};
pub(crate) use waiting::speaker;
pub use waiting::{Done, Reviewed, Said, Waiting, Word};

use crate::answer::{Answer, Released};
use crate::house::House;
use crate::keys::Keys;
use crate::parties::{self, Member, Seat};
use crate::receipts;
use crate::refusal::Refusal;

/// Walks one request to a released signature or a refusal.
pub(crate) async fn walk(
    house: &Arc<House>,
    client: Client,
    request: SignRequest,
    vouched: Option<&Vouched>,
) -> Result<Answer, Refusal> {
    // Who asks, and only for a wallet of their own tenant; whether they signed exactly this themselves.
    on(house, Authenticated::new(client, request, vouched)?).await
}

/// Walks a change that an operator asks for: the same way, to the seal's signature, with which it takes effect.
pub(crate) async fn change(
    house: &Arc<House>,
    operator: &Operator,
    key: IdempotencyKey,
    change: Change,
) -> Result<Answer, Refusal> {
    on(house, Authenticated::to_change(operator, key, change)?).await
}

async fn on(house: &Arc<House>, authenticated: Authenticated) -> Result<Answer, Refusal> {
    // What the payload would do.
    let understood = authenticated.understand(house)?;

    // Whether policy allows it: decided, its limits reserved and recorded in one transaction.
    let recorded = match understood.decide(&house.books).await? {
        Decided::Permitted(recorded) => recorded,
        Decided::Pending(pending) => return Ok(Answer::Pending(pending)),
        Decided::Denied(refusal) => return Err(refusal),
        Decided::Before(row) => return receipts::answer_again(house, *row).await,
    };

    conclude(house, recorded).await
}

/// Walks what policy permits to its end; what waits for the agreement of other parties is kept for them, as permitted.
async fn conclude(house: &Arc<House>, recorded: Box<Recorded>) -> Result<Answer, Refusal> {
    // A signature nobody can read yet.
    let sealed = match recorded.seal(house).await {
        Ok(sealed) => sealed,
        Err(unsealed) if unsealed.waits_for_parties() => return parties::keep(house, unsealed).await,
        Err(unsealed) => return Err(unsealed.fail(house).await),
    };

    // The outcome on record; then the signature, with its receipt.
    let released = sealed.release(house).await?;
    Ok(Answer::Released(Box::new(released)))
}

/// Walks what waited for other parties to its end, now that there is a key: its wallet is entered with the release.
pub(crate) async fn conclude_with(house: &Arc<House>, recorded: Recorded, key: Keys) -> Result<(), Refusal> {
    match (Recorded { key: Some(key), ..recorded }).seal(house).await {
        Ok(sealed) => sealed.release(house).await.map(drop),
        Err(unsealed) => Err(unsealed.fail(house).await),
    }
}

/// Walks a pending request on, after an officer's word, with what a cold wallet signed, or when its time has come.
pub(crate) async fn resume(house: &Arc<House>, waiting: Waiting, done: Done) -> Result<Answer, Refusal> {
    // Whether policy allows it now: what was said, the decision and its limits recorded in one transaction.
    let recorded = match waiting.decide(&house.books, done).await? {
        Reviewed::Permitted(recorded) => recorded,
        Reviewed::Pending(pending) => return Ok(Answer::Pending(pending)),
        Reviewed::Denied(refusal) => return Err(refusal),
    };
    conclude(house, recorded).await
}

/// Walks a request that another party of the wallet's key brought: the same way, by this party's own books, to a signature that
/// both come to. What waits here for somebody's word is refused: whoever asked has others to ask.
pub(crate) async fn join(
    house: &Arc<House>,
    vouched: Vouched,
    request: SignRequest,
    member: Member,
) -> Result<Released, Refusal> {
    // INVARIANT: another party may bring what is asked of a key that it shares, and nothing else of this appliance's.
    let wallet = house.wallets.find(&request.tenant, &request.wallet)?;
    if wallet.share().is_none() {
        return Err(Refusal::new(Code::NotFound, format!("no shared wallet `{}`", request.wallet)));
    }
    let understood =
        Authenticated::new(vouched.client().clone(), request, Some(&vouched))?.understand(house)?;
    let recorded = match understood.now_or_never().decide(&house.books).await? {
        Decided::Permitted(recorded) => Recorded { seat: Seat::Member(member), ..*recorded },
        Decided::Denied(refusal) => return Err(refusal),
        Decided::Pending(_) => return Err(Refusal::new(Code::Internal, "what should not wait waits")),
        Decided::Before(row) => {
            let detail = "this was decided here before, under the same key";
            return Err(Refusal::new(Code::RequestInProgress, detail).of(row.id));
        }
    };
    match recorded.seal(house).await {
        Ok(sealed) => sealed.release(house).await,
        Err(unsealed) => Err(unsealed.fail(house).await),
    }
}
