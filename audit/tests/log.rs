//! The running log over a real store: signatures are shared, proofs are verified, files are whole, and a log that is not
//! the one whose head was signed does not start.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may panic")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chancery_audit::merkle::{verify_consistency, verify_inclusion};
use chancery_audit::{AuditError, Keeper, SignedCheckpoint, TlogProof};
use chancery_core::Code;
use chancery_store::Observer;
use support::{Asked, House, Key, note, tiles, verify_folder, verify_since};

fn files(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut std::collections::BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = std::collections::BTreeMap::new();
    walk(&tiles(folder), &tiles(folder), &mut found);
    found
}

fn error(opened: Result<House, AuditError>) -> AuditError {
    match opened {
        Ok(_) => panic!("the log started"),
        Err(error) => error,
    }
}

fn verified(folder: &Path, key: &Key) -> u64 {
    verify_folder(&tiles(folder), &key.trust()).unwrap().checkpoint.size()
}

async fn filled(records: u64) -> (tempfile::TempDir, Arc<Key>) {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    house.fill(records).await;
    house.close().await;
    (folder, key)
}

#[tokio::test]
async fn an_appended_leaf_is_proved_under_a_signed_checkpoint() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    for n in 0..600 {
        let appended = house.append(note(n)).await;
        assert_eq!(appended.index(), n);
        if n % 37 == 0 {
            let checkpoint = house.log.checkpoint_covering(n).await.unwrap();
            assert!(checkpoint.size() > n);
            let proven = house.log.prove(&appended, &checkpoint).unwrap();
            let text = proven.proof().to_string();
            let stranger = TlogProof::parse(&text).unwrap().verify(appended.hash(), &key.trust()).unwrap();
            assert_eq!(stranger, *checkpoint);
        }
    }
    house.close().await;
    assert_eq!(verified(folder.path(), &key), 600);
}

#[tokio::test]
async fn a_checkpoint_that_does_not_cover_the_leaf_proves_nothing() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    let first = house.append(note(0)).await;
    let checkpoint = house.log.checkpoint_covering(0).await.unwrap();
    let second = house.append(note(1)).await;
    let refused = house.log.prove(&second, &checkpoint);
    assert!(matches!(refused, Err(AuditError::NotIncluded { index: 1, size: 1 })));
    assert!(matches!(
        house.log.checkpoint_covering(2).await,
        Err(AuditError::OutOfRange { index: 2, size: 2 })
    ));
    let other = support::note(9);
    assert!(house.log.prove_body(0, &other.body().unwrap(), &checkpoint).is_err(), "another record's body");
    assert!(house.log.prove(&first, &checkpoint).is_ok());
    house.close().await;
}

#[tokio::test]
async fn many_who_wait_share_a_signature() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    key.delay_ms.store(20, Ordering::SeqCst);
    let mut waiting = Vec::new();
    for n in 0..200 {
        let appended = house.append(note(n)).await;
        let log = house.log.clone();
        waiting.push(tokio::spawn(async move {
            let checkpoint = log.checkpoint_covering(appended.index()).await.unwrap();
            assert!(checkpoint.size() > appended.index());
            log.prove(&appended, &checkpoint).unwrap();
        }));
    }
    for task in waiting {
        task.await.unwrap();
    }
    let signatures = key.signatures.load(Ordering::SeqCst);
    assert!(signatures < 200, "{signatures} signatures for 200 leaves: nobody shared");
    let before = signatures;
    for _ in 0..50 {
        house.log.checkpoint_covering(199).await.unwrap();
    }
    assert_eq!(key.signatures.load(Ordering::SeqCst), before, "a covered leaf needs no new signature");
    house.close().await;
}

