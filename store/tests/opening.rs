//! Who may open a store, and which stores open.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use chancery_core::{Code, RequestId, Tenant, UnixMillis};
use chancery_store::{FORMAT, RequestState, Store, StoreError};
use fixture::{Heard, open, record, request};
use rusqlite::Connection;

fn try_open(directory: &Path) -> Result<Store, StoreError> {
    Store::open(directory, Box::new(Heard::default()))
}

async fn filled(directory: &Path) {
    let store = open(directory);
    for n in 0..200 {
        store
            .write(move |tx| record(tx, request(&format!("k{n}"), RequestState::Permitted, 1)))
            .await
            .unwrap_or_else(|error: StoreError| panic!("{error}"));
    }
    store.close().await;
}

/// Not a test by itself: tries to open the directory that the environment names, and says what happened.
#[test]
fn second_process() {
    if let Some(directory) = std::env::var_os("CHANCERY_STORE_SECOND") {
        match try_open(Path::new(&directory)) {
            Ok(_) => println!("verdict: opened"),
            Err(error) => println!("verdict: {error}"),
        }
    }
}

#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_has_closed() {
    let directory = tempfile::tempdir().unwrap();
    let second = || {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "second_process", "--nocapture"])
            .env("CHANCERY_STORE_SECOND", directory.path())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let store = open(directory.path());
    assert!(matches!(try_open(directory.path()), Err(StoreError::InUse { .. })), "in one process");
    assert!(second().contains("is in use by another process"), "{}", second());
    store.close().await;
    assert!(second().contains("verdict: opened"));
}

#[tokio::test]
async fn files_are_for_the_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state/store");
    filled(&directory).await;
    std::fs::set_permissions(directory.join("store.sqlite"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    let store = open(&directory);
    store.write(|tx| tx.append_leaf(b"x", &[0; 32])).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let mut files = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files += 1;
    }
    assert_eq!(files, 4, "database, WAL, index and lock");
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let path = directory.path().join("store.sqlite");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", FORMAT + 1).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = try_open(directory.path()).err().unwrap();
    assert!(
        matches!(error, StoreError::FormatNewer { found, known } if (found, known) == (FORMAT + 1, FORMAT)),
        "{error}"
    );
    assert_eq!(error.code(), Code::StoreUnavailable);
    assert_eq!(std::fs::read(&path).unwrap(), before, "a store that was refused was changed");
}

/// Would catch a release that cannot start over the state of one before, or that loses something of it.
#[tokio::test]
async fn a_store_of_an_older_format_is_taken_along() {
    const TO_6: &str = "DROP TABLE share; DROP TABLE spoken; DROP TABLE ban; PRAGMA user_version = 6;";
    const FROM_6_TO_5: &str = "DROP TABLE renewal; DROP TABLE ready; DROP TABLE certificate; DROP TABLE authority; PRAGMA user_version = 5;";
    const FROM_5_TO_4: &str = "DROP TABLE told; PRAGMA user_version = 4;";
    const FROM_4_TO_3: &str = "DROP TABLE account; DROP TABLE session; DROP TABLE enrolment; DROP TABLE address; PRAGMA user_version = 3;";
    const FROM_3_TO_2: &str = "DROP TABLE approval; DROP TRIGGER request_decided_again; DROP INDEX request_by_again; \
         ALTER TABLE request DROP COLUMN again_ms; DROP TABLE nonce; PRAGMA user_version = 2;";
    let to_5 = format!("{TO_6} {FROM_6_TO_5}");
    let to_4 = format!("{to_5} {FROM_5_TO_4}");
    let to_3 = format!("{to_4} {FROM_4_TO_3}");
    let to_2 = format!("{to_3} {FROM_3_TO_2}");
    let to_1 = format!("{to_2} DROP TABLE wrapped; PRAGMA user_version = 1;");
    for older in [TO_6, &to_5, &to_4, &to_3, &to_2, &to_1] {
        is_taken_along(older).await;
    }
}

