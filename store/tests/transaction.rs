//! Jobs, batches and answers through the public door.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use chancery_core::limit::{COMMIT_JOBS, WRITER_QUEUE};
use chancery_core::{Code, RequestId};
use chancery_store::{Observer, RequestState, Store, StoreError, Tx};
use fixture::{Heard, finish, open, record, request};
use tokio::task::JoinHandle;

/// Holds the writer inside a job until the sender is dropped, so that what is queued next becomes one batch.
async fn hold(store: &Store) -> (mpsc::Sender<()>, JoinHandle<()>) {
    let (release, held) = mpsc::channel::<()>();
    let (entered, inside) = tokio::sync::oneshot::channel();
    let store = store.clone();
    let job = tokio::spawn(async move {
        let job = move |_: &mut Tx<'_>| -> Result<(), StoreError> {
            entered.send(()).unwrap();
            let _ = held.recv();
            Ok(())
        };
        store.write(job).await.unwrap();
    });
    inside.await.unwrap();
    (release, job)
}

async fn queued(store: &Store, jobs: usize) {
    while store.health().waiting < jobs {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answered_job_is_there_for_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let row = store
        .write(|tx| record(tx, request("k", RequestState::Permitted, 7)))
        .await
        .unwrap_or_else(|error: StoreError| panic!("{error}"))
        .into_inner();
    let id = row.id;
    store.write(move |tx| finish(tx, id, RequestState::Released)).await.unwrap();
    store.close().await;

    let store = open(directory.path());
    let found = store.read(|rows| rows.request(id)).unwrap().unwrap();
    assert_eq!(found.state, RequestState::Released);
    assert_eq!((found.decision_leaf, found.outcome_leaf), (Some(0), Some(1)));
    assert_eq!(found.record, row.record);
    assert_eq!(found.released.as_deref(), Some(&b"signature"[..]));
    assert_eq!(store.read(|rows| rows.tree_size()).unwrap(), 2);
    assert_eq!(store.read(|rows| rows.newest_time()).unwrap().0, 7);
}

#[tokio::test]
async fn one_key_names_one_request_and_a_freed_key_names_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let first = store
        .write(|tx| record(tx, request("k", RequestState::Permitted, 1)))
        .await
        .unwrap_or_else(|error: StoreError| panic!("{error}"))
        .into_inner();
    let again = store.write(|tx| record(tx, request("k", RequestState::Permitted, 2))).await;
    assert!(matches!(again, Err(StoreError::KeyTaken)), "{again:?}");
    assert_eq!(again.unwrap_err().code(), Code::IdempotencyConflict);

    let mut other = request("k", RequestState::Permitted, 2);
    other.client = "other".parse().unwrap();
    store.write(move |tx| record(tx, other)).await.unwrap();

    let id = first.id;
    let early = store.write(move |tx| tx.free_key(id)).await;
    assert!(matches!(early, Err(StoreError::Refused { .. })), "a key in use was freed: {early:?}");
    store
        .write(move |tx| {
            finish(tx, id, RequestState::Failed)?;
            tx.free_key(id)
        })
        .await
        .unwrap();
    let next = store.write(|tx| record(tx, request("k", RequestState::Permitted, 3))).await.unwrap();
    let key = "k".parse().unwrap();
    let found = store
        .read(|rows| rows.request_by_key(&next.get().tenant, &next.get().client, &key))
        .unwrap()
        .unwrap();
    assert_eq!(found.id, next.get().id);
    assert_eq!(store.read(|rows| rows.request(id)).unwrap().unwrap().idempotency_key, None);

    let id = next.get().id;
    store.write(move |tx| finish(tx, id, RequestState::Released)).await.unwrap();
    let late = store.write(move |tx| tx.free_key(id)).await;
    assert!(matches!(late, Err(StoreError::Refused { .. })), "a released key could sign twice: {late:?}");
}

#[tokio::test]
async fn a_failing_job_takes_back_its_own_rows_and_indexes_only() {
    let directory = tempfile::tempdir().unwrap();
    let heard = Heard::default();
    let store = Store::open(directory.path(), Box::new(heard.clone())).unwrap();
    let (release, held) = hold(&store).await;
    let mut jobs = Vec::new();
    for n in 0..9_u8 {
        let store = store.clone();
        jobs.push(tokio::spawn(async move {
            store
                .write(move |tx| -> Result<u64, StoreError> {
                    let row = record(tx, request(&format!("k{n}"), RequestState::Permitted, i64::from(n)))?;
                    tx.reserve(row.id, "counter", row.decided_ms, 60_000, 1)?;
                    match n % 3 {
                        0 => Ok(row.decision_leaf.unwrap()),
                        1 => Err(StoreError::Unknown { kind: "test" }),
                        _ => panic!("a job that panics"),
                    }
                })
                .await
        }));
    }
    queued(&store, 9).await;
    drop(release);
    held.await.unwrap();
    let mut indexes = Vec::new();
    for (n, job) in jobs.into_iter().enumerate() {
        match (n % 3, job.await.unwrap()) {
            (0, Ok(index)) => indexes.push(index.into_inner()),
            (1, Err(StoreError::Unknown { kind: "test" })) | (2, Err(StoreError::JobPanicked)) => {}
            (_, other) => panic!("job {n}: {other:?}"),
        }
    }
    assert_eq!(indexes, [0, 1, 2], "an index was lost or given twice");
    assert_eq!(store.health().commits, 2, "the nine jobs were not one batch, so this test shows nothing");
    assert_eq!(heard.leaves().len(), 3, "the observer heard of leaves that were taken back");
    let (size, rows) =
        store.read(|rows| Ok((rows.tree_size()?, rows.unresolved(COMMIT_JOBS)?.len()))).unwrap();
    assert_eq!((size, rows), (3, 3));
    let now = chancery_core::UnixMillis(10);
    let spent = store.write(move |tx| tx.spent("counter", now, 60_000)).await.unwrap();
    assert_eq!(*spent.get(), 3, "a job that failed left a reservation");
}