#[tokio::test]
async fn a_failing_signer_is_told_to_all_who_wait_and_forgotten() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    house.append(note(0)).await;
    key.fails.store(true, Ordering::SeqCst);
    key.delay_ms.store(30, Ordering::SeqCst);
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let log = house.log.clone();
            tokio::spawn(async move { log.checkpoint_covering(0).await })
        })
        .collect();
    for task in waiting {
        let error = task.await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::HsmUnavailable, "{error}");
    }
    assert!(key.signatures.load(Ordering::SeqCst) <= 3, "one failed attempt answers everybody");
    key.fails.store(false, Ordering::SeqCst);
    key.lies.store(true, Ordering::SeqCst);
    let error = house.log.checkpoint_covering(0).await.unwrap_err();
    assert!(
        matches!(&error, AuditError::NoCheckpoint(inner) if matches!(**inner, AuditError::SignatureWrong))
    );
    assert!(house.log.latest().is_none(), "a wrong signature is seen by nobody");
    key.lies.store(false, Ordering::SeqCst);
    assert!(house.log.checkpoint_covering(0).await.is_ok());
    house.close().await;
}

#[tokio::test]
async fn old_and_new_checkpoints_are_consistent() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    let mut kept: Vec<Arc<SignedCheckpoint>> = Vec::new();
    for n in 0..700 {
        house.append(note(n)).await;
        if [0, 1, 5, 254, 255, 256, 511, 512, 600, 699].contains(&n) {
            kept.push(house.log.checkpoint_covering(n).await.unwrap());
        }
    }
    for old in &kept {
        for new in kept.iter().filter(|new| new.size() >= old.size()) {
            let proof = house.log.prove_consistency(old.size(), new.size()).unwrap();
            assert!(verify_consistency(old.size(), new.size(), &proof, old.root(), new.root()));
        }
    }
    assert!(house.log.prove_consistency(5, 701).is_err() && house.log.prove_consistency(6, 5).is_err());
    house.close().await;
    for old in &kept {
        let report = verify_since(&tiles(folder.path()), &key.trust(), old);
        assert_eq!(report.unwrap().counts.decisions, 700);
    }
}

#[tokio::test]
async fn restarts_go_on_where_the_log_stood() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let mut size = 0;
    for records in [0, 3, 250, 3, 1, 600, 0] {
        let house = House::open(folder.path(), &key).unwrap();
        assert_eq!(house.log.standing().size, size);
        assert_eq!(house.log.standing().published, size);
        house.fill(records).await;
        size += records;
        if size > 0 {
            let checkpoint = house.log.checkpoint_covering(size - 1).await.unwrap();
            for index in [0, size / 2, size - 1] {
                let body = house.store.read(|rows| rows.leaf(index)).unwrap().unwrap().body;
                house.log.prove_body(index, &body, &checkpoint).unwrap();
            }
        }
        house.close().await;
    }
    assert_eq!(verified(folder.path(), &key), size);
    let files = files(folder.path());
    assert!(files.contains_key("tile/0/002") && files.contains_key("tile/entries/002"));
    assert!(
        !files.keys().any(|path| path.starts_with("tile/0/002.p/")),
        "partial tiles give way to full ones"
    );
    assert!(!files.keys().any(|path| path.ends_with(".new")), "nothing half written remains");
}

#[tokio::test]
async fn a_crash_before_publishing_loses_nothing() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    house.fill(300).await;
    let House { store, keeper, .. } = house;
    drop::<Keeper>(keeper);
    store.close().await;
    fs::remove_dir_all(tiles(folder.path())).unwrap();
    let house = House::open(folder.path(), &key).unwrap();
    assert_eq!(house.log.standing().size, 300);
    house.close().await;
    assert_eq!(verified(folder.path(), &key), 300);
}

