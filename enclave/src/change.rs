//! Policy changes on their way: compiling, proving and looking back take as long as the bundle and the log are large, so
//! whoever asked need not wait in one breath. One at a time for each tenant, and the last one is remembered until the next.
//! Only this process knows them: what a stop leaves is in the store, the old bundle or the new one with its log entry.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chancery_audit::Digest;
use chancery_core::{ClientId, Code, RequestId, Tenant, UnixMillis};
use chancery_identity::Operator;
use tokio::sync::watch;

use crate::answer::Pending;
use crate::policy::InForce;
use crate::refusal::Refusal;

/// How far a change has come.
#[derive(Clone, Debug)]
pub enum Standing {
    /// Its files are compiled and its tests run.
    Compiling,
    /// So many of its goals are proved.
    Proving {
        /// Asked so far.
        done: usize,
        /// Goals in all.
        of: usize,
    },
    /// Its limits count what is still in their windows.
    LookingBack {
        /// Requests measured so far.
        requests: u64,
    },
    /// It is asked for, and waits for those who must agree.
    Asked(Pending),
    /// It decides, and its entry is in the log.
    InForce(InForce),
    /// It does not, and nothing is on record.
    Refused(Refusal),
}

impl Standing {
    /// Whether it goes no further by itself.
    fn is_end(&self) -> bool {
        matches!(self, Self::Asked(_) | Self::InForce(_) | Self::Refused(_))
    }
}

/// A change of the policy, on its way or ended. Clones are the same.
#[derive(Clone, Debug)]
pub struct PolicyChange {
    id: RequestId,
    bundle: Digest,
    by: ClientId,
    started_ms: UnixMillis,
    standing: watch::Receiver<Standing>,
}

impl PolicyChange {
    /// Its name: the `request_id` of its entry in the log, once there is one.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// The bundle.
    #[must_use]
    pub fn bundle(&self) -> Digest {
        self.bundle
    }

    /// Since when it is under way.
    #[must_use]
    pub fn started_ms(&self) -> UnixMillis {
        self.started_ms
    }

    /// How far it is now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let standing = self.standing.borrow().clone();
        match standing {
            ended if ended.is_end() => ended,
            _ if self.standing.has_changed().is_err() => Standing::Refused(broken_off()),
            under_way => under_way,
        }
    }

    /// Waits for its end, as far as it goes by itself.
    pub async fn end(mut self) -> Standing {
        match self.standing.wait_for(Standing::is_end).await {
            Ok(ended) => ended.clone(),
            Err(_) => Standing::Refused(broken_off()),
        }
    }

    fn is_under_way(&self) -> bool {
        !self.standing().is_end()
    }
}

/// The task ended without a word: the appliance stops.
fn broken_off() -> Refusal {
    Refusal::new(Code::ShuttingDown, Code::ShuttingDown.title()).retry_after(2)
}

/// Each tenant's last change. LIMIT: one for each tenant.
#[derive(Default)]
pub(crate) struct Changes(Mutex<HashMap<Tenant, PolicyChange>>);

impl Changes {
    /// A change begins; whoever does it tells how it stands.
    ///
    /// # Errors
    /// [`Code::ChangeInProgress`] while another is under way.
    pub fn begin(
        &self,
        operator: &Operator,
        bundle: Digest,
        now: UnixMillis,
    ) -> Result<(PolicyChange, watch::Sender<Standing>), Refusal> {
        let mut changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = changes.get(operator.tenant()).filter(|last| last.is_under_way()) {
            let detail = format!(
                "bundle {}, which operator `{}` brought, is still being put in force: `/v1/policy/changes/{}`",
                other.bundle, other.by, other.id
            );
            return Err(Refusal::new(Code::ChangeInProgress, detail));
        }
        let (tell, standing) = watch::channel(Standing::Compiling);
        let (id, by) = (RequestId::fresh(), operator.id().clone());
        let change = PolicyChange { id, bundle, by, started_ms: now, standing };
        changes.insert(operator.tenant().clone(), change.clone());
        Ok((change, tell))
    }

    /// The change of this name, if it is the tenant's last.
    pub fn find(&self, tenant: &Tenant, id: RequestId) -> Option<PolicyChange> {
        let changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        changes.get(tenant).filter(|last| last.id == id).cloned()
    }
}
