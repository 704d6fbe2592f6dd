//! What the tests of this crate share: a software key as the log's signer (tests only), a store with a log over it, and
//! requests that are decided, signed and made into receipts as the walk would.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "helpers of tests may panic and explain themselves"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use chancery_audit::{
    Algorithm, Appended, AuditError, CheckpointSigner, Decision, Digest, End, Feed, Folder, Keeper, Log,
    LogError, LogOptions, LogReport, MlDsaSigner, Outcome, Receipt, Record, Retired, Salt, SignedCheckpoint,
    SignerError, Signing, Start, Trust, V1, Verdict, VerifierKey, Witness, append, feed, intent_commitment,
    request_digest, signing_commitment, verify_log,
};
use chancery_core::{Code, Payload, RequestId, SignRequest, Tenant, UnixMillis};
use chancery_store::{Store, StoreError};
use secp256k1::{Message, PublicKey, Secp256k1, SecretKey};
use serde_json::{Value, json};

pub const ORIGIN: &str = "chancery.example/log";

pub fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub fn unbase64(text: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// How often each needle occurs in this process's readable memory. They are masked, so that the search puts none there.
pub fn hits(masked: &[&[u8]], mask: u8) -> Vec<usize> {
    use std::os::unix::fs::FileExt;
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let mut hits = vec![0; masked.len()];
    for region in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let (range, rest) = region.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap().min(256 << 20)];
        // Regions that cannot be read, such as secret memory, are what they should be.
        if !rest.starts_with('r') || memory.read_exact_at(&mut bytes, start).is_err() {
            continue;
        }
        for (count, needle) in hits.iter_mut().zip(masked) {
            let same =
                |window: &&[u8]| window.iter().zip(*needle).all(|(byte, masked)| byte ^ mask == *masked);
            *count += bytes.windows(needle.len()).filter(same).count();
        }
    }
    hits
}

/// A log key in software.
pub struct Key {
    pair: Ed25519KeyPair,
    pub signatures: AtomicU64,
    pub fails: AtomicBool,
    pub lies: AtomicBool,
    pub delay_ms: AtomicU64,
}

impl Key {
    pub fn fresh() -> Self {
        Self {
            pair: Ed25519KeyPair::generate().unwrap(),
            signatures: AtomicU64::new(0),
            fails: AtomicBool::new(false),
            lies: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
        }
    }

    pub fn public(&self) -> [u8; 32] {
        self.pair.public_key().as_ref().try_into().unwrap()
    }

    pub fn verifier(&self) -> VerifierKey {
        VerifierKey::new(ORIGIN, self.public()).unwrap()
    }

    pub fn trust(&self) -> Trust {
        Trust::in_key(ORIGIN, self.public()).unwrap()
    }

    /// A note of any text, signed under the log's name.
    pub fn note(&self, text: &str) -> String {
        let signature = self.pair.sign(text.as_bytes());
        // The key id is part of the verifier key's text.
        let vkey = self.verifier().to_string();
        let id = hex::decode(vkey.split('+').nth(1).unwrap()).unwrap();
        let blob = [&id, signature.as_ref()].concat();
        format!("{text}\n\u{2014} {ORIGIN} {}\n", base64(&blob))
    }

    pub fn checkpoint(&self, size: u64, root: [u8; 32]) -> String {
        self.note(&format!("{ORIGIN}\n{size}\n{}\n", base64(&root)))
    }
}

impl CheckpointSigner for Key {
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        Box::pin(async move {
            let delay = self.delay_ms.load(Ordering::SeqCst);
            tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
            self.signatures.fetch_add(1, Ordering::SeqCst);
            if self.fails.load(Ordering::SeqCst) {
                return Err(SignerError { code: Code::HsmUnavailable, source: "the token is away".into() });
            }
            let mut signature: [u8; 64] = self.pair.sign(message).as_ref().try_into().unwrap();
            if self.lies.load(Ordering::SeqCst) {
                signature[3] ^= 1;
            }
            Ok(signature)
        })
    }

    fn public_key(&self) -> [u8; 32] {
        self.public()
    }
}

/// A store and a log over it, in one folder.
pub struct House {
    pub store: Store,
    pub log: Log,
    pub keeper: Keeper,
    pub key: Arc<Key>,
}

