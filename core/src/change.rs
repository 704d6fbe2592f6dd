//! A change of the appliance itself, as officers are asked about it. It is a payload like any other: decoded, decided,
//! approved and signed by the tenant's seal before it takes effect. What is missing here is changed without anybody's word.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Serial, Subject, WalletId};

/// What shall be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub enum Change {
    /// Put another policy bundle in force: rules, limits, assets, prices, addresses, officers and their quorums.
    #[serde(rename = "policy.apply")]
    Policy {
        /// SHA-256 of the new bundle's canonical JSON: 64 lower-case hexadecimal digits.
        bundle: String,
        /// That of the bundle which it replaces.
        previous: String,
        /// The signatures on the new one: Ed25519 in hexadecimal, by the verifier key that made each.
        signatures: BTreeMap<String, String>,
        /// What differs, a line each; at most [`CHANGE_LINES`](crate::limit::CHANGE_LINES).
        differences: Vec<String>,
        /// The goals that were proved of it, by name.
        proved: Vec<String>,
    },
    /// Make a wallet.
    #[serde(rename = "wallet.create")]
    Wallet {
        /// Its name.
        wallet: WalletId,
        /// What it shall be, as `POST /v1/wallets` says it.
        design: BTreeMap<String, Value>,
    },
    /// Issue a certificate.
    #[serde(rename = "client.add")]
    Client {
        /// Whom it names.
        client: Subject,
        /// Its public key: the DER of its SubjectPublicKeyInfo (RFC 5280 4.1), in hexadecimal.
        public_key: String,
        /// How long it holds, in days.
        days: u32,
        /// The certificates of the same name that hold already: it will hold beside them.
        beside: Vec<Serial>,
    },
    /// Take certificates back.
    #[serde(rename = "client.revoke")]
    Revocation {
        /// Which, and whom each names.
        certificates: BTreeMap<Serial, Subject>,
        /// Why.
        reason: String,
    },
}

impl Change {
    /// The wire name, such as `policy.apply`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Policy { .. } => "policy.apply",
            Self::Wallet { .. } => "wallet.create",
            Self::Client { .. } => "client.add",
            Self::Revocation { .. } => "client.revoke",
        }
    }
}
