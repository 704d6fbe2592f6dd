//! A dry run: what a payload would do and what policy would decide now, with the reasons. Nothing is recorded, reserved or
//! signed, so the answer is a forecast and not a promise.

use chancery_core::{Payload, WalletId};
use chancery_identity::Client;
use chancery_intent::Description;
use chancery_policy::{Explanation, Met, Question};

use crate::refusal::Refusal;
use crate::spending::Spent;
use crate::start::Enclave;

/// The forecast.
#[derive(Debug)]
pub struct Preview {
    /// What the payload would do.
    pub intent: Description,
    /// The digest that would be signed.
    pub signing_digest: [u8; 32],
    /// What policy would decide, and why.
    pub explanation: Explanation,
}

impl Enclave {
    /// Decodes and decides without consequence, supposing that the client will sign the request itself, or not.
    ///
    /// # Errors
    /// As the walk's first two steps.
    pub fn preview(
        &self,
        client: &Client,
        wallet: &WalletId,
        payload: &Payload,
        request_signed: bool,
    ) -> Result<Preview, Refusal> {
        let house = self.house();
        let tenant = client.tenant();
        let found = house.wallets.find(tenant, wallet)?;
        let policy = house.policies.in_force(tenant)?;
        let intent = chancery_intent::understand(payload, &found.account(), policy.bundle().contracts())?;
        let now = house.clock.now()?;
        let description = intent.description();
        let met = Met { request_signed, ..Met::default() };
        let (client, tier) = (client.id(), found.tier());
        let question = Question { tenant, client, wallet, tier, description, now, met: &met };
        let explanation = house.store.read(|rows| Ok(policy.bundle().explain(&question, &Spent(rows))))?;
        Ok(Preview {
            explanation,
            signing_digest: *intent.signing_digest(),
            intent: intent.description().clone(),
        })
    }
}