pub fn tiles(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// Verifies the log in a folder from its beginning.
pub fn verify_folder(log: &Path, trust: &Trust) -> Result<LogReport, LogError> {
    verify_log(&Folder::at(log), trust, Start::Afresh, &mut |_| Ok(()))
}

/// The same, which must hold the entries of an older checkpoint first.
pub fn verify_since(log: &Path, trust: &Trust, older: &SignedCheckpoint) -> Result<LogReport, LogError> {
    verify_log(&Folder::at(log), trust, Start::Since(older), &mut |_| Ok(()))
}

impl House {
    pub fn open(folder: &Path, key: &Arc<Key>) -> Result<Self, AuditError> {
        Self::open_watched(folder, key, Vec::new(), 0)
    }

    pub fn open_watched(
        folder: &Path,
        key: &Arc<Key>,
        witnesses: Vec<Witness>,
        quorum: usize,
    ) -> Result<Self, AuditError> {
        let options = LogOptions {
            origin: ORIGIN.to_owned(),
            directory: tiles(folder),
            ml_dsa: None,
            retired: Vec::new(),
            witnesses,
            quorum,
        };
        Self::open_with(folder, key, options)
    }

    /// As the appliance runs: with a second key.
    pub fn open_doubly(folder: &Path, key: &Arc<Key>, ml_dsa: MlDsaSigner) -> Result<Self, AuditError> {
        let options = LogOptions {
            origin: ORIGIN.to_owned(),
            directory: tiles(folder),
            ml_dsa: Some(ml_dsa),
            retired: Vec::new(),
            witnesses: Vec::new(),
            quorum: 0,
        };
        Self::open_with(folder, key, options)
    }

    /// After a rotation of its keys.
    pub fn open_after(folder: &Path, key: &Arc<Key>, retired: Vec<Retired>) -> Result<Self, AuditError> {
        let options = LogOptions {
            origin: ORIGIN.to_owned(),
            directory: tiles(folder),
            ml_dsa: None,
            retired,
            witnesses: Vec::new(),
            quorum: 0,
        };
        Self::open_with(folder, key, options)
    }

    fn open_with(folder: &Path, key: &Arc<Key>, options: LogOptions) -> Result<Self, AuditError> {
        let (store, feed) = Self::store(folder);
        let log = Log::open(Arc::new(store.clone()), &feed, options, Arc::<Key>::clone(key))?;
        let keeper = log.start();
        Ok(Self { store, log, keeper, key: Arc::clone(key) })
    }

    /// A store that was dropped unopened lets its folder go when its writer has ended, a moment later.
    fn store(folder: &Path) -> (Store, Feed) {
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let (observer, feed) = feed();
            match Store::open(&folder.join("store"), Box::new(observer)) {
                Ok(store) => return (store, feed),
                Err(StoreError::InUse { .. }) if std::time::Instant::now() < patience => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                Err(error) => panic!("the store does not open: {error}"),
            }
        }
    }

    pub async fn append(&self, record: Record) -> Appended {
        let leaf = self.store.write(move |tx| append(tx, &record)).await;
        Appended::from_committed(leaf.unwrap())
    }

    /// Appends many in few commits.
    pub async fn fill(&self, records: u64) {
        let mut waiting = Vec::new();
        for n in 0..records {
            let store = self.store.clone();
            waiting.push(tokio::spawn(async move {
                store.write(move |tx| append(tx, &note(n))).await.map(|_| ()).unwrap();
            }));
            if waiting.len() == 1_000 || n + 1 == records {
                for task in waiting.drain(..) {
                    task.await.unwrap();
                }
            }
        }
    }

    pub async fn close(self) {
        self.keeper.stop().await.unwrap();
        self.store.close().await;
    }
}

/// A denied decision, as filler.
pub fn note(n: u64) -> Record {
    let mut decision = Asked::transaction(n).decision;
    decision.outcome = Verdict::Denied;
    Record::Decision(decision)
}

/// One request, with everything its receipt needs.
pub struct Asked {
    pub wallet: SecretKey,
    pub request: SignRequest,
    pub intent: Value,
    pub salt: Salt,
    pub decision: Decision,
}

impl Asked {
    pub fn transaction(n: u64) -> Self {
        let data = [vec![2, 0xc0], n.to_be_bytes().to_vec()].concat();
        Self::of(Payload::EthereumTransaction { data }, n)
    }

