//! Third step: an allowed request whose decision is durable. Only this step reaches a signer. A failure from here on is
//! recorded too: the reservation is returned and the idempotency key freed.

use std::sync::Arc;

use chancery_audit::{self as audit, Appended, PartyDecision};
use chancery_core::{Code, Payload, RequestId};
use chancery_intent::Intent;
use chancery_policy::Permit;

use super::Sealed;
use crate::enact::Enactment;
use crate::house::House;
use crate::in_flight::InFlight;
use crate::kept::Kept;
use crate::keys::{Keys, message};
use crate::parties::{self, Matter, Seat, Shared};
use crate::refusal::Refusal;
use crate::resolve;
use crate::wallet::Wallet;

/// A permitted request whose decision leaf is durable.
pub struct Recorded {
    pub(crate) id: RequestId,
    pub(super) wallet: Arc<Wallet>,
    pub(super) intent: Intent,
    pub(super) permit: Permit,
    pub(crate) leaf: Appended,
    pub(crate) record: audit::Decision,
    pub(crate) kept: Kept,
    /// Keeps the resolver away while the walk goes on.
    pub(super) in_flight: InFlight,
    /// What a cold wallet signed of it, one for each of its signings.
    pub(super) brought: Option<Vec<chancery_hsm::Sealed>>,
    /// Where this party sits among those that hold the key.
    pub(super) seat: Seat,
    /// The key of the wallet that it makes, where other parties made it meanwhile.
    pub(super) key: Option<Keys>,
}

/// A permitted request that was not sealed, and why. Dropped so, it is ended by the resolver.
pub struct Unsealed {
    pub(crate) recorded: Box<Recorded>,
    pub(crate) refusal: Refusal,
}

impl Unsealed {
    /// Whether nothing is missing but that other parties agree to the wallet that it makes.
    pub(super) fn waits_for_parties(&self) -> bool {
        let is_change = matches!(self.recorded.kept.payload, Payload::ApplianceChange { .. });
        is_change && self.refusal.code == Code::PartyRefused
    }

    /// Puts its end on record: what it held is given back, and its idempotency key is free for another try.
    pub(crate) async fn fail(self, house: &House) -> Refusal {
        let Recorded { id, wallet, leaf, .. } = &*self.recorded;
        resolve::fail(house, *id, wallet.tenant.clone(), leaf.index(), self.refusal.code).await;
        self.refusal.of(*id)
    }
}

impl Recorded {
    /// Has the HSM sign what policy permitted: one digest, or each of those that the permitted one commits to; of a cold wallet,
    /// takes what was brought; of a key that several parties hold, signs with the others, from its seat among them. What it changes here, if it does, is made ready.
    ///
    /// # Errors
    /// [`Code::HsmUnavailable`], [`Code::Overloaded`] or [`Code::KeyQuarantined`]; [`Code::SchnorrUnavailable`] where a
    /// signature is asked for that no token makes; what keeps a change from being made ready.
    pub async fn seal(mut self, house: &Arc<House>) -> Result<Sealed, Unsealed> {
        let brought = self.brought.take();
        let seat = std::mem::replace(&mut self.seat, Seat::Head);
        let made = async {
            if !self.is_permitted() {
                return Err(Refusal::new(Code::Internal, "the permit is for another request"));
            }
            let key = self.key.take();
            let enactment = Enactment::begin(house, &self.record, &self.kept.payload, key).await?;
            let (signatures, parties) = match self.wallet.keys.shared() {
                Some(shared) => self.sign_together(house, shared, seat).await?,
                None => (self.sign_each(house, brought).await?, Vec::new()),
            };
            Ok((signatures, parties, enactment))
        };
        match made.await {
            Ok((signatures, parties, enactment)) => {
                Ok(Sealed { recorded: self, signatures, parties, enactment })
            }
            Err(refusal) => Err(Unsealed { recorded: Box::new(self), refusal }),
        }
    }

    /// INVARIANT: a permit is for one digest and one wallet; whatever mixes them up ends here.
    fn is_permitted(&self) -> bool {
        self.permit.signing_digest() == self.intent.signing_digest()
            && *self.permit.wallet() == self.wallet.id
            && *self.permit.tenant() == self.wallet.tenant
    }

    /// All signatures, by as many parties as it takes.
    async fn sign_together(
        &self,
        house: &Arc<House>,
        shared: &Shared,
        seat: Seat,
    ) -> Result<(Vec<chancery_hsm::Sealed>, Vec<PartyDecision>), Refusal> {
        let Self { id, leaf, record, kept, intent, .. } = self;
        if intent.signings().iter().any(|signing| signing.key.is_some()) {
            return Err(Refusal::new(Code::Internal, "the parties sign with the wallet's own key"));
        }
        let messages: Vec<_> = intent.signings().iter().map(|signing| message(intent, signing)).collect();
        let matter = Matter { house, id: *id, leaf, decision: record, kept, shared, messages: &messages };
        parties::sign(matter, seat).await.inspect_err(|refusal| {
            tracing::warn!(request = %self.id, wallet = %self.wallet.id, %refusal, "not signed");
        })
    }

    /// All signatures or none: a failure on the way leaves those before it sealed, and they are dropped unread.
    async fn sign_each(
        &self,
        house: &House,
        brought: Option<Vec<chancery_hsm::Sealed>>,
    ) -> Result<Vec<chancery_hsm::Sealed>, Refusal> {
        let signings = self.intent.signings();
        if let Some(brought) = brought {
            return Ok(brought);
        }
        if !signings.iter().all(|signing| self.wallet.keys.make(signing.scheme)) {
            let detail = "the payload needs Schnorr signatures (taproot), which no key of the token makes";
            return Err(Refusal::new(Code::SchnorrUnavailable, detail));
        }
        let mut signatures = Vec::with_capacity(signings.len());
        for signing in signings {
            let signature = self.wallet.keys.sign(&house.hsm, &self.intent, signing).await;
            signatures.push(signature.inspect_err(|refusal| {
                tracing::warn!(request = %self.id, wallet = %self.wallet.id, %refusal, "not signed");
            })?);
        }
        Ok(signatures)
    }
}

#[cfg(test)]
mod tests {
    use std::mem::swap;

    /// Would catch a signer that takes any permit of the right tenant, or of the right wallet.
    #[test]
    fn a_permit_is_for_one_payload_of_one_wallet() {
        let [mut one, mut next, mut other] = crate::model::permitted([(0, 0), (1, 0), (1, 1)]);
        assert!(one.is_permitted() && next.is_permitted() && other.is_permitted());
        swap(&mut one.permit, &mut next.permit);
        assert!(!one.is_permitted() && !next.is_permitted(), "another payload of the same wallet");
        swap(&mut next.permit, &mut other.permit);
        assert!(!next.is_permitted() && !other.is_permitted(), "another wallet");
    }
}
