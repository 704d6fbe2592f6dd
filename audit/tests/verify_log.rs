//! Whole-log verification and export, from static files alone: what a log must not be able to say.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may panic")]

mod support;

use std::fs;
use std::sync::Arc;

use chancery_audit::{
    CosignerKey, Counts, Digest, End, Filter, Folder, Kept, LogError, LogReport, Reason, Record, Start,
    Verdict, rows, verify_log, write_csv, write_json_lines,
};
use chancery_core::{RequestId, UnixMillis};
use support::{Asked, House, Key, note, tiles, verify_folder, verify_since};

struct Written {
    folder: tempfile::TempDir,
    key: Arc<Key>,
}

/// A log of these records, as they are.
async fn log_of(records: Vec<Record>) -> Written {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    for record in records {
        house.append(record).await;
    }
    house.close().await;
    Written { folder, key }
}

impl Written {
    fn verify(&self) -> Result<chancery_audit::LogReport, LogError> {
        verify_folder(&tiles(self.folder.path()), &self.key.trust())
    }
}

fn pair(n: u64, leaf: u64) -> [Record; 2] {
    let asked = Asked::transaction(n);
    let outcome = asked.ended(leaf, End::Released, Some(b"signature"), None);
    [Record::Decision(asked.decision), Record::Outcome(outcome)]
}

#[tokio::test]
async fn a_good_log_is_counted() {
    let mut records: Vec<_> = (0..200).flat_map(|n| pair(n, 2 * n)).collect();
    records.push(Record::Decision(Asked::transaction(900).decision));
    let written = log_of(records).await;
    let mut told = Vec::new();
    let mirror = Folder::at(&tiles(written.folder.path()));
    let report = verify_log(&mirror, &written.key.trust(), Start::Afresh, &mut |pass| {
        told.push((pass.verified(), pass.size()));
        Ok(())
    })
    .unwrap();
    let Counts { decisions, outcomes, .. } = report.counts;
    assert_eq!((decisions, outcomes, report.open), (201, 200, 1));
    assert_eq!(told, [(0, 401), (256, 401), (401, 401)]);
}

#[tokio::test]
async fn outcomes_must_belong_to_an_earlier_decision_that_has_not_ended() {
    let [decision, outcome] = pair(1, 0);
    let of = |leaf| pair(1, leaf)[1].clone();
    let other = pair(2, 0)[1].clone();
    let mut denied = Asked::transaction(1);
    denied.decision.outcome = Verdict::Denied;
    let signed_though_denied = denied.ended(0, End::Released, Some(b"signature"), None);
    for (records, index) in [
        (vec![decision.clone(), outcome.clone(), outcome.clone()], 2),
        (vec![outcome.clone(), decision.clone()], 0),
        (vec![decision.clone(), of(1)], 1),
        (vec![decision.clone(), other], 1),
        (vec![Record::Decision(denied.decision), Record::Outcome(signed_though_denied)], 1),
    ] {
        let error = log_of(records).await.verify().unwrap_err();
        assert!(matches!(error, LogError::Outcome { index: at, .. } if at == index), "{error}");
    }
}

#[tokio::test]
async fn entries_must_be_records() {
    for body in [&b"not json"[..], b"{}", b"{\"kind\":\"decision\"}", b""] {
        let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
        let house = House::open(folder.path(), &key).unwrap();
        house.append(note(0)).await;
        let body = body.to_vec();
        let hash = chancery_audit::merkle::leaf_hash(&body);
        house.store.write(move |tx| tx.append_leaf(&body, &hash)).await.unwrap();
        house.close().await;
        let error = verify_folder(&tiles(folder.path()), &key.trust()).unwrap_err();
        assert!(matches!(error, LogError::Entry { index: 1, .. }), "{error}");
    }
}

