//! Changes of the appliance in its log: where a bundle in force says who must agree to them, each stands between an allowed
//! decision about it and that decision's release. If this is wrong, a log passes whose appliance was changed past its officers.

use std::collections::{BTreeMap, BTreeSet};

use chancery_core::{RequestId, Tenant};
use serde::{Deserialize, Serialize};

use crate::certificate::{ClientAdded, ClientRevoked};
use crate::record::{Outcome, Policy, Verdict, Wallet};
use crate::verify::Decided;

/// LIMIT: tenants whose bundles govern changes.
const TENANTS: usize = 1 << 16;

/// An entry that changes the appliance.
#[derive(Debug)]
pub(super) struct Changed {
    tenant: Tenant,
    request_id: RequestId,
    /// The appliance makes a tenant's seal by itself: it signs changes, and nothing else.
    is_seal: bool,
}

impl From<&Policy> for Changed {
    fn from(policy: &Policy) -> Self {
        Self { tenant: policy.tenant.clone(), request_id: policy.request_id, is_seal: false }
    }
}

impl From<&Wallet> for Changed {
    fn from(wallet: &Wallet) -> Self {
        let (tenant, request_id) = (wallet.tenant.clone(), wallet.request_id);
        let is_seal = wallet.chains == [format!("chancery:{tenant}")];
        Self { tenant, request_id, is_seal }
    }
}

impl From<&ClientAdded> for Changed {
    fn from(added: &ClientAdded) -> Self {
        Self { tenant: added.tenant.clone(), request_id: added.request_id, is_seal: false }
    }
}

impl From<&ClientRevoked> for Changed {
    fn from(revoked: &ClientRevoked) -> Self {
        Self { tenant: revoked.tenant.clone(), request_id: revoked.request_id, is_seal: false }
    }
}

/// What the entries so far ask of the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Changes {
    /// Tenants whose bundle in force says who must agree to changes.
    governed: BTreeSet<Tenant>,
    /// The decision whose release must be the next entry: what it was about has just changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    due: Option<u64>,
}

impl Changes {
    /// Before each entry: whether it may stand here.
    pub(super) fn next(&mut self, outcome: Option<&Outcome>) -> Result<(), &'static str> {
        let Some(due) = self.due.take() else { return Ok(()) };
        match outcome {
            Some(outcome) if outcome.decision_leaf == due && outcome.signature_sha256.is_some() => Ok(()),
            _ => Err("the change before it was not released with it"),
        }
    }

    /// A change: whether somebody agreed to it, where that is asked for.
    pub(super) fn change(
        &mut self,
        changed: &Changed,
        open: &BTreeMap<u64, Decided>,
    ) -> Result<(), &'static str> {
        if changed.is_seal || !self.governed.contains(&changed.tenant) {
            return Ok(());
        }
        let agreed = |(_, decided): &(&u64, &Decided)| {
            decided.is_change
                && decided.outcome == Verdict::Allowed
                && decided.tenant == changed.tenant
                && decided.request_id == changed.request_id
        };
        let (leaf, _) =
            open.iter().rev().find(agreed).ok_or("the policy in force asks for a decision about it")?;
        self.due = Some(*leaf);
        Ok(())
    }

    /// A bundle came into force.
    pub(super) fn put_in_force(&mut self, policy: &Policy) -> Result<(), &'static str> {
        if !policy.governs_changes {
            self.governed.remove(&policy.tenant);
        } else if self.governed.len() >= TENANTS {
            return Err("it is of more tenants than an appliance has");
        } else {
            self.governed.insert(policy.tenant.clone());
        }
        Ok(())
    }
}
