//! What may be read: requests, receipts, wallets, the policy in force, the log's files, and how each room stands.

use std::sync::Arc;

use chancery_audit::{self as audit, Digest, Receipt, Standing, Trust};
use chancery_core::{Code, RequestId, Tenant, Tier, WalletId};
use chancery_policy::Source;
use chancery_store::RequestRow;
use serde_json::Value;

pub use chancery_store::{RequestFilter, RequestState};

use crate::answer::Signed;
use crate::events::webhook::{self, Delivered};
use crate::kept::{self, Kept};
use crate::policy::InForce;
use crate::receipts;
use crate::refusal::Refusal;
use crate::stamping::Stamped;
use crate::start::Enclave;
use crate::wallet::Wallet;

/// What the rooms count, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// How the log stands.
    pub log: Standing,
    /// Room on the fuller of the disks that hold the store and the log, in bytes.
    pub disk_free_bytes: u64,
    /// Workers that were lost since the start.
    pub hsm_restarts: u64,
    /// Keys that the token answered wrongly with.
    pub hsm_quarantined_keys: u64,
    /// Parties that are banned from keys.
    pub party_bans: u64,
    /// How the timestamps of the log stand.
    pub timestamps: Stamped,
    /// How the webhooks stand.
    pub webhooks: Delivered,
}

/// A recorded request with its decision.
#[derive(Debug)]
pub struct Listed {
    /// Where it stands.
    pub row: RequestRow,
    /// What was decided.
    pub decision: audit::Decision,
    /// What the payload would do.
    pub intent: Value,
    /// How it ended, once it has.
    pub end: Option<audit::Outcome>,
}

/// A bundle that is or was in force.
#[derive(Debug)]
pub struct KeptPolicy {
    /// Its files.
    pub source: Source,
    /// The log's record of when it last came into force, and who signed it.
    pub activation: audit::Policy,
    /// The log index of that.
    pub leaf: u64,
}

/// One part of the appliance, for health.
#[derive(Debug)]
pub struct Component {
    /// Its name.
    pub name: &'static str,
    /// Whether it serves.
    pub ready: bool,
    /// How it stands, in words.
    pub detail: String,
}

impl Enclave {
    /// One page of requests, newest first.
    ///
    /// # Errors
    /// [`Code::NotFound`] for an `after` that is no request of the tenant.
    pub fn requests(&self, filter: &RequestFilter) -> Result<Vec<Listed>, Refusal> {
        let rows = self.house().store.read(|rows| rows.requests(filter))?;
        rows.into_iter().map(|row| self.listed(row)).collect()
    }

