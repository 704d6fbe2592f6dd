//! Officers' logins: accounts, sessions and used codes, none of which is understood here. Wrong here: a session that was ended
//! is found again, or a code enrols twice.

use chancery_core::{ClientId, RequestId, Tenant, UnixMillis, limit::SESSIONS};
use rusqlite::Row;

use crate::reader::{Reader, page};
use crate::tx::{RECORD_BYTES, Tx, within};
use crate::{SessionRow, StoreError};

/// LIMIT: sessions whose time is over that are swept when one is opened. More than it adds, so the sweep keeps up.
const SWEPT_SESSIONS: i64 = 16;

macro_rules! select_session {
    ($rest:literal) => {
        concat!("SELECT id, token, tenant, officer, expires_ms, record FROM session ", $rest)
    };
}

pub(crate) mod sql {
    pub(crate) const ACCOUNT: &str = "SELECT record FROM account WHERE tenant = ?1 AND officer = ?2";
    pub(crate) const PUT_ACCOUNT: &str = "INSERT INTO account (tenant, officer, record) VALUES (?1, ?2, ?3) \
         ON CONFLICT (tenant, officer) DO UPDATE SET record = excluded.record";
    pub(crate) const USE_CODE: &str =
        "INSERT INTO enrolment (tenant, code) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    pub(crate) const USED_CODE: &str = "SELECT 1 FROM enrolment WHERE tenant = ?1 AND code = ?2";
    pub(crate) const SESSION: &str = select_session!("WHERE token = ?1");
    pub(crate) const SESSION_OF: &str = select_session!("WHERE id = ?1");
    pub(crate) const SESSIONS: &str =
        select_session!("WHERE tenant = ?1 AND officer >= ?2 ORDER BY officer, id LIMIT ?3");
    pub(crate) const OPEN_SESSION: &str = "INSERT INTO session (id, token, tenant, officer, expires_ms, record) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    pub(crate) const END_SESSION: &str = "DELETE FROM session WHERE id = ?1";
    pub(crate) const END_SESSIONS: &str = "DELETE FROM session WHERE tenant = ?1 AND officer = ?2";
    pub(crate) const END_OLDEST: &str = "DELETE FROM session WHERE tenant = ?1 AND officer = ?2 AND id IN \
         (SELECT id FROM session WHERE tenant = ?1 AND officer = ?2 ORDER BY id DESC LIMIT -1 OFFSET ?3)";
    pub(crate) const SWEEP_SESSIONS: &str = "DELETE FROM session WHERE id IN \
         (SELECT id FROM session WHERE expires_ms <= ?1 ORDER BY expires_ms LIMIT ?2)";
}

impl Reader<'_> {
    /// An officer's account.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn account(&self, tenant: &Tenant, officer: &ClientId) -> Result<Option<Vec<u8>>, StoreError> {
        self.link.one(sql::ACCOUNT, [tenant.as_str(), officer.as_str()], |row| Ok(row.get(0)?))
    }

    /// Whether a code has enrolled somebody.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn code_is_used(&self, tenant: &Tenant, code: &[u8; 32]) -> Result<bool, StoreError> {
        Ok(self.link.one(sql::USED_CODE, (tenant.as_str(), code), |_| Ok(()))?.is_some())
    }

    /// The session of a token with this SHA-256.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn session(&self, token: &[u8; 32]) -> Result<Option<SessionRow>, StoreError> {
        self.link.one(sql::SESSION, [token], session)
    }

    /// The session of this name.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn session_of(&self, id: RequestId) -> Result<Option<SessionRow>, StoreError> {
        self.link.one(sql::SESSION_OF, [id.as_bytes()], session)
    }

    /// The tenant's sessions by officer and age, from the first of officer `from` on, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a limit of 0 or above [`PAGE_ROWS`](chancery_core::limit::PAGE_ROWS).
    pub fn sessions(
        &self,
        tenant: &Tenant,
        from: Option<&ClientId>,
        limit: usize,
    ) -> Result<Vec<SessionRow>, StoreError> {
        let from = from.map_or("", ClientId::as_str);
        self.link.many(sql::SESSIONS, (tenant.as_str(), from, page(limit)?), session)
    }
}

impl Tx<'_> {
    /// Keeps an officer's account in place of the one before.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a record above [`RECORD_BYTES`].
    pub fn put_account(
        &mut self,
        tenant: &Tenant,
        officer: &ClientId,
        record: &[u8],
    ) -> Result<(), StoreError> {
        within(record.len(), RECORD_BYTES, "record")?;
        self.link.run(sql::PUT_ACCOUNT, (tenant.as_str(), officer.as_str(), record)).map(|_| ())
    }

    /// Uses up the code of an enrolment; false when it was used before.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot write.
    pub fn use_code(&mut self, tenant: &Tenant, code: &[u8; 32]) -> Result<bool, StoreError> {
        Ok(self.link.run(sql::USE_CODE, (tenant.as_str(), code))? == 1)
    }

    /// Opens a session. The oldest of an officer who has [`SESSIONS`] ends, and a few of those whose time is over are swept.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when id or token are there already.
    pub fn open_session(&mut self, row: &SessionRow, now: UnixMillis) -> Result<(), StoreError> {
        within(row.record.len(), RECORD_BYTES, "record")?;
        let (tenant, officer) = (row.tenant.as_str(), row.officer.as_str());
        self.link.run(sql::SWEEP_SESSIONS, (now.0, SWEPT_SESSIONS))?;
        self.link.run(sql::END_OLDEST, (tenant, officer, SESSIONS.saturating_sub(1) as i64))?;
        let values = (row.id.as_bytes(), row.token, tenant, officer, row.expires_ms.0, &row.record);
        self.link.run(sql::OPEN_SESSION, values)?;
        self.seen(now);
        Ok(())
    }

    /// Ends a session; false where there is none of this id.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot write.
    pub fn end_session(&mut self, id: RequestId) -> Result<bool, StoreError> {
        Ok(self.link.run(sql::END_SESSION, [id.as_bytes()])? == 1)
    }

    /// Ends every session of an officer.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot write.
    pub fn end_sessions(&mut self, tenant: &Tenant, officer: &ClientId) -> Result<(), StoreError> {
        self.link.run(sql::END_SESSIONS, [tenant.as_str(), officer.as_str()]).map(|_| ())
    }
}

fn session(row: &Row<'_>) -> Result<SessionRow, StoreError> {
    Ok(SessionRow {
        id: RequestId::from_bytes(row.get(0)?),
        token: row.get(1)?,
        tenant: row.get::<_, String>(2)?.try_into().map_err(StoreError::corrupt("tenant"))?,
        officer: row.get::<_, String>(3)?.try_into().map_err(StoreError::corrupt("officer"))?,
        expires_ms: UnixMillis(row.get(4)?),
        record: row.get(5)?,
    })
}
