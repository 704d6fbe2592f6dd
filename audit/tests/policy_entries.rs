//! Who signed the bundles of a log, asked of the log's files: what an appliance that believed one operator alone leaves
//! behind is found by whoever knows the officers' keys.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may panic")]

mod support;

use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use chancery_audit::{
    Digest, Endorsed, Endorsement, Endorsers, Folder, Kept, LogError, LogReport, Policy, Reason, Record,
    Start, Trust, V1, VerifierKey, verify_log,
};
use chancery_core::{RequestId, Tenant, UnixMillis};
use support::{House, Key, ORIGIN, note, tiles};

struct Officer(Ed25519KeyPair, VerifierKey);

fn officer(name: &str, seed: u8) -> Officer {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let key = VerifierKey::new(name, pair.public_key().as_ref().try_into().unwrap()).unwrap();
    Officer(pair, key)
}

impl Officer {
    fn sign(&self, origin: &str, tenant: &str, bundle: &Digest) -> Endorsement {
        let text = Endorsed { origin, tenant: &tenant.parse().unwrap(), bundle }.text();
        Endorsement { key: self.1.to_string(), signature: self.0.sign(text.as_bytes()).as_ref().into() }
    }
}

fn bundle() -> Digest {
    Digest::of(b"bundle")
}

fn applied(signatures: Vec<Endorsement>) -> Record {
    Record::Policy(Policy {
        v: V1,
        tenant: Tenant::default(),
        request_id: RequestId::fresh(),
        time_ms: UnixMillis(1_793_491_200_000),
        client: "op".parse().unwrap(),
        certificate: Digest::of(b"certificate"),
        bundle: bundle(),
        previous: None,
        signatures,
        governs_changes: false,
    })
}

struct Written {
    folder: tempfile::TempDir,
    trust: Trust,
}

/// A log of 300 decisions and then these policy entries, so that they stand in the second bundle.
async fn log_of(records: Vec<Record>) -> Written {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    house.fill(300).await;
    for record in records {
        house.append(record).await;
    }
    house.close().await;
    Written { folder, trust: key.trust() }
}

impl Written {
    /// The trust in this log, and in so many of these officers.
    fn trust(&self, needed: usize, officers: &[&Officer]) -> Trust {
        let keys: Vec<String> = officers.iter().map(|officer| officer.1.to_string()).collect();
        self.trust.clone().with_endorsers(Endorsers::new(&keys, needed).unwrap())
    }

    fn verify(&self, trust: &Trust, start: Start<'_>, kept: &mut Vec<u8>) -> Result<LogReport, LogError> {
        verify_log(&Folder::at(&tiles(self.folder.path())), trust, start, &mut |pass| {
            *kept = pass.keep();
            Ok(())
        })
    }

    fn finding(&self, trust: &Trust) -> String {
        let error = self.verify(trust, Start::Afresh, &mut Vec::new()).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::PolicyUnsigned), "{error}");
        assert!(matches!(error, LogError::Endorsement { index: 300, .. }), "{error}");
        error.to_string()
    }
}

/// Would catch a log that passes with bundles on one officer's word, on a stranger's, or under a signature that is none.
#[tokio::test]
async fn every_bundle_in_a_log_is_signed_by_enough_officers() {
    let (ann, bob, eve) = (officer("ann", 1), officer("bob", 2), officer("eve", 3));
    let good = |officer: &Officer| officer.sign(ORIGIN, "default", &bundle());
    let written = log_of(vec![applied(vec![good(&ann), good(&bob)]), note(900)]).await;
    let verify = |trust: &Trust| written.verify(trust, Start::Afresh, &mut Vec::new());
    for trust in [
        written.trust.clone(),
        written.trust(2, &[&ann, &bob]),
        written.trust(2, &[&ann, &bob, &eve]),
        written.trust(1, &[&bob, &eve]),
    ] {
        assert_eq!(verify(&trust).unwrap().counts.policies, 1);
    }
    let told = written.finding(&written.trust(2, &[&ann, &eve]));
    assert!(told.contains("signed by 1 of the policy keys, and must be by 2"), "{told}");
    // The same name with another key is another officer.
    written.finding(&written.trust(1, &[&officer("ann", 9)]));

    for few in [vec![], vec![good(&ann)], vec![good(&ann), good(&ann)], vec![good(&ann), good(&eve)]] {
        let written = log_of(vec![applied(few)]).await;
        written.finding(&written.trust(2, &[&ann, &bob]));
        assert_eq!(
            written.verify(&written.trust, Start::Afresh, &mut Vec::new()).unwrap().counts.policies,
            1
        );
    }
    // What is no signature of its key is a finding even where nobody asks who signed.
    let mut forged = good(&bob);
    forged.key = ann.1.to_string();
    for false_one in [
        forged,
        bob.sign("trial.example/log", "default", &bundle()),
        bob.sign(ORIGIN, "other", &bundle()),
        bob.sign(ORIGIN, "default", &Digest::of(b"another")),
        Endorsement { key: "bob".to_owned(), ..good(&bob) },
    ] {
        let written = log_of(vec![applied(vec![good(&ann), false_one])]).await;
        written.finding(&written.trust);
    }
}