#[tokio::test]
async fn a_log_shorter_than_its_remembered_head_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let key = Arc::new(Key::fresh());
    let house = House::open(folder.path(), &key).unwrap();
    house.fill(20).await;
    house.close().await;
    let older = folder.path().join("older.db");
    let database = fs::read_dir(folder.path().join("store"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    fs::copy(&database, &older).unwrap();
    let house = House::open(folder.path(), &key).unwrap();
    house.fill(1).await;
    house.close().await;
    fs::copy(&older, &database).unwrap();
    let refused = error(House::open(folder.path(), &key));
    assert!(matches!(refused, AuditError::RolledBack { remembered: 21, found: 20 }), "{refused}");
    // Either remembered copy is enough.
    fs::remove_file(tiles(folder.path()).join("checkpoint")).unwrap();
    assert!(matches!(error(House::open(folder.path(), &key)), AuditError::RolledBack { .. }));
}

#[tokio::test]
async fn a_log_with_another_history_does_not_start_and_nothing_is_overwritten() {
    let (folder, key) = filled(530).await;
    let (other, _) = filled(540).await;
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    fs::rename(other.path().join("store"), folder.path().join("store")).unwrap();
    let before = files(folder.path());
    let refused = error(House::open(folder.path(), &key));
    assert!(matches!(refused, AuditError::Forked { size: 530 }), "{refused}");
    assert_eq!(files(folder.path()), before, "the evidence stays as it was");
}

#[tokio::test]
async fn an_unreadable_head_does_not_start() {
    let (folder, key) = filled(5).await;
    let stranger = Arc::new(Key::fresh());
    let refused = error(House::open(folder.path(), &stranger));
    assert!(matches!(refused, AuditError::Head { .. }), "another key's head: {refused}");
    let checkpoint = tiles(folder.path()).join("checkpoint");
    let good = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &good[..good.len() / 2]).unwrap();
    House::open(folder.path(), &key).unwrap().close().await;
    fs::write(&checkpoint, b"").unwrap();
    fs::write(tiles(folder.path()).join("head"), b"").unwrap();
    assert!(matches!(error(House::open(folder.path(), &key)), AuditError::Head { .. }));
}

#[tokio::test]
async fn missing_and_torn_files_are_made_again() {
    let (folder, key) = filled(600).await;
    let whole = files(folder.path());
    for path in whole.keys().filter(|path| path.starts_with("tile/")) {
        let full = tiles(folder.path()).join(path);
        for damage in 0..3 {
            let mut bytes = whole[path].clone();
            match damage {
                0 => fs::remove_file(&full).unwrap(),
                1 => fs::write(&full, &bytes[..bytes.len() / 2]).unwrap(),
                _ => {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    fs::write(&full, bytes).unwrap();
                }
            }
            assert!(
                verify_folder(&tiles(folder.path()), &key.trust()).is_err(),
                "damage {damage} of {path} must be seen"
            );
            House::open(folder.path(), &key).unwrap().close().await;
            assert!(files(folder.path()) == whole, "damage {damage} of {path} must be repaired");
        }
    }
    for path in whole.keys().filter(|path| path.starts_with("tile/")) {
        fs::remove_file(tiles(folder.path()).join(path)).unwrap();
    }
    House::open(folder.path(), &key).unwrap().close().await;
    assert!(files(folder.path()) == whole, "all tiles at once");
}

#[tokio::test]
async fn resources_are_what_the_files_will_be() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    assert_eq!(house.log.resource("checkpoint").unwrap(), None, "an empty log has signed nothing");
    house.fill(530).await;
    let checkpoint = house.log.checkpoint_covering(529).await.unwrap();
    let served = |path: &str| house.log.resource(path).unwrap();
    assert_eq!(served("checkpoint").unwrap(), checkpoint.note().as_bytes());
    let paths = [
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/18",
        "tile/1/000.p/2",
        "tile/entries/000",
        "tile/entries/002.p/18",
    ];
    let live: Vec<_> = paths.iter().map(|path| served(path).unwrap()).collect();
    assert_eq!(served("tile/0/000.p/7").unwrap(), live[0][..7 * 32], "earlier widths stay answerable");
    for path in [
        "tile/0/003",
        "tile/0/002",
        "tile/0/002.p/19",
        "tile/1/000",
        "tile/2/000",
        "tile/63/000",
        "head",
        "../store",
        "tile/0/0",
        "tile/4000000000/000",
    ] {
        assert_eq!(served(path), None, "{path}");
    }
    house.close().await;
    let files = files(folder.path());
    for (path, live) in paths.iter().zip(live) {
        assert_eq!(files[*path], live, "{path}");
    }
}

#[tokio::test]
async fn a_stopped_log_answers_and_does_not_hang() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    house.fill(3).await;
    let (log, store) = (house.log.clone(), house.store.clone());
    house.keeper.stop().await.unwrap();
    assert!(log.checkpoint_covering(2).await.is_ok(), "what is signed stays answerable");
    store.write(|tx| chancery_audit::append(tx, &note(9))).await.unwrap();
    assert!(matches!(log.checkpoint_covering(3).await, Err(AuditError::Stopping)));
}

