//! What is handed round of a ceremony: its script, and its transcript.

use std::sync::LazyLock;

use chancery_audit::VerifierKey;
use chancery_ceremony::{Kind, Person, Plan, Role, Script, Transcript};
use chancery_core::{KeyId, UnixMillis};

use crate::Seen;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    let person =
        |role, name, seed: u8| Person { role, key: VerifierKey::new(name, [seed; 32]).unwrap().to_string() };
    Script::plan(Plan {
        kind: Kind::Backup,
        now: UnixMillis(1),
        origin: "c.example/log".to_owned(),
        token: "vault".to_owned(),
        signers: vec![person(Role::Operator, "ann", 1), person(Role::Witness, "ben", 2)],
        threshold: 0,
        custodians: Vec::new(),
        wallets: Vec::new(),
        destroy: Vec::new(),
        backup_key: Some(KeyId::from_bytes([3; 16])),
        from: None,
    })
    .unwrap()
});

/// A script. One that is read is written as it was.
pub(super) fn script(input: &[u8]) -> Seen {
    match Script::parse(input) {
        Err(error) => Seen::refused(&error),
        Ok(script) => {
            assert_eq!(script.bytes().unwrap(), input);
            Seen::accepted(&"script")
        }
    }
}

pub(super) fn scripts() -> Vec<Vec<u8>> {
    vec![SCRIPT.bytes().unwrap()]
}

/// A transcript by two people who never signed: none holds but the empty one.
pub(super) fn transcript(input: &[u8]) -> Seen {
    match Transcript::read(&SCRIPT, input) {
        Err(error) => Seen::refused(&error),
        Ok(_) => {
            assert!(input.is_empty(), "somebody else signed");
            Seen::accepted(&"transcript")
        }
    }
}

/// COSE_Sign with an empty payload and a signature that is none.
pub(super) fn transcripts() -> Vec<Vec<u8>> {
    vec![Vec::new(), hex::decode("d8628440a0408183 43a10127 a0 40".replace(' ', "")).unwrap()]
}
