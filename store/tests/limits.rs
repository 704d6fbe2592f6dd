//! Sliding windows against an exact model that remembers every reservation.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod fixture;

use chancery_core::{RequestId, UnixMillis};
use chancery_store::{RequestState, StoreError, bucket_width_ms};
use fixture::{open, record, request};
use proptest::prelude::*;

/// One thing that happens; `of` picks an earlier request.
#[derive(Clone, Debug)]
enum Step {
    Reserve { after_ms: i64, counter: usize, amount: i64 },
    GiveBack { of: usize },
    Settle { of: usize },
    Wait { ms: i64 },
}

fn step(window: i64) -> impl Strategy<Value = Step> {
    let pause = prop_oneof![0..50_i64, 0..window * 2];
    prop_oneof![
        4 => (pause.clone(), 0..2_usize, prop_oneof![0..1_000_i64, Just(i64::MAX)])
            .prop_map(|(after_ms, counter, amount)| Step::Reserve { after_ms, counter, amount }),
        2 => (0..64_usize).prop_map(|of| Step::GiveBack { of }),
        1 => (0..64_usize).prop_map(|of| Step::Settle { of }),
        1 => pause.prop_map(|ms| Step::Wait { ms }),
    ]
}

struct Held {
    id: RequestId,
    at: i64,
    counter: usize,
    amount: i64,
    settled: bool,
}

const COUNTERS: [&str; 2] = ["daily/wallet=a", "daily/wallet=b"];

fn exact(held: &[Held], counter: usize, oldest: i64) -> i64 {
    let sum: i128 = held
        .iter()
        .filter(|one| one.counter == counter && one.at >= oldest)
        .map(|one| i128::from(one.amount))
        .sum();
    i64::try_from(sum).unwrap_or(i64::MAX)
}

fn follows_the_model(window: i64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        // One transaction holds the whole case: limits do not depend on commits.
        store
            .write(move |tx| -> Result<Result<(), TestCaseError>, StoreError> {
                let mut now = 1_700_000_000_000;
                let mut held: Vec<Held> = Vec::new();
                for (n, step) in steps.into_iter().enumerate() {
                    match step {
                        Step::Wait { ms } => now += ms,
                        Step::Reserve { after_ms, counter, amount } => {
                            now += after_ms;
                            let row = record(tx, request(&format!("k{n}"), RequestState::Permitted, now))?;
                            tx.reserve(row.id, COUNTERS[counter], UnixMillis(now), window, amount)?;
                            held.push(Held { id: row.id, at: now, counter, amount, settled: false });
                        }
                        Step::GiveBack { of } if of < held.len() => {
                            tx.give_back(held[of].id)?;
                            tx.give_back(held[of].id)?;
                            if !held[of].settled {
                                held[of].amount = 0;
                            }
                        }
                        Step::Settle { of } if of < held.len() => {
                            tx.settle(held[of].id)?;
                            held[of].settled = true;
                        }
                        Step::GiveBack { .. } | Step::Settle { .. } => {}
                    }
                    for (counter, name) in COUNTERS.iter().enumerate() {
                        let spent = tx.spent(name, UnixMillis(now), window)?;
                        let least = exact(&held, counter, now - window);
                        let most = exact(&held, counter, now - window - bucket_width_ms(window));
                        if !(least..=most).contains(&spent) {
                            return Ok(Err(TestCaseError::fail(format!(
                                "step {n}: spent {spent}, exact {least}, with one bucket more {most}"
                            ))));
                        }
                    }
                }
                Ok(Ok(()))
            })
            .await
            .unwrap()
            .into_inner()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_less_than_the_window_and_at_most_one_bucket_more(
        (window, steps) in prop_oneof![Just(1_000), Just(60_000), Just(64_001), Just(86_400_000_i64)]
            .prop_flat_map(|window| (Just(window), prop::collection::vec(step(window), 1..64)))
    ) {
        follows_the_model(window, steps)?;
    }
}

#[tokio::test]
async fn what_saturates_is_still_given_back_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store
        .write(|tx| -> Result<(), StoreError> {
            let now = UnixMillis(1_000_000);
            let mut ids = Vec::new();
            for n in 0..3 {
                let row = record(tx, request(&format!("k{n}"), RequestState::Permitted, now.0))?;
                tx.reserve(row.id, "c", now, 60_000, i64::MAX)?;
                ids.push(row.id);
            }
            assert_eq!(tx.spent("c", now, 60_000)?, i64::MAX);
            tx.give_back(ids[0])?;
            assert_eq!(
                tx.spent("c", now, 60_000)?,
                i64::MAX,
                "two unlimited reservations became less than one"
            );
            tx.settle(ids[1])?;
            tx.give_back(ids[1])?;
            tx.give_back(ids[2])?;
            assert_eq!(tx.spent("c", now, 60_000)?, i64::MAX, "a settled reservation was given back");
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn nonsense_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store
        .write(|tx| -> Result<(), StoreError> {
            let now = UnixMillis(1);
            let id = record(tx, request("k", RequestState::Permitted, 1))?.id;
            let out = |answer: Result<(), StoreError>| matches!(answer, Err(StoreError::OutOfRange { .. }));
            assert!(
                out(tx.reserve(id, "c", now, 60_000, -1)),
                "a negative amount would free what others hold"
            );
            assert!(out(tx.reserve(id, "c", now, 0, 1)));
            assert!(out(tx.reserve(id, &"c".repeat(2_000), now, 1, 1)));
            assert!(out(tx.spent("c", now, -1).map(|_| ())));
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn what_left_its_window_is_swept_and_the_rest_stays() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store
        .write(|tx| -> Result<(), StoreError> {
            for n in 0..2_000_i64 {
                let now = UnixMillis(n * 500);
                let row = record(tx, request(&format!("k{n}"), RequestState::Permitted, now.0))?;
                tx.reserve(row.id, &format!("counter {}", n % 50), now, 10_000, 1)?;
                if n % 2 == 0 {
                    tx.settle(row.id)?;
                }
            }
            Ok(())
        })
        .await
        .unwrap();
    store.close().await;
    let database = rusqlite::Connection::open(directory.path().join("store.sqlite")).unwrap();
    let count = |table: &str| -> i64 {
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    let (buckets, reservations) = (count("limit_bucket"), count("reservation"));
    assert!((20..=60).contains(&buckets), "{buckets} buckets of 2,000 stay for a window that holds 20");
    assert!((20..=60).contains(&reservations), "{reservations} reservations stay");
}
