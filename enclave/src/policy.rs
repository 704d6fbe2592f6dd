//! The bundle in force for each tenant. The store's latest activation is what counts: a decision checks, inside its own
//! transaction, that the bundle it was understood under is still that one.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use chancery_audit::{self as audit, Digest, Endorsed, Endorsement, Endorsers};
use chancery_core::{Code, Mode, Tenant, UnixMillis};
use chancery_policy::{Bundle, Missing, Source, Tested};
use chancery_store::BundleRow;
use serde_json::Value;

use crate::change::Changes;
use crate::refusal::Refusal;

/// A tested bundle and the activation that put it in force.
#[derive(Clone, Debug)]
pub struct InForce {
    tested: Tested,
    digest: Digest,
    leaf: u64,
    applied_ms: UnixMillis,
    signatures: Vec<Endorsement>,
}

impl InForce {
    pub(crate) fn new(
        tested: Tested,
        leaf: u64,
        applied_ms: UnixMillis,
        signatures: Vec<Endorsement>,
    ) -> Result<Self, Refusal> {
        let digest = tested
            .bundle()
            .hash()
            .parse()
            .map_err(|_| Refusal::new(Code::Internal, "the bundle's hash is not a SHA-256"))?;
        Ok(Self { tested, digest, leaf, applied_ms, signatures })
    }

    /// The same, activated at a log index.
    pub(crate) fn activated_at(mut self, leaf: u64) -> Self {
        self.leaf = leaf;
        self
    }

    /// The bundle.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        self.tested.bundle()
    }

    /// The evidence that its tests passed.
    #[must_use]
    pub fn tested(&self) -> &Tested {
        &self.tested
    }

    /// Its hash.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The log index of its activation.
    #[must_use]
    pub fn leaf(&self) -> u64 {
        self.leaf
    }

    /// When it came into force.
    #[must_use]
    pub fn applied_ms(&self) -> UnixMillis {
        self.applied_ms
    }

    /// Who signed it.
    #[must_use]
    pub fn signatures(&self) -> &[Endorsement] {
        &self.signatures
    }
}

/// The latest activation of a tenant, and why it does not count, if it does not.
struct Latest {
    activated: Arc<InForce>,
    refused: Option<Refusal>,
}

/// Each tenant's bundle in force.
pub(crate) struct Policies {
    latest: RwLock<HashMap<Tenant, Latest>>,
    origin: String,
    endorsers: Endorsers,
    mode: Mode,
    /// Those on their way.
    pub changes: Changes,
    /// Held while a bundle comes into force: the one before it stays the one before it.
    pub changing: Arc<tokio::sync::Mutex<()>>,
}

impl Policies {
    /// None yet. `endorsers` are those who sign bundles for the appliance whose log is `origin`.
    pub fn new(origin: &str, endorsers: Endorsers, mode: Mode) -> Self {
        Self {
            latest: RwLock::default(),
            origin: origin.to_owned(),
            endorsers,
            mode,
            changes: Changes::default(),
            changing: Arc::default(),
        }
    }

    /// Who signs bundles.
    pub fn endorsers(&self) -> &Endorsers {
        &self.endorsers
    }

    /// The signatures in `notes`, if they are enough for this bundle.
    ///
    /// # Errors
    /// [`Code::BundleUnsigned`].
    pub fn endorsed(
        &self,
        tenant: &Tenant,
        bundle: &Digest,
        notes: &[String],
    ) -> Result<Vec<Endorsement>, Refusal> {
        Ok(self.endorsers.accept(notes, Endorsed { origin: &self.origin, tenant, bundle })?)
    }

    /// Whether kept signatures are enough for this bundle.
    ///
    /// # Errors
    /// [`Code::BundleUnsigned`].
    pub fn confirmed(&self, tenant: &Tenant, bundle: &Digest, kept: &[Endorsement]) -> Result<(), Refusal> {
        Ok(self.endorsers.confirm(kept, Endorsed { origin: &self.origin, tenant, bundle })?)
    }

    /// Whether a bundle may be in force in this mode.
    ///
    /// # Errors
    /// [`Code::BundleInvalid`] for approvals by a key in a file, in production.
    pub fn fits(&self, bundle: &Bundle) -> Result<(), Refusal> {
        if !bundle.officers().in_software() {
            return Ok(());
        }
        let detail =
            "an officer's credential is `held = \"software\"`: whoever copies the file approves in that name";
        if self.mode.is_production() {
            return Err(Refusal::new(Code::BundleInvalid, format!("{detail}; production refuses it")));
        }
        tracing::warn!(bundle = bundle.hash(), "{detail}; for development only");
        Ok(())
    }

    /// Compiles and tests again what the store says is in force, as its activation in the log has it: a release whose rules
    /// differ must notice at start. Where its signatures are not enough today, nothing is decided by it; but it stays what
    /// the next bundle follows, so that limits look back over what it permitted.
    pub fn load(&self, row: BundleRow, activation: &audit::Policy) -> Result<(), Refusal> {
        let source: Source = crate::kept::read("bundle", &row.canonical)?;
        let tested = Tested::compile(&source)?;
        let in_force = InForce::new(tested, row.leaf, row.applied_ms, activation.signatures.clone())?;
        let digest = in_force.digest;
        if *digest.as_bytes() != row.hash || activation.bundle != digest || activation.tenant != row.tenant {
            return Err(Refusal::new(Code::StoreUnavailable, "the stored bundle is not the one of its hash"));
        }
        let signed = self.confirmed(&row.tenant, &digest, &activation.signatures);
        let refused = signed.and_then(|_| self.fits(in_force.bundle())).err().map(|error| {
            tracing::error!(bundle = %digest, %error, "the bundle in the store is refused: an operator must apply another");
            let detail = format!("the bundle applied last, {digest}, is refused: {}", error.detail);
            Refusal::new(Code::NoPolicy, detail)
        });
        self.put(row.tenant, Latest { activated: Arc::new(in_force), refused });
        Ok(())
    }

    pub fn set(&self, tenant: Tenant, in_force: InForce) {
        self.put(tenant, Latest { activated: Arc::new(in_force), refused: None });
    }

    fn put(&self, tenant: Tenant, latest: Latest) {
        self.latest.write().unwrap_or_else(PoisonError::into_inner).insert(tenant, latest);
    }

    /// What decides.
    ///
    /// # Errors
    /// [`Code::NoPolicy`].
    pub fn in_force(&self, tenant: &Tenant) -> Result<Arc<InForce>, Refusal> {
        match self.latest.read().unwrap_or_else(PoisonError::into_inner).get(tenant) {
            Some(Latest { activated, refused: None }) => Ok(Arc::clone(activated)),
            Some(Latest { refused: Some(refusal), .. }) => Err(refusal.clone()),
            None => Err(Refusal::new(
                Code::NoPolicy,
                "no policy bundle is in force; an operator applies one with `chancery policy apply`",
            )),
        }
    }

    /// What was activated last, whether or not it counts.
    pub fn activated(&self, tenant: &Tenant) -> Option<Arc<InForce>> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        latest.get(tenant).map(|latest| Arc::clone(&latest.activated))
    }
}

/// What a pending request still needs, as records and the wire carry it.
pub(crate) fn needs(missing: &[Missing]) -> Result<Vec<Value>, Refusal> {
    missing.iter().map(crate::kept::value).collect()
}
