//! Rotations of the log's keys, with keys in software: a reader with the trust file of before follows the word of the old key, and
//! whatever is not vouched for, or goes on under a key that was replaced, is refused.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::path::Path;
use std::sync::Arc;

use chancery_audit::{
    AuditError, Digest, LogError, LogKeys, LogReport, NoteError, Reason, Record, Retired, Rotation,
    SignedCheckpoint, Trust, V1, Vouched,
};
use chancery_core::{Tenant, UnixMillis};
use support::{House, Key, ORIGIN, note, tiles, verify_folder};

fn keys(key: &Key) -> LogKeys {
    LogKeys { key: key.verifier(), ml_dsa: None }
}

fn rotation(before: &Key, after: &Key, vouched: Option<Vouched>) -> Record {
    Record::Rotation(Box::new(Rotation {
        v: V1,
        tenant: Tenant::default(),
        time_ms: UnixMillis(1_800_000_000_000),
        script: Digest::of(b"script"),
        before: keys(before),
        after: keys(after),
        vouched,
    }))
}

struct Case {
    folder: tempfile::TempDir,
    old: Arc<Key>,
    new: Arc<Key>,
}

impl Case {
    /// A log of a few entries under the old key.
    async fn begun() -> Self {
        let (folder, old) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
        let house = House::open(folder.path(), &old).unwrap();
        house.fill(300).await;
        house.close().await;
        Self { folder, old, new: Arc::new(Key::fresh()) }
    }

    fn at(&self) -> &Path {
        self.folder.path()
    }

    /// Names the new key, and puts it in force with what `vouch` makes of the checkpoint that `key` and the new one sign.
    async fn rotate(&self, vouch: impl FnOnce(u64, String) -> Vouched) -> u64 {
        let house = House::open(self.at(), &self.old).unwrap();
        let named = house.append(rotation(&self.old, &self.new, None)).await.index();
        // A ceremony that is interrupted here leaves the old key in force.
        house.fill(400).await;
        let checkpoint = house.log.vouch(named, &*self.new, None).await.unwrap();
        let leaf = house.append(rotation(&self.old, &self.new, Some(vouch(named, checkpoint)))).await.index();
        house.close().await;
        leaf
    }

    /// Goes on under the new key.
    async fn go_on(&self, leaf: u64) -> Result<(), AuditError> {
        let retired = vec![Retired { keys: keys(&self.old), size: leaf }];
        let house = House::open_after(self.at(), &self.new, retired)?;
        house.fill(300).await;
        house.close().await;
        Ok(())
    }

    fn verify(&self, trust: &Trust) -> Result<LogReport, LogError> {
        verify_folder(&tiles(self.at()), trust)
    }
}

fn honest(named: u64, checkpoint: String) -> Vouched {
    Vouched { named, checkpoint }
}

#[tokio::test]
async fn a_reader_follows_the_word_of_the_old_key() {
    let case = Case::begun().await;
    let leaf = case.rotate(honest).await;
    // The last checkpoint of the old key is taken back: it covered the entry that replaced it, which no appliance signs.
    let head = std::fs::read_to_string(tiles(case.at()).join("head")).unwrap();
    let refused = case.go_on(leaf).await.unwrap_err();
    assert!(matches!(refused, AuditError::Head { source: NoteError::Retired { .. }, .. }), "{refused}");
    for name in ["head", "checkpoint"] {
        std::fs::remove_file(tiles(case.at()).join(name)).unwrap();
    }
    case.go_on(leaf).await.unwrap();

    let report = case.verify(&case.old.trust()).unwrap();
    let trust = report.followed.unwrap();
    assert_eq!(
        (report.turns.len(), report.turns[0].leaf, &report.turns[0].after),
        (1, leaf, &keys(&case.new))
    );
    assert_eq!(Trust::parse(trust.to_json().as_bytes()).unwrap(), trust);
    for trust in [&trust, &case.new.trust()] {
        let report = case.verify(trust).unwrap();
        assert!(report.followed.is_none() && report.checkpoint.size() == leaf + 301, "{report:?}");
    }
    assert_eq!(case.verify(&Key::fresh().trust()).unwrap_err().reason(), Some(Reason::CheckpointSignature));

    // The old key signs for what was before its end, and for nothing after.
    let open = |note: &str| SignedCheckpoint::open(note.as_bytes(), &trust);
    assert_eq!(open(&head), Err(NoteError::Retired { size: leaf + 1 }));
    assert!(open(&case.old.checkpoint(leaf, [7; 32])).is_ok());
    assert!(open(&case.new.checkpoint(leaf + 1, [7; 32])).is_ok());
}

#[tokio::test]
async fn what_the_old_key_did_not_vouch_for_is_refused() {
    let thief = Key::fresh();
    // Each changes what stands in the entry, and each log is otherwise whole and signed by the new key.
    type Change = fn(&Key, &Case, u64, String) -> Vouched;
    let changes: [(Change, &str); 5] = [
        (|thief, _, named, _| honest(named, thief.checkpoint(named + 1, [1; 32])), "do not vouch"),
        (|_, case, named, _| honest(named, case.new.checkpoint(named + 1, [1; 32])), "do not vouch"),
        (|_, case, named, _| honest(named, case.old.checkpoint(named + 1, [1; 32])), "after have not signed"),
        (|_, _, named, checkpoint| honest(named - 1, checkpoint), "no entry before it names"),
        (
            |_, case, named, _| {
                let both = case.old.checkpoint(named + 1, [1; 32]);
                let line = case.new.checkpoint(named + 1, [1; 32]).rsplit_once("\n\n").unwrap().1.to_owned();
                honest(named, both + &line)
            },
            "does not end with the entry",
        ),
    ];
    for (change, told) in changes {
        let case = Case::begun().await;
        let leaf = case.rotate(|named, checkpoint| change(&thief, &case, named, checkpoint)).await;
        for name in ["head", "checkpoint"] {
            std::fs::remove_file(tiles(case.at()).join(name)).unwrap();
        }
        case.go_on(leaf).await.unwrap();
        let error = case.verify(&case.new.trust()).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::RotationUnfounded), "{error}");
        assert!(error.to_string().contains(told), "{told}: {error}");
        assert!(case.verify(&case.old.trust()).is_err(), "{told}");
    }
}

#[tokio::test]
async fn a_key_that_was_replaced_does_not_go_on() {
    let case = Case::begun().await;
    case.rotate(honest).await;
    // Whoever has the old key goes on with it, over the log that replaced it.
    let house = House::open(case.at(), &case.old).unwrap();
    house.append(note(7)).await;
    house.close().await;
    let error = case.verify(&case.old.trust()).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::RotationUnfounded), "{error}");

    // Nor does it rotate to a key of its owner's once more.
    let thief = Key::fresh();
    let house = House::open(case.at(), &case.old).unwrap();
    let named = house.append(rotation(&case.old, &thief, None)).await.index();
    let checkpoint = house.log.vouch(named, &thief, None).await.unwrap();
    house.append(rotation(&case.old, &thief, Some(honest(named, checkpoint)))).await;
    house.close().await;
    for trust in [case.old.trust(), case.new.trust(), thief.trust()] {
        assert!(case.verify(&trust).is_err(), "{ORIGIN}");
    }
}
