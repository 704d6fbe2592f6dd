//! What an officer said about a request: a WebAuthn assertion whose challenge is the hash of all that was decided about, so
//! that it says nothing about anything else and can be verified by anyone, later, without this appliance. If this is
//! wrong, an approval of one payment releases another.

use std::fmt;

use chancery_core::{ClientId, RequestId, Tenant, UnixMillis, WalletId};
use chancery_identity::webauthn::{self, Assertion, CredentialKey, RelyingParty, WebauthnError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::AuditError;
use crate::canonical::{canonical, encode};
use crate::digest::{Digest, V1};

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// It may be signed, as far as this group is asked.
    Approve,
    /// It may not.
    Veto,
}

impl Act {
    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Veto => "veto",
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// All that an approval is about.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Matter<'a> {
    v: V1,
    /// What is said.
    pub act: Act,
    /// Whose wallet.
    pub tenant: &'a Tenant,
    /// The request.
    pub request_id: RequestId,
    /// Who asked.
    pub client: &'a ClientId,
    /// Which wallet.
    pub wallet: &'a WalletId,
    /// What it would do, as policy reads it.
    pub intent: &'a Value,
    /// The bundle under which it is decided.
    pub bundle: &'a Digest,
    /// The approver group that is spoken for.
    pub group: &'a str,
}

impl<'a> Matter<'a> {
    /// What `act` of `group` is about.
    #[expect(clippy::too_many_arguments, reason = "each is one member of what is signed")]
    #[must_use]
    pub fn new(
        act: Act,
        group: &'a str,
        tenant: &'a Tenant,
        request_id: RequestId,
        client: &'a ClientId,
        wallet: &'a WalletId,
        intent: &'a Value,
        bundle: &'a Digest,
    ) -> Self {
        Self { v: V1, act, tenant, request_id, client, wallet, intent, bundle, group }
    }

    /// The challenge of the assertion: `SHA-256("chancery approval v1\n" || JCS(matter))`.
    ///
    /// # Errors
    /// [`AuditError::Number`] where the intent holds a number that canonical JSON would round.
    pub fn challenge(&self) -> Result<[u8; 32], AuditError> {
        canonical(self.intent)?;
        let mut bytes = b"chancery approval v1\n".to_vec();
        bytes.extend(encode(self)?);
        Ok(*Digest::of(&bytes).as_bytes())
    }
}

/// The log's record that an officer spoke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The format: 1.
    pub v: V1,
    /// Whose wallet.
    pub tenant: Tenant,
    /// The request.
    pub request_id: RequestId,
    /// When, in milliseconds since 1970.
    pub time_ms: UnixMillis,
    /// The index of the decision that left the request pending.
    pub decision_leaf: u64,
    /// Who spoke.
    pub officer: ClientId,
    /// SHA-256 of the certificate (DER) of the connection it came over.
    pub certificate: Digest,
    /// What was said.
    pub act: Act,
    /// For which approver group.
    pub group: String,
    /// For whom, where another member had delegated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub on_behalf_of: Option<ClientId>,
    /// The bundle it was said under, which names the officer and the key.
    pub bundle: Digest,
    /// The public key of the credential.
    pub key: CredentialKey,
    /// The relying party that the credential is for.
    pub relying_party: String,
    /// The origin that asked for the assertion.
    pub origin: String,
    /// What names the assertion: [`Assertion::digest`].
    pub assertion_sha256: Digest,
}

impl Approval {
    /// Verifies that this record's key made the assertion over this matter.
    ///
    /// # Errors
    /// [`ApprovalError`].
    pub fn verify(&self, assertion: &Assertion, matter: &Matter<'_>) -> Result<(), ApprovalError> {
        let same = self.act == matter.act
            && self.group == matter.group
            && self.tenant == *matter.tenant
            && self.request_id == matter.request_id
            && self.bundle == *matter.bundle;
        if !same {
            return Err(ApprovalError::Matter);
        }
        if Digest::from_bytes(assertion.digest()) != self.assertion_sha256 {
            return Err(ApprovalError::Other);
        }
        let party = RelyingParty { id: self.relying_party.clone(), origins: vec![self.origin.clone()] };
        Ok(webauthn::verify(assertion, &self.key, &party, &matter.challenge()?)?)
    }
}

/// Why an approval does not hold.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    /// It is about another request, bundle, group, or says something else.
    #[error("it is about something else")]
    Matter,
    /// The assertion is not the recorded one.
    #[error("the assertion is not the recorded one")]
    Other,
    /// The assertion does not hold.
    #[error(transparent)]
    Assertion(#[from] WebauthnError),
    /// What it is about cannot be written down.
    #[error("what it is about cannot be written down")]
    Unwritable(#[from] AuditError),
}

/// What led from a pending decision to this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// The index of the decision that left the request pending.
    pub decision_leaf: u64,
    /// How long it had waited, in milliseconds.
    pub waited_ms: i64,
    /// What was said and counted, in the order of the log.
    pub approvals: Vec<Spoken>,
    /// SHA-256 of `r || s` of each signature that was brought for a cold wallet, where this allowed them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub brought_sha256: Option<Digest>,
}

/// One approval or veto that counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spoken {
    /// The index of its record.
    pub leaf: u64,
    /// Who.
    pub officer: ClientId,
    /// What.
    pub act: Act,
    /// For which approver group.
    pub group: String,
    /// For whom, where another member had delegated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub on_behalf_of: Option<ClientId>,
}

impl Spoken {
    /// What a later decision says of a record.
    #[must_use]
    pub fn of(leaf: u64, approval: &Approval) -> Self {
        let Approval { officer, act, group, on_behalf_of, .. } = approval;
        Self {
            leaf,
            officer: officer.clone(),
            act: *act,
            group: group.clone(),
            on_behalf_of: on_behalf_of.clone(),
        }
    }

    /// Whether both say the same in one name: a person counts once, and so does a member whom somebody stood in for.
    #[must_use]
    pub fn repeats(&self, other: &Self) -> bool {
        let member = |spoken: &Self| spoken.on_behalf_of.clone().unwrap_or_else(|| spoken.officer.clone());
        self.act == other.act && (self.officer == other.officer || member(self) == member(other))
    }
}

impl Review {
    /// Whether nobody is counted twice, and nothing is named out of the log's order.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), &'static str> {
        let mut last = self.decision_leaf;
        for (at, spoken) in self.approvals.iter().enumerate() {
            if spoken.leaf <= last {
                return Err("its approvals stand in another order than in the log");
            }
            last = spoken.leaf;
            if self.approvals.iter().take(at).any(|other| other.repeats(spoken)) {
                return Err("it counts one officer twice");
            }
        }
        Ok(())
    }
}
