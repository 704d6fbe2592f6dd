//! Reading rows, inside one snapshot. The same statements serve the reader pool and a job of the writer, which also
//! sees what the jobs before it in the batch wrote. Every list is bounded; no statement walks a whole table.

use std::ops::Range;

use chancery_core::{ClientId, IdempotencyKey, RequestId, Tenant, UnixMillis, WalletId, limit::PAGE_ROWS};
use rusqlite::Row;
use rusqlite::types::Value;

use crate::limits;
use crate::link::Link;
use crate::{BundleRow, LeafRow, RequestFilter, RequestRow, RequestState, StoreError, WalletRow};

/// LIMIT: leaves with bodies given by one call.
pub const LEAVES: u64 = 1_024;
/// LIMIT: leaf hashes given by one call.
pub const LEAF_HASHES: u64 = 65_536;

macro_rules! select_request {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant, client, wallet, idempotency_key, request_digest, state, decided_ms, expires_ms, ",
            "signing_digest, decision_leaf, outcome_leaf, record, released FROM request ",
            $rest
        )
    };
}
pub(crate) use select_request;
macro_rules! select_bundle {
    ($rest:literal) => {
        concat!(
            "SELECT bundle.tenant, bundle.hash, bundle.canonical, activation.applied_ms, activation.leaf ",
            "FROM activation JOIN bundle ON bundle.tenant = activation.tenant AND bundle.hash = activation.hash ",
            $rest
        )
    };
}

/// A consistent view of the store.
pub struct Reader<'a> {
    pub(crate) link: &'a Link,
}

/// The statements that a request's walk or a listing runs, for the test of their query plans.
pub(crate) mod sql {
    pub(crate) const REQUEST: &str = select_request!("WHERE id = ?1");
    pub(crate) const REQUEST_BY_KEY: &str =
        select_request!("WHERE tenant = ?1 AND client = ?2 AND idempotency_key = ?3");
    pub(crate) const EXPIRED: &str =
        select_request!("WHERE state = 'pending' AND expires_ms <= ?1 ORDER BY expires_ms LIMIT ?2");
    // The second condition is what lets SQLite use the partial index.
    pub(crate) const UNRESOLVED: &str =
        select_request!("WHERE state = 'permitted' AND state <> 'released' LIMIT ?1");
    pub(crate) const HOLDING: &str = select_request!(
        "INDEXED BY request_by_time WHERE tenant = ?1 AND decided_ms >= ?2 AND (decided_ms > ?2 OR seq > ?3) \
         AND state IN ('permitted', 'released', 'pending') ORDER BY decided_ms, seq LIMIT ?4"
    );
    pub(crate) const CURSOR: &str = "SELECT decided_ms, seq FROM request WHERE id = ?1 AND tenant = ?2";
    pub(crate) const WALLET: &str =
        "SELECT tenant, id, created_ms, leaf, record FROM wallet WHERE tenant = ?1 AND id = ?2";
    pub(crate) const WALLETS: &str = "SELECT tenant, id, created_ms, leaf, record FROM wallet \
         WHERE tenant = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    pub(crate) const ACTIVE_BUNDLE: &str =
        select_bundle!("WHERE activation.tenant = ?1 ORDER BY activation.seq DESC LIMIT 1");
    pub(crate) const ACTIVATION: &str =
        "SELECT leaf FROM activation WHERE tenant = ?1 ORDER BY seq DESC LIMIT 1";
    pub(crate) const BUNDLE: &str = select_bundle!(
        "WHERE activation.tenant = ?1 AND activation.hash = ?2 ORDER BY activation.seq DESC LIMIT 1"
    );
    pub(crate) const KEPT_BUNDLE: &str = "SELECT canonical FROM bundle WHERE tenant = ?1 AND hash = ?2";
    pub(crate) const WRAPPED: &str = "SELECT record FROM wrapped WHERE name = ?1";
    pub(crate) const LEAF: &str = "SELECT idx, hash, body FROM leaf WHERE idx = ?1";
    pub(crate) const LEAVES: &str =
        "SELECT idx, hash, body FROM leaf WHERE idx >= ?1 AND idx < ?2 ORDER BY idx";
    pub(crate) const LEAF_HASHES: &str = "SELECT hash FROM leaf WHERE idx >= ?1 AND idx < ?2 ORDER BY idx";
    pub(crate) const TREE_SIZE: &str = "SELECT coalesce(max(idx) + 1, 0) FROM leaf";
    pub(crate) const NEWEST: &str = "SELECT newest_ms FROM store WHERE one = 1";
    pub(crate) const LISTING: &str = select_request!("INDEXED BY ");
}

