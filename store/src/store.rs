//! The handle: opens the directory, hands jobs to the writer, lends snapshots to readers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use chancery_core::limit::WRITER_QUEUE;
use tokio::sync::{mpsc, oneshot};

use crate::checkpoint;
use crate::directory::Directory;
use crate::fault::{self, Fatal};
use crate::health::Watch;
use crate::link::Link;
use crate::pool::Pool;
use crate::schema::{self, Found};
use crate::writer::{Hand, Order, Task, Writer};
use crate::{Committed, Health, Observer, Reader, StoreError, Tx};

/// LIMIT: a database that is read as a whole before it is used, in bytes; a larger one would keep the appliance from
/// starting for longer the older it is.
const CHECKED_BYTES: i64 = 256 * 1024 * 1024;

/// The store of one trust domain. Clones share it. When the last one is dropped without [`Store::close`], the writer
/// finishes what waits and lets the directory go a moment later, unseen.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    queue: mpsc::Sender<Order>,
    pool: Pool,
    watch: Arc<Watch>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Store {
    /// Opens the store in `directory`, making both when missing, and checks it: format, pages, log without holes.
    /// The check reads the whole file once. The observer hears of every leaf committed from now on; leaves that are
    /// there already are read with [`Reader::leaf_hashes`].
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it, [`StoreError::FormatNewer`], [`StoreError::Foreign`],
    /// [`StoreError::Damaged`], [`StoreError::NotDurable`], or what the system said.
    pub fn open(directory: &Path, observer: Box<dyn Observer>) -> Result<Self, StoreError> {
        Self::open_with(directory, observer, fault::abort)
    }

    /// [`Self::open`] with another way to end the process, for tests of that end.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        directory: &Path,
        observer: Box<dyn Observer>,
        fatal: Fatal,
    ) -> Result<Self, StoreError> {
        let (store, Hand { writer, beside, alive }) = Self::open_by_hand(directory, observer, fatal)?;
        thread("store-copier", fatal, move || beside.run())?;
        thread("store-writer", fatal, move || {
            writer.run();
            let _ = alive.send(());
        })?;
        Ok(store)
    }

    /// [`Self::open_with`] without the writer's thread: what is written waits for [`Hand::write`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_by_hand(
        directory: &Path,
        observer: Box<dyn Observer>,
        fatal: Fatal,
    ) -> Result<(Self, Hand), StoreError> {
        let directory = Arc::new(Directory::claim(directory)?);
        let link = Link::writer(directory.database())?;
        let found = schema::look(&link, directory.database())?;
        link.make_durable()?;
        match found {
            Found::Empty => schema::create(&link)?,
            Found::Older(steps) => {
                schema::check(&link, CHECKED_BYTES)?;
                schema::migrate(&link, &steps)?;
            }
            Found::Present => {}
        }
        schema::check(&link, CHECKED_BYTES)?;
        // ORDER: before anything is answered from what is there. A crash in here leaves the WAL as it was.
        link.persist()?;
        directory.sync()?;
        let present = Reader { link: &link };
        let (tree_size, newest_ms) = (present.tree_size()?, present.newest_time()?.0);
        let pool = Pool::open(directory.database())?;
        let watch = Arc::new(Watch::default());
        let (queue, orders) = mpsc::channel(WRITER_QUEUE);
        let (alive, ended) = oneshot::channel();
        let (checkpoints, beside) = checkpoint::open(Arc::clone(&directory), Arc::clone(&watch), fatal)?;
        let writer = Writer {
            link,
            queue: orders,
            observer,
            tree_size,
            newest_ms,
            watch: Arc::clone(&watch),
            fatal,
            checkpoints,
            directory,
        };
        let store = Self { inner: Arc::new(Inner { queue, pool, watch, ended: Mutex::new(Some(ended)) }) };
        Ok((store, Hand { writer, beside, alive }))
    }

    /// Runs `job` in the writer and answers after COMMIT returned, so the value is on the disk. An `Err` of the job
    /// undoes the job alone and is answered as it is. A caller that stops waiting does not stop the job.
    ///
    /// # Errors
    /// The job's own, or [`StoreError::Overloaded`], [`StoreError::Closed`], [`StoreError::JobPanicked`],
    /// [`StoreError::Unavailable`] as `E`.
    pub async fn write<T, E>(
        &self,
        job: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<Committed<T>, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.inner.queue.try_send(Order::Run(Box::new(Task::new(job, reply)))).map_err(
            |error| match error {
                mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
            },
        )?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// Reads in one snapshot. Blocks while all readers are lent; `read` should be small and must not call `read`
    /// again. A row can be seen here a moment before the observer hears of its leaf.
    ///
    /// # Errors
    /// What `read` returns, or [`StoreError::Closed`].
    pub fn read<T>(&self, read: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.inner.pool.read(read)
    }

    /// Whether the store can record.
    #[must_use]
    pub fn health(&self) -> Health {
        let waiting = self.inner.queue.max_capacity().saturating_sub(self.inner.queue.capacity());
        let mut health = self.inner.watch.health(waiting);
        if self.inner.queue.is_closed() && health.red.is_none() {
            health.red = Some("the writer has ended".to_owned());
        }
        health
    }

    /// Turns the store red for good: something in it is not what was written. The first finding stays.
    pub fn condemn(&self, finding: String) {
        self.inner.watch.condemn(finding);
    }

    /// Refuses new jobs, finishes those that wait, empties the WAL into the database and lets the directory go.
    /// Other clones answer [`StoreError::Closed`] from then on.
    pub async fn close(self) {
        // A closed queue means the writer is ending already.
        drop(self.inner.queue.send(Order::Close).await);
        let ended = self.inner.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.inner.pool.close();
        if let Some(ended) = ended {
            drop(ended.await);
        }
    }
}

/// A thread without which the house would refuse everything until somebody looked; another process need not.
fn thread(name: &str, fatal: Fatal, work: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let panicked = format!("{name} panicked");
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                fatal(&panicked);
            }
        })
        .map_err(|error| StoreError::file(name, error))?;
    Ok(())
}