/// Would catch a state that vouches for bundles whose signatures nobody had asked for.
#[tokio::test]
async fn what_was_verified_under_other_policy_keys_is_verified_again() {
    let (ann, bob) = (officer("ann", 1), officer("bob", 2));
    let written = log_of(vec![applied(vec![ann.sign(ORIGIN, "default", &bundle())]), note(900)]).await;
    let (careless, strict, met) =
        (written.trust.clone(), written.trust(2, &[&ann, &bob]), written.trust(1, &[&ann, &bob]));
    let mut state = Vec::new();
    written.verify(&careless, Start::Afresh, &mut state).unwrap();
    let again = |trust: &Trust, state: &[u8]| {
        let kept = Kept::parse(state, trust).unwrap();
        written.verify(trust, Start::From(Box::new(kept)), &mut Vec::new())
    };
    assert_eq!(again(&careless, &state).unwrap().resumed_from, 302);
    assert_eq!(again(&strict, &state).unwrap_err().reason(), Some(Reason::PolicyUnsigned));
    assert_eq!(again(&met, &state).unwrap().resumed_from, 0);
    written.verify(&met, Start::Afresh, &mut state).unwrap();
    assert_eq!(again(&met, &state).unwrap().resumed_from, 302);
    // The checkpoints seen are remembered: a log that was cut since is found under any keys.
    let cut = log_of(vec![]).await;
    assert!(Kept::parse(&state, &cut.trust).is_err(), "the state is of another log");
    assert_eq!(Kept::parse(&state, &strict).unwrap().size(), 0);
}

#[tokio::test]
async fn trust_files_of_format_4_are_strict() {
    let (ann, bob) = (officer("ann", 1).1.to_string(), officer("bob", 2).1.to_string());
    let plain = Key::fresh().trust();
    let trust = plain.clone().with_endorsers(Endorsers::new(&[ann.clone(), bob.clone()], 2).unwrap());
    let text = trust.to_json();
    assert_eq!(Trust::parse(text.as_bytes()).unwrap(), trust);
    assert!(text.contains("\"v\": 4") && !text.contains("ml_dsa_keys") && !text.contains("witness_keys"));
    let without =
        |name: &str| text.lines().filter(|line| !line.contains(name)).collect::<Vec<_>>().join("\n");
    for bad in [
        text.replace("\"v\": 4", "\"v\": 3"),
        text.replace("\"v\": 4", "\"v\": 2"),
        text.replace("\"v\": 4", "\"v\": 1"),
        text.replace("\"v\": 4", "\"v\": 5"),
        text.replace("\"v\": 4", "\"v\": 4, \"ml_dsa_keys\": []"),
        text.replace("\"v\": 4", "\"v\": 4, \"cosignatures\": 0"),
        text.replace("\"policy_signatures\": 2", "\"policy_signatures\": 3"),
        text.replace("\"policy_signatures\": 2", "\"policy_signatures\": -1"),
        text.replace(&bob, &ann),
        text.replace(&bob, "bob"),
        plain.to_json().replace("\"v\": 1", "\"v\": 4"),
        plain.to_json().replace("\"v\": 1", "\"v\": 4, \"policy_keys\": [], \"policy_signatures\": 0"),
        without("policy_signatures").replace("],\n}", "]\n}"),
    ] {
        assert!(bad != text && Trust::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}