    /// One request of the tenant.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub fn request(&self, tenant: &Tenant, id: RequestId) -> Result<Listed, Refusal> {
        self.listed(self.row(tenant, id)?)
    }

    /// A request with what it needs after all that was said so far; otherwise as [`Self::up_to_date`].
    ///
    /// # Errors
    /// Whatever keeps clock or store from answering.
    pub async fn listed_now(&self, mut listed: Listed) -> Result<Listed, Refusal> {
        if let Some(missing) = self.missing_now(listed.row.clone()).await? {
            listed.decision.missing = missing;
        }
        Ok(listed)
    }

    /// What was released under a request, if anything was.
    ///
    /// # Errors
    /// What keeps the log from proving it.
    pub async fn signed(&self, listed: &Listed) -> Result<Option<Signed>, Refusal> {
        let Listed { row, .. } = listed;
        let Some(signed) = receipts::signed(row)? else { return Ok(None) };
        // INVARIANT: nobody sees a signature before a checkpoint with the cosignatures asked for covers its release.
        let leaf =
            row.outcome_leaf.ok_or_else(|| Refusal::new(Code::Internal, "a release without an end"))?;
        let covered = self.house().log.checkpoint_covering(leaf).await;
        covered.map_err(|error| Refusal::from(error).of(row.id))?;
        Ok(Some(signed))
    }

    /// The receipt of a request as it stands now.
    ///
    /// # Errors
    /// [`Code::NotFound`], or what keeps the log from proving it.
    pub async fn receipt(&self, tenant: &Tenant, id: RequestId) -> Result<Receipt, Refusal> {
        let row = self.row(tenant, id)?;
        receipts::receipt(self.house(), &row).await
    }

    pub(crate) fn row(&self, tenant: &Tenant, id: RequestId) -> Result<RequestRow, Refusal> {
        let row = self.house().store.read(|rows| rows.request(id))?;
        let row = row.filter(|row| row.tenant == *tenant);
        row.ok_or_else(|| Refusal::new(Code::NotFound, format!("no request `{id}`")))
    }

    fn listed(&self, row: RequestRow) -> Result<Listed, Refusal> {
        let house = self.house();
        let (mut decision, end) = (receipts::decision(&house.store, &row)?, receipts::outcome(house, &row)?);
        if decision.tier == Tier::Cold {
            decision.missing = receipts::latest(&house.store, &row)?.missing;
        }
        let kept: Kept = kept::read("record", &row.record)?;
        Ok(Listed { decision, end, intent: kept.intent, row })
    }

    /// One wallet.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub fn wallet(&self, tenant: &Tenant, id: &WalletId) -> Result<Arc<Wallet>, Refusal> {
        self.house().wallets.find(tenant, id)
    }

    /// One page of a tenant's wallets, by name.
    ///
    /// # Errors
    /// What keeps the store from answering.
    pub fn wallets(
        &self,
        tenant: &Tenant,
        after: Option<&WalletId>,
        limit: usize,
    ) -> Result<Vec<Arc<Wallet>>, Refusal> {
        let rows = self.house().store.read(|rows| rows.wallets(tenant, after, limit))?;
        rows.iter().map(|row| self.house().wallets.find(tenant, &row.id)).collect()
    }

    /// The policy in force.
    ///
    /// # Errors
    /// [`Code::NoPolicy`].
    pub fn policy(&self, tenant: &Tenant) -> Result<Arc<InForce>, Refusal> {
        self.house().policies.in_force(tenant)
    }

    /// A bundle that is or was in force.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub fn kept_policy(&self, tenant: &Tenant, hash: Digest) -> Result<KeptPolicy, Refusal> {
        let store = &self.house().store;
        let row = store.read(|rows| rows.bundle(tenant, hash.as_bytes()))?;
        let row = row.ok_or_else(|| Refusal::new(Code::NotFound, "no such bundle was ever in force"))?;
        Ok(KeptPolicy {
            source: kept::read("bundle", &row.canonical)?,
            activation: receipts::activation(store, row.leaf)?,
            leaf: row.leaf,
        })
    }

    /// What a stranger needs to verify this log and its receipts.
    #[must_use]
    pub fn trust(&self) -> Trust {
        let house = self.house();
        let own = house.log.trust().clone().with_endorsers(house.policies.endorsers().clone());
        match &house.parties {
            // They were joined at the start already.
            Some(parties) => parties.joined(own.clone()).unwrap_or(own),
            None => own,
        }
    }

    /// A static file of the log: `checkpoint`, a tile or a timestamp.
    ///
    /// # Errors
    /// [`Code::NotFound`], or what keeps the log from reading.
    pub fn log_file(&self, path: &str) -> Result<Vec<u8>, Refusal> {
        let found = self.house().log.resource(path)?;
        found.ok_or_else(|| Refusal::new(Code::NotFound, "the log has no such file"))
    }

    /// What the rooms count.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let house = self.house();
        let hsm = house.hsm.health();
        let log = house.log.standing();
        Figures {
            log,
            webhooks: webhook::standing(&house.webhooks, log.cosigned),
            disk_free_bytes: house.disk.free_bytes(),
            hsm_restarts: hsm.restarts,
            hsm_quarantined_keys: hsm.quarantined.len() as u64,
            party_bans: match &house.parties {
                Some(_) => {
                    house.store.read(|rows| rows.bans(&Tenant::default())).map_or(0, |bans| bans.len() as u64)
                }
                None => 0,
            },
            timestamps: house.stamping.as_ref().map(|stamping| stamping.standing()).unwrap_or_default(),
        }
    }

    /// Each room and whether it serves.
    #[must_use]
    pub fn components(&self) -> Vec<Component> {
        let house = self.house();
        let store = house.store.health();
        let hsm = house.hsm.health();
        let log = house.log.standing();
        let clock = house.clock.now();
        let policy = house.policies.in_force(&Tenant::default());
        let room = house.disk.admit();
        vec![
            Component {
                name: "store",
                ready: store.red.is_none(),
                detail: store.red.unwrap_or_else(|| format!("{} waiting", store.waiting)),
            },
            Component {
                name: "disk",
                ready: room.is_ok(),
                detail: room.map_or_else(
                    |refusal| refusal.detail,
                    |()| format!("{} MiB free", house.disk.free_bytes() / (1024 * 1024)),
                ),
            },
            Component {
                name: "hsm",
                ready: hsm.state == chancery_hsm::State::Ready,
                detail: if hsm.reason.is_empty() {
                    format!(
                        "generation {}, {} queued, {} quarantined",
                        hsm.generation,
                        hsm.queued,
                        hsm.quarantined.len()
                    )
                } else {
                    hsm.reason
                },
            },
            Component {
                name: "log",
                ready: !log.publishing_fails,
                detail: format!(
                    "{} entries, {} signed, {} cosigned, {} published",
                    log.size, log.signed, log.cosigned, log.published
                ),
            },
            Component {
                name: "clock",
                ready: clock.is_ok(),
                detail: clock.map_or_else(|error| error.to_string(), |_| "forward".to_owned()),
            },
            Component {
                name: "policy",
                // Ready also without one: an operator must get in to apply the first.
                ready: true,
                detail: policy.map_or_else(|refusal| refusal.detail, |policy| policy.digest().to_string()),
            },
        ]
    }
}
