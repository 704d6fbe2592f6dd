//! What took the place of something that is written once: the log's keys, keys that encrypt, and what is encrypted under them.
//! Wrong here: a key that was replaced is in force again, or a secret is looked for under a key that is gone.

use crate::StoreError;
use crate::reader::Reader;
use crate::tx::{RECORD_BYTES, Tx, within};

/// LIMIT: turns of one name that are read.
const TURNS: u32 = 10_000;

pub(crate) mod sql {
    pub(crate) const RENEWED: &str = "SELECT record FROM renewal WHERE name = ?1 ORDER BY turn DESC LIMIT 1";
    pub(crate) const RENEWALS: &str = "SELECT record FROM renewal WHERE name = ?1 ORDER BY turn LIMIT ?2";
    pub(crate) const RENEW: &str = "INSERT INTO renewal (name, turn, record) \
         SELECT ?1, coalesce(max(turn) + 1, 1), ?2 FROM renewal WHERE name = ?1";
}

impl Reader<'_> {
    /// What took the place of `name` last.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn renewed(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.link.one(sql::RENEWED, [name], |row| Ok(row.get(0)?))
    }

    /// Everything that took the place of `name`, the first first.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn renewals(&self, name: &str) -> Result<Vec<Vec<u8>>, StoreError> {
        self.link.many(sql::RENEWALS, (name, TURNS), |row| Ok(row.get(0)?))
    }
}

impl Tx<'_> {
    /// Puts a record in the place of `name`, for ever or until the next.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a record above [`RECORD_BYTES`].
    pub fn renew(&mut self, name: &str, record: &[u8]) -> Result<(), StoreError> {
        within(record.len(), RECORD_BYTES, "record")?;
        self.link.run(sql::RENEW, (name, record)).map(drop)
    }
}
