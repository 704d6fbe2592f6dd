//! A change of the appliance itself: what officers are asked about in the same words, records and receipts as a payment.
//! The tenant's seal signs its digest; without that signature nothing changes. Pure; trusts nobody's word about differences:
//! an officer's own program computes them anew from the two bundles that the change names.

use chancery_core::{Change, Subject, limit};
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
    check(change, seal.tenant)?;
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

fn check(change: &Change, tenant: &str) -> Result<(), IntentError> {
    let of_tenant = |subject: &Subject| subject.tenant.as_str() == tenant;
    let few = |count: usize, limit: usize| match count > limit {
        true => Err(IntentError::TooComplex { what: "certificates", limit }),
        false => Ok(()),
    };
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
        Change::Client { client, public_key, days, beside } => {
            if !of_tenant(client) {
                return Err(malformed("a certificate is of the tenant whose seal says so"));
            }
            let is_hex = public_key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if !is_hex || !(1..=limit::CHANGE_LINE_BYTES).contains(&public_key.len()) {
                return Err(malformed("a public key is written in lower-case hexadecimal digits"));
            }
            if !(1..=limit::CERTIFICATE_DAYS).contains(days) {
                return Err(malformed("a certificate holds for 1 to 397 days"));
            }
            few(beside.len(), limit::CERTIFICATES_OF_CLIENT)
        }
        Change::Revocation { certificates, reason } => {
            if certificates.is_empty() || !certificates.values().all(of_tenant) {
                return Err(malformed("certificates are taken back by the tenant whose they are"));
            }
            if !is_a_line(reason) {
                return Err(malformed("the reason is one line, of 1 to 512 bytes"));
            }
            few(certificates.len(), limit::REVOCATIONS)
        }
    }
}

/// Whether people can be shown it as one line.
fn is_a_line(text: &str) -> bool {
    (1..=limit::CHANGE_LINE_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
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

    /// Would catch a certificate for another tenant, one for longer than is allowed, and a part that is approved unsigned.
    #[test]
    fn a_certificate_is_of_its_own_tenant_and_within_bounds() {
        let account = Account::Seal(Seal { tenant: "default", wallet: "seal" });
        let told = |client: &str, key: &str, days: u32, beside: usize| {
            let change = Change::Client {
                client: client.parse().unwrap(),
                public_key: key.to_owned(),
                days,
                beside: vec![chancery_core::Serial::from_bytes([7; 20]); beside],
            };
            whole(&Payload::ApplianceChange { change }, &account, &Registry::default())
        };
        let good = "chancery://default/client/backend";
        let digest = *told(good, "00", 90, 0).unwrap().signing_digest();
        for (client, key, days, beside) in [
            ("chancery://default/officer/backend", "00", 90, 0),
            ("chancery://default/client/other", "00", 90, 0),
            (good, "01", 90, 0),
            (good, "00", 91, 0),
            (good, "00", 90, 1),
        ] {
            assert_ne!(*told(client, key, days, beside).unwrap().signing_digest(), digest, "{client} {days}");
        }
        for (client, key, days) in [
            ("chancery://other/client/backend", "00", 90),
            (good, "00", 0),
            (good, "00", limit::CERTIFICATE_DAYS + 1),
            (good, "", 90),
            (good, "0A", 90),
        ] {
            let code = told(client, key, days, 0).unwrap_err().code();
            assert_eq!(code, chancery_core::Code::PayloadMalformed, "{client} {key} {days}");
        }
        let many = told(good, "00", 90, limit::CERTIFICATES_OF_CLIENT + 1).unwrap_err().code();
        assert_eq!(many, chancery_core::Code::PayloadTooComplex);
    }

    #[test]
    fn what_is_taken_back_is_named_and_said_why() {
        let account = Account::Seal(Seal { tenant: "default", wallet: "seal" });
        let told = |client: &str, count: u8, reason: &str| {
            let serial = |n| chancery_core::Serial::from_bytes([n; 20]);
            let certificates = (0..count).map(|n| (serial(n), client.parse().unwrap())).collect();
            let change = Change::Revocation { certificates, reason: reason.to_owned() };
            whole(&Payload::ApplianceChange { change }, &account, &Registry::default()).map(|_| ())
        };
        let good = "chancery://default/client/backend";
        told(good, 64, "its machine was sold").unwrap();
        for (client, count, reason) in [
            ("chancery://other/client/backend", 1, "x"),
            (good, 0, "x"),
            (good, 65, "x"),
            (good, 1, ""),
            (good, 1, "two\nlines"),
        ] {
            assert!(told(client, count, reason).is_err(), "{client} {count} {reason:?}");
        }
    }
}
