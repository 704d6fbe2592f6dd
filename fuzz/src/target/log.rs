//! The log's formats, as strangers, mirrors and witnesses send them. Most have one spelling: what is read is written as it
//! came. A changed receipt or note may be believed only where it still says the same.

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_audit::{
    Checkpoint, ColdRequest, ColdSigned, ColdSigning, Cosignature, CosignerKey, Digest, Endorsers, Note,
    Receipt, Record, RequestKind, SignedCheckpoint, SignedKind, Submission, TlogProof, Trust, V1,
    VerifierKey, part, verify,
};
use serde_json::Value;

use crate::Seen;

const ORIGIN: &str = "chancery.example/log";

static LOG: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());
static WITNESS: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap());
static TRUST: LazyLock<Trust> = LazyLock::new(|| Trust::in_key(ORIGIN, public(&LOG)).unwrap());
static CHECKPOINT: LazyLock<String> = LazyLock::new(|| {
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: 5, root: [3; 32] };
    signed(&checkpoint.text())
});

fn public(pair: &Ed25519KeyPair) -> [u8; 32] {
    pair.public_key().as_ref().try_into().unwrap()
}

fn signed(text: &str) -> String {
    let vkey = TRUST.log_keys()[0].to_string();
    let id = hex::decode(vkey.split('+').nth(1).unwrap()).unwrap();
    let blob = STANDARD.encode([&id[..], LOG.sign(text.as_bytes()).as_ref()].concat());
    format!("{text}\n\u{2014} {ORIGIN} {blob}\n")
}

fn cosigner() -> CosignerKey {
    CosignerKey::new("witness.example/w", public(&WITNESS)).unwrap()
}

/// A note, a checkpoint's text, or a verifier key.
pub(super) fn note(input: &[u8]) -> Seen {
    if let Ok(text) = std::str::from_utf8(input) {
        if let Ok(checkpoint) = Checkpoint::parse(text) {
            assert_eq!(checkpoint.text(), text, "a checkpoint has one spelling");
        }
        if let Ok(key) = text.parse::<VerifierKey>() {
            assert_eq!(key.to_string(), text, "a key has one spelling");
            assert!(signed_note::StandardVerifier::new(text).is_ok(), "only we read this key: {text}");
        }
    }
    let note = match Note::parse(input) {
        Ok(note) => note,
        Err(error) => return Seen::refused(&error),
    };
    let other = signed_note::Note::from_bytes(input).expect("only we read this note");
    assert_eq!(other.text(), note.unverified_text().as_bytes(), "another reader reads another text");
    let verifier = signed_note::StandardVerifier::new(&TRUST.log_keys()[0].to_string()).unwrap();
    let verified = note.verify(TRUST.log_keys());
    let theirs = other.verify(&signed_note::VerifierList::new(vec![Box::new(verifier)]));
    assert!(verified.is_err() || theirs.is_ok(), "only we believe this note");
    if let Ok(checkpoint) = SignedCheckpoint::open(input, &TRUST) {
        assert_eq!(verified.ok(), Some(checkpoint.checkpoint().text().as_str()));
        assert_eq!((checkpoint.size(), *checkpoint.root()), (5, [3; 32]), "the key signed one checkpoint");
        return Seen::accepted(&"checkpoint");
    }
    Seen::accepted(&verified.is_ok())
}

pub(super) fn notes() -> Vec<Vec<u8>> {
    let key = TRUST.log_keys()[0].to_string();
    let text = Checkpoint { origin: ORIGIN.to_owned(), size: 5, root: [3; 32] }.text();
    let foreign = "\u{2014} other.example 02y2+9s8Hg==\n";
    [CHECKPOINT.clone(), format!("{}{foreign}", *CHECKPOINT), signed("some\n\ntext\n"), text, key]
        .map(String::into_bytes)
        .into()
}

/// The lines that a witness answers with.
pub(super) fn cosignature(input: &[u8]) -> Seen {
    let Ok(answer) = std::str::from_utf8(input) else { return Seen::refused(&"not text") };
    let checkpoint = SignedCheckpoint::open(CHECKPOINT.as_bytes(), &TRUST).unwrap();
    let found = checkpoint.cosignature_in(answer, &cosigner());
    if let Ok(cosignature) = &found {
        assert!(answer.contains(cosignature.line()), "its line is in the answer");
        assert_eq!(cosignature.time_s(), 1_800_000_000, "the witness signed one time");
    }
    Seen::of(&found)
}

