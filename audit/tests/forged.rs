//! Logs that an appliance would never write: every entry is a record, the tree is whole and signed, and what is wrong is how
//! the entries stand to each other. Whoever holds the log's key could write them; an auditor finds them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may panic")]

mod support;

use std::sync::Arc;

use chancery_audit::{
    Act, Added, Algorithm, Approval, ClientAdded, ClientRevoked, Decision, Digest, End, Folder, Kept,
    LogReport, Outcome, Policy, Reason, Record, Review, Revoked, Spoken, Start, Trust, V1, Verdict, Wallet,
    canonical, verify_log,
};
use chancery_core::{RequestId, Serial, Subject, Tenant, UnixMillis};
use serde_json::{Map, Value};
use support::{Asked, House, Key, tiles};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// A log of these entries.
struct Written {
    folder: tempfile::TempDir,
    trust: Trust,
}

impl Written {
    async fn of(records: Vec<Record>) -> Self {
        let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
        let house = House::open(folder.path(), &key).unwrap();
        for record in records {
            house.append(record).await;
        }
        house.close().await;
        Self { folder, trust: key.trust() }
    }

    fn verify(&self, start: Start<'_>, kept: &mut Vec<u8>) -> Result<LogReport, chancery_audit::LogError> {
        verify_log(&Folder::at(&tiles(self.folder.path())), &self.trust, start, &mut |pass| {
            *kept = pass.keep();
            Ok(())
        })
    }
}

/// What is found in a log of these entries.
async fn found(records: Vec<Record>) -> Option<Reason> {
    let verified = Written::of(records).await.verify(Start::Afresh, &mut Vec::new());
    verified.err().map(|error| error.reason().unwrap())
}

/// Request number `n`.
fn request(n: u8) -> RequestId {
    RequestId::from_bytes([n; 16])
}

fn decided(n: u8, payload: &str, outcome: Verdict) -> Decision {
    let plain = Asked::transaction(0).decision;
    Decision { request_id: request(n), payload: payload.to_owned(), outcome, time_ms: NOW, ..plain }
}

fn ended(n: u8, decision_leaf: u64, outcome: End) -> Record {
    let signed = (outcome == End::Released).then(|| Digest::of(b"signature"));
    Record::Outcome(Outcome {
        v: V1,
        tenant: Tenant::default(),
        request_id: request(n),
        time_ms: NOW,
        decision_leaf,
        outcome,
        signature_sha256: signed,
        transaction_sha256: None,
        reason: None,
    })
}

const PAYMENT: &str = "ethereum.transaction";
const CHANGE: &str = "appliance.change";

fn allowed(n: u8, payload: &str) -> Record {
    Record::Decision(decided(n, payload, Verdict::Allowed))
}

fn waits(n: u8) -> Record {
    Record::Decision(decided(n, PAYMENT, Verdict::Pending))
}

fn spoke(n: u8, decision_leaf: u64, officer: &str) -> Approval {
    Approval {
        v: V1,
        tenant: Tenant::default(),
        request_id: request(n),
        time_ms: NOW,
        decision_leaf,
        officer: officer.parse().unwrap(),
        certificate: Digest::of(b"certificate"),
        act: Act::Approve,
        group: "treasurers".to_owned(),
        on_behalf_of: None,
        bundle: Digest::of(b"bundle"),
        key: format!("ed25519:{}", "07".repeat(32)).parse().unwrap(),
        relying_party: "chancery.example".to_owned(),
        origin: "https://chancery.example".to_owned(),
        assertion_sha256: Digest::of(b"assertion"),
    }
}

fn said(n: u8, decision_leaf: u64, officer: &str) -> Record {
    Record::Approval(spoke(n, decision_leaf, officer))
}

/// A decision about a request that waited, which counts these.
fn reviewed(n: u8, decision_leaf: u64, approvals: Vec<Spoken>) -> Record {
    let review = Some(Review { decision_leaf, waited_ms: 1, approvals, brought_sha256: None });
    Record::Decision(Decision { review, ..decided(n, PAYMENT, Verdict::Allowed) })
}