#[tokio::test]
async fn unwritable_files_are_reported_and_written_later() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    // A file where a folder must be: every write of a tile fails, also for a superuser.
    fs::write(tiles(folder.path()).join("tile"), b"").unwrap();
    house.fill(10).await;
    let checkpoint = house.log.checkpoint_covering(9).await.unwrap();
    assert_eq!(checkpoint.size(), 10, "requests do not wait for files");
    while !house.log.standing().publishing_fails {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(!tiles(folder.path()).join("checkpoint").exists(), "no checkpoint without its tiles");
    fs::remove_file(tiles(folder.path()).join("tile")).unwrap();
    house.close().await;
    assert_eq!(verified(folder.path(), &key), 10);
}

#[tokio::test]
async fn proofs_of_old_leaves_come_from_files() {
    let (folder, key) = filled(1_500).await;
    let house = House::open(folder.path(), &key).unwrap();
    // Damaged after the start: the tile is not believed, the store answers instead.
    let tile = tiles(folder.path()).join("tile/0/001");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[100] ^= 1;
    fs::write(&tile, bytes).unwrap();
    let checkpoint = house.log.latest().unwrap();
    for index in [0, 255, 256, 300, 511, 512, 1_400, 1_499] {
        let leaf = house.store.read(|rows| rows.leaf(index)).unwrap().unwrap();
        let proven = house.log.prove_body(index, &leaf.body, &checkpoint).unwrap();
        assert_eq!(proven.proof().index(), index);
        assert!(!verify_inclusion(&leaf.hash, index + 1, checkpoint.size(), &[], checkpoint.root()));
    }
    let receipt = Asked::transaction(5).released(&house).await;
    assert!(chancery_audit::verify(&support::bytes(&receipt), &key.trust()).is_ok());
    house.close().await;
}

/// The store shows a row a moment before the observer hears of it; and an observer that misses one stops every proof.
#[tokio::test]
async fn leaves_the_log_has_not_heard_of_are_waited_for_and_gaps_stop_it() {
    struct Leaves(std::sync::atomic::AtomicU64);
    impl chancery_audit::LeafSource for Leaves {
        fn size(&self) -> Result<u64, AuditError> {
            Ok(self.0.load(Ordering::SeqCst))
        }
        fn bodies(&self, range: std::ops::Range<u64>) -> Result<Vec<Vec<u8>>, AuditError> {
            Ok(range.map(|n| n.to_be_bytes().to_vec()).collect())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let source = Arc::new(Leaves(0.into()));
    let (mut observer, feed) = chancery_audit::feed();
    let options = chancery_audit::LogOptions {
        origin: support::ORIGIN.to_owned(),
        directory: folder.path().to_owned(),
        ml_dsa: None,
        retired: Vec::new(),
        witnesses: Vec::new(),
        quorum: 0,
    };
    let hash = |n: u64| chancery_audit::merkle::leaf_hash(&n.to_be_bytes());
    // Committed before the log is there, and seen by both ways.
    observer.committed(0, &[hash(0)]);
    source.0.store(1, Ordering::SeqCst);
    let log =
        chancery_audit::Log::open(Arc::<Leaves>::clone(&source), &feed, options, Arc::new(Key::fresh()))
            .unwrap();
    let keeper = log.start();
    assert_eq!(log.checkpoint_covering(0).await.unwrap().size(), 1);

    source.0.store(2, Ordering::SeqCst);
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.checkpoint_covering(1).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    observer.committed(1, &[hash(1)]);
    assert_eq!(waiting.await.unwrap().unwrap().size(), 2);

    source.0.store(4, Ordering::SeqCst);
    observer.committed(3, &[hash(3)]);
    assert!(matches!(log.checkpoint_covering(3).await, Err(AuditError::Gap { expected: 2, found: 3 })));
    observer.committed(2, &[hash(2)]);
    assert_eq!(log.standing().size, 2, "a log with a gap does not grow");
    keeper.stop().await.unwrap();
}
