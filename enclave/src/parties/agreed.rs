//! What this party's own people agreed to, and the others have not yet: a wallet whose key all parties make. Its request stays
//! permitted, and is this party's yes to whoever proposes just this wallet; when there is a key, the wallet is entered with the
//! release of that request. A restart ends it as one that was interrupted. If this is wrong, a wallet is entered that nobody here
//! agreed to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chancery_core::{Change, Code, Payload, Tenant, UnixMillis, WalletId};
use serde_json::json;

use crate::answer::{Answer, Pending};
use crate::house::House;
use crate::refusal::Refusal;
use crate::walk::{Recorded, Unsealed};

/// How long others have to agree, in milliseconds.
const AGREED_MS: i64 = 24 * 60 * 60 * 1_000;
/// LIMIT: wallets that are waited for at once.
const WALLETS: usize = 64;

/// The requests that wait, by their wallet.
#[derive(Default)]
pub(super) struct Agreed(Mutex<HashMap<(Tenant, WalletId), Unsealed>>);

impl Agreed {
    /// Whether just this was agreed to.
    pub fn has(&self, tenant: &Tenant, change: &Change) -> bool {
        let Change::Wallet { wallet, .. } = change else { return false };
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get(&(tenant.clone(), wallet.clone())).is_some_and(|one| asked(one) == Some(change))
    }

    /// The request that asked for just this, which is waited for no longer.
    pub fn take(&self, tenant: &Tenant, change: &Change) -> Option<Recorded> {
        let Change::Wallet { wallet, .. } = change else { return None };
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (tenant.clone(), wallet.clone());
        if asked(waiting.get(&name)?) != Some(change) {
            return None;
        }
        waiting.remove(&name).map(|one| *one.recorded)
    }

    /// Has a request wait. Answers the one that waited for the same wallet before, or this one where too many do.
    fn put(&self, unsealed: Unsealed) -> Result<Option<Unsealed>, Unsealed> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Change::Wallet { wallet, .. }) = asked(&unsealed) else { return Err(unsealed) };
        let name = (unsealed.recorded.record.tenant.clone(), wallet.clone());
        if waiting.len() >= WALLETS && !waiting.contains_key(&name) {
            return Err(unsealed);
        }
        Ok(waiting.insert(name, unsealed))
    }

    fn overdue(&self, now: UnixMillis) -> Vec<Unsealed> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extract_if(|_, one| ends(one) <= now).map(|(_, one)| one).collect()
    }
}

fn asked(unsealed: &Unsealed) -> Option<&Change> {
    match &unsealed.recorded.kept.payload {
        Payload::ApplianceChange { change } => Some(change),
        _ => None,
    }
}

fn ends(unsealed: &Unsealed) -> UnixMillis {
    unsealed.recorded.record.time_ms.plus_ms(AGREED_MS)
}

/// Keeps what other parties did not agree to yet. Of two requests for one wallet the later counts.
pub(crate) async fn keep(house: &Arc<House>, unsealed: Unsealed) -> Result<Answer, Refusal> {
    let pending = Pending {
        request_id: unsealed.recorded.id,
        missing: vec![json!({ "parties": unsealed.refusal.detail })],
        expires_ms: Some(ends(&unsealed)),
        is_permitted: true,
    };
    let put = match &house.parties {
        Some(parties) => parties.agreed.put(unsealed),
        None => Err(unsealed),
    };
    match put {
        Ok(before) => {
            if let Some(before) = before {
                before.fail(house).await;
            }
            Ok(Answer::Pending(pending))
        }
        Err(unsealed) => Err(unsealed.fail(house).await),
    }
}

/// Ends what waited for too long.
pub(super) async fn end_overdue(house: &House, agreed: &Agreed) -> Result<(), Refusal> {
    for unsealed in agreed.overdue(house.clock.now()?) {
        let refusal = unsealed.fail(house).await;
        tracing::warn!(%refusal, code = %Code::PartyRefused, "other parties did not agree to a wallet in time");
    }
    Ok(())
}
