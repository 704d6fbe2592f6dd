//! The bundle in force for each tenant. The store's latest activation is what counts: a decision checks, inside its own
//! transaction, that the bundle it was understood under is still that one.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use chancery_audit::Digest;
use chancery_core::{Code, Tenant, UnixMillis};
use chancery_policy::{Bundle, Missing, Source, Tested};
use chancery_store::BundleRow;
use serde_json::Value;

use crate::refusal::Refusal;

/// A tested bundle and the activation that put it in force.
#[derive(Clone, Debug)]
pub struct InForce {
    tested: Tested,
    digest: Digest,
    leaf: u64,
    applied_ms: UnixMillis,
}

impl InForce {
    pub(crate) fn new(tested: Tested, leaf: u64, applied_ms: UnixMillis) -> Result<Self, Refusal> {
        let digest = tested
            .bundle()
            .hash()
            .parse()
            .map_err(|_| Refusal::new(Code::Internal, "the bundle's hash is not a SHA-256"))?;
        Ok(Self { tested, digest, leaf, applied_ms })
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
}

/// Each tenant's bundle in force.
#[derive(Default)]
pub(crate) struct Policies {
    in_force: RwLock<HashMap<Tenant, Arc<InForce>>>,
    /// Held while a bundle comes into force: the one before it stays the one before it.
    pub changing: tokio::sync::Mutex<()>,
}

impl Policies {
    /// Compiles and tests again what the store says is in force: a release whose rules differ must notice at start.
    pub fn load(&self, row: BundleRow) -> Result<(), Refusal> {
        let source: Source = crate::kept::read("bundle", &row.canonical)?;
        let tested = Tested::compile(&source)?;
        let in_force = InForce::new(tested, row.leaf, row.applied_ms)?;
        if *in_force.digest.as_bytes() != row.hash {
            return Err(Refusal::new(Code::StoreUnavailable, "the stored bundle is not the one of its hash"));
        }
        self.set(row.tenant, in_force);
        Ok(())
    }

    pub fn set(&self, tenant: Tenant, in_force: InForce) {
        let mut policies = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
        policies.insert(tenant, Arc::new(in_force));
    }

    pub fn in_force(&self, tenant: &Tenant) -> Result<Arc<InForce>, Refusal> {
        let policies = self.in_force.read().unwrap_or_else(PoisonError::into_inner);
        policies.get(tenant).cloned().ok_or_else(|| {
            Refusal::new(
                Code::NoPolicy,
                "no policy bundle is in force; an operator applies one with `chancery policy apply`",
            )
        })
    }
}

/// What a pending request still needs, as records and the wire carry it.
pub(crate) fn needs(missing: &[Missing]) -> Result<Vec<Value>, Refusal> {
    missing.iter().map(crate::kept::value).collect()
}
