//! Measures recorded decisions a second through the store beside raw SQLite group commit of the same rows, in one run
//! and in turns, so that both meet the same disk. JSON lines on stdout: `{name, value, unit, limit, ratio, goal, met}`.
//! `cargo run --release -p chancery-store --example group_commit -- [seconds per turn] [turns]`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on has nothing to say"
)]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chancery_core::limit::COMMIT_JOBS;
use chancery_core::{RequestId, UnixMillis};
use chancery_store::{Observer, RequestRow, RequestState, Store, StoreError};
use rusqlite::Connection;

/// Sizes of a usual transfer: its leaf, and its intent, salt and decision.
const LEAF: [u8; 700] = [b'l'; 700];
const RECORD: [u8; 1_500] = [b'r'; 1_500];
const WINDOW_MS: i64 = 86_400_000;
const START_MS: i64 = 1_700_000_000_000;

/// The rows of one decision in the plainest tables that hold them: keys, and nothing else.
const BARE: &str = "
    CREATE TABLE leaf (idx INTEGER PRIMARY KEY, hash BLOB, body BLOB);
    CREATE TABLE request (id BLOB PRIMARY KEY, tenant TEXT, client TEXT, wallet TEXT, key TEXT, digest BLOB,
        signing BLOB, state TEXT, decided INTEGER, leaf INTEGER, record BLOB, UNIQUE (tenant, client, key)) WITHOUT ROWID;
    CREATE TABLE bucket (counter TEXT, last INTEGER, amount BLOB, PRIMARY KEY (counter, last)) WITHOUT ROWID;
    CREATE TABLE reservation (request BLOB PRIMARY KEY, counter TEXT, last INTEGER, amount INTEGER) WITHOUT ROWID;";

struct Deaf;

impl Observer for Deaf {
    fn committed(&mut self, _: u64, _: &[[u8; 32]]) {}
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds: f64 = arguments.next().map_or(0.5, |text| text.parse().expect("seconds"));
    let turns: u32 = arguments.next().map_or(15, |text| text.parse().expect("turns"));
    let turn = Duration::from_secs_f64(seconds);
    let directory = tempfile::tempdir_in(".").unwrap();
    let mut raw = Raw::open(directory.path());
    let ours = Ours::open(directory.path());
    let (mut raw_rates, mut our_rates, mut single) = (Vec::new(), Vec::new(), Vec::new());
    let (mut jobs, mut commits) = (0, 0);
    for _ in 0..turns {
        raw_rates.push(raw.run(turn));
        let before = ours.store.health();
        our_rates.push(ours.run(turn, COMMIT_JOBS));
        let after = ours.store.health();
        jobs += after.jobs - before.jobs;
        commits += after.commits - before.commits;
        single.push(ours.run(turn / 2, 1));
    }
    let batch = jobs as f64 / commits.max(1) as f64;
    // Each turn has its own ratio: what else the machine does meets both halves of a turn alike.
    let ratio = median(our_rates.iter().zip(&raw_rates).map(|(ours, raw)| ours / raw).collect());
    let (raw, ours, single) = (median(raw_rates), median(our_rates), median(single));
    row("store_raw_group_commit", raw, None);
    row("store_recorded_decisions", ours, Some((raw, ratio, 0.5)));
    row("store_recorded_decisions_one_client", single, None);
    let mut talk = std::io::stderr();
    writeln!(talk, "{batch:.1} jobs a commit on average").unwrap();
}

/// `against` is the limit, the ratio to it and the goal of that ratio.
fn row(name: &str, value: f64, against: Option<(f64, f64, f64)>) {
    let line = serde_json::json!({
        "name": name,
        "value": value.round(),
        "unit": "decisions/s",
        "limit": against.map(|(limit, ..)| limit.round()),
        "ratio": against.map(|(_, ratio, _)| (ratio * 1_000.0).round() / 1_000.0),
        "goal": against.map(|(.., goal)| format!("ratio >= {goal}")),
        "met": against.map(|(_, ratio, goal)| ratio >= goal),
    });
    let mut out = std::io::stdout();
    writeln!(out, "{line}").unwrap();
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(0.0)
}

struct Raw {
    database: Connection,
    next: i64,
}

impl Raw {
    fn open(directory: &Path) -> Self {
        let database = Connection::open(directory.join("raw.sqlite")).unwrap();
        database.execute_batch("PRAGMA journal_mode = wal; PRAGMA synchronous = FULL").unwrap();
        database.set_prepared_statement_cache_capacity(16);
        database.execute_batch(BARE).unwrap();
        Self { database, next: 0 }
    }