impl Reader<'_> {
    /// The request of this id.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn request(&self, id: RequestId) -> Result<Option<RequestRow>, StoreError> {
        self.link.one(sql::REQUEST, [id.as_bytes()], request)
    }

    /// The request that a client's idempotency key names.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn request_by_key(
        &self,
        tenant: &Tenant,
        client: &ClientId,
        key: &IdempotencyKey,
    ) -> Result<Option<RequestRow>, StoreError> {
        self.link.one(sql::REQUEST_BY_KEY, [tenant.as_str(), client.as_str(), key.as_str()], request)
    }

    /// One page of requests, newest decision first. A page shorter than `filter.limit` is the last.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a limit of 0 or above [`PAGE_ROWS`], [`StoreError::Unknown`] when
    /// `filter.after` is no request of the tenant.
    pub fn requests(&self, filter: &RequestFilter) -> Result<Vec<RequestRow>, StoreError> {
        let limit = page(filter.limit)?;
        let cursor = filter.after.map(|id| self.cursor(&filter.tenant, id)).transpose()?;
        let (sql, values) = listing(filter, cursor, limit);
        self.link.many(&sql, rusqlite::params_from_iter(values), request)
    }

    /// Pending requests whose time is over at `now`, the longest waiting first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a limit of 0 or above [`PAGE_ROWS`].
    pub fn expired(&self, now: UnixMillis, limit: usize) -> Result<Vec<RequestRow>, StoreError> {
        self.link.many(sql::EXPIRED, (now.0, page(limit)?), request)
    }

    /// Requests that were permitted and neither released nor failed, at most `limit`. After a restart these are the
    /// ones the last process left open.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a limit of 0 or above [`PAGE_ROWS`].
    pub fn unresolved(&self, limit: usize) -> Result<Vec<RequestRow>, StoreError> {
        self.link.many(sql::UNRESOLVED, [page(limit)?], request)
    }

    /// Requests of a tenant that hold what they reserved (permitted, released or pending) and were decided at or after
    /// `from`, oldest first, those after `after`. A page shorter than `limit` is the last.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a limit of 0 or above [`PAGE_ROWS`], [`StoreError::Unknown`] when `after` is no
    /// request of the tenant.
    pub fn holding(
        &self,
        tenant: &Tenant,
        from: UnixMillis,
        after: Option<RequestId>,
        limit: usize,
    ) -> Result<Vec<RequestRow>, StoreError> {
        let (decided_ms, seq) = match after {
            None => (from.0, -1),
            Some(id) => self.cursor(tenant, id)?,
        };
        self.link.many(sql::HOLDING, (tenant.as_str(), decided_ms, seq, page(limit)?), request)
    }

    /// Where a listing goes on after a request.
    fn cursor(&self, tenant: &Tenant, id: RequestId) -> Result<(i64, i64), StoreError> {
        self.link
            .one(sql::CURSOR, (id.as_bytes(), tenant.as_str()), |row| Ok((row.get(0)?, row.get(1)?)))?
            .ok_or(StoreError::Unknown { kind: "request" })
    }

    /// What `counter` has had reserved in the window that ends at `now`, by buckets: never less than the exact sum of
    /// the window, at most the exact sum of the window and one bucket more. Saturates at `i64::MAX`.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a window that is not positive.
    pub fn spent(&self, counter: &str, now: UnixMillis, window_ms: i64) -> Result<i64, StoreError> {
        limits::spent(self.link, counter, now.0, window_ms)
    }

    /// One wallet.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn wallet(&self, tenant: &Tenant, id: &WalletId) -> Result<Option<WalletRow>, StoreError> {
        self.link.one(sql::WALLET, [tenant.as_str(), id.as_str()], wallet)
    }

    /// One page of a tenant's wallets by name, those after `after`.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a limit of 0 or above [`PAGE_ROWS`].
    pub fn wallets(
        &self,
        tenant: &Tenant,
        after: Option<&WalletId>,
        limit: usize,
    ) -> Result<Vec<WalletRow>, StoreError> {
        let after = after.map_or("", WalletId::as_str);
        self.link.many(sql::WALLETS, (tenant.as_str(), after, page(limit)?), wallet)
    }

    /// The bundle in force: the one activated last.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn active_bundle(&self, tenant: &Tenant) -> Result<Option<BundleRow>, StoreError> {
        self.link.one(sql::ACTIVE_BUNDLE, [tenant.as_str()], bundle)
    }

    /// The log index of the activation that put the bundle in force, which names it for one transaction to compare.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn activation(&self, tenant: &Tenant) -> Result<Option<u64>, StoreError> {
        self.link.one(sql::ACTIVATION, [tenant.as_str()], |row| index(row, 0, "leaf"))
    }

    /// A bundle that is or was in force.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn bundle(&self, tenant: &Tenant, hash: &[u8; 32]) -> Result<Option<BundleRow>, StoreError> {
        self.link.one(sql::BUNDLE, (tenant.as_str(), hash), bundle)
    }

    /// A kept bundle's canonical JSON, whether or not it ever was in force.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn kept_bundle(&self, tenant: &Tenant, hash: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.link.one(sql::KEPT_BUNDLE, (tenant.as_str(), hash), |row| Ok(row.get(0)?))
    }

    /// A wrapped secret's record, as it was kept.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn wrapped(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.link.one(sql::WRAPPED, [name], |row| Ok(row.get(0)?))
    }

    /// One log entry.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for an index above `i64::MAX`.
    pub fn leaf(&self, index: u64) -> Result<Option<LeafRow>, StoreError> {
        self.link.one(sql::LEAF, [signed(index)?], leaf)
    }

    /// Log entries in order: those of `range` that exist.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a range longer than [`LEAVES`] or beyond `i64::MAX`.
    pub fn leaves(&self, range: Range<u64>) -> Result<Vec<LeafRow>, StoreError> {
        self.link.many(sql::LEAVES, bounded(&range, LEAVES)?, leaf)
    }

    /// Leaf hashes in order: those of `range` that exist.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a range longer than [`LEAF_HASHES`] or beyond `i64::MAX`.
    pub fn leaf_hashes(&self, range: Range<u64>) -> Result<Vec<[u8; 32]>, StoreError> {
        self.link.many(sql::LEAF_HASHES, bounded(&range, LEAF_HASHES)?, |row| Ok(row.get(0)?))
    }

    /// Entries of the log; also the next index.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn tree_size(&self) -> Result<u64, StoreError> {
        let size = self.link.one(sql::TREE_SIZE, [], |row| index(row, 0, "idx"))?;
        size.ok_or(StoreError::Corrupt { what: "leaf" })
    }

    /// The latest time that any committed job named, for [`chancery_core::Clock::seen`] at start; 0 in a new store.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn newest_time(&self) -> Result<UnixMillis, StoreError> {
        let newest = self.link.one(sql::NEWEST, [], |row| Ok(UnixMillis(row.get(0)?)))?;
        newest.ok_or(StoreError::Corrupt { what: "newest_ms" })
    }
}