async fn is_taken_along(older: &str) {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let path = directory.path().join("store.sqlite");
    Connection::open(&path).unwrap().execute_batch(older).unwrap();
    for start in 0..2 {
        let store = open(directory.path());
        assert_eq!(store.read(|rows| rows.tree_size()).unwrap(), 200);
        if start == 0 {
            store.write(|tx| tx.keep_wrapped("seed", b"opaque")).await.unwrap();
        }
        assert_eq!(store.read(|rows| rows.wrapped("seed")).unwrap().as_deref(), Some(b"opaque".as_slice()));
        assert_eq!(store.read(|rows| rows.wrapped("other")).unwrap(), None);
        assert_eq!(store.read(|rows| rows.waited(UnixMillis(i64::MAX), 1)).unwrap(), []);
        assert_eq!(store.read(|rows| rows.ready(RequestId::from_bytes([0; 16]))).unwrap(), []);
        assert_eq!(store.read(|rows| rows.told("ledger")).unwrap(), (start > 0).then_some(7));
        store.write(|tx| tx.put_told("ledger", 7)).await.unwrap();
        assert_eq!(store.read(|rows| rows.renewed("seed")).unwrap(), (start > 0).then(|| b"anew 0".to_vec()));
        store.write(move |tx| tx.renew("seed", format!("anew {start}").as_bytes())).await.unwrap();
        assert_eq!(store.read(|rows| rows.renewals("seed")).unwrap().len(), start + 1);
        let again = store.write(|tx| tx.keep_wrapped("seed", b"another")).await;
        assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
        assert_eq!(use_nonce(&store, "c").await, start == 0, "a nonce is used once, also over a restart");
        assert!(use_nonce(&store, &format!("other-{start}")).await, "each client has its own");
        store.close().await;
    }
    let changed = Connection::open(&path).unwrap();
    for sql in [
        "UPDATE wrapped SET record = x'00'",
        "DELETE FROM wrapped",
        "UPDATE renewal SET record = x'00'",
        "DELETE FROM renewal",
        "INSERT INTO renewal VALUES ('seed', 2, x'00')",
        "INSERT INTO renewal VALUES ('seed', 4, x'00')",
        "UPDATE nonce SET nonce = 'other'",
        "DELETE FROM nonce",
    ] {
        assert!(changed.execute_batch(sql).is_err(), "{sql}");
    }
}

async fn use_nonce(store: &Store, client: &str) -> bool {
    let client = client.parse().unwrap();
    let used = store.write(move |tx| tx.use_nonce(&Tenant::default(), &client, "a nonce of a client"));
    used.await.unwrap().into_inner()
}

#[test]
fn what_is_not_a_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
    assert!(matches!(try_open(directory.path()), Err(StoreError::Foreign { .. })));
    std::fs::write(&path, [b'x'; 8_192]).unwrap();
    assert!(matches!(try_open(directory.path()), Err(StoreError::Foreign { .. })));
}

#[tokio::test]
async fn damage_is_seen_at_start() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let path = directory.path().join("store.sqlite");
    let whole = std::fs::read(&path).unwrap();
    for page in [2, 4, whole.len() / 4_096 - 1] {
        let mut damaged = whole.clone();
        damaged[page * 4_096..page * 4_096 + 64].fill(0xff);
        std::fs::write(&path, &damaged).unwrap();
        let error = try_open(directory.path()).err();
        assert!(matches!(error, Some(StoreError::Damaged { .. })), "page {page}: {error:?}");
    }
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(try_open(directory.path()).is_err(), "half a file opened");
    std::fs::write(&path, &whole).unwrap();
    assert!(try_open(directory.path()).is_ok());
}

#[tokio::test]
async fn a_log_with_a_hole_does_not_open() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    Connection::open(directory.path().join("store.sqlite"))
        .unwrap()
        .execute_batch("PRAGMA foreign_keys = OFF; DROP TRIGGER leaf_stays; DELETE FROM leaf WHERE idx = 100")
        .unwrap();
    assert!(matches!(try_open(directory.path()), Err(StoreError::Damaged { .. })));
}