    /// Commits of `COMMIT_JOBS` decisions each, one after another.
    fn run(&mut self, turn: Duration) -> f64 {
        let (start, first) = (Instant::now(), self.next);
        while start.elapsed() < turn {
            self.database.execute_batch("BEGIN IMMEDIATE").unwrap();
            for _ in 0..COMMIT_JOBS {
                self.decision();
            }
            self.database.execute_batch("COMMIT").unwrap();
        }
        (self.next - first) as f64 / start.elapsed().as_secs_f64()
    }

    fn decision(&mut self) {
        let n = self.next;
        self.next += 1;
        let id = *RequestId::fresh().as_bytes();
        let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            self.database.prepare_cached(sql).unwrap().execute(values).unwrap();
        };
        let (key, wallet, zero) = (format!("order-{n}"), format!("wallet-{}", n % 100), [0_u8; 32]);
        let (counter, last) = (format!("daily/wallet={wallet}"), START_MS);
        run("INSERT INTO leaf VALUES (?1, ?2, ?3)", &[&n, &zero, &LEAF]);
        run(
            "INSERT INTO request VALUES (?1, 'default', 'backend', ?2, ?3, ?4, ?4, 'permitted', ?5, ?6, ?7)",
            &[&id, &wallet, &key, &zero, &(START_MS + n), &n, &RECORD],
        );
        run("INSERT INTO reservation VALUES (?1, ?2, ?3, 5)", &[&id, &counter, &last]);
        run(
            "INSERT INTO bucket VALUES (?1, ?2, 5) ON CONFLICT DO UPDATE SET amount = amount + 5",
            &[&counter, &last],
        );
    }
}

struct Ours {
    store: Store,
    runtime: tokio::runtime::Runtime,
    next: Arc<AtomicU64>,
}

impl Ours {
    fn open(directory: &Path) -> Self {
        Self {
            store: Store::open(&directory.join("store"), Box::new(Deaf)).unwrap(),
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap(),
            next: Arc::default(),
        }
    }

    /// `clients` that each wait for their answer before they ask again.
    fn run(&self, turn: Duration, clients: usize) -> f64 {
        let stop = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        let tasks: Vec<_> = (0..clients)
            .map(|_| {
                let (store, next, stop) = (self.store.clone(), Arc::clone(&self.next), Arc::clone(&stop));
                self.runtime.spawn(async move {
                    let mut recorded = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        decide(&store, next.fetch_add(1, Ordering::Relaxed)).await.unwrap();
                        recorded += 1;
                    }
                    recorded
                })
            })
            .collect();
        std::thread::sleep(turn);
        stop.store(true, Ordering::Relaxed);
        let recorded: u64 = tasks.into_iter().map(|task| self.runtime.block_on(task).unwrap()).sum();
        recorded as f64 / start.elapsed().as_secs_f64()
    }
}

/// What the deciding step does: look for the key, look at the limit, record, reserve.
async fn decide(store: &Store, n: u64) -> Result<(), StoreError> {
    let now = UnixMillis(START_MS + n as i64);
    let row = RequestRow {
        id: RequestId::fresh(),
        tenant: chancery_core::Tenant::default(),
        client: "backend".parse().unwrap(),
        wallet: format!("wallet-{}", n % 100).parse().unwrap(),
        idempotency_key: Some(format!("order-{n}").parse().unwrap()),
        request_digest: [0; 32],
        state: RequestState::Permitted,
        decided_ms: now,
        expires_ms: None,
        signing_digest: [0; 32],
        decision_leaf: None,
        outcome_leaf: None,
        record: RECORD.to_vec(),
        released: None,
    };
    let job = move |tx: &mut chancery_store::Tx<'_>| -> Result<(), StoreError> {
        let mut row = row;
        if let Some(key) = &row.idempotency_key
            && tx.request_by_key(&row.tenant, &row.client, key)?.is_some()
        {
            return Err(StoreError::KeyTaken);
        }
        let counter = format!("daily/wallet={}", row.wallet);
        tx.spent(&counter, now, WINDOW_MS)?;
        row.decision_leaf = Some(tx.append_leaf(&LEAF, &[0; 32])?);
        tx.insert_request(&row)?;
        tx.reserve(row.id, &counter, now, WINDOW_MS, 5)
    };
    store.write(job).await.map(|_| ())
}