/// The statement of one listing and its values. The index is named, because without statistics SQLite takes any whose
/// order fits: the narrowest given field leads, `decided_ms` gives the order, and the other fields filter its rows.
pub(crate) fn listing(
    filter: &RequestFilter,
    cursor: Option<(i64, i64)>,
    limit: i64,
) -> (String, Vec<Value>) {
    let index = match filter {
        RequestFilter { wallet: Some(_), .. } => "request_by_wallet",
        RequestFilter { client: Some(_), .. } => "request_by_client",
        RequestFilter { state: Some(state), .. } if *state != RequestState::Released => "request_by_state",
        _ => "request_by_time",
    };
    let mut sql = format!("{}{index} WHERE tenant = ?", sql::LISTING);
    let mut values = vec![Value::from(filter.tenant.as_str().to_owned())];
    let mut given = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            sql.push_str(condition);
            values.push(value);
        }
    };
    given(" AND wallet = ?", filter.wallet.as_ref().map(|wallet| wallet.as_str().to_owned().into()));
    given(" AND client = ?", filter.client.as_ref().map(|client| client.as_str().to_owned().into()));
    let partial = match filter.state {
        Some(RequestState::Released) | None => " AND state = ?",
        Some(_) => " AND state <> 'released' AND state = ?",
    };
    given(partial, filter.state.map(|state| state.as_str().to_owned().into()));
    given(" AND decided_ms >= ?", filter.from.map(|from| from.0.into()));
    given(" AND decided_ms < ?", filter.to.map(|to| to.0.into()));
    if let Some((decided_ms, seq)) = cursor {
        given(" AND decided_ms <= ?", Some(decided_ms.into()));
        given(" AND (decided_ms < ?", Some(decided_ms.into()));
        given(" OR seq < ?)", Some(seq.into()));
    }
    given(" ORDER BY decided_ms DESC, seq DESC LIMIT ?", Some(limit.into()));
    (sql, values)
}

