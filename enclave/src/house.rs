//! What every walk needs: the rooms' handles, opened once. The books are the part that decides and records; what signs
//! stands beside them, so that the step that decides cannot reach a key.

use std::ops::Deref;
use std::sync::Arc;

use chancery_audit::Log;
use chancery_core::Clock;
use chancery_hsm::Hsm;
use chancery_prove::Prover;
use chancery_store::Store;

use crate::clients::Offices;
use crate::disk::Disk;
use crate::events::webhook::Webhook;
use crate::in_flight::Walks;
use crate::login::Logins;
use crate::parties::Parties;
use crate::policy::Policies;
use crate::stamping::Stamping;
use crate::wallet::Wallets;

/// The opened house. Only this crate reaches into it.
pub struct House {
    pub(crate) books: Arc<Books>,
    pub(crate) log: Log,
    pub(crate) hsm: Hsm,
    /// The authorities of clients.
    pub(crate) offices: Offices,
    /// Officers' logins.
    pub(crate) logins: Logins,
    /// Proves goals; none where no solver is configured.
    pub(crate) prover: Option<Prover>,
    /// Has the log timestamped; none where no authority is configured.
    pub(crate) stamping: Option<Arc<Stamping>>,
    /// Who is told what happens.
    pub(crate) webhooks: Vec<Webhook>,
    /// The other holders of keys, where this appliance is one of several.
    pub(crate) parties: Option<Arc<Parties>>,
}

/// All that a decision touches, and how it ends on record. Nothing here signs.
pub struct Books {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Disk,
    pub(crate) store: Store,
    pub(crate) policies: Policies,
    pub(crate) wallets: Wallets,
    pub(crate) walks: Walks,
}

impl Deref for House {
    type Target = Books;

    fn deref(&self) -> &Books {
        &self.books
    }
}
