//! What a crash left between everybody's word and the wallet: a share without a wallet is entered where the word is there, and the
//! word is asked of the others where it is not; and what people here agreed to for too long. If this is wrong, a key has fewer holders than all believe.

use std::sync::Arc;
use std::time::Duration;

use chancery_audit::Digest;
use chancery_core::limit;
use chancery_mpc::{Certificate, PartyId};

use super::Parties;
use super::agreed::end_overdue;
use super::make::enter;
use super::wire::{Call, Finish, Sought};
use crate::house::House;
use crate::kept;
use crate::refusal::Refusal;

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(30);
/// How long others are asked about a share that came to nothing, in milliseconds.
const ASKED_MS: i64 = 24 * 60 * 60 * 1_000;

/// Looks until the house closes.
pub(crate) async fn catch_up_for_ever(house: Arc<House>, parties: Arc<Parties>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        if let Err(refusal) = catch_up(&house, &parties).await {
            tracing::warn!(%refusal, "shares without a wallet could not be looked after");
        }
    }
}

async fn catch_up(house: &Arc<House>, parties: &Arc<Parties>) -> Result<(), Refusal> {
    end_overdue(house, &parties.agreed).await?;
    let now = house.clock.now()?;
    for (session, created_ms, certificate) in house.store.read(|rows| rows.unentered_shares())? {
        let certificate = match certificate {
            Some(bytes) => Some(kept::read("certificate", &bytes)?),
            None if created_ms.plus_ms(ASKED_MS) < now => None,
            None => sought(parties, Digest::from_bytes(session)).await,
        };
        // INVARIANT: it is held against this party's own share before it counts, whoever gave it.
        if let Some(certificate) = certificate
            && let Err(refusal) = enter(house, parties, parties.me, Finish { certificate }).await
        {
            tracing::warn!(session = hex::encode(session), %refusal, "a wallet of several parties is not entered");
        }
    }
    Ok(())
}

/// Everybody's word, from whoever has it.
async fn sought(parties: &Parties, session: Digest) -> Option<Certificate> {
    let others: Vec<PartyId> = parties.peers.keys().copied().collect();
    for party in others {
        let found = parties
            .ask::<Option<Certificate>>(party, Call::Certificate, &Sought { session }, limit::PARTY_ASK_MS)
            .await;
        if let Ok(Ok(Some(certificate))) = found {
            return Some(certificate);
        }
    }
    None
}
