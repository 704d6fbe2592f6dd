//! What goes to the machine of a cold wallet and what comes back, format 1: canonical JSON of one kind each. The request is a
//! receipt of a decision that nothing but the signature is missing of, so that the machine apart verifies what the appliance
//! agreed to; nothing else in it is believed. Wrong here: somebody signs what was not agreed.

use chancery_core::{RequestId, Tenant, Tier, UnixMillis, WalletId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::canonical::encode;
use crate::digest::{Digest, HexBytes, V1};
use crate::receipt::{RECEIPT_BYTES, Receipt};
use crate::record::Verdict;
use crate::trust::Trust;
use crate::verify::{Verified, verify};

/// LIMIT: a request for a cold signature, in bytes: a receipt, and what each of its signatures is over.
pub const COLD_REQUEST_BYTES: usize = RECEIPT_BYTES + 64 * 1024;
/// LIMIT: what a cold wallet signed, in bytes.
pub const COLD_SIGNED_BYTES: usize = 64 * 1024;

/// What a cold wallet is asked to sign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColdRequest {
    /// The format: 1.
    pub v: V1,
    /// What it is, so that it is taken for nothing else.
    pub kind: RequestKind,
    /// The decision that leaves nothing but the signature missing, its proof, the payload and what was said.
    pub receipt: Receipt,
    /// Each signature that is asked for, in the order of the payload's own. A reader computes it anew.
    pub signings: Vec<ColdSigning>,
}

/// One signature that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColdSigning {
    /// Over what.
    pub digest: Digest,
    /// With the key at this path (BIP-32), where the wallet is known by its account.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// The public key.
    pub public_key: HexBytes,
}

/// What a cold wallet signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColdSigned {
    /// The format: 1.
    pub v: V1,
    /// What it is.
    pub kind: SignedKind,
    /// Whose wallet.
    pub tenant: Tenant,
    /// The request.
    pub request_id: RequestId,
    /// Which wallet.
    pub wallet: WalletId,
    /// The index of the decision in the request, which names the policy bundle it was agreed under.
    pub decision_leaf: u64,
    /// SHA-256 of the request's bytes.
    pub request_sha256: Digest,
    /// `r || s` of each signature, low-S, in the order of the request's.
    pub signatures: Vec<HexBytes>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])+ $name:ident = $text:literal;)+) => {$(
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            /// The one.
            #[default]
            #[serde(rename = $text)]
            Is,
        }
    )+};
}

kinds! {
    /// The `kind` of a [`ColdRequest`].
    RequestKind = "chancery.cold.request";
    /// The `kind` of a [`ColdSigned`].
    SignedKind = "chancery.cold.signed";
}

