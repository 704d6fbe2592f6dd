//! All parties' word that they hold shares of one key. A key without it is not used, and its shares are not deleted.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::envelope::{Identity, hash};
use super::{Members, SessionId};
use crate::party::PartyId;

/// Starts what is signed.
const DOMAIN: &[u8] = b"chancery mpc key v1\n";

/// All parties' word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The session that made the key.
    pub session: SessionId,
    /// What all know of it.
    pub public: Vec<u8>,
    /// Each party's signature: `Ed25519("chancery mpc key v1\n" || session || SHA-256(public))`.
    pub signatures: BTreeMap<PartyId, Vec<u8>>,
}

impl Certificate {
    pub(crate) fn sign(session: &SessionId, public: &[u8], identity: &dyn Identity) -> [u8; 64] {
        identity.sign(&text(session, public))
    }

    /// Whether this is one party's word.
    pub(crate) fn is_signed(session: &SessionId, public: &[u8], key: &[u8; 32], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, key).verify(&text(session, public), signature).is_ok()
    }

    /// Whether each of these members, and nobody else, signed.
    #[must_use]
    pub fn holds(&self, members: &Members) -> bool {
        self.signatures.keys().eq(members.keys()) && self.wrong(members).is_empty()
    }

    /// Whose signature is missing or another one.
    pub(super) fn wrong(&self, members: &Members) -> BTreeSet<PartyId> {
        let signed = |party: &PartyId, key: &[u8; 32]| {
            let signature = self.signatures.get(party);
            signature.is_some_and(|one| Self::is_signed(&self.session, &self.public, key, one))
        };
        members.iter().filter(|(party, key)| !signed(party, key)).map(|(party, _)| *party).collect()
    }
}

fn text(session: &SessionId, public: &[u8]) -> Vec<u8> {
    [DOMAIN, session.as_bytes(), &hash(public)].concat()
}
