//! The one thread that writes. It takes what waits, runs each job in a savepoint, commits once, tells the observer and
//! only then answers: every answer stands on a synced WAL. Wrong here: an answer for rows a power loss takes back.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery_core::limit::COMMIT_JOBS;
use rusqlite::ffi;
use tokio::sync::{mpsc, oneshot};

use crate::checkpoint::{Beside, Checkpoints};
use crate::directory::Directory;
use crate::fault::{self, Fatal, Phase, Verdict};
use crate::health::Watch;
use crate::link::Link;
use crate::tx::{Ledger, Tx};
use crate::{Observer, StoreError};

const NEWEST: &str = "UPDATE store SET newest_ms = ?1 WHERE one = 1";

/// LIMIT: how long a batch waits for those who are likely to ask next.
const GATHERING: Duration = Duration::from_millis(1);

/// Evidence that the job which made this value is on the disk. Only the writer makes it, after COMMIT returned.
#[derive(Debug)]
pub struct Committed<T>(T);

impl<T> Committed<T> {
    /// What the job returned.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// The same, giving up the evidence.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T, U> Committed<(T, U)> {
    /// The first part with the evidence, the second without.
    pub fn split(self) -> (Committed<T>, U) {
        (Committed(self.0.0), self.0.1)
    }
}

impl<T> Committed<Option<T>> {
    /// The evidence for what is there.
    pub fn transpose(self) -> Option<Committed<T>> {
        self.0.map(Committed)
    }
}

/// A job as the writer sees it.
pub(crate) trait Job: Send {
    /// Runs it; true to keep what it wrote.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Answers it, once the fate of its batch is known.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

/// What waits in the queue.
pub(crate) enum Order {
    Run(Box<dyn Job>),
    Close,
}

/// A job, its outcome while the commit is under way, and who waits for it.
pub(crate) struct Task<F, T, E> {
    work: Option<F>,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<Committed<T>, E>>,
}

impl<F, T, E> Task<F, T, E> {
    pub(crate) fn new(work: F, reply: oneshot::Sender<Result<Committed<T>, E>>) -> Self {
        Self { work: Some(work), outcome: None, reply }
    }
}

impl<F, T, E> Job for Task<F, T, E>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let Some(work) = self.work.take() else { return false };
        let outcome = catch_unwind(AssertUnwindSafe(|| work(tx)))
            .unwrap_or_else(|_| Err(StoreError::JobPanicked.into()));
        self.outcome.insert(outcome).is_ok()
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => outcome.map(Committed),
            (Ok(()), None) => Err(StoreError::Closed.into()),
            // Also for a job that failed: what it saw may have been a row that is gone now.
            (Err(error), _) => Err(error.into()),
        };
        // Whoever asked may have left; the row stays and a retry finds it.
        drop(self.reply.send(answer));
    }
}

/// Why there is no batch after this one.
enum Last {
    /// It was told to close.
    Closed,
    /// Durability is unknown.
    Ended,
}

/// The writer without its thread: it commits where its caller awaits [`Hand::write`]. For simulations, in which one
/// thread does everything in an order that a seed gives.
pub struct Hand {
    pub(crate) writer: Writer,
    pub(crate) beside: Beside,
    pub(crate) alive: oneshot::Sender<()>,
}

impl Hand {
    /// Works as the thread does; `gather` is awaited between the first job of a batch and the taking of the others.
    pub async fn write<F: Future<Output = ()>>(mut self, mut gather: impl FnMut() -> F) {
        while let Some(first) = self.writer.queue.recv().await {
            gather().await;
            match self.writer.turn(first) {
                ControlFlow::Continue(_) if self.beside.turn().is_break() => return,
                ControlFlow::Continue(_) => {}
                ControlFlow::Break(Last::Closed) => break,
                ControlFlow::Break(Last::Ended) => return,
            }
        }
        self.writer.leave();
        let _ = self.alive.send(());
    }
}

pub(crate) struct Writer {
    pub(crate) link: Link,
    pub(crate) queue: mpsc::Receiver<Order>,
    pub(crate) observer: Box<dyn Observer>,
    pub(crate) tree_size: u64,
    pub(crate) newest_ms: i64,
    pub(crate) watch: Arc<Watch>,
    pub(crate) fatal: Fatal,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) directory: Arc<Directory>,
}

impl Writer {
    /// Works until told to close or until every handle is gone; then empties the WAL and lets the directory go.
    pub(crate) fn run(mut self) {
        let (mut likely, mut took) = (0, Duration::ZERO);
        while let Some(first) = self.queue.blocking_recv() {
            self.gather(likely, took);
            let started = Instant::now();
            match self.turn(first) {
                // Who was answered asks next, and who asked meanwhile waits: a lone client never does.
                ControlFlow::Continue(jobs) => likely = jobs + self.queue.len(),
                ControlFlow::Break(Last::Closed) => break,
                ControlFlow::Break(Last::Ended) => return,
            }
            took = started.elapsed();
        }
        self.leave();
    }

