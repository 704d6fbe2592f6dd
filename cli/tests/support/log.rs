//! A log of two entries with a software key: one decision and its outcome, with a receipt for them, made as the appliance
//! makes them and verified by the code that verifies real ones.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "helpers of tests may panic and explain themselves"
)]

use std::path::Path;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_audit::merkle::{Hash, node_hash};
use chancery_audit::{
    Algorithm, Decision, Digest, End, Outcome, Receipt, Record, Salt, Trust, V1, Verdict, VerifierKey,
    intent_commitment, request_digest,
};
use chancery_core::{Payload, RequestId, SignRequest, Tenant, UnixMillis};
use chancery_intent::contracts::Registry;
use chancery_intent::{Account, Artifact, Intent, Signature, address_of, ethereum, understand};
use secp256k1::{Message, PublicKey, Secp256k1, SecretKey};
use serde_json::{Value, json};

pub const ORIGIN: &str = "chancery.example/log";

/// The wallet's public key, compressed.
pub fn public_key() -> [u8; 33] {
    PublicKey::from_secret_key(&Secp256k1::signing_only(), &wallet()).serialize()
}

fn wallet() -> SecretKey {
    SecretKey::from_slice(&[7; 32]).unwrap()
}

/// A payload understood for this wallet on chain 31337.
pub fn intent(payload: &Payload, contracts: &Registry) -> Intent {
    let account = Account::Ethereum(ethereum::Account {
        address: address_of(&public_key()).unwrap(),
        chain_ids: &[31_337],
    });
    understand(payload, &account, contracts).unwrap()
}

/// A payload of `ethereum.transaction`.
pub fn transaction(hex: &str) -> Payload {
    serde_json::from_value(json!({ "type": "ethereum.transaction", "data": hex })).unwrap()
}

/// A log of one released request.
pub struct Log {
    key: Ed25519KeyPair,
    bodies: [Vec<u8>; 2],
    hashes: [Hash; 2],
    pub decision: Decision,
    pub outcome: Outcome,
    pub receipt: Receipt,
}

