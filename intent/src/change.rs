//! A change of the appliance itself: what officers are asked about in the same words, records and receipts as a payment.
//! The tenant's seal signs its digest; without that signature nothing changes. Pure; trusts nobody's word about differences:
//! an officer's own program computes them anew from the two bundles that the change names.

use chancery_core::{Change, limit};
use serde_json::{Map, Value};

use crate::IntentError;
use crate::model::{Description, Effect, Kind, VERSION};

/// Starts what is hashed, so that it is no other 32 bytes that anybody signs.
const DOMAIN: &[u8] = b"chancery change v1\n";

/// The tenant's seal: a key that signs changes, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Seal<'a> {
    /// The tenant that it is for.
    pub tenant: &'a str,
    /// The wallet's name.
    pub wallet: &'a str,
}

impl Seal<'_> {
    /// The chain of changes, in the form of CAIP-2: `chancery:default`.
    #[must_use]
    pub fn chain(&self) -> String {
        format!("{NAMESPACE}:{}", self.tenant)
    }
}

/// The name of every tenant's seal.
pub const SEAL: &str = "seal";

/// The CAIP-2 namespace of changes.
pub const NAMESPACE: &str = "chancery";

/// Describes a change and encodes what is hashed.
pub(crate) fn understand(change: &Change, seal: &Seal<'_>) -> Result<(Description, Vec<u8>), IntentError> {
    check(change)?;
    let told = serde_json::to_value(change).map_err(|_| malformed("the change cannot be written"))?;
    let mut preimage = DOMAIN.to_vec();
    serde_json::to_writer(&mut preimage, change).map_err(|_| malformed("the change cannot be written"))?;
    let mut detail = Map::new();
    detail.insert("change".to_owned(), told);
    let description = Description {
        v: VERSION,
        payload: "appliance.change".to_owned(),
        chain: seal.chain(),
        form: change.kind().to_owned(),
        account: seal.wallet.to_owned(),
        effects: vec![Effect::bare(Kind::Change)],
        fee: None,
        nonce: None,
        detail,
    };
    Ok((description, preimage))
}

fn is_flat(value: &Value) -> bool {
    match value {
        Value::Object(_) => false,
        Value::Array(items) => !items.iter().any(|item| item.is_object() || item.is_array()),
        _ => true,
    }
}

fn malformed(what: &'static str) -> IntentError {
    IntentError::Malformed(what.into())
}

fn check(change: &Change) -> Result<(), IntentError> {
    match change {
        Change::Policy { bundle, previous, signatures, differences, proved } => {
            let is_hash = |text: &String| {
                text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            };
            if !is_hash(bundle) || !is_hash(previous) {
                return Err(malformed(
                    "a bundle is named by the 64 lower-case hexadecimal digits of its hash",
                ));
            }
            let signatures: Vec<_> =
                signatures.iter().flat_map(|(key, made)| [key.clone(), made.clone()]).collect();
            for lines in [&signatures, differences, proved] {
                if lines.len() > limit::CHANGE_LINES {
                    return Err(IntentError::TooComplex { what: "lines", limit: limit::CHANGE_LINES });
                }
                if lines.iter().any(|line| line.len() > limit::CHANGE_LINE_BYTES) {
                    return Err(IntentError::TooComplex {
                        what: "bytes in a line",
                        limit: limit::CHANGE_LINE_BYTES,
                    });
                }
            }
            Ok(())
        }
        // A nested object has no order of its own, and the preimage must have one.
        Change::Wallet { design, .. } if !design.values().all(is_flat) => {
            Err(malformed("a wallet's design is flat"))
        }
        Change::Wallet { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Account, contracts::Registry, understand as whole};
    use chancery_core::Payload;

    fn policy(bundle: &str, differences: &[&str]) -> Payload {
        let change = Change::Policy {
            bundle: bundle.to_owned(),
            previous: "0".repeat(64),
            signatures: [("ann".to_owned(), "00".to_owned())].into(),
            differences: differences.iter().map(|line| (*line).to_owned()).collect(),
            proved: Vec::new(),
        };
        Payload::ApplianceChange { change }
    }

    /// Would catch a digest that leaves out a part of what was approved.
    #[test]
    fn every_part_of_a_change_is_in_its_digest() {
        let account = Account::Seal(Seal { tenant: "default", wallet: "seal" });
        let digest =
            |payload: &Payload| *whole(payload, &account, &Registry::default()).unwrap().signing_digest();
        let one = policy(&"a".repeat(64), &["rule `x` is new"]);
        let told = whole(&one, &account, &Registry::default()).unwrap();
        assert_eq!(
            (told.description().chain.as_str(), told.description().form.as_str()),
            ("chancery:default", "policy.apply")
        );
        for other in [
            policy(&"b".repeat(64), &["rule `x` is new"]),
            policy(&"a".repeat(64), &[]),
            policy(&"a".repeat(64), &["rule `x`", " is new"]),
        ] {
            assert_ne!(digest(&one), digest(&other));
        }
        let text = serde_json::to_string(&one).unwrap();
        let again: Payload = serde_json::from_str(&text).unwrap();
        assert_eq!(digest(&one), digest(&again), "what was kept is what was signed");
    }

    #[test]
    fn what_cannot_be_shown_whole_is_refused() {
        let account = Account::Seal(Seal { tenant: "default", wallet: "seal" });
        let code = |payload: &Payload| whole(payload, &account, &Registry::default()).unwrap_err().code();
        assert_eq!(code(&policy("A", &[])), chancery_core::Code::PayloadMalformed);
        let long = "x".repeat(limit::CHANGE_LINE_BYTES + 1);
        assert_eq!(code(&policy(&"a".repeat(64), &[&long])), chancery_core::Code::PayloadTooComplex);
        for nested in [serde_json::json!({}), serde_json::json!([{}]), serde_json::json!([[{}]])] {
            let design = [("x".to_owned(), nested)].into();
            let change = Change::Wallet { wallet: "hot".parse().unwrap(), design };
            let payload = Payload::ApplianceChange { change };
            assert_eq!(code(&payload), chancery_core::Code::PayloadMalformed);
        }
        let message = Payload::EthereumMessage { data: vec![1] };
        assert_eq!(code(&message), chancery_core::Code::ChainIdMismatch, "the seal signs changes only");
    }
}
