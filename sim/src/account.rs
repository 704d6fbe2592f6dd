//! What people outside saw, and may hold the house to: signatures with their receipts, decisions, wallets, policy, and every
//! checkpoint of the log. Only what came while the process lived counts; each thing is verified when it is seen.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chancery_audit::merkle::Hash;
use chancery_audit::{Digest, SignedCheckpoint, Trust, verify};
use chancery_core::{RequestId, WalletId};
use chancery_enclave::{Released, Wallet};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Secp256k1, VerifyOnly};

use crate::machine;

/// A released signature in a client's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The request.
    pub id: RequestId,
    /// `r || s || y_parity`.
    pub signature: Vec<u8>,
    /// What it is over.
    pub digest: Digest,
    /// Where the log holds the decision and the outcome.
    pub leaves: (u64, u64),
}

/// Everything that was seen.
#[derive(Default)]
pub struct Account {
    /// The log's key, as it was fetched first.
    pub trust: Option<Trust>,
    /// Signatures by client and idempotency key.
    pub held: BTreeMap<(String, String), Held>,
    /// Roots of the log by size.
    pub checkpoints: BTreeMap<u64, Hash>,
    /// Requests that were answered as denied or pending.
    pub answered: BTreeMap<RequestId, &'static str>,
    /// Public keys of wallets.
    pub wallets: BTreeMap<WalletId, Vec<u8>>,
    /// Activations by log index.
    pub policies: BTreeMap<u64, Digest>,
    /// What does not hold.
    pub broken: Vec<String>,
}

impl Account {
    /// Notes a broken promise.
    pub fn breaks(&mut self, what: impl Into<String>) {
        let what = what.into();
        machine::note(format!("BROKEN: {what}"));
        self.broken.push(what);
    }

    /// The house shows the key of its log.
    pub fn trusts(&mut self, trust: &Trust) {
        let keys = |trust: &Trust| trust.to_json();
        match &self.trust {
            None => self.trust = Some(trust.clone()),
            Some(first) if keys(first) != keys(trust) => self.breaks("the log has another key"),
            Some(_) => {}
        }
    }

    /// A checkpoint was seen.
    pub fn checkpoint(&mut self, note: &[u8]) {
        let Some(trust) = self.trust.clone() else { return };
        match SignedCheckpoint::open(note, &trust) {
            Err(error) => self.breaks(format!("a checkpoint is not to be believed: {error}")),
            Ok(seen) => self.size(&seen),
        }
    }

    fn size(&mut self, seen: &SignedCheckpoint) {
        let known = *self.checkpoints.entry(seen.size()).or_insert(*seen.root());
        if known != *seen.root() {
            self.breaks(format!("two checkpoints of {} entries have different roots", seen.size()));
        }
    }

    /// A signature was answered to `client` under `key`.
    pub fn released(&mut self, client: &str, key: &str, released: &Released) {
        let Some(trust) = self.trust.clone() else { return };
        let receipt = serde_json::to_vec(&released.receipt).unwrap_or_default();
        let verified = match verify(&receipt, &trust) {
            Ok(verified) => verified,
            Err(error) => return self.breaks(format!("the receipt of `{key}` does not verify: {error}")),
        };
        self.size(verified.checkpoint());
        let decision = &verified.receipt().decision;
        let signature = released.signed.signature.as_bytes().to_vec();
        let pinned = self.wallets.get(&decision.wallet).map(Vec::as_slice);
        if pinned.is_some_and(|pinned| !signed_by(&signature, &decision.signing_digest, pinned)) {
            self.breaks(format!("the signature of `{key}` is not the wallet's, or not low-S"));
        }
        let Some(outcome_leaf) = verified.outcome_leaf() else {
            return self.breaks(format!("the receipt of `{key}` has no outcome"));
        };
        let held = Held {
            id: decision.request_id,
            signature,
            digest: decision.signing_digest,
            leaves: (verified.decision_leaf(), outcome_leaf),
        };
        let place = (client.to_owned(), key.to_owned());
        let first = self.held.entry(place).or_insert_with(|| held.clone()).clone();
        if first != held {
            self.breaks(format!("`{key}` was answered with two signatures: {first:?} and {held:?}"));
        }
    }

    /// A request was answered as denied or pending.
    pub fn answered(&mut self, id: RequestId, how: &'static str) {
        self.answered.insert(id, how);
    }

    /// A wallet was shown.
    pub fn wallet(&mut self, wallet: &Wallet) {
        let key = wallet.public_key().to_vec();
        let known = self.wallets.entry(wallet.id.clone()).or_insert_with(|| key.clone());
        if *known != key {
            self.breaks(format!("wallet `{}` has another key", wallet.id));
        }
    }
}

static CURVE: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

/// Verified apart from the appliance's own code: the key is recovered from signature and digest.
fn signed_by(signature: &[u8], digest: &Digest, public_key: &[u8]) -> bool {
    let recovered = signature.split_last().and_then(|(parity, compact)| {
        let parity = RecoveryId::from_i32(i32::from(*parity)).ok()?;
        let signature = RecoverableSignature::from_compact(compact, parity).ok()?;
        let mut low = signature.to_standard();
        low.normalize_s();
        let message = secp256k1::Message::from_digest(*digest.as_bytes());
        let key = CURVE.recover_ecdsa(&message, &signature).ok()?;
        (low == signature.to_standard()).then_some(key)
    });
    recovered.is_some_and(|key| key.serialize() == public_key)
}
