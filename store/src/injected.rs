//! Faults put in by hand where no disk gives them on demand: a database that may not grow, an fsync error inside a
//! job, an observer that panics.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use chancery_core::Code;
use rusqlite::ffi;

use crate::tx::Tx;
use crate::{Hand, Observer, Store, StoreError};

struct Deaf;

impl Observer for Deaf {
    fn committed(&mut self, _: u64, _: &[[u8; 32]]) {}
}

struct Panics;

impl Observer for Panics {
    fn committed(&mut self, _: u64, _: &[[u8; 32]]) {
        panic!("an observer that panics");
    }
}

fn never(reason: &str) {
    panic!("the process would have ended: {reason}");
}

async fn append(store: &Store, body: &'static [u8]) -> Result<u64, StoreError> {
    store.write(move |tx: &mut Tx<'_>| tx.append_leaf(body, &[0; 32])).await.map(super::Committed::into_inner)
}

fn size(store: &Store) -> u64 {
    store.read(|rows| rows.tree_size()).unwrap()
}

#[tokio::test]
async fn a_full_disk_answers_red_and_the_next_write_tries_again() {
    static LARGE: [u8; 50_000] = [7; 50_000];
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open_with(directory.path(), Box::new(Deaf), never).unwrap();
    assert_eq!(append(&store, b"first").await.unwrap(), 0);
    let pages =
        |pages: u32| move |tx: &mut Tx<'_>| tx.link.script(&format!("PRAGMA max_page_count = {pages}"));
    store.write(pages(1)).await.unwrap();
    let full = append(&store, &LARGE).await.unwrap_err();
    assert!(matches!(full, StoreError::Unavailable { .. } | StoreError::Statement { .. }), "{full:?}");
    assert_eq!(full.code(), Code::StoreUnavailable);
    assert_eq!(size(&store), 1, "a batch that failed left a leaf");
    store.write(pages(1_000_000)).await.unwrap();
    assert_eq!(append(&store, &LARGE).await.unwrap(), 1, "the index of the failed leaf was not used again");
    assert!(store.health().is_green());
}

#[tokio::test]
async fn a_batch_that_sqlite_rolled_back_is_answered_red_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open_with(directory.path(), Box::new(Deaf), never).unwrap();
    let lost = store
        .write(|tx| {
            tx.append_leaf(b"lost", &[0; 32])?;
            tx.link.script("ROLLBACK")
        })
        .await;
    assert!(matches!(lost, Err(StoreError::Unavailable { .. })), "{lost:?}");
    assert!(!store.health().is_green(), "a failed commit left the health green");
    assert_eq!(append(&store, b"next").await.unwrap(), 0);
    assert!(store.health().is_green(), "a good commit left the health red");
}

static ENDED: AtomicU32 = AtomicU32::new(0);

fn count_end(_: &str) {
    ENDED.fetch_add(1, Ordering::SeqCst);
}

async fn ends(directory: &Path, observer: Box<dyn Observer>, fault: Option<i32>) -> Store {
    let before = ENDED.load(Ordering::SeqCst);
    let store = Store::open_with(directory, observer, count_end).unwrap();
    let answer = store
        .write(move |tx| {
            tx.append_leaf(b"x", &[0; 32])?;
            // As if a statement of this job had met the error, and the job had not cared.
            tx.link.inject(fault);
            Ok::<_, StoreError>(())
        })
        .await;
    assert!(matches!(answer, Err(StoreError::Closed)), "answered although durability is unknown: {answer:?}");
    assert_eq!(ENDED.load(Ordering::SeqCst), before + 1);
    assert!(!store.health().is_green());
    assert!(matches!(append(&store, b"y").await, Err(StoreError::Closed)), "the writer went on");
    store
}

#[tokio::test]
async fn an_unknown_durability_ends_the_process_and_answers_nothing() {
    let directory = tempfile::tempdir().unwrap();
    drop(ends(directory.path(), Box::new(Deaf), Some(ffi::SQLITE_IOERR_FSYNC)).await);
    let directory = tempfile::tempdir().unwrap();
    let store = ends(directory.path(), Box::new(Panics), None).await;
    assert_eq!(size(&store), 1, "the leaf is durable; the next start reads it");
}

/// The most frames that the WAL had while a thousand pages, always the same, were written `times` times.
async fn longest_wal(directory: &Path, store: &Store, times: usize) -> u64 {
    let fill = |sql: &'static str| store.write(move |tx: &mut Tx<'_>| tx.link.script(sql));
    fill("CREATE TABLE filler (x BLOB); INSERT INTO filler VALUES (NULL)").await.unwrap();
    let mut longest = 0;
    for _ in 0..times {
        fill("UPDATE filler SET x = randomblob(4000000)").await.unwrap();
        longest = longest.max(std::fs::metadata(directory.join("store.sqlite-wal")).unwrap().len());
    }
    longest / (4_096 + 24)
}

/// Would catch a WAL that nobody brings over, and a connection that stays open.
#[tokio::test]
async fn the_wal_starts_over_once_it_was_brought_over() {
    let directory = tempfile::tempdir().unwrap();
    let (store, hand) = Store::open_by_hand(directory.path(), Box::new(Deaf), never).unwrap();
    let hand = tokio::spawn(hand.write(|| std::future::ready(())));
    let longest = longest_wal(directory.path(), &store, 12).await;
    assert!((4_000..6_000).contains(&longest), "{longest}");
    store.close().await;
    hand.await.unwrap();
    assert!(!directory.path().join("store.sqlite-wal").exists(), "a connection stayed open");
}

/// Would catch a WAL that grows for ever where copying is slow.
#[tokio::test]
async fn the_writer_waits_where_nobody_brings_the_wal_over() {
    let directory = tempfile::tempdir().unwrap();
    let (store, Hand { writer, beside, .. }) =
        Store::open_by_hand(directory.path(), Box::new(Deaf), never).unwrap();
    std::thread::spawn(|| writer.run());
    let longest = longest_wal(directory.path(), &store, 70).await;
    assert!((64_000..66_000).contains(&longest), "{longest}");
    drop(beside);
}
