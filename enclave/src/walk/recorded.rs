//! Third step: an allowed request whose decision is durable. Only this step reaches a signer. A failure from here on is
//! recorded too: the reservation is returned and the idempotency key freed.

use std::sync::Arc;

use chancery_audit::{self as audit, Appended, PartyDecision};
use chancery_core::{Code, RequestId};
use chancery_intent::{Intent, Scheme, Signing};
use chancery_policy::Permit;

use super::Sealed;
use crate::enact::Enactment;
use crate::house::House;
use crate::in_flight::InFlight;
use crate::kept::Kept;
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
    pub(super) record: audit::Decision,
    pub(super) kept: Kept,
    /// Keeps the resolver away while the walk goes on.
    pub(super) in_flight: InFlight,
    /// What a cold wallet signed of it, one for each of its signings.
    pub(super) brought: Option<Vec<chancery_hsm::Sealed>>,
    /// Where this party sits among those that hold the key.
    pub(super) seat: Seat,
}

impl Recorded {
    /// Has the HSM sign what policy permitted: one digest, or each of those that the permitted one commits to; of a cold wallet,
    /// takes what was brought; of a key that several parties hold, signs with the others, from its seat among them. What it changes here, if it does, is made ready.
    ///
    /// # Errors
    /// [`Code::HsmUnavailable`], [`Code::Overloaded`] or [`Code::KeyQuarantined`]; [`Code::SchnorrUnavailable`] where a
    /// signature is asked for that no token makes; what keeps a change from being made ready. The request is then on record as
    /// failed, and its idempotency key is free for another try.
    pub async fn seal(mut self, house: &Arc<House>) -> Result<Sealed, Refusal> {
        let brought = self.brought.take();
        let seat = std::mem::replace(&mut self.seat, Seat::Head);
        let made = async {
            if !self.is_permitted() {
                return Err(Refusal::new(Code::Internal, "the permit is for another request"));
            }
            let enactment = Enactment::begin(house, &self.record, &self.kept.payload).await?;
            let (signatures, parties) = match self.wallet.keys.shared() {
                Some(shared) => self.sign_together(house, shared, seat).await?,
                None => (self.sign_each(house, brought).await?, Vec::new()),
            };
            Ok((signatures, parties, enactment))
        };
        let refusal = match made.await {
            Ok((signatures, parties, enactment)) => {
                return Ok(Sealed { recorded: self, signatures, parties, enactment });
            }
            Err(refusal) => refusal,
        };
        resolve::fail(house, self.id, self.wallet.tenant.clone(), self.leaf.index(), refusal.code).await;
        Err(refusal.of(self.id))
    }

    /// INVARIANT: a permit is for one digest and one wallet; whatever mixes them up ends here.
    fn is_permitted(&self) -> bool {
        self.permit.signing_digest() == self.intent.signing_digest()
            && *self.permit.wallet() == self.wallet.id
            && *self.permit.tenant() == self.wallet.tenant
    }

    /// One signature, by as many parties as it takes.
    async fn sign_together(
        &self,
        house: &Arc<House>,
        shared: &Shared,
        seat: Seat,
    ) -> Result<(Vec<chancery_hsm::Sealed>, Vec<PartyDecision>), Refusal> {
        let [Signing { digest, scheme: Scheme::Ecdsa, key: None }] = self.intent.signings() else {
            return Err(Refusal::new(
                Code::Internal,
                "the parties sign one digest with the wallet's own key",
            ));
        };
        let Self { id, leaf, record, kept, .. } = self;
        let matter = Matter { house, id: *id, leaf, decision: record, kept, shared, digest: *digest };
        let (sealed, parties) = parties::sign(matter, seat).await.inspect_err(|refusal| {
            tracing::warn!(request = %self.id, wallet = %self.wallet.id, %refusal, "not signed");
        })?;
        Ok((vec![sealed], parties))
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