/// Would catch a log that passes with an approval of nothing, of another request, or one that was counted and never given.
#[tokio::test]
async fn nothing_is_approved_that_does_not_wait_and_nothing_counted_that_was_not_said() {
    let counted = |leaf, officer: &str| Spoken::of(leaf, &spoke(1, 0, officer));
    let ann = || counted(1, "ann");
    assert_eq!(found(vec![waits(1), said(1, 0, "ann"), reviewed(1, 0, vec![ann()])]).await, None);

    for forged in [
        vec![said(1, 0, "ann")],
        vec![allowed(1, PAYMENT), said(1, 0, "ann")],
        vec![waits(1), said(2, 0, "ann")],
        vec![waits(1), waits(2), said(1, 1, "ann")],
        vec![waits(1), ended(1, 0, End::Expired), said(1, 0, "ann")],
        vec![waits(1), reviewed(1, 0, vec![]), said(1, 0, "ann")],
    ] {
        assert_eq!(found(forged).await, Some(Reason::ApprovalUnfounded));
    }
    for forged in [
        vec![waits(1), reviewed(1, 0, vec![ann()])],
        vec![waits(1), said(1, 0, "bob"), reviewed(1, 0, vec![ann()])],
        vec![waits(1), said(1, 0, "ann"), reviewed(1, 0, vec![counted(2, "ann")])],
        vec![waits(1), said(1, 0, "ann"), reviewed(2, 0, vec![ann()])],
        vec![allowed(1, PAYMENT), reviewed(1, 0, vec![])],
        vec![reviewed(1, 0, vec![])],
        vec![waits(1), said(1, 0, "ann"), said(1, 0, "ann"), reviewed(1, 0, vec![ann(), counted(2, "ann")])],
    ] {
        assert_eq!(found(forged).await, Some(Reason::ReviewUnfounded));
    }
}

/// Bundle entry of request `n`.
fn policy(n: u8, governs_changes: bool) -> Record {
    Record::Policy(Policy {
        v: V1,
        tenant: Tenant::default(),
        request_id: request(n),
        time_ms: NOW,
        client: "op".parse().unwrap(),
        certificate: Digest::of(b"certificate"),
        bundle: Digest::of(&[n]),
        previous: None,
        signatures: Vec::new(),
        governs_changes,
    })
}

fn wallet(n: u8, tenant: &str, chain: &str) -> Record {
    let Decision { public_key, .. } = decided(n, PAYMENT, Verdict::Allowed);
    Record::Wallet(Wallet {
        v: V1,
        tenant: tenant.parse().unwrap(),
        request_id: request(n),
        time_ms: NOW,
        client: "op".parse().unwrap(),
        certificate: Digest::of(b"certificate"),
        wallet: "treasury".parse().unwrap(),
        tier: Default::default(),
        algorithm: Algorithm::Secp256k1,
        public_key,
        account: None,
        index: None,
        chains: vec![chain.to_owned()],
        descriptor: None,
    })
}

fn added(n: u8, serial: u8, name: &str) -> Record {
    Record::Client(ClientAdded {
        v: V1,
        tenant: Tenant::default(),
        request_id: request(n),
        time_ms: NOW,
        client: "op".parse().unwrap(),
        certificate: Digest::of(b"certificate"),
        added: Added {
            serial: Serial::of([serial; 20]),
            subject: subject(name),
            certificate: Digest::of(&[serial]),
            public_key: Digest::of(b"key"),
            until_ms: NOW,
        },
    })
}

fn taken_back(n: u8, all: &[(u8, u8, &str)]) -> Record {
    let revoked = |(serial, certificate, name): &(u8, u8, &str)| Revoked {
        serial: Serial::of([*serial; 20]),
        subject: subject(name),
        certificate: Digest::of(&[*certificate]),
    };
    Record::Revocation(ClientRevoked {
        v: V1,
        tenant: Tenant::default(),
        request_id: request(n),
        time_ms: NOW,
        client: "op".parse().unwrap(),
        certificate: Digest::of(b"certificate"),
        revoked: all.iter().map(revoked).collect(),
    })
}

fn subject(name: &str) -> Subject {
    format!("chancery://default/client/{name}").parse().unwrap()
}

/// Would catch a log in which a certificate was issued past it, and only its end was written down.
#[tokio::test]
async fn what_is_taken_back_was_issued_and_is_taken_back_once() {
    let both = || vec![added(1, 1, "a"), added(2, 2, "b")];
    let with = |end: Vec<Record>| found([both(), end].concat());
    assert_eq!(with(vec![taken_back(3, &[(1, 1, "a"), (2, 2, "b")])]).await, None);
    for forged in [
        // Never issued, under another number, for another name, another certificate of that number.
        vec![taken_back(3, &[(3, 3, "a")])],
        vec![taken_back(3, &[(2, 1, "a")])],
        vec![taken_back(3, &[(1, 1, "b")])],
        vec![taken_back(3, &[(1, 2, "a")])],
        vec![taken_back(3, &[(1, 1, "a"), (1, 1, "a")])],
        vec![taken_back(3, &[(1, 1, "a")]), taken_back(4, &[(1, 1, "a")])],
        vec![added(3, 1, "a")],
    ] {
        assert_eq!(with(forged).await, Some(Reason::CertificateUnfounded));
    }
    assert_eq!(
        found(vec![taken_back(3, &[(1, 1, "a")]), added(1, 1, "a")]).await,
        Some(Reason::CertificateUnfounded)
    );
}

