//! Officers: the people who approve, change and audit, as the policy bundle in force names them. What a role may do is
//! kept apart here, so that nobody both changes the rules and approves under them.

use std::collections::BTreeSet;
use std::fmt;

use chancery_core::{ClientId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::webauthn::{Base64Url, CredentialKey};

/// What an officer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OfficerRole {
    /// Proposes and confirms changes: policy, wallets, clients, officers.
    Administrator,
    /// Keeps a share of a backup key.
    Custodian,
    /// Approves and vetoes requests.
    Approver,
    /// Reads.
    Auditor,
}

impl OfficerRole {
    /// The word in bundles and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Custodian => "custodian",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
        }
    }

    /// Whether one person may have both: whoever changes the rules does not approve under them, and an auditor only reads.
    #[must_use]
    pub fn goes_with(self, other: Self) -> bool {
        self == other
            || !matches!(
                (self, other),
                (Self::Administrator, Self::Approver)
                    | (Self::Approver, Self::Administrator)
                    | (Self::Auditor, _)
                    | (_, Self::Auditor)
            )
    }
}

impl fmt::Display for OfficerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a credential's private key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Held {
    /// In a device: a security key, a phone, a platform authenticator.
    Device,
    /// In a file. For development; production refuses it.
    Software,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device",
            Self::Software => "software",
        })
    }
}

/// One WebAuthn credential of an officer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its id, as the authenticator gave it.
    pub id: Base64Url,
    /// Its public key.
    pub key: CredentialKey,
    /// Where the private key is.
    pub held: Held,
}

/// That whoever signed the bundle lets a person set a password, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// What the one-time code hashes to: see [`Code::digest`](crate::login::Code::digest).
    pub code_sha256: [u8; 32],
    /// Until when the code is good. The password that was set with it is good for as long as the bundle names the code.
    pub until: UnixMillis,
}

/// One person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The name in certificates and records.
    pub id: ClientId,
    /// What the person may do.
    pub roles: BTreeSet<OfficerRole>,
    /// The approver groups the person stands in.
    pub groups: BTreeSet<String>,
    /// What the person approves with.
    pub credentials: Vec<Credential>,
    /// The clients whose keys the person holds: requests of these the person never approves.
    pub clients: BTreeSet<ClientId>,
    /// With which code the person sets, or has set, a password. Without one the person cannot log in.
    pub enrolment: Option<Enrolment>,
}

impl Registered {
    /// The credential of this id.
    #[must_use]
    pub fn credential(&self, id: &Base64Url) -> Option<&Credential> {
        self.credentials.iter().find(|credential| credential.id == *id)
    }
}