/// Every bit of every file of a small log, and every length of it.
#[tokio::test]
async fn no_changed_or_cut_file_passes() {
    let written = log_of(vec![note(0), note(1), note(2)]).await;
    written.verify().unwrap();
    let mut tried = 0;
    for path in ["checkpoint", "tile/0/000.p/3", "tile/entries/000.p/3"] {
        let path = tiles(written.folder.path()).join(path);
        let whole = fs::read(&path).unwrap();
        for position in 0..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 1 << (position % 8);
            fs::write(&path, &changed).unwrap();
            assert!(written.verify().is_err(), "{} with byte {position} changed", path.display());
            fs::write(&path, &whole[..position]).unwrap();
            assert!(written.verify().is_err(), "{} cut to {position} bytes", path.display());
            tried += 2;
        }
        fs::write(&path, [whole.as_slice(), b"x"].concat()).unwrap();
        assert!(written.verify().is_err(), "{} with a byte more", path.display());
        fs::write(&path, &whole).unwrap();
    }
    written.verify().unwrap();
    assert!(tried > 2_000);
}

#[tokio::test]
async fn a_kept_checkpoint_shows_a_cut_and_a_rewritten_log() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    house.fill(300).await;
    let kept = house.log.checkpoint_covering(299).await.unwrap();
    house.close().await;

    // The same operator with the same key, and a history that was never shown to the auditor.
    for (records, cut) in [(310, false), (250, true)] {
        let again = tempfile::tempdir().unwrap();
        let house = House::open(again.path(), &key).unwrap();
        house.fill(records).await;
        house.close().await;
        let log = tiles(again.path());
        verify_folder(&log, &key.trust()).unwrap();
        let error = verify_since(&log, &key.trust(), &kept).unwrap_err();
        assert_eq!(matches!(error, LogError::Cut { size: 250, older: 300 }), cut, "{error}");
        assert_eq!(matches!(error, LogError::Rewritten { older: 300 }), !cut, "{error}");
    }
}

#[tokio::test]
async fn a_full_tile_stands_in_for_a_partial_one() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    house.fill(200).await;
    house.close().await;
    let log = tiles(folder.path());
    let older = fs::read(log.join("checkpoint")).unwrap();
    let house = House::open(folder.path(), &key).unwrap();
    house.fill(100).await;
    house.close().await;
    assert!(!log.join("tile/0/000.p").exists(), "the partial tile is gone");
    fs::write(log.join("checkpoint"), older).unwrap();
    let report = verify_folder(&log, &key.trust()).unwrap();
    assert_eq!(report.counts.decisions, 200, "a checkpoint read just before the log grew");
}

/// Left at every bundle, and gone on with over a log that has grown meanwhile.
#[tokio::test]
async fn a_verification_can_be_left_at_any_bundle_and_comes_to_the_same_end() {
    let mut records: Vec<_> = (0..200).map(|n| Record::Decision(Asked::transaction(n).decision)).collect();
    let asked: Vec<_> = (0..200).map(Asked::transaction).collect();
    let decided: Vec<_> = asked.iter().map(|asked| Record::Decision(asked.decision.clone())).collect();
    records.extend(decided);
    records.extend(
        (200..)
            .zip(&asked)
            .map(|(leaf, asked)| Record::Outcome(asked.ended(leaf, End::Released, Some(b"signature"), None))),
    );
    let later = records.split_off(560);
    let written = log_of(records).await;
    let (trust, mirror) = (written.key.trust(), Folder::at(&tiles(written.folder.path())));
    let mut kept = Vec::new();
    let first = verify_log(&mirror, &trust, Start::Afresh, &mut |pass| {
        kept.push((pass.verified(), pass.keep()));
        Ok(())
    })
    .unwrap();
    assert_eq!(kept.iter().map(|(verified, _)| *verified).collect::<Vec<_>>(), [0, 256, 512, 560]);
    let go_on = |bytes: &[u8]| {
        let kept = Kept::parse(bytes, &trust).unwrap();
        verify_log(&mirror, &trust, Start::From(Box::new(kept)), &mut |_| Ok(())).unwrap()
    };
    for (verified, bytes) in &kept {
        let report = go_on(bytes);
        assert_eq!(report, LogReport { resumed_from: *verified, ..first.clone() });
    }
    let house = House::open(written.folder.path(), &written.key).unwrap();
    for record in later {
        house.append(record).await;
    }
    house.close().await;
    let whole = written.verify().unwrap();
    assert_eq!((whole.counts.decisions, whole.counts.outcomes, whole.open), (400, 200, 200));
    for (verified, bytes) in &kept {
        assert_eq!(go_on(bytes), LogReport { resumed_from: *verified, ..whole.clone() });
    }
}

