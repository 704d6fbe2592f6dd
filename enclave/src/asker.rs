//! Who asked, as records name them: a client for a signature, an operator for a change.

use chancery_audit::Digest;
use chancery_core::ClientId;
use chancery_identity::{Client, Fingerprint, Operator};

/// Who asked.
#[derive(Clone, Debug)]
pub struct Asker {
    pub(crate) id: ClientId,
    pub(crate) certificate: Digest,
}

impl Asker {
    fn new(id: &ClientId, certificate: &Fingerprint) -> Self {
        Self { id: id.clone(), certificate: Digest::from_bytes(*certificate.as_bytes()) }
    }
}

impl From<&Client> for Asker {
    fn from(client: &Client) -> Self {
        Self::new(client.id(), client.fingerprint())
    }
}

impl From<&Operator> for Asker {
    fn from(operator: &Operator) -> Self {
        Self::new(operator.id(), operator.fingerprint())
    }
}