/// Why a file is not what a cold wallet is asked, or what it signed.
#[derive(Debug, thiserror::Error)]
pub enum ColdError {
    /// Longer than its limit.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// Not the JSON of one.
    #[error("it does not parse: {0}")]
    Syntax(#[from] serde_json::Error),
    /// One, but not in the one form it is written in.
    #[error("it is not in canonical form")]
    NotCanonical,
    /// It cannot be written down.
    #[error("it cannot be written down: {0}")]
    Unwritable(#[from] crate::AuditError),
    /// The receipt in it does not hold.
    #[error("what the appliance agreed to is not proved: {0}")]
    Receipt(#[from] crate::ReceiptError),
    /// It is proved, and no agreement that a cold wallet signs.
    #[error("the appliance did not agree: {0}")]
    NotAgreed(&'static str),
}

impl ColdRequest {
    /// Its one form.
    ///
    /// # Errors
    /// [`ColdError::Unwritable`], [`ColdError::TooLong`].
    pub fn bytes(&self) -> Result<Vec<u8>, ColdError> {
        write(self, COLD_REQUEST_BYTES)
    }

    /// Reads one in its one form.
    ///
    /// # Errors
    /// [`ColdError`]; nothing in it is verified yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, ColdError> {
        read(bytes, COLD_REQUEST_BYTES)
    }

    /// Verifies, with a trust file alone, that the appliance agreed that this is signed; and until when.
    ///
    /// # Errors
    /// [`ColdError::Receipt`], [`ColdError::NotAgreed`].
    pub fn agreed(&self, trust: &Trust) -> Result<(Verified, UnixMillis), ColdError> {
        let receipt = serde_json::to_vec(&self.receipt)?;
        let verified = verify(&receipt, trust)?;
        let decision = &verified.receipt().decision;
        if decision.tier != Tier::Cold {
            return Err(ColdError::NotAgreed("the wallet is none that signs apart"));
        }
        if decision.outcome != Verdict::Pending || !waits_for_signature(&decision.missing) {
            return Err(ColdError::NotAgreed("more than the signature was missing"));
        }
        let until = decision.expires_ms.ok_or(ColdError::NotAgreed("no time is set"))?;
        Ok((verified, until))
    }
}

impl ColdSigned {
    /// Its one form.
    ///
    /// # Errors
    /// [`ColdError::Unwritable`], [`ColdError::TooLong`].
    pub fn bytes(&self) -> Result<Vec<u8>, ColdError> {
        write(self, COLD_SIGNED_BYTES)
    }

    /// Reads one in its one form.
    ///
    /// # Errors
    /// [`ColdError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ColdError> {
        read(bytes, COLD_SIGNED_BYTES)
    }
}

/// Whether a recorded `missing` says that nothing but the signature of a cold wallet is.
#[must_use]
pub fn waits_for_signature(missing: &[Value]) -> bool {
    let signature = json!([{ "need": "signature" }]);
    !missing.is_empty() && missing.iter().all(|one| one.get("needs") == Some(&signature))
}

fn write<T: Serialize>(value: &T, limit: usize) -> Result<Vec<u8>, ColdError> {
    let bytes = encode(value)?;
    if bytes.len() > limit { Err(ColdError::TooLong(limit)) } else { Ok(bytes) }
}

fn read<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, ColdError> {
    if bytes.len() > limit {
        return Err(ColdError::TooLong(limit));
    }
    let value: T = serde_json::from_slice(bytes)?;
    if encode(&value)? == bytes { Ok(value) } else { Err(ColdError::NotCanonical) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_has_one_form() {
        let signed = ColdSigned {
            v: V1,
            kind: SignedKind::Is,
            tenant: Tenant::default(),
            request_id: RequestId::from_bytes([7; 16]),
            wallet: "vault".parse().unwrap(),
            decision_leaf: 5,
            request_sha256: Digest::of(b"request"),
            signatures: vec![[1; 64].as_slice().into()],
        };
        let bytes = signed.bytes().unwrap();
        assert_eq!(ColdSigned::parse(&bytes).unwrap(), signed);
        let text = String::from_utf8(bytes).unwrap();
        for bad in [
            format!("{text} "),
            text.replace("cold.signed", "cold.request"),
            text.replace("\"v\":1", "\"v\":2"),
            text.replace("\"v\":1", "\"v\":1,\"w\":1"),
            text.replace("\"decision_leaf\":5", "\"decision_leaf\":5.0"),
        ] {
            assert!(ColdSigned::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(matches!(ColdSigned::parse(&vec![b' '; COLD_SIGNED_BYTES + 1]), Err(ColdError::TooLong(_))));
    }

    /// Would catch a cold wallet's decision that allows without a signature, and another's that claims one.
    #[test]
    fn a_decision_says_what_a_wallet_of_its_tier_is_asked() {
        let told = |tier: &str, outcome: &str, review: Option<Value>, expires: bool| {
            let mut told = json!({
                "v": 1, "tenant": "default", "request_id": RequestId::from_bytes([7; 16]), "time_ms": 5, "client": "c",
                "certificate": "00".repeat(32), "wallet": "w", "tier": tier, "algorithm": "secp256k1", "public_key": "02",
                "payload": "ethereum.message", "request_digest": "00".repeat(32), "signing_digest": "00".repeat(32),
                "intent_commitment": "00".repeat(32), "outcome": outcome, "rules": [], "missing": [],
                "bundle": "00".repeat(32),
            });
            if let Some(review) = review {
                told["review"] = review;
            }
            if expires {
                told["expires_ms"] = json!(9);
            }
            serde_json::from_value::<crate::Decision>(told).unwrap().fits_its_tier().is_ok()
        };
        let said = || Some(json!({ "decision_leaf": 1, "waited_ms": 2, "approvals": [] }));
        let brought = || {
            let sha256 = "00".repeat(32);
            Some(json!({ "decision_leaf": 1, "waited_ms": 2, "approvals": [], "brought_sha256": sha256 }))
        };
        assert!(told("cold", "allowed", brought(), false));
        assert!(told("cold", "pending", said(), true) && told("cold", "pending", None, true));
        assert!(told("cold", "denied", said(), false) && told("hd", "allowed", said(), false));
        for (tier, outcome, review, expires) in [
            ("cold", "allowed", said(), false),
            ("cold", "allowed", None, false),
            ("cold", "pending", brought(), true),
            ("cold", "denied", brought(), false),
            ("cold", "allowed", brought(), true),
            ("hd", "allowed", brought(), false),
            ("hsm", "pending", said(), false),
            ("hsm", "pending", None, true),
        ] {
            assert!(!told(tier, outcome, review.clone(), expires), "{tier} {outcome} {review:?} {expires}");
        }
    }

    /// Would catch a request that goes out while officers still have to speak.
    #[test]
    fn nothing_but_the_signature_is_missing_or_it_is_not_agreed() {
        let signature = json!({ "rule": "a", "effect": 0, "needs": [{ "need": "signature" }] });
        let quorum = json!({ "rule": "b", "effect": 0, "needs": [{ "need": "quorum" }] });
        let both =
            json!({ "rule": "b", "effect": 0, "needs": [{ "need": "quorum" }, { "need": "signature" }] });
        assert!(waits_for_signature(&[signature.clone(), signature.clone()]));
        for other in
            [vec![], vec![quorum.clone()], vec![signature, quorum], vec![both], vec![json!("signature")]]
        {
            assert!(!waits_for_signature(&other), "{other:?}");
        }
    }
}