/// A chain of runs that never came to their end remembers every checkpoint it has seen, until it is passed.
#[tokio::test]
async fn every_checkpoint_that_was_seen_binds_the_log() {
    let key = Arc::new(Key::fresh());
    let copy = |records: u64, seed: u64| {
        let key = Arc::clone(&key);
        async move {
            let folder = tempfile::tempdir().unwrap();
            let house = House::open(folder.path(), &key).unwrap();
            for n in 0..records {
                house.append(seeded(if n < 100 { 0 } else { seed }, n)).await;
            }
            house.close().await;
            folder
        }
    };
    // Run one sees 300 entries of one history, run two 400 of another: neither reads any.
    let (one, two) = (copy(300, 1).await, copy(400, 2).await);
    let trust = key.trust();
    let stopped_at_once = |folder: &std::path::Path, start: Start<'_>| {
        let mut kept = Vec::new();
        let error = verify_log(&Folder::at(&tiles(folder)), &trust, start, &mut |pass| {
            kept = pass.keep();
            Err("stop".into())
        })
        .unwrap_err();
        assert_eq!(error.reason(), None, "{error}");
        Kept::parse(&kept, &trust).unwrap()
    };
    let kept = stopped_at_once(one.path(), Start::Afresh);
    let kept = stopped_at_once(two.path(), Start::From(Box::new(kept)));
    let error =
        verify_log(&Folder::at(&tiles(two.path())), &trust, Start::From(Box::new(kept)), &mut |_| Ok(()));
    assert!(matches!(error.unwrap_err(), LogError::Rewritten { older: 300 }));
}

/// A decision that is the same whenever it is made.
fn seeded(seed: u64, n: u64) -> Record {
    let Record::Decision(mut decision) = note(n) else { panic!("a note is a decision") };
    let mut id = [7; 16];
    id[8..].copy_from_slice(&(seed << 32 | n).to_be_bytes());
    decision.request_id = RequestId::from_bytes(id);
    decision.intent_commitment = Digest::of(&id);
    Record::Decision(decision)
}

