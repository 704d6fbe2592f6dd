//! Timestamps of the published checkpoints by authorities outside, so that nobody here can date the log back. An authority
//! that gives none, or one that does not verify, is told of and asked again; nothing ever waits for it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use chancery_audit::{
    Archive, AuditError, RootsError, Timestamp, TimestampError, TimestampQuery, TimestampRoots, Trust, aside,
};
use chancery_core::config;
use chancery_core::{Clock, ClockError, UnixMillis, causes, limit};

use tokio::task::JoinSet;

use crate::post::{self, Post, PostError};

/// How often it is looked whether there is something new to be timestamped.
const PERIOD: Duration = Duration::from_secs(1);
/// Before an authority that failed is asked again, or `every_s` where that is shorter.
const PAUSE: Duration = Duration::from_secs(60);

/// Why the configured authorities cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum StampingError {
    /// The file of their roots cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It holds no roots.
    #[error("`{path}` holds no roots of a time-stamping authority: {source}")]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: RootsError,
    },
    /// The HTTP client.
    #[error("the time-stamping authorities cannot be reached")]
    Client(#[source] reqwest::Error),
    /// What was kept.
    #[error("the timestamps that are kept cannot be read: {0}")]
    Archive(#[from] AuditError),
}

/// Why a timestamp was not had.
#[derive(Debug, thiserror::Error)]
enum Untold {
    #[error("it cannot be reached: {0}")]
    Away(#[source] PostError),
    #[error("it answered {0}")]
    Status(u16),
    #[error("its timestamp is not to be used: {0}")]
    Wrong(#[from] TimestampError),
    #[error("its time is {0} ms from this machine's")]
    Off(i64),
    #[error("this machine's time is not known: {0}")]
    Clock(#[from] ClockError),
    #[error("no nonce could be drawn")]
    Nonce,
    #[error(transparent)]
    Archive(#[from] AuditError),
}

/// The authorities, and what they timestamped.
pub(crate) struct Stamping {
    archive: Archive,
    authorities: Vec<Authority>,
}

struct Authority {
    post: Post,
    roots: TimestampRoots,
    every: Duration,
    /// Entries under the last checkpoint it timestamped, and when that was; 0 before there is one.
    covered: AtomicU64,
    at_ms: AtomicI64,
    fails: AtomicBool,
}

/// How the timestamps stand, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamped {
    /// How many are kept.
    pub kept: u64,
    /// Entries under the newest timestamped checkpoint.
    pub covered: u64,
    /// When that was, by the authority; 0 before there is one.
    pub newest_ms: i64,
    /// Authorities that did not give one when they were last asked.
    pub failing: u64,
}

impl Stamping {
    /// The configured authorities, none of them asked yet; `None` without any.
    pub fn open(config: &config::Log, trust: &Trust) -> Result<Option<Self>, StampingError> {
        if config.timestamp.is_empty() {
            return Ok(None);
        }
        let client = post::client(limit::TIMESTAMP_MS).map_err(StampingError::Client)?;
        let archive = Archive::open(&config.directory, trust)?;
        let one = |configured: &config::Timestamp| {
            let path = || configured.ca.clone();
            let pem =
                fs::read(&configured.ca).map_err(|source| StampingError::Read { path: path(), source })?;
            let roots = TimestampRoots::from_pem(&pem);
            let roots = roots.map_err(|source| StampingError::Roots { path: path(), source })?;
            let last = archive.last_under(&roots)?;
            let (covered, at_ms) = last.map_or((0, 0), |(size, last)| (size, last.time().0));
            Ok(Authority {
                post: Post {
                    client: client.clone(),
                    url: configured.url.clone(),
                    kind: "application/timestamp-query",
                    answer_bytes: limit::TIMESTAMP_BYTES,
                },
                roots,
                every: Duration::from_secs(configured.every_s),
                covered: covered.into(),
                at_ms: at_ms.into(),
                fails: AtomicBool::new(false),
            })
        };
        let authorities = config.timestamp.iter().map(one).collect::<Result<_, StampingError>>()?;
        Ok(Some(Self { archive, authorities }))
    }

    /// How they stand.
    pub fn standing(&self) -> Stamped {
        let newest = self.authorities.iter().max_by_key(|authority| authority.covered());
        Stamped {
            kept: self.archive.len() as u64,
            covered: newest.map_or(0, Authority::covered),
            newest_ms: newest.map_or(0, |newest| newest.at_ms.load(Ordering::Acquire)),
            failing: self.authorities.iter().filter(|one| one.fails.load(Ordering::Acquire)).count() as u64,
        }
    }
}

impl Authority {
    fn covered(&self) -> u64 {
        self.covered.load(Ordering::Acquire)
    }

    /// Until it may be asked again. A restart does not ask sooner.
    fn rest(&self, clock: &dyn Clock) -> Duration {
        let due = UnixMillis(self.at_ms.load(Ordering::Acquire)).plus_ms(ms(self.every));
        let rest = clock.now().map_or(0, |now| due.0.saturating_sub(now.0));
        Duration::from_millis(u64::try_from(rest).unwrap_or(0)).min(self.every)
    }
}

/// Asks every authority as often as is configured, wherever there is a checkpoint that it has not timestamped.
pub(crate) fn stamp_for_ever(stamping: &Arc<Stamping>, clock: &Arc<dyn Clock>, behind: &mut JoinSet<()>) {
    for at in 0..stamping.authorities.len() {
        let (stamping, clock) = (Arc::clone(stamping), Arc::clone(clock));
        behind.spawn(async move {
            let Some(authority) = stamping.authorities.get(at) else { return };
            loop {
                tokio::time::sleep(authority.rest(&*clock)).await;
                let pause = match stamping.stamp(authority, &*clock).await {
                    Ok(()) => PERIOD,
                    Err(error) => {
                        authority.fails.store(true, Ordering::Release);
                        tracing::warn!(
                            authority = authority.post.url,
                            error = causes(&error),
                            "no timestamp was had"
                        );
                        PAUSE.min(authority.every)
                    }
                };
                tokio::time::sleep(pause).await;
            }
        });
    }
}

impl Stamping {
    /// One timestamp of the newest published checkpoint, verified and kept; nothing where this authority has one of it.
    async fn stamp(self: &Arc<Self>, authority: &Authority, clock: &dyn Clock) -> Result<(), Untold> {
        let published = self.on_disk(Archive::published).await?;
        let Some(checkpoint) = published.filter(|newest| newest.size() > authority.covered()) else {
            return Ok(());
        };
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(|_| Untold::Nonce)?;
        let query = TimestampQuery::new(checkpoint.note().as_bytes(), nonce)?;
        let asked = clock.now()?;
        let (status, response) = authority.post.send(query.der().to_vec()).await.map_err(Untold::Away)?;
        if status != 200 {
            return Err(Untold::Status(status));
        }
        // INVARIANT: what is kept was verified as a stranger verifies it.
        let timestamp = query.answered(&response, &authority.roots)?;
        on_time(&timestamp, asked, clock.now()?)?;
        let (size, at) = (checkpoint.size(), timestamp.time());
        self.on_disk(move |archive| archive.keep(&checkpoint, response)).await?;
        authority.covered.store(size, Ordering::Release);
        authority.at_ms.store(at.0, Ordering::Release);
        authority.fails.store(false, Ordering::Release);
        tracing::info!(entries = size, authority = timestamp.authority(), %at, "the log was timestamped");
        Ok(())
    }

    async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Archive) -> Result<T, AuditError> + Send + 'static,
    ) -> Result<T, AuditError> {
        let stamping = Arc::clone(self);
        aside(move || work(&stamping.archive)).await.unwrap_or(Err(AuditError::Stopping))
    }
}

/// A time that is far off would be on record for ever: one of the two clocks is wrong.
fn on_time(timestamp: &Timestamp, asked: UnixMillis, answered: UnixMillis) -> Result<(), Untold> {
    let time = timestamp.time().0;
    let off = if time < asked.0 { time - asked.0 } else { (time - answered.0).max(0) };
    if off.abs() > limit::TIMESTAMP_SKEW_MS { Err(Untold::Off(off)) } else { Ok(()) }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
