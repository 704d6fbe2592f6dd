//! One connection to SQLite. Every statement passes through here: prepared once, bound by position, its errors
//! mapped, and the first fault of a batch remembered, so that a job cannot hide a failing disk by ignoring an error.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Params, Row};

use crate::StoreError;
use crate::fault;

/// LIMIT: distinct statements kept prepared on one connection.
const STATEMENTS: usize = 96;
/// LIMIT: how long a statement waits for a lock that only an outside tool can hold, in milliseconds.
const BUSY_MS: u64 = 5_000;

pub(crate) struct Link {
    connection: Connection,
    fault: Cell<Option<i32>>,
}

impl Link {
    /// Opens for writing, and changes nothing yet. The file must exist: the directory made it with its mode.
    pub(crate) fn writer(path: &Path) -> Result<Self, StoreError> {
        Self::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    /// Takes the settings on which every answer stands. The journal's mode is written into the file.
    pub(crate) fn make_durable(&self) -> Result<(), StoreError> {
        // A power loss after COMMIT returned must keep it: FULL syncs the WAL at every commit. The writer runs its
        // own checkpoints, because SQLite's automatic one swallows their errors.
        self.pragma("journal_mode", "wal", "wal")?;
        self.pragma("synchronous", "FULL", "2")?;
        self.pragma("foreign_keys", "ON", "1")?;
        self.pragma("recursive_triggers", "ON", "1")?;
        self.pragma("wal_autocheckpoint", "0", "0")
    }

    /// Brings to the disk what is there to be read. The last process may have ended between a write and its sync, or on a
    /// sync that failed: the page cache then shows what a power loss would take back, and a later sync passes over it. So
    /// every page of the WAL is written again, into the database, and that is synced.
    pub(crate) fn persist(&self) -> Result<(), StoreError> {
        let whole = self.one("PRAGMA wal_checkpoint(FULL)", [], |row| {
            let (busy, log, done): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(busy == 0 && log == done)
        })?;
        if whole == Some(true) { Ok(()) } else { Err(StoreError::NotDurable { setting: "wal_checkpoint" }) }
    }

    /// Opens for reading only.
    pub(crate) fn reader(path: &Path) -> Result<Self, StoreError> {
        let link = Self::open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        link.pragma("query_only", "ON", "1")?;
        Ok(link)
    }

    fn open(path: &Path, mode: OpenFlags) -> Result<Self, StoreError> {
        let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // A plan depends on the statement alone, never on its values: the plans that the tests saw are those that run,
        // and binding a value never prepares a statement again.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        let link = Self { connection, fault: Cell::new(None) };
        // What a savepoint must be able to undo is kept here, not in a file of the temporary directory.
        link.pragma("temp_store", "MEMORY", "2")?;
        link.pragma("trusted_schema", "OFF", "0")?;
        link.pragma("cell_size_check", "ON", "1")?;
        Ok(link)
    }

    /// Sets a pragma and reads it back: SQLite ignores what it cannot do. The statement is run to its end, because
    /// changing the journal's mode commits after the row that reports it: a failed sync of that comes last.
    fn pragma(&self, name: &'static str, value: &str, expected: &str) -> Result<(), StoreError> {
        self.many(&format!("PRAGMA {name} = {value}"), [], |_| Ok(()))?;
        let found = self.connection.pragma_query_value(None, name, |row| {
            Ok(match row.get_ref(0)? {
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                other => other.as_str()?.to_owned(),
            })
        })?;
        if found == expected { Ok(()) } else { Err(StoreError::NotDurable { setting: name }) }
    }

    /// Runs statements that return no rows.
    pub(crate) fn script(&self, sql: &str) -> Result<(), StoreError> {
        self.noted(self.connection.execute_batch(sql))
    }

    /// Runs one statement; gives the number of rows it changed.
    pub(crate) fn run(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        self.noted(self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params)))
    }

    /// As [`Self::run`], with SQLite's own error: for what the writer does around the jobs.
    pub(crate) fn control(&self, sql: &str) -> Result<(), rusqlite::Error> {
        self.plain(sql, [])
    }

    /// As [`Self::control`], with values.
    pub(crate) fn plain(&self, sql: &str, params: impl Params) -> Result<(), rusqlite::Error> {
        self.connection.prepare_cached(sql)?.execute(params).map(|_| ())
    }

    /// The first row, if any.
    pub(crate) fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.noted(self.connection.prepare_cached(sql))?;
        let mut rows = self.noted(statement.query(params))?;
        self.noted(rows.next())?.map(read).transpose()
    }

    /// Every row, in order. The statement must bound their number.
    pub(crate) fn many<T>(
        &self,
        sql: &str,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.noted(self.connection.prepare_cached(sql))?;
        let mut rows = self.noted(statement.query(params))?;
        let mut found = Vec::new();
        while let Some(row) = self.noted(rows.next())? {
            found.push(read(row)?);
        }
        Ok(found)
    }

    /// False when a transaction is open; an error may have ended it.
    pub(crate) fn is_idle(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// The extended code of the first non-constraint error since the last call.
    pub(crate) fn take_fault(&self) -> Option<i32> {
        self.fault.take()
    }

    /// Closes, with the error that dropping would swallow.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        self.connection.close().map_err(|(_, error)| error.into())
    }

    fn noted<T>(&self, result: Result<T, rusqlite::Error>) -> Result<T, StoreError> {
        result.map_err(|error| {
            let code = fault::extended(&error);
            if code & 0xff != rusqlite::ffi::SQLITE_CONSTRAINT && self.fault.get().is_none() {
                self.fault.set(Some(code));
            }
            StoreError::from(error)
        })
    }

    /// Remembers a fault as if a statement had met it.
    #[cfg(test)]
    pub(crate) fn inject(&self, fault: Option<i32>) {
        self.fault.set(fault);
    }

    #[cfg(test)]
    pub(crate) fn raw(&self) -> &Connection {
        &self.connection
    }
}
