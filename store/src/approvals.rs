//! Pending requests: what officers said about them, and how they are decided again. Wrong here: somebody counts twice, or a
//! request is released that nobody waits for any more.

use chancery_core::{ClientId, RequestId, UnixMillis, limit::APPROVALS};
use rusqlite::Row;

use crate::reader::{Reader, index, page, request, signed};
use crate::tx::{RECORD_BYTES, Tx, one_row, within};
use crate::{ApprovalRow, RequestRow, RequestState, StoreError};

pub(crate) mod sql {
    use crate::reader::select_request;

    pub(crate) const APPROVE: &str = "INSERT INTO approval (request, leaf, officer, act, bundle, record) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    pub(crate) const APPROVALS: &str = "SELECT request, leaf, officer, act, bundle, record FROM approval \
         WHERE request = ?1 ORDER BY leaf LIMIT ?2";
    pub(crate) const MAKE_READY: &str = "INSERT INTO ready (request, bundle, leaf) VALUES (?1, ?2, ?3)";
    pub(crate) const READY: &str =
        "SELECT bundle, leaf FROM ready WHERE request = ?1 ORDER BY leaf DESC LIMIT ?2";
    pub(crate) const DECIDE_AGAIN: &str =
        "UPDATE request SET state = ?2, decision_leaf = ?3, decided_ms = ?4, again_ms = NULL WHERE id = ?1";
    pub(crate) const WAIT: &str = "UPDATE request SET again_ms = ?2 WHERE id = ?1 AND state = 'pending'";
    pub(crate) const WAITED: &str = select_request!(
        "WHERE state = 'pending' AND again_ms IS NOT NULL AND again_ms <= ?1 ORDER BY again_ms LIMIT ?2"
    );
}

impl Reader<'_> {
    /// What was said about a request, in the order of the log: at most [`APPROVALS`].
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn approvals(&self, request: RequestId) -> Result<Vec<ApprovalRow>, StoreError> {
        self.link.many(sql::APPROVALS, (request.as_bytes(), APPROVALS as i64), approval)
    }

    /// Under which bundles the log says that a request waits for nothing but the signature of its cold wallet, and at which
    /// index, the newest first: at most [`APPROVALS`].
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn ready(&self, request: RequestId) -> Result<Vec<([u8; 32], u64)>, StoreError> {
        let one = |row: &Row<'_>| Ok((row.get(0)?, index(row, 1, "leaf")?));
        self.link.many(sql::READY, (request.as_bytes(), APPROVALS as i64), one)
    }

    /// Pending requests that were to be decided again by `now`, the longest overdue first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a limit of 0 or above [`PAGE_ROWS`](chancery_core::limit::PAGE_ROWS).
    pub fn waited(&self, now: UnixMillis, limit: usize) -> Result<Vec<RequestRow>, StoreError> {
        self.link.many(sql::WAITED, (now.0, page(limit)?), request)
    }
}

impl Tx<'_> {
    /// Records what an officer said about a pending request. Its log entry must have been appended before.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when the officer said so under this bundle before; [`StoreError::Refused`] when the
    /// request is not pending.
    pub fn insert_approval(&mut self, row: &ApprovalRow) -> Result<(), StoreError> {
        within(row.record.len(), RECORD_BYTES, "record")?;
        let (request, leaf) = (row.request.as_bytes(), signed(row.leaf)?);
        self.link
            .run(sql::APPROVE, (request, leaf, row.officer.as_str(), &row.act, row.bundle, &row.record))
            .map(|_| ())
    }

    /// Notes where the log says that a pending request waits for nothing but the signature of its cold wallet.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where it says so under this bundle already, or the request is not pending.
    pub fn make_ready(&mut self, request: RequestId, bundle: &[u8; 32], leaf: u64) -> Result<(), StoreError> {
        self.link.run(sql::MAKE_READY, (request.as_bytes(), bundle, signed(leaf)?)).map(|_| ())
    }

    /// Moves a pending request on to what was decided now, under another log entry.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] without such a request, [`StoreError::Refused`] for any other move.
    pub fn decide_again(
        &mut self,
        id: RequestId,
        state: RequestState,
        decision_leaf: u64,
        decided: UnixMillis,
    ) -> Result<(), StoreError> {
        let values = (id.as_bytes(), state.as_str(), signed(decision_leaf)?, decided.0);
        one_row(self.link.run(sql::DECIDE_AGAIN, values)?, "request")?;
        self.seen(decided);
        Ok(())
    }

    /// Has a pending request decided again at a time, or only when somebody speaks.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] without such a pending request.
    pub fn wait(&mut self, id: RequestId, again: Option<UnixMillis>) -> Result<(), StoreError> {
        one_row(self.link.run(sql::WAIT, (id.as_bytes(), again.map(|at| at.0)))?, "request")
    }
}

fn approval(row: &Row<'_>) -> Result<ApprovalRow, StoreError> {
    Ok(ApprovalRow {
        request: RequestId::from_bytes(row.get(0)?),
        leaf: index(row, 1, "leaf")?,
        officer: row.get::<_, String>(2)?.parse::<ClientId>().map_err(StoreError::corrupt("officer"))?,
        act: row.get(3)?,
        bundle: row.get(4)?,
        record: row.get(5)?,
    })
}