    /// Waits until `likely` jobs have come, for a part of what a commit takes: one for many costs little more than one for
    /// a few, and who just misses it waits for all of it.
    fn gather(&self, likely: usize, commit: Duration) {
        let step = (commit / 4).min(GATHERING) / 4;
        for _ in 0..4 {
            if self.queue.len() + 1 >= likely.min(COMMIT_JOBS) {
                return;
            }
            std::thread::sleep(step);
        }
    }

    /// The first order of a batch and what waits behind it, committed. Answers how many jobs that were.
    fn turn(&mut self, first: Order) -> ControlFlow<Last, usize> {
        let mut batch = Vec::with_capacity(COMMIT_JOBS);
        let mut next = Some(first);
        let mut closing = false;
        while let Some(order) = next.take() {
            match order {
                Order::Run(job) => batch.push(job),
                Order::Close => closing = true,
            }
            if !closing && batch.len() < COMMIT_JOBS {
                next = self.queue.try_recv().ok();
            }
        }
        let jobs = batch.len();
        if !batch.is_empty() && self.commit(batch).is_break() {
            return ControlFlow::Break(Last::Ended);
        }
        if closing {
            return ControlFlow::Break(Last::Closed);
        }
        if self.checkpoints.when_due(&self.link).is_break() {
            return ControlFlow::Break(Last::Ended);
        }
        ControlFlow::Continue(jobs)
    }

    fn leave(self) {
        if self.checkpoints.close().is_break() {
            return;
        }
        if let Err(error) = self.link.close() {
            tracing::warn!(%error, "the store's last connection did not close cleanly");
        }
        drop(self.directory);
    }

    /// One batch: all of it on the disk and answered, or none of it.
    fn commit(&mut self, mut batch: Vec<Box<dyn Job>>) -> ControlFlow<()> {
        let mut ledger =
            Ledger { first_index: self.tree_size, leaf_hashes: Vec::new(), newest_ms: self.newest_ms };
        if let Err((phase, error)) = self.work(&mut batch, &mut ledger) {
            return self.undo(batch, phase, error);
        }
        // ORDER: COMMIT has synced the WAL. A crash from here on leaves rows whose answers never went out; the next
        // start finds them. The tree hears of the leaves before anybody can ask for a proof of them.
        self.tree_size = self.tree_size.saturating_add(ledger.leaf_hashes.len() as u64);
        self.newest_ms = ledger.newest_ms;
        if !ledger.leaf_hashes.is_empty() {
            let observer = &mut self.observer;
            let told = catch_unwind(AssertUnwindSafe(|| {
                observer.committed(ledger.first_index, &ledger.leaf_hashes);
            }));
            if told.is_err() {
                return self.end("the observer of the log panicked");
            }
        }
        self.watch.committed(batch.len());
        for job in batch {
            job.answer(Ok(()));
        }
        ControlFlow::Continue(())
    }

    /// BEGIN, every job in its savepoint, COMMIT.
    fn work(&self, batch: &mut [Box<dyn Job>], ledger: &mut Ledger) -> Result<(), (Phase, rusqlite::Error)> {
        let work = |error| (Phase::Work, error);
        self.link.take_fault();
        self.link.control("BEGIN IMMEDIATE").map_err(work)?;
        for job in batch {
            let mark = ledger.mark();
            self.link.control("SAVEPOINT job").map_err(work)?;
            let keep = job.run(&mut Tx { link: &self.link, ledger });
            let fault = self.link.take_fault();
            // After some errors SQLite has rolled back everything, the jobs before this one too.
            if self.link.is_idle()
                || fault.is_some_and(|code| fault::verdict(Phase::Work, code) == Verdict::End)
            {
                let code = fault.unwrap_or(ffi::SQLITE_ABORT_ROLLBACK);
                return Err(work(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)));
            }
            if !keep {
                self.link.control("ROLLBACK TO job").map_err(work)?;
                ledger.back_to(mark);
            }
            self.link.control("RELEASE job").map_err(work)?;
        }
        if ledger.newest_ms > self.newest_ms {
            self.link.plain(NEWEST, [ledger.newest_ms]).map_err(work)?;
        }
        self.link.control("COMMIT").map_err(|error| (Phase::Commit, error))
    }

    /// Nothing of the batch stays, or the process ends because that cannot be known.
    fn undo(&mut self, batch: Vec<Box<dyn Job>>, phase: Phase, error: rusqlite::Error) -> ControlFlow<()> {
        if fault::verdict(phase, fault::extended(&error)) == Verdict::End {
            return self.end(&format!("the store met an I/O error: {error}"));
        }
        if !self.link.is_idle()
            && let Err(error) = self.link.control("ROLLBACK")
        {
            return self.end(&format!("the store cannot roll back: {error}"));
        }
        tracing::error!(%error, jobs = batch.len(), "a batch was rolled back");
        self.watch.failed(error.to_string());
        let source = Arc::new(error);
        for job in batch {
            job.answer(Err(StoreError::Unavailable { source: Arc::clone(&source) }));
        }
        ControlFlow::Continue(())
    }

    fn end(&self, reason: &str) -> ControlFlow<()> {
        self.watch.failed(reason.to_owned());
        (self.fatal)(reason);
        ControlFlow::Break(())
    }
}
