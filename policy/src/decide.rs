//! The step that the walk takes: an understood intent in, a permit or a refusal out. A `Permit` is evidence: it is made
//! here and nowhere else, only for what was allowed, and is bound to the digest that was understood.
//! If another way to a permit existed, keys would sign without a decision.

use chancery_core::{ClientId, Tenant, Tier, UnixMillis, WalletId};
use chancery_intent::Intent;

use crate::evaluate::{Evaluation, Outcome};
use crate::fact::Question;
use crate::limit::{Reservation, Spending};
use crate::name::RuleName;
use crate::obligation::Met;
use crate::tested::Tested;

/// Who asks for what, when, and what was done for it so far.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The tenant of client and wallet.
    pub tenant: &'a Tenant,
    /// Who asks.
    pub client: &'a ClientId,
    /// Whose key would sign.
    pub wallet: &'a WalletId,
    /// Where that key lives.
    pub tier: Tier,
    /// What was understood.
    pub intent: &'a Intent,
    /// The time of the decision.
    pub now: UnixMillis,
    /// Approvals, factors, waiting and vetoes, and whether the client signed.
    pub met: &'a Met,
}

impl<'a> Asked<'a> {
    /// The question that a bundle answers about it.
    #[must_use]
    pub fn question(&self) -> Question<'a> {
        Question {
            tenant: self.tenant,
            client: self.client,
            wallet: self.wallet,
            tier: self.tier,
            description: self.intent.description(),
            now: self.now,
            met: self.met,
        }
    }
}

/// What was decided.
#[derive(Debug)]
#[must_use = "a decision is recorded before anything else happens"]
pub enum Decision {
    /// Allowed: the permit goes on to be recorded.
    Permitted(Permit),
    /// A rule would permit it once its obligations are met.
    Pending(Evaluation),
    /// Refused.
    Denied(Evaluation),
}

impl Decision {
    /// The evaluation behind it.
    #[must_use]
    pub fn evaluation(&self) -> &Evaluation {
        match self {
            Self::Permitted(permit) => &permit.evaluation,
            Self::Pending(evaluation) | Self::Denied(evaluation) => evaluation,
        }
    }
}

/// Evidence that policy allowed one digest for one client and wallet. Neither cloned nor made elsewhere:
///
/// ```compile_fail,E0599
/// fn twice(permit: chancery_policy::Permit) -> (chancery_policy::Permit, chancery_policy::Permit) {
///     (permit.clone(), permit)
/// }
/// ```
/// ```compile_fail,E0451
/// fn forge(permit: chancery_policy::Permit, digest: [u8; 32]) -> chancery_policy::Permit {
///     chancery_policy::Permit { signing_digest: digest, ..permit }
/// }
/// ```
#[derive(Debug)]
pub struct Permit {
    tenant: Tenant,
    client: ClientId,
    wallet: WalletId,
    signing_digest: [u8; 32],
    decided: UnixMillis,
    evaluation: Evaluation,
}

impl Permit {
    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Who may have it signed.
    #[must_use]
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// Whose key may sign.
    #[must_use]
    pub fn wallet(&self) -> &WalletId {
        &self.wallet
    }

    /// The only digest it permits.
    #[must_use]
    pub fn signing_digest(&self) -> &[u8; 32] {
        &self.signing_digest
    }

    /// When it was decided.
    #[must_use]
    pub fn decided(&self) -> UnixMillis {
        self.decided
    }

    /// The hash of the bundle that decided.
    #[must_use]
    pub fn bundle(&self) -> &str {
        &self.evaluation.bundle
    }

    /// The permits that allowed it.
    #[must_use]
    pub fn rules(&self) -> &[RuleName] {
        &self.evaluation.rules
    }

    /// What it holds of the limits.
    #[must_use]
    pub fn reservations(&self) -> &[Reservation] {
        &self.evaluation.reservations
    }
}

/// Decides. Called inside the transaction that records the decision and reserves its limits, so that two requests cannot
/// both see the same room.
pub fn decide(policy: &Tested, asked: &Asked<'_>, spending: &dyn Spending) -> Decision {
    let evaluation = policy.bundle().evaluate(&asked.question(), spending);
    match evaluation.outcome {
        Outcome::Allowed => Decision::Permitted(Permit {
            tenant: asked.tenant.clone(),
            client: asked.client.clone(),
            wallet: asked.wallet.clone(),
            signing_digest: *asked.intent.signing_digest(),
            decided: asked.now,
            evaluation,
        }),
        Outcome::Pending => Decision::Pending(evaluation),
        Outcome::Denied => Decision::Denied(evaluation),
    }
}
