//! What one job may do inside the transaction. A job sees the rows of the jobs before it in the batch; if it fails,
//! its savepoint takes back its rows and its log indexes. Wrong here: a permit that no log entry covers.

use chancery_core::{
    ClientId, IdempotencyKey, RequestId, Tenant, UnixMillis, WalletId,
    limit::{BUNDLE_BYTES, LEAF_BYTES, NONCE_BYTES},
};

use crate::limits;
use crate::link::Link;
use crate::reader::{Reader, signed};
use crate::{RequestRow, RequestState, StoreError, WalletRow};

/// LIMIT: opaque bytes of one request or wallet, in bytes.
pub const RECORD_BYTES: usize = 4 * 1024 * 1024;
/// LIMIT: a counter's name, in bytes.
pub const COUNTER_BYTES: usize = 1_024;

pub(crate) mod sql {
    pub(crate) const APPEND_LEAF: &str = "INSERT INTO leaf (idx, hash, body) VALUES (?1, ?2, ?3)";
    pub(crate) const INSERT_REQUEST: &str = "INSERT INTO request (id, tenant, client, wallet, idempotency_key, request_digest, signing_digest, state, \
         decided_ms, expires_ms, decision_leaf, outcome_leaf, record, released) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    pub(crate) const FINISH_REQUEST: &str =
        "UPDATE request SET state = ?2, outcome_leaf = ?3, released = ?4 WHERE id = ?1";
    pub(crate) const FREE_KEY: &str = "UPDATE request SET idempotency_key = NULL WHERE id = ?1";
    pub(crate) const INSERT_WALLET: &str =
        "INSERT INTO wallet (tenant, id, created_ms, leaf, record) VALUES (?1, ?2, ?3, ?4, ?5)";
    pub(crate) const PUT_BUNDLE: &str = "INSERT INTO bundle (tenant, hash, canonical) VALUES (?1, ?2, ?3) ON CONFLICT (tenant, hash) DO NOTHING";
    pub(crate) const ACTIVATE: &str =
        "INSERT INTO activation (tenant, hash, applied_ms, leaf) VALUES (?1, ?2, ?3, ?4)";
    pub(crate) const USE_NONCE: &str =
        "INSERT INTO nonce (tenant, client, nonce) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    pub(crate) const KEEP_WRAPPED: &str = "INSERT INTO wrapped (name, record) VALUES (?1, ?2)";
}

/// What a batch has gathered beside its rows; a job's part is given back with its savepoint.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) first_index: u64,
    pub(crate) leaf_hashes: Vec<[u8; 32]>,
    pub(crate) newest_ms: i64,
}

/// Where a ledger stood.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    leaves: usize,
    newest_ms: i64,
}

impl Ledger {
    pub(crate) fn mark(&self) -> Mark {
        Mark { leaves: self.leaf_hashes.len(), newest_ms: self.newest_ms }
    }

    pub(crate) fn back_to(&mut self, mark: Mark) {
        self.leaf_hashes.truncate(mark.leaves);
        self.newest_ms = mark.newest_ms;
    }

    fn next_index(&self) -> u64 {
        self.first_index.saturating_add(self.leaf_hashes.len() as u64)
    }
}

/// One job's hold on the transaction.
pub struct Tx<'a> {
    pub(crate) link: &'a Link,
    pub(crate) ledger: &'a mut Ledger,
}