/// One reading for each way to be wrong: a script tells them apart.
#[tokio::test]
async fn findings_have_their_reasons() {
    let written = log_of((0..300).map(note).collect()).await;
    let (log, trust) = (tiles(written.folder.path()), written.key.trust());
    let stranger = Key::fresh();
    let reason = || verify_folder(&log, &trust).unwrap_err().reason().unwrap();
    let root = *written.verify().unwrap().checkpoint.root();
    let with = |path: &str, bytes: &[u8], expected: Reason| {
        let file = log.join(path);
        let whole = fs::read(&file).unwrap();
        fs::write(&file, bytes).unwrap();
        assert_eq!(reason(), expected, "{path}");
        fs::write(&file, whole).unwrap();
    };
    let of = |path: &str| fs::read(log.join(path)).unwrap();
    let flipped = |path: &str, at: usize| {
        let mut bytes = of(path);
        bytes[at] ^= 1;
        bytes
    };
    with("checkpoint", b"no note", Reason::CheckpointMalformed);
    with("checkpoint", written.key.note("no checkpoint\n").as_bytes(), Reason::CheckpointMalformed);
    with("checkpoint", stranger.checkpoint(300, root).as_bytes(), Reason::CheckpointSignature);
    let foreign = format!("another/log\n300\n{}\n", support::base64(&root));
    with("checkpoint", written.key.note(&foreign).as_bytes(), Reason::CheckpointForeign);
    with("checkpoint", written.key.checkpoint(300, [9; 32]).as_bytes(), Reason::RootMismatch);
    with("checkpoint", written.key.checkpoint(299, root).as_bytes(), Reason::FileMissing);
    with("tile/0/000", &of("tile/0/000")[..8_191], Reason::TileTruncated);
    with("tile/0/000", &vec![0; 1 << 20], Reason::TileTruncated);
    with("tile/0/001.p/44", &flipped("tile/0/001.p/44", 40), Reason::LeafAltered);
    with("tile/1/000.p/1", &flipped("tile/1/000.p/1", 1), Reason::TileAltered);
    with("tile/entries/000", &of("tile/entries/001.p/44"), Reason::BundleMalformed);
    with("tile/entries/000", &flipped("tile/entries/000", 700), Reason::LeafAltered);
    let quorate = trust.clone().with_witnesses(vec![witness_key()], 1).unwrap();
    let missed = verify_folder(&log, &quorate).unwrap_err().reason();
    assert_eq!(missed, Some(Reason::CheckpointCosignatures));
    written.verify().unwrap();
}

fn witness_key() -> CosignerKey {
    CosignerKey::new("witness.example/w1", Key::fresh().public()).unwrap()
}

#[tokio::test]
async fn exports_are_filtered_and_harmless() {
    let mut formula = Asked::transaction(3);
    formula.decision.rules = vec!["=HYPERLINK(\"x\")".to_owned(), "a,b".to_owned()];
    formula.decision.outcome = Verdict::Denied;
    let mut records: Vec<_> = (0..2).flat_map(|n| pair(n, 2 * n)).collect();
    records.push(Record::Decision(formula.decision.clone()));
    let entries = || (0..).zip(records.clone());
    assert_eq!(rows(entries(), &Filter::default()).len(), 3);
    let by = |filter: Filter| rows(entries(), &filter).iter().map(|row| row.leaf).collect::<Vec<_>>();
    let from = Some(UnixMillis(1_800_000_000_001));
    assert_eq!(by(Filter { outcome: Some("released".into()), ..Filter::default() }), [0, 2]);
    assert_eq!(by(Filter { outcome: Some("allowed".into()), ..Filter::default() }), [0, 2]);
    assert_eq!(by(Filter { outcome: Some("denied".into()), ..Filter::default() }), [4]);
    assert_eq!(by(Filter { from, ..Filter::default() }), [2, 4]);
    assert_eq!(by(Filter { to: from, ..Filter::default() }), [0]);
    assert_eq!(by(Filter { wallet: Some("cold".parse().unwrap()), ..Filter::default() }), [0; 0]);
    assert_eq!(by(Filter { client: Some("backend".parse().unwrap()), ..Filter::default() }), [0, 2, 4]);

    let all = rows(entries(), &Filter::default());
    let mut csv = Vec::new();
    write_csv(&all, &mut csv).unwrap();
    let mut reader = csv::Reader::from_reader(csv.as_slice());
    let cells: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(cells.len(), 3);
    assert_eq!(&cells[2][9], "'=HYPERLINK(\"x\"); a,b", "a rule's name must not run in a spreadsheet");
    assert_eq!((&cells[0][1], &cells[0][14], &cells[0][16]), ("2027-01-15T08:00:00Z", "released", "1"));

    let mut lines = Vec::new();
    write_json_lines(&all, &mut lines).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    assert_eq!(lines.lines().count(), 3);
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["leaf"], &first["end"]["outcome"]), (&0.into(), &"released".into()));
}