pub(super) fn cosignatures() -> Vec<Vec<u8>> {
    let text = Checkpoint { origin: ORIGIN.to_owned(), size: 5, root: [3; 32] }.text();
    let made = Cosignature::make(&cosigner(), &text, 1_800_000_000, |message| {
        WITNESS.sign(message).as_ref().try_into().unwrap()
    });
    vec![made.line().into(), format!("\u{2014} other.example 02y2+9s8Hg==\n{}", made.line()).into()]
}

pub(super) fn submission(input: &[u8]) -> Seen {
    let Some(read) = Submission::parse(input) else { return Seen::refused(&"not a submission") };
    assert_eq!(read.to_string().as_bytes(), input, "a submission has one spelling");
    assert!(read.proof.len() <= 63 && read.note.starts_with(read.origin()));
    Seen::accepted(&read.proof.len().min(2))
}

pub(super) fn submissions() -> Vec<Vec<u8>> {
    let hash = STANDARD.encode([9; 32]);
    vec![
        format!("old 3\n{hash}\n{hash}\n\n{}", *CHECKPOINT).into(),
        format!("old 0\n\n{}", *CHECKPOINT).into(),
    ]
}

pub(super) fn proof(input: &[u8]) -> Seen {
    let Ok(text) = std::str::from_utf8(input) else { return Seen::refused(&"not text") };
    let read = TlogProof::parse(text);
    if let Ok(proof) = &read {
        assert_eq!(proof.to_string(), text, "a proof has one spelling");
        assert!(proof.verify(&[1; 32], &TRUST).is_err(), "proves a leaf that is not there");
    }
    Seen::of(&read)
}

pub(super) fn proofs() -> Vec<Vec<u8>> {
    let hash = STANDARD.encode([9; 32]);
    vec![format!("c2sp.org/tlog-proof@v1\nindex 4\n{hash}\n\n{}", *CHECKPOINT).into()]
}

/// The first byte is the width, less one.
pub(super) fn tile(input: &[u8]) -> Seen {
    let (first, bytes) = input.split_first().unwrap_or((&0, &[]));
    let width = u64::from(*first) + 1;
    let (tile, bundle) = (part::tile(bytes, width), part::entry_bundle(bytes, width));
    for written in [&tile, &bundle].into_iter().flatten() {
        assert_eq!(written, bytes, "what was read is written");
    }
    match (&tile, &bundle) {
        (None, None) => Seen::refused(&"neither"),
        _ => Seen::accepted(&(tile.is_some(), bundle.is_some())),
    }
}

pub(super) fn tiles() -> Vec<Vec<u8>> {
    vec![
        vec![2, 0, 1, b'a', 0, 0, 0, 2, b'b', b'c'],
        [vec![1], vec![5; 64]].concat(),
        [vec![255], vec![0; 512]].concat(),
    ]
}

pub(super) fn path(input: &[u8]) -> Seen {
    let Ok(text) = std::str::from_utf8(input) else { return Seen::refused(&"not text") };
    let Some(path) = part::path(text) else { return Seen::refused(&"neither") };
    assert_eq!(path, text, "a path has one spelling");
    assert!(!path.contains("..") && !path.contains("//") && path.starts_with("tile/"), "{path}");
    Seen::accepted(&path.len())
}

pub(super) fn paths() -> Vec<Vec<u8>> {
    ["tile/0/000", "tile/1/x001/x234/067", "tile/0/273.p/112", "tile/entries/x001/000.p/1"]
        .map(Into::into)
        .into()
}

pub(super) fn record(input: &[u8]) -> Seen {
    let read = Record::parse(input);
    if let Ok(record) = &read {
        assert_eq!(record.body().unwrap(), input, "a leaf has one spelling");
    }
    match read {
        Ok(record) => Seen::accepted(&std::mem::discriminant(&record)),
        Err(error) => Seen::refused(&error),
    }
}

pub(super) fn records() -> Vec<Vec<u8>> {
    let leaf = |receipt: &Receipt| Record::Decision(receipt.decision.clone()).body().unwrap();
    let outcome =
        |receipt: &Receipt| receipt.outcome.clone().map(|outcome| Record::Outcome(outcome).body().unwrap());
    let receipts: Vec<Receipt> = receipts().iter().map(|bytes| Receipt::parse(bytes).unwrap()).collect();
    receipts.iter().map(leaf).chain(receipts.iter().filter_map(outcome)).collect()
}