    pub fn of(payload: Payload, n: u64) -> Self {
        let mut secret = [7; 32];
        secret[24..].copy_from_slice(&(n + 1).to_be_bytes());
        let wallet = SecretKey::from_slice(&secret).unwrap();
        let public = PublicKey::from_secret_key(&Secp256k1::signing_only(), &wallet);
        let request = SignRequest {
            tenant: Tenant::default(),
            wallet: "treasury".parse().unwrap(),
            idempotency_key: format!("order:{n}").parse().unwrap(),
            payload,
        };
        let client = "backend".parse().unwrap();
        let intent = json!({"v": 1, "payload": request.payload.kind(), "effects": [{"kind": "transfer", "amount": n.to_string()}], "nonce": n});
        let salt = Salt::from_bytes(*RequestId::fresh().as_bytes());
        let decision = Decision {
            v: V1,
            tenant: Tenant::default(),
            request_id: RequestId::fresh(),
            time_ms: UnixMillis(1_800_000_000_000 + i64::try_from(n).unwrap()),
            client,
            certificate: Digest::of(b"certificate"),
            wallet: request.wallet.clone(),
            algorithm: Algorithm::Secp256k1,
            public_key: public.serialize().as_slice().into(),
            tier: Default::default(),
            signers: Vec::new(),
            payload: request.payload.kind().to_owned(),
            request_digest: Digest::of(b""),
            signing_digest: Digest::of(&[b"signing", n.to_be_bytes().as_slice()].concat()),
            intent_commitment: intent_commitment(&salt, &intent).unwrap(),
            outcome: Verdict::Allowed,
            rules: vec!["small-transfers".to_owned()],
            missing: vec![],
            bundle: Digest::of(b"bundle"),
            expires_ms: None,
            review: None,
            request_signature: None,
            share: None,
        };
        let digest = request_digest(&decision.client, &request).unwrap();
        let decision = Decision { request_digest: digest, ..decision };
        Self { wallet, request, intent, salt, decision }
    }

    pub fn signature(&self) -> Vec<u8> {
        self.sign(&self.decision.signing_digest)
    }

    /// A payload that needs a signature for each of `digests`.
    pub fn several(n: u64, digests: &[Digest]) -> Self {
        let mut asked = Self::of(Payload::BitcoinPsbt { data: n.to_be_bytes().to_vec() }, n);
        asked.decision.signing_digest = signing_commitment(digests);
        asked
    }

    pub fn sign(&self, digest: &Digest) -> Vec<u8> {
        let message = Message::from_digest(*digest.as_bytes());
        let signature = Secp256k1::signing_only().sign_ecdsa_recoverable(&message, &self.wallet);
        let (parity, compact) = signature.serialize_compact();
        [compact.as_slice(), &[u8::try_from(parity.to_i32()).unwrap()]].concat()
    }

    pub fn ended(
        &self,
        decision_leaf: u64,
        end: End,
        signature: Option<&[u8]>,
        raw: Option<&[u8]>,
    ) -> Outcome {
        Outcome {
            v: V1,
            tenant: self.decision.tenant.clone(),
            request_id: self.decision.request_id,
            time_ms: self.decision.time_ms.plus_ms(5),
            decision_leaf,
            outcome: end,
            signature_sha256: signature.map(Digest::of),
            transaction_sha256: raw.map(Digest::of),
            reason: None,
        }
    }

    /// Records the decision only.
    pub async fn decided(self, house: &House) -> Receipt {
        let decision = house.append(Record::Decision(self.decision.clone())).await;
        let checkpoint = house.log.checkpoint_covering(decision.index()).await.unwrap();
        let proof = house.log.prove(&decision, &checkpoint).unwrap();
        Receipt {
            v: V1,
            decision: self.decision,
            decision_proof: proof.proof().to_string(),
            idempotency_key: self.request.idempotency_key,
            payload: self.request.payload,
            intent: self.intent,
            intent_salt: self.salt,
            approvals: Vec::new(),
            request_signature: None,
            outcome: None,
            outcome_proof: None,
            signature: None,
            signing_digests: Vec::new(),
            signed_transaction: None,
            parties: Vec::new(),
        }
    }

    /// Records decision and outcome, as the walk does for a released signature.
    pub async fn released(self, house: &House) -> Receipt {
        let (signature, raw) = (self.signature(), b"signed transaction".to_vec());
        self.released_with(house, signature, raw).await
    }

    pub async fn released_with(self, house: &House, signature: Vec<u8>, raw: Vec<u8>) -> Receipt {
        let decision = house.append(Record::Decision(self.decision.clone())).await;
        let outcome = self.ended(decision.index(), End::Released, Some(&signature), Some(&raw));
        let appended = house.append(Record::Outcome(outcome.clone())).await;
        let checkpoint = house.log.checkpoint_covering(appended.index()).await.unwrap();
        let decision_proof = house.log.prove(&decision, &checkpoint).unwrap().proof().to_string();
        let outcome_proof = house.log.prove(&appended, &checkpoint).unwrap().proof().to_string();
        Receipt {
            v: V1,
            decision: self.decision,
            decision_proof,
            idempotency_key: self.request.idempotency_key,
            payload: self.request.payload,
            intent: self.intent,
            intent_salt: self.salt,
            approvals: Vec::new(),
            request_signature: None,
            outcome: Some(outcome),
            outcome_proof: Some(outcome_proof),
            signature: Some(signature.into()),
            signing_digests: Vec::new(),
            signed_transaction: Some(raw.into()),
            parties: Vec::new(),
        }
    }
}

pub fn bytes(receipt: &Receipt) -> Vec<u8> {
    serde_json::to_vec(receipt).unwrap()
}
