//! Writes the log's static files at most once a second, beside the requests and never in their way.
//! ORDER: tiles and entries, then `head`, then `checkpoint`. A crash in between leaves files that the next start
//! completes or overwrites with the same bytes; a checkpoint on disk always has its tiles. Missing witnesses hold up
//! `checkpoint`, which is for strangers, and never `head`, which is what this log remembers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::AuditError;
use crate::aside::aside;
use crate::checkpoint::SignedCheckpoint;
use crate::files::{Files, Resource};
use crate::log::{Inner, Log};
use crate::tile::WIDTH;
use crate::tree::Tree;

const EVERY: Duration = Duration::from_secs(1);
/// LIMIT: files made durable together.
const FILES_AT_ONCE: usize = 64;

pub(crate) async fn every_second(log: Log, mut stop: watch::Receiver<bool>) -> Result<(), AuditError> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopping = tokio::select! {
            // A keeper that was dropped ends the publishing as well.
            _ = stop.wait_for(|stop| *stop) => true,
            _ = ticks.tick() => false,
        };
        let result = publish_newest(&log, stopping).await;
        log.inner.publishing_fails.store(result.is_err(), Ordering::Release);
        match result {
            result if stopping => return result,
            Err(error) => tracing::error!(%error, "the log's files could not be written; trying again"),
            Ok(()) => {}
        }
    }
}

async fn publish_newest(log: &Log, stopping: bool) -> Result<(), AuditError> {
    let inner = &log.inner;
    let checkpointed = inner.checkpointed.load(Ordering::Acquire);
    let Some(last) = inner.tree.size().checked_sub(1).filter(|last| *last >= checkpointed) else {
        return Ok(());
    };
    match log.checkpoint_covering(last).await {
        Ok(checkpoint) => {
            remember(log, &checkpoint).await?;
            let uninvited = inner.trust.quorum() == 0 && !inner.seats.is_empty() && !stopping;
            let checkpoint = if uninvited { log.invite(checkpoint).await } else { checkpoint };
            let writing = Arc::clone(inner);
            blocking(move || {
                let note = checkpoint.note().as_bytes().to_vec();
                writing.files.write(&[(Files::CHECKPOINT.to_owned(), note)])?;
                writing.checkpointed.store(checkpoint.size(), Ordering::Release);
                Ok(())
            })
            .await
        }
        Err(error) => {
            if let Some(signed) = log.signed() {
                remember(log, &signed).await?;
            }
            Err(error)
        }
    }
}

/// Writes the tiles under a checkpoint, and then the checkpoint as the remembered head.
async fn remember(log: &Log, checkpoint: &Arc<SignedCheckpoint>) -> Result<(), AuditError> {
    let from = log.inner.published.load(Ordering::Acquire);
    let (inner, checkpoint) = (Arc::clone(&log.inner), Arc::clone(checkpoint));
    if checkpoint.size() <= from {
        return Ok(());
    }
    blocking(move || publish(&inner, from, &checkpoint)).await
}

async fn blocking(work: impl FnOnce() -> Result<(), AuditError> + Send + 'static) -> Result<(), AuditError> {
    aside(work).await.unwrap_or(Err(AuditError::Stopping))
}

fn publish(inner: &Inner, from: u64, checkpoint: &SignedCheckpoint) -> Result<(), AuditError> {
    let changes = Tree::changes(from, checkpoint.size());
    for resources in changes.chunks(FILES_AT_ONCE) {
        let mut writes = Vec::new();
        for resource in resources {
            if let Some(bytes) = inner.tree.resource(*resource)? {
                writes.push((resource.path(), bytes));
            }
        }
        inner.files.write(&writes)?;
    }
    let note = checkpoint.note().as_bytes().to_vec();
    inner.files.write(&[(Files::HEAD.to_owned(), note)])?;
    inner.published.store(checkpoint.size(), Ordering::Release);
    inner.tree.published(checkpoint.size());
    for resource in changes {
        if matches!(resource, Resource::Tile { width: WIDTH, .. } | Resource::Entries { width: WIDTH, .. }) {
            inner.files.remove_partial(resource);
        }
    }
    Ok(())
}