impl Log {
    /// Releases a signature over `payload`; the receipt states `stated`, or what the payload does.
    pub fn of(payload: &Payload, contracts: &Registry, stated: Option<Value>) -> Self {
        let key = Ed25519KeyPair::generate().unwrap();
        let intent = intent(payload, contracts);
        let stated = stated.unwrap_or_else(|| serde_json::to_value(intent.description()).unwrap());
        let secp = Secp256k1::signing_only();
        let signed = secp.sign_ecdsa_recoverable(&Message::from_digest(*intent.signing_digest()), &wallet());
        let (parity, compact) = signed.serialize_compact();
        let odd = parity.to_i32() == 1;
        let signature = [compact.as_slice(), &[u8::from(odd)]].concat();
        let (r, s) = compact.split_at(32);
        let made = Signature { r: r.try_into().unwrap(), s: s.try_into().unwrap(), y_parity: Some(odd) };
        let raw = match intent.finish(&[made]).unwrap() {
            Artifact::Transaction { raw, .. } => Some(raw),
            _ => None,
        };

        let salt = Salt::from_bytes([9; 16]);
        let request = SignRequest {
            tenant: Tenant::default(),
            wallet: "treasury".parse().unwrap(),
            idempotency_key: "order:1".parse().unwrap(),
            payload: payload.clone(),
        };
        let client = "backend".parse().unwrap();
        let decision = Decision {
            v: V1,
            tenant: Tenant::default(),
            request_id: RequestId::fresh(),
            time_ms: UnixMillis(1_793_491_200_000),
            request_digest: request_digest(&client, &request).unwrap(),
            client,
            certificate: Digest::of(b"certificate"),
            wallet: request.wallet.clone(),
            algorithm: Algorithm::Secp256k1,
            public_key: public_key().as_slice().into(),
            tier: Default::default(),
            signers: Vec::new(),
            payload: payload.kind().to_owned(),
            signing_digest: Digest::from_bytes(*intent.signing_digest()),
            intent_commitment: intent_commitment(&salt, &stated).unwrap(),
            outcome: Verdict::Allowed,
            rules: vec!["eth-to-payees".to_owned()],
            missing: vec![],
            bundle: Digest::of(b"bundle"),
            expires_ms: None,
            review: None,
            request_signature: None,
            share: None,
        };
        let outcome = Outcome {
            v: V1,
            tenant: Tenant::default(),
            request_id: decision.request_id,
            time_ms: decision.time_ms.plus_ms(5),
            decision_leaf: 0,
            outcome: End::Released,
            signature_sha256: Some(Digest::of(&signature)),
            transaction_sha256: raw.as_deref().map(Digest::of),
            reason: None,
        };
        let records = [Record::Decision(decision.clone()), Record::Outcome(outcome.clone())];
        let bodies = records.each_ref().map(|record| record.body().unwrap());
        let hashes = records.each_ref().map(|record| record.leaf_hash().unwrap());
        let mut log = Self {
            bodies,
            hashes,
            decision: decision.clone(),
            outcome: outcome.clone(),
            receipt: Receipt {
                v: V1,
                decision,
                decision_proof: String::new(),
                idempotency_key: request.idempotency_key,
                payload: request.payload,
                intent: stated,
                intent_salt: salt,
                approvals: Vec::new(),
                request_signature: None,
                outcome: Some(outcome),
                outcome_proof: Some(String::new()),
                signature: Some(signature.into()),
                signing_digests: Vec::new(),
                signed_transaction: raw.map(Into::into),
                parties: Vec::new(),
            },
            key,
        };
        log.receipt.decision_proof = log.proof(0);
        log.receipt.outcome_proof = Some(log.proof(1));
        log
    }

    fn public(&self) -> [u8; 32] {
        self.key.public_key().as_ref().try_into().unwrap()
    }

    pub fn trust(&self) -> Trust {
        Trust::in_key(ORIGIN, self.public()).unwrap()
    }

    /// A signed note over the first `size` entries.
    pub fn checkpoint(&self, size: usize) -> String {
        let root = if size == 1 { self.hashes[0] } else { node_hash(&self.hashes[0], &self.hashes[1]) };
        let text = format!("{ORIGIN}\n{size}\n{}\n", STANDARD.encode(root));
        let verifier = VerifierKey::new(ORIGIN, self.public()).unwrap().to_string();
        let id = hex::decode(verifier.split('+').nth(1).unwrap()).unwrap();
        let signature = self.key.sign(text.as_bytes());
        format!("{text}\n\u{2014} {ORIGIN} {}\n", STANDARD.encode([&id, signature.as_ref()].concat()))
    }

    fn proof(&self, index: usize) -> String {
        let sibling = STANDARD.encode(self.hashes[1 - index]);
        format!("c2sp.org/tlog-proof@v1\nindex {index}\n{sibling}\n\n{}", self.checkpoint(2))
    }

    /// The static files of the log: path and content.
    pub fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut bundle = Vec::new();
        for body in &self.bodies {
            bundle.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
            bundle.extend(body);
        }
        vec![
            ("checkpoint", self.checkpoint(2).into_bytes()),
            ("tile/entries/000.p/2", bundle),
            ("tile/0/000.p/2", self.hashes.concat()),
        ]
    }

    /// Writes `trust.json`, `receipt.json` and the log's folder `log`.
    pub fn write(&self, folder: &Path) {
        std::fs::write(folder.join("trust.json"), self.trust().to_json()).unwrap();
        std::fs::write(folder.join("receipt.json"), serde_json::to_vec_pretty(&self.receipt).unwrap())
            .unwrap();
        for (path, bytes) in self.files() {
            let path = folder.join("log").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}