#[tokio::test]
async fn a_job_sees_what_the_jobs_before_it_in_the_batch_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (release, held) = hold(&store).await;
    let mut jobs = Vec::new();
    for _ in 0..8 {
        let store = store.clone();
        jobs.push(tokio::spawn(async move {
            store
                .write(|tx| -> Result<Option<RequestId>, StoreError> {
                    let row = request("same", RequestState::Permitted, 1);
                    let key = row.idempotency_key.clone().unwrap();
                    if let Some(first) = tx.request_by_key(&row.tenant, &row.client, &key)? {
                        return Ok(Some(first.id));
                    }
                    record(tx, row).map(|_| None)
                })
                .await
                .unwrap()
                .into_inner()
        }));
    }
    queued(&store, 8).await;
    drop(release);
    held.await.unwrap();
    let mut firsts = 0;
    for job in jobs {
        firsts += usize::from(job.await.unwrap().is_none());
    }
    assert_eq!(firsts, 1, "two requests of one batch took the same key");
}

/// Counts the leaves it heard of, for a job's caller to look at.
struct Counter(Arc<AtomicU64>);

impl Observer for Counter {
    fn committed(&mut self, first_index: u64, leaf_hashes: &[[u8; 32]]) {
        self.0.store(first_index + leaf_hashes.len() as u64, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn the_observer_hears_before_the_caller() {
    let directory = tempfile::tempdir().unwrap();
    let size = Arc::new(AtomicU64::new(0));
    let store = Store::open(directory.path(), Box::new(Counter(Arc::clone(&size)))).unwrap();
    for _ in 0..50 {
        let index = store.write(|tx| tx.append_leaf(b"x", &[3; 32])).await.unwrap().into_inner();
        assert!(size.load(Ordering::SeqCst) > index, "leaf {index} was answered before the tree had it");
    }
}

#[tokio::test]
async fn a_full_queue_answers_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (release, held) = hold(&store).await;
    let mut jobs = Vec::new();
    for _ in 0..WRITER_QUEUE {
        let store = store.clone();
        jobs.push(tokio::spawn(async move { store.write(|_| Ok::<_, StoreError>(())).await.map(|_| ()) }));
    }
    queued(&store, WRITER_QUEUE).await;
    let over = store.write(|_| Ok::<_, StoreError>(())).await;
    assert!(matches!(over, Err(StoreError::Overloaded)), "{over:?}");
    drop(release);
    held.await.unwrap();
    for job in jobs {
        job.await.unwrap().unwrap();
    }
    store.write(|_| Ok::<_, StoreError>(())).await.unwrap();
}

#[tokio::test]
async fn closing_finishes_what_waits_and_refuses_what_comes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (release, held) = hold(&store).await;
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.write(|tx| tx.append_leaf(b"x", &[0; 32])).await.map(|_| ()) }
    });
    queued(&store, 1).await;
    let closing = tokio::spawn(store.clone().close());
    queued(&store, 2).await;
    drop(release);
    held.await.unwrap();
    waiting.await.unwrap().unwrap();
    closing.await.unwrap();
    let late = store.write(|_| Ok::<_, StoreError>(())).await;
    assert!(matches!(late, Err(StoreError::Closed)), "{late:?}");
    assert!(matches!(store.read(|rows| rows.tree_size()), Err(StoreError::Closed)));
    assert!(!store.health().is_green());
    let wal = std::fs::metadata(directory.path().join("store.sqlite-wal"));
    assert!(wal.is_err(), "the WAL was not emptied into the database");
    assert_eq!(open(directory.path()).read(|rows| rows.tree_size()).unwrap(), 1);
}

#[tokio::test]
async fn a_reader_keeps_its_snapshot_and_survives_a_panic() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.write(|tx| tx.append_leaf(b"0", &[0; 32])).await.unwrap();
    let (start, started) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let reader = std::thread::spawn({
        let store = store.clone();
        move || {
            store
                .read(|rows| {
                    let before = rows.tree_size()?;
                    start.send(()).unwrap();
                    gone.recv().unwrap();
                    Ok((before, rows.tree_size()?))
                })
                .unwrap()
        }
    });
    started.recv().unwrap();
    store.write(|tx| tx.append_leaf(b"1", &[1; 32])).await.unwrap();
    go.send(()).unwrap();
    assert_eq!(reader.join().unwrap(), (1, 1), "a snapshot moved");

    for _ in 0..16 {
        let store = store.clone();
        let panicked = std::thread::spawn(move || store.read::<()>(|_| panic!("a reader that panics")));
        assert!(panicked.join().is_err());
    }
    assert_eq!(store.read(|rows| rows.tree_size()).unwrap(), 2, "panics used up the readers");
}

/// Would catch damage that the next good commit makes forgotten.
#[tokio::test]
async fn a_condemned_store_stays_red() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.condemn("log entry 7".to_owned());
    store.condemn("another".to_owned());
    store.write(|_| Ok::<_, StoreError>(())).await.unwrap();
    assert_eq!(store.health().red.as_deref(), Some("log entry 7"));
}
