//! What every walk needs: the rooms' handles, opened once. Holds no policy and no decision of its own.

use std::sync::Arc;

use chancery_audit::Log;
use chancery_core::Clock;
use chancery_hsm::Hsm;
use chancery_prove::Prover;
use chancery_store::Store;

use crate::disk::Disk;
use crate::in_flight::Walks;
use crate::policy::Policies;
use crate::wallet::Wallets;

/// The opened house. Only this crate reaches into it.
pub struct House {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Disk,
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) hsm: Hsm,
    pub(crate) policies: Policies,
    /// Proves goals; none where no solver is configured.
    pub(crate) prover: Option<Prover>,
    pub(crate) wallets: Wallets,
    pub(crate) walks: Walks,
}