impl Tx<'_> {
    /// Everything a reader can read, as this transaction sees it.
    #[must_use]
    pub fn rows(&self) -> Reader<'_> {
        Reader { link: self.link }
    }

    /// Appends a log entry under the next index and returns that index. Neither is final before the commit.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a body above [`LEAF_BYTES`].
    pub fn append_leaf(&mut self, body: &[u8], hash: &[u8; 32]) -> Result<u64, StoreError> {
        within(body.len(), LEAF_BYTES, "leaf")?;
        let index = self.ledger.next_index();
        self.link.run(sql::APPEND_LEAF, (signed(index)?, hash, body))?;
        self.ledger.leaf_hashes.push(*hash);
        Ok(index)
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
        self.rows().request_by_key(tenant, client, key)
    }

    /// The request of this id.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn request(&self, id: RequestId) -> Result<Option<RequestRow>, StoreError> {
        self.rows().request(id)
    }

    /// Records a new request as permitted, denied or pending. Its log entries must have been appended before.
    ///
    /// # Errors
    /// [`StoreError::KeyTaken`] when the idempotency key is in use, [`StoreError::AlreadyExists`] for the id,
    /// [`StoreError::Refused`] when the row breaks a rule of its state.
    pub fn insert_request(&mut self, row: &RequestRow) -> Result<(), StoreError> {
        within(row.record.len(), RECORD_BYTES, "record")?;
        self.link.run(
            sql::INSERT_REQUEST,
            rusqlite::params![
                row.id.as_bytes(),
                row.tenant.as_str(),
                row.client.as_str(),
                row.wallet.as_str(),
                row.idempotency_key.as_ref().map(IdempotencyKey::as_str),
                row.request_digest,
                row.signing_digest,
                row.state.as_str(),
                row.decided_ms.0,
                row.expires_ms.map(|at| at.0),
                row.decision_leaf.map(signed).transpose()?,
                row.outcome_leaf.map(signed).transpose()?,
                row.record,
                row.released,
            ],
        )?;
        self.seen(row.decided_ms);
        Ok(())
    }

    /// Moves a request on: `Permitted` to `Released` or `Failed`; `Pending` to `Permitted`, `Denied`, `Expired` or
    /// `Failed`. `Released` needs the outcome leaf and the released bytes; no other state may have the latter.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] without such a request, [`StoreError::Refused`] for any other move.
    pub fn finish_request(
        &mut self,
        id: RequestId,
        state: RequestState,
        outcome_leaf: Option<u64>,
        released: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        within(released.map_or(0, <[u8]>::len), RECORD_BYTES, "released")?;
        let leaf = outcome_leaf.map(signed).transpose()?;
        let changed = self.link.run(sql::FINISH_REQUEST, (id.as_bytes(), state.as_str(), leaf, released))?;
        one_row(changed, "request")
    }

    /// Frees the idempotency key of a request under which nothing was or can be released: denied, expired or failed.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] without such a request, [`StoreError::Refused`] in any other state.
    pub fn free_key(&mut self, id: RequestId) -> Result<(), StoreError> {
        one_row(self.link.run(sql::FREE_KEY, [id.as_bytes()])?, "request")
    }

    /// Uses up the nonce of a request that its client signed; false when it was used before.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a nonce longer than [`NONCE_BYTES`].
    pub fn use_nonce(&mut self, tenant: &Tenant, client: &ClientId, nonce: &str) -> Result<bool, StoreError> {
        within(nonce.len(), *NONCE_BYTES.end(), "nonce")?;
        Ok(self.link.run(sql::USE_NONCE, (tenant.as_str(), client.as_str(), nonce))? == 1)
    }

    /// [`Reader::spent`], as this transaction sees it.
    ///
    /// # Errors
    /// As there.
    pub fn spent(&self, counter: &str, now: UnixMillis, window_ms: i64) -> Result<i64, StoreError> {
        self.rows().spent(counter, now, window_ms)
    }

    /// Reserves `amount` of `counter` for a recorded request, and sweeps a little of what has left its window.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a negative amount, a window that is not positive or a counter above
    /// [`COUNTER_BYTES`]; [`StoreError::Refused`] when the request is not recorded yet;
    /// [`StoreError::AlreadyExists`] when it holds of this counter already.
    pub fn reserve(
        &mut self,
        request: RequestId,
        counter: &str,
        now: UnixMillis,
        window_ms: i64,
        amount: i64,
    ) -> Result<(), StoreError> {
        within(counter.len(), COUNTER_BYTES, "counter")?;
        limits::reserve(self.link, request, counter, now.0, window_ms, amount)?;
        self.seen(now);
        Ok(())
    }

    /// Whether a request holds anything of `counter`, settled or not.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn holds(&self, request: RequestId, counter: &str) -> Result<bool, StoreError> {
        limits::holds(self.link, request, counter)
    }

    /// Makes every reservation of a request final: it can no longer be given back. Again is the same.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot write.
    pub fn settle(&mut self, request: RequestId) -> Result<(), StoreError> {
        limits::settle(self.link, request)
    }

    /// Takes back exactly what a request reserved and has not settled. Again takes nothing.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot write.
    pub fn give_back(&mut self, request: RequestId) -> Result<(), StoreError> {
        limits::give_back(self.link, request)
    }

    /// Records a new wallet.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when the name is taken.
    pub fn insert_wallet(&mut self, row: &WalletRow) -> Result<(), StoreError> {
        within(row.record.len(), RECORD_BYTES, "record")?;
        self.link.run(
            sql::INSERT_WALLET,
            (row.tenant.as_str(), row.id.as_str(), row.created_ms.0, signed(row.leaf)?, &row.record),
        )?;
        self.seen(row.created_ms);
        Ok(())
    }

    /// One wallet.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn wallet(&self, tenant: &Tenant, id: &WalletId) -> Result<Option<WalletRow>, StoreError> {
        self.rows().wallet(tenant, id)
    }

    /// Keeps a policy bundle's canonical bytes under their hash. Again is the same.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for more than twice [`BUNDLE_BYTES`].
    pub fn put_bundle(
        &mut self,
        tenant: &Tenant,
        hash: &[u8; 32],
        canonical: &[u8],
    ) -> Result<(), StoreError> {
        // The limit is on the files' text; JSON escapes make the canonical form longer.
        within(canonical.len(), BUNDLE_BYTES.saturating_mul(2), "bundle")?;
        self.link.run(sql::PUT_BUNDLE, (tenant.as_str(), hash, canonical)).map(|_| ())
    }

    /// Puts a kept bundle in force from here on. An earlier bundle may be put in force again.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the bundle is not kept or the leaf does not exist.
    pub fn activate_bundle(
        &mut self,
        tenant: &Tenant,
        hash: &[u8; 32],
        applied_ms: UnixMillis,
        leaf: u64,
    ) -> Result<(), StoreError> {
        self.link.run(sql::ACTIVATE, (tenant.as_str(), hash, applied_ms.0, signed(leaf)?))?;
        self.seen(applied_ms);
        Ok(())
    }

    /// Keeps a secret that was encrypted before it came here, for ever.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when the name is taken.
    pub fn keep_wrapped(&mut self, name: &str, record: &[u8]) -> Result<(), StoreError> {
        within(record.len(), RECORD_BYTES, "record")?;
        self.link.run(sql::KEEP_WRAPPED, (name, record)).map(|_| ())
    }

    pub(crate) fn seen(&mut self, at: UnixMillis) {
        self.ledger.newest_ms = self.ledger.newest_ms.max(at.0);
    }
}

pub(crate) fn within(bytes: usize, most: usize, what: &'static str) -> Result<(), StoreError> {
    if bytes <= most { Ok(()) } else { Err(StoreError::OutOfRange { what }) }
}

pub(crate) fn one_row(changed: usize, kind: &'static str) -> Result<(), StoreError> {
    if changed == 1 { Ok(()) } else { Err(StoreError::Unknown { kind }) }
}