/// Would catch a log that passes though its appliance was changed past its officers.
#[tokio::test]
async fn where_policy_governs_changes_each_stands_between_its_decision_and_its_release() {
    let made = |n| wallet(n, "default", "eip155:1");
    let (governs, free) = (policy(9, true), policy(9, false));
    let released = |n, leaf| ended(n, leaf, End::Released);
    for honest in [
        vec![free.clone(), made(1), policy(2, false)],
        vec![made(1), governs.clone(), wallet(2, "default", "chancery:default")],
        vec![governs.clone(), allowed(1, CHANGE), made(1), released(1, 1)],
        vec![
            governs.clone(),
            allowed(1, CHANGE),
            allowed(2, PAYMENT),
            made(1),
            released(1, 1),
            released(2, 2),
        ],
        vec![governs.clone(), allowed(1, CHANGE), policy(1, false), released(1, 1), made(3)],
        vec![governs.clone(), wallet(1, "other", "eip155:1")],
        vec![governs.clone(), allowed(1, CHANGE), ended(1, 1, End::Failed)],
    ] {
        assert_eq!(found(honest).await, None);
    }
    for forged in [
        vec![governs.clone(), made(1)],
        vec![governs.clone(), policy(2, true)],
        vec![governs.clone(), wallet(1, "default", "chancery:other")],
        // Another request's word, one about a payment, one that ended, one that was denied.
        vec![governs.clone(), allowed(2, CHANGE), made(1)],
        vec![governs.clone(), allowed(1, PAYMENT), made(1)],
        vec![governs.clone(), allowed(1, CHANGE), ended(1, 1, End::Failed), made(1)],
        vec![governs.clone(), Record::Decision(decided(1, CHANGE, Verdict::Denied)), made(1)],
        vec![governs.clone(), Record::Decision(decided(1, CHANGE, Verdict::Pending)), made(1)],
        // Changed, and not released; or twice on one word.
        vec![governs.clone(), allowed(1, CHANGE), made(1), ended(1, 1, End::Failed)],
        vec![governs.clone(), allowed(1, CHANGE), made(1), allowed(2, PAYMENT)],
        vec![governs.clone(), allowed(1, CHANGE), made(1), made(1)],
        vec![governs.clone(), allowed(1, CHANGE), policy(1, true), released(1, 1), policy(1, false)],
    ] {
        assert_eq!(found(forged).await, Some(Reason::ChangeUnfounded));
    }
}

/// Would catch a run that goes on from an earlier one without what that one knew.
#[tokio::test]
async fn what_governs_changes_is_remembered_from_run_to_run() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    house.append(policy(9, true)).await;
    house.close().await;
    let written = Written { folder, trust: key.trust() };
    let mut state = Vec::new();
    written.verify(Start::Afresh, &mut state).unwrap();

    let house = House::open(written.folder.path(), &key).unwrap();
    house.append(wallet(1, "default", "eip155:1")).await;
    house.close().await;
    // What a program of before wrote did not know of it: the entries are verified again, the checkpoints seen stay.
    let mut older: Map<String, Value> = serde_json::from_slice(&state).unwrap();
    for name in ["sha256", "changes", "issued"] {
        older.remove(name).unwrap();
    }
    older["counts"].as_object_mut().unwrap().remove("clients").unwrap();
    older["v"] = 1.into();
    let sha256 = Digest::of(&canonical(&Value::from(older.clone())).unwrap()).to_string();
    older.insert("sha256".to_owned(), sha256.into());
    let older = Kept::parse(&serde_json::to_vec(&older).unwrap(), &written.trust).unwrap();
    assert_eq!(older.size(), 0);
    assert!(format!("{older:?}").contains("SignedCheckpoint"), "{older:?}");
    let error = written.verify(Start::From(Box::new(older)), &mut Vec::new()).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ChangeUnfounded));

    let kept = Kept::parse(&state, &written.trust).unwrap();
    assert_eq!(kept.size(), 1);
    let error = written.verify(Start::From(Box::new(kept)), &mut Vec::new()).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ChangeUnfounded));
    assert_eq!(error.to_string(), "entry 1: the policy in force asks for a decision about it");
}