/// A page's length, checked.
pub(crate) fn page(limit: usize) -> Result<i64, StoreError> {
    match i64::try_from(limit) {
        Ok(rows) if (1..=PAGE_ROWS).contains(&limit) => Ok(rows),
        _ => Err(StoreError::OutOfRange { what: "limit" }),
    }
}

/// A log index as SQLite holds it.
pub(crate) fn signed(index: u64) -> Result<i64, StoreError> {
    i64::try_from(index).map_err(|_| StoreError::OutOfRange { what: "index" })
}

fn bounded(range: &Range<u64>, most: u64) -> Result<[i64; 2], StoreError> {
    if range.end.saturating_sub(range.start) > most {
        return Err(StoreError::OutOfRange { what: "range" });
    }
    Ok([signed(range.start)?, signed(range.end)?])
}

pub(crate) fn index(row: &Row<'_>, column: usize, what: &'static str) -> Result<u64, StoreError> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| StoreError::Corrupt { what })
}

pub(crate) fn optional_index(
    row: &Row<'_>,
    column: usize,
    what: &'static str,
) -> Result<Option<u64>, StoreError> {
    let stored: Option<i64> = row.get(column)?;
    stored.map(|index| u64::try_from(index).map_err(|_| StoreError::Corrupt { what })).transpose()
}

pub(crate) fn request(row: &Row<'_>) -> Result<RequestRow, StoreError> {
    let key: Option<String> = row.get(4)?;
    let state = row.get_ref(6)?.as_str().ok().and_then(RequestState::parse);
    Ok(RequestRow {
        id: RequestId::from_bytes(row.get(0)?),
        tenant: row.get::<_, String>(1)?.try_into().map_err(StoreError::corrupt("tenant"))?,
        client: row.get::<_, String>(2)?.try_into().map_err(StoreError::corrupt("client"))?,
        wallet: row.get::<_, String>(3)?.try_into().map_err(StoreError::corrupt("wallet"))?,
        idempotency_key: key
            .map(IdempotencyKey::try_from)
            .transpose()
            .map_err(StoreError::corrupt("idempotency_key"))?,
        request_digest: row.get(5)?,
        state: state.ok_or(StoreError::Corrupt { what: "state" })?,
        decided_ms: UnixMillis(row.get(7)?),
        expires_ms: row.get::<_, Option<i64>>(8)?.map(UnixMillis),
        signing_digest: row.get(9)?,
        decision_leaf: optional_index(row, 10, "decision_leaf")?,
        outcome_leaf: optional_index(row, 11, "outcome_leaf")?,
        record: row.get(12)?,
        released: row.get(13)?,
    })
}

fn wallet(row: &Row<'_>) -> Result<WalletRow, StoreError> {
    Ok(WalletRow {
        tenant: row.get::<_, String>(0)?.try_into().map_err(StoreError::corrupt("tenant"))?,
        id: row.get::<_, String>(1)?.try_into().map_err(StoreError::corrupt("wallet"))?,
        created_ms: UnixMillis(row.get(2)?),
        leaf: index(row, 3, "leaf")?,
        record: row.get(4)?,
    })
}

fn bundle(row: &Row<'_>) -> Result<BundleRow, StoreError> {
    Ok(BundleRow {
        tenant: row.get::<_, String>(0)?.try_into().map_err(StoreError::corrupt("tenant"))?,
        hash: row.get(1)?,
        canonical: row.get(2)?,
        applied_ms: UnixMillis(row.get(3)?),
        leaf: index(row, 4, "leaf")?,
    })
}

fn leaf(row: &Row<'_>) -> Result<LeafRow, StoreError> {
    Ok(LeafRow { index: index(row, 0, "idx")?, hash: row.get(1)?, body: row.get(2)? })
}
