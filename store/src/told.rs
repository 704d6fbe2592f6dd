//! How far whoever is told of the log's entries has been told. Wrong here: somebody misses an event.

use crate::StoreError;
use crate::reader::{Reader, index, signed};
use crate::tx::Tx;

pub(crate) mod sql {
    pub(crate) const TOLD: &str = "SELECT next FROM told WHERE name = ?1";
    pub(crate) const PUT_TOLD: &str =
        "INSERT INTO told (name, next) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET next = ?2";
}

impl Reader<'_> {
    /// The log index that `name` is to be told of next; `None` for one that was told of nothing yet.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn told(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.link.one(sql::TOLD, [name], |row| index(row, 0, "next"))
    }
}

impl Tx<'_> {
    /// Remembers the log index that `name` is to be told of next.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot write.
    pub fn put_told(&mut self, name: &str, next: u64) -> Result<(), StoreError> {
        self.link.run(sql::PUT_TOLD, (name, signed(next)?)).map(drop)
    }
}
