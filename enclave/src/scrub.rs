//! Reads everything on record again, a little at a time and for ever: a disk that forgets is found while the copies are
//! young. What is wrong turns the store red and stays so; if this is wrong, nobody hears of it until the row is needed.

use std::sync::Arc;
use std::time::Duration;

use chancery_audit::merkle::leaf_hash;
use chancery_core::Tenant;
use chancery_core::limit::PAGE_ROWS;
use chancery_store::{Reader, RequestFilter, StoreError};

use crate::house::House;

/// Between two pages.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two passes.
const REST: Duration = Duration::from_secs(24 * 60 * 60);

/// One pass after the other.
pub(crate) async fn scrub_for_ever(house: Arc<House>, tenant: Tenant) {
    loop {
        match pass(&house, &tenant).await {
            Ok(leaves) => tracing::info!(leaves, "everything on record was read again and is as it was"),
            Err(StoreError::Closed) => return,
            Err(damage) => {
                tracing::error!(%damage, "the store is damaged");
                house.store.condemn(damage.to_string());
            }
        }
        tokio::time::sleep(REST).await;
    }
}

/// Every log entry against its hash, then every request. Answers how many entries there were.
async fn pass(house: &Arc<House>, tenant: &Tenant) -> Result<u64, StoreError> {
    let mut leaves = 0;
    loop {
        let next = page(house, move |rows| entries(rows, leaves)).await?;
        if next == leaves {
            break;
        }
        leaves = next;
    }
    let mut filter = Some(RequestFilter::all(tenant.clone()));
    while let Some(asked) = filter {
        filter = page(house, move |rows| {
            let read = rows.requests(&asked)?;
            let last = read.last().filter(|_| read.len() == asked.limit).map(|row| row.id);
            Ok(last.map(|last| RequestFilter { after: Some(last), ..asked }))
        })
        .await?;
    }
    Ok(leaves)
}

/// Reads one page where blocking is allowed, and rests. A reading that panics is a finding, and no end of the reading.
async fn page<T: Send + 'static>(
    house: &Arc<House>,
    read: impl FnOnce(&Reader<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let there = Arc::clone(house);
    let read = chancery_audit::aside(move || there.store.read(read)).await;
    tokio::time::sleep(PAUSE).await;
    read.unwrap_or(Err(StoreError::JobPanicked))
}

/// Checks the log's entries from `from` on; answers where it stopped.
fn entries(rows: &Reader<'_>, from: u64) -> Result<u64, StoreError> {
    let to = rows.tree_size()?.min(from.saturating_add(PAGE_ROWS as u64));
    let leaves = rows.leaves(from..to)?;
    let good = leaves
        .iter()
        .zip(from..)
        .take_while(|(leaf, index)| leaf.index == *index && leaf_hash(&leaf.body) == leaf.hash)
        .count() as u64;
    let next = from.saturating_add(good);
    if next == to {
        return Ok(next);
    }
    Err(StoreError::Damaged { finding: format!("log entry {next} is not what was written") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_store::Store;

    /// Would catch a scrub that looks at the rows and not at what they say.
    #[tokio::test]
    async fn an_entry_that_is_not_what_was_hashed_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let (observer, _feed) = chancery_audit::feed();
        let store = Store::open(directory.path(), Box::new(observer)).unwrap();
        let append = |body: &'static [u8], hashed: &'static [u8]| {
            store.write(move |tx| tx.append_leaf(body, &leaf_hash(hashed)).map(|_| ()))
        };
        append(b"one", b"one").await.unwrap();
        append(b"two", b"two").await.unwrap();
        assert_eq!(store.read(|rows| entries(rows, 0)).unwrap(), 2);
        assert_eq!(store.read(|rows| entries(rows, 2)).unwrap(), 2, "the end is where nothing is left");
        append(b"three", b"tree").await.unwrap();
        let found = store.read(|rows| entries(rows, 1)).unwrap_err();
        assert!(found.to_string().contains("log entry 2 "), "{found}");
    }
}