static RECEIPT_TRUST: LazyLock<Trust> = LazyLock::new(|| Trust::parse(include_bytes!("trust.json")).unwrap());
static GENUINE: LazyLock<Vec<Value>> =
    LazyLock::new(|| receipts().iter().map(|bytes| serde_json::from_slice(bytes).unwrap()).collect());

pub(super) fn receipt(input: &[u8]) -> Seen {
    if let Ok(receipt) = Receipt::parse(input) {
        let written = serde_json::to_vec(&receipt).unwrap();
        assert_eq!(Receipt::parse(&written).unwrap(), receipt, "what was written is read");
    }
    match verify(input, &RECEIPT_TRUST) {
        Err(error) => Seen::refused(&error),
        Ok(_) => {
            let said: Value = serde_json::from_slice(input).unwrap();
            assert!(GENUINE.contains(&said), "verifies, and is none that was given out: {said}");
            Seen::accepted(&())
        }
    }
}

pub(super) fn receipts() -> Vec<Vec<u8>> {
    ["released", "typed", "pending"]
        .iter()
        .zip([
            &include_bytes!("../../corpus/receipt/released.json")[..],
            include_bytes!("../../corpus/receipt/typed.json"),
            include_bytes!("../../corpus/receipt/pending.json"),
        ])
        .map(|(_, bytes)| bytes.to_vec())
        .collect()
}

/// What goes to a cold wallet, and what comes back.
pub(super) fn cold(input: &[u8]) -> Seen {
    let asked = ColdRequest::parse(input);
    if let Ok(asked) = &asked {
        assert_eq!(asked.bytes().unwrap(), input, "one form");
        assert!(asked.agreed(&RECEIPT_TRUST).is_err(), "no receipt given out is an agreement");
        return Seen::accepted(&asked.signings.len());
    }
    match ColdSigned::parse(input) {
        Err(error) => Seen::refused(&error),
        Ok(signed) => {
            assert_eq!(signed.bytes().unwrap(), input, "one form");
            Seen::accepted(&signed.signatures.len())
        }
    }
}

pub(super) fn carried() -> Vec<Vec<u8>> {
    let receipt: Receipt =
        serde_json::from_slice(include_bytes!("../../corpus/receipt/pending.json")).unwrap();
    let signings = vec![ColdSigning {
        digest: Digest::of(b""),
        path: Some("m/44'/60'/0'/0/0".to_owned()),
        public_key: [2; 33].as_slice().into(),
    }];
    let asked = ColdRequest { v: V1, kind: RequestKind::Is, receipt, signings };
    let signed = ColdSigned {
        v: V1,
        kind: SignedKind::Is,
        tenant: "default".parse().unwrap(),
        request_id: "019a0000-0000-7000-8000-000000000000".parse().unwrap(),
        wallet: "vault".parse().unwrap(),
        decision_leaf: 7,
        request_sha256: Digest::of(b""),
        signatures: vec![[1; 64].as_slice().into()],
    };
    vec![asked.bytes().unwrap(), signed.bytes().unwrap()]
}

pub(super) fn trust(input: &[u8]) -> Seen {
    let read = Trust::parse(input);
    match read {
        Err(error) => Seen::refused(&error),
        Ok(trust) => {
            assert_eq!(Trust::parse(trust.to_json().as_bytes()).unwrap(), trust, "what was written is read");
            assert!(trust.quorum() <= trust.witness_keys().len() && !trust.log_keys().is_empty());
            Seen::accepted(&(trust.log_keys().len(), trust.quorum(), trust.endorsers().needed()))
        }
    }
}

pub(super) fn trusts() -> Vec<Vec<u8>> {
    let watched = TRUST.clone().with_witnesses(vec![cosigner()], 1).unwrap();
    let officers: Vec<_> = TRUST.log_keys().iter().map(ToString::to_string).collect();
    let endorsed = watched.clone().with_endorsers(Endorsers::new(&officers, 1).unwrap());
    let own = include_bytes!("trust.json").to_vec();
    vec![TRUST.to_json().into(), watched.to_json().into(), endorsed.to_json().into(), own]
}
