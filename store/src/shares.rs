//! Shares of keys that several parties hold, what this party has said its last word about, and whom it never deals with again.
//! Wrong here: a share is lost or used before all have theirs, or a limit that was spent is given back.

use chancery_core::{RequestId, Tenant, UnixMillis, WalletId};
use rusqlite::Row;

use crate::StoreError;
use crate::reader::Reader;
use crate::tx::{RECORD_BYTES, Tx, one_row, within};

/// LIMIT: shares of one wallet that are read: those that came to nothing, and one for each epoch.
const SHARES: u32 = 1_000;
/// LIMIT: bans that are read.
const BANS: u32 = 10_000;

pub(crate) mod sql {
    pub(crate) const SHARE: &str = "SELECT session, tenant, wallet, epoch, created_ms, record, sealed, certificate FROM share WHERE session = ?1";
    pub(crate) const SHARES_OF: &str = "SELECT session, tenant, wallet, epoch, created_ms, record, sealed, certificate FROM share \
         WHERE tenant = ?1 AND wallet = ?2 ORDER BY epoch, created_ms LIMIT ?3";
    pub(crate) const KEEP: &str = "INSERT INTO share (session, tenant, wallet, epoch, created_ms, record, sealed) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    pub(crate) const CERTIFY: &str = "UPDATE share SET certificate = ?2 WHERE session = ?1";
    pub(crate) const SPEAK: &str = "INSERT INTO spoken (session, request) VALUES (?1, ?2)";
    pub(crate) const SPOKE: &str = "SELECT 1 FROM spoken WHERE request = ?1 LIMIT 1";
    pub(crate) const BAN: &str = "INSERT INTO ban (tenant, wallet, party, banned_ms, session) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (tenant, wallet, party) DO NOTHING";
    pub(crate) const BANS_ALL: &str =
        "SELECT wallet, party, banned_ms, session FROM ban WHERE tenant = ?1 ORDER BY wallet, party LIMIT ?2";
    pub(crate) const UNENTERED: &str = "SELECT session, created_ms, certificate FROM share WHERE NOT EXISTS \
         (SELECT 1 FROM wallet WHERE wallet.tenant = share.tenant AND wallet.id = share.wallet) LIMIT ?1";
    pub(crate) const CHANGES: &str =
        "SELECT (SELECT count(*) FROM share WHERE certificate IS NOT NULL) + (SELECT count(*) FROM ban)";
    pub(crate) const BANNED: &str = "SELECT 1 FROM ban WHERE tenant = ?1 AND wallet = ?2 AND party = ?3";
}

/// A share of a wallet's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareRow {
    /// The session that made it.
    pub session: [u8; 32],
    /// Whose wallet.
    pub tenant: Tenant,
    /// The wallet.
    pub wallet: WalletId,
    /// How often the key's shares were made anew before.
    pub epoch: u64,
    /// When.
    pub created_ms: UnixMillis,
    /// Opaque: what all know of the key.
    pub record: Vec<u8>,
    /// Opaque: the share, sealed.
    pub sealed: Vec<u8>,
    /// Opaque: all parties' word that they keep theirs. Without it the share is of no use.
    pub certificate: Option<Vec<u8>>,
}

/// A party that this one never deals with again about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanRow {
    /// The wallet.
    pub wallet: WalletId,
    /// The party.
    pub party: u8,
    /// Since when.
    pub banned_ms: UnixMillis,
    /// The session in which it cheated.
    pub session: [u8; 32],
}

/// A share for which there is no wallet: session, time, certificate.
pub type Unentered = ([u8; 32], UnixMillis, Option<Vec<u8>>);

impl Reader<'_> {
    /// The share that a session made.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn share(&self, session: &[u8; 32]) -> Result<Option<ShareRow>, StoreError> {
        self.link.one(sql::SHARE, [session], share)
    }

    /// Every share of a wallet, those that came to nothing too.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn shares(&self, tenant: &Tenant, wallet: &WalletId) -> Result<Vec<ShareRow>, StoreError> {
        self.link.many(sql::SHARES_OF, (tenant.as_str(), wallet.as_str(), SHARES), share)
    }

    /// How often keys came to be of use, or somebody was banned from one: it only grows. Reads all of both.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn share_changes(&self) -> Result<u64, StoreError> {
        let changes: Option<i64> = self.link.one(sql::CHANGES, [], |row| Ok(row.get(0)?))?;
        Ok(changes.unwrap_or(0).unsigned_abs())
    }

    /// The shares of keys for which there is no wallet: session, time, and the certificate where there is one. Reads all shares.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn unentered_shares(&self) -> Result<Vec<Unentered>, StoreError> {
        self.link
            .many(sql::UNENTERED, [SHARES], |row| Ok((row.get(0)?, UnixMillis(row.get(1)?), row.get(2)?)))
    }

    /// Whether this party has said its last word about a request in some session.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn has_spoken(&self, request: RequestId) -> Result<bool, StoreError> {
        Ok(self.link.one(sql::SPOKE, [request.as_bytes()], |_| Ok(()))?.is_some())
    }

    /// Whether a party is banned from a key.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn is_banned(&self, tenant: &Tenant, wallet: &WalletId, party: u8) -> Result<bool, StoreError> {
        let key = (tenant.as_str(), wallet.as_str(), party);
        Ok(self.link.one(sql::BANNED, key, |_| Ok(()))?.is_some())
    }

    /// Every ban of a tenant's keys.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn bans(&self, tenant: &Tenant) -> Result<Vec<BanRow>, StoreError> {
        self.link.many(sql::BANS_ALL, (tenant.as_str(), BANS), |row| {
            Ok(BanRow {
                wallet: name(row, 0)?,
                party: row.get(1)?,
                banned_ms: UnixMillis(row.get(2)?),
                session: row.get(3)?,
            })
        })
    }
}

impl Tx<'_> {
    /// Keeps a share, for ever. It is certified later.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] for a session that made one before, [`StoreError::OutOfRange`] above [`RECORD_BYTES`].
    pub fn keep_share(&mut self, row: &ShareRow) -> Result<(), StoreError> {
        within(row.record.len().max(row.sealed.len()), RECORD_BYTES, "share")?;
        let epoch = i64::try_from(row.epoch).map_err(|_| StoreError::OutOfRange { what: "epoch" })?;
        self.link.run(
            sql::KEEP,
            rusqlite::params![
                row.session,
                row.tenant.as_str(),
                row.wallet.as_str(),
                epoch,
                row.created_ms.0,
                row.record,
                row.sealed,
            ],
        )?;
        self.seen(row.created_ms);
        Ok(())
    }

    /// Puts all parties' word beside a share: it is of use from here on.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] without such a share, [`StoreError::Refused`] where it was certified before.
    pub fn certify_share(&mut self, session: &[u8; 32], certificate: &[u8]) -> Result<(), StoreError> {
        within(certificate.len(), RECORD_BYTES, "certificate")?;
        one_row(self.link.run(sql::CERTIFY, (session, certificate))?, "share")
    }

    /// Puts on record that this party is about to say its last word in a session.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] for a session that was used before, [`StoreError::Refused`] for a request that is not
    /// permitted any more.
    pub fn speak(&mut self, session: &[u8; 32], request: RequestId) -> Result<(), StoreError> {
        self.link.run(sql::SPEAK, (session, request.as_bytes())).map(drop)
    }

    /// Bans a party from a key, for ever. Again is the same.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot write.
    pub fn ban(&mut self, tenant: &Tenant, ban: &BanRow) -> Result<(), StoreError> {
        let BanRow { wallet, party, banned_ms, session } = ban;
        self.link.run(sql::BAN, (tenant.as_str(), wallet.as_str(), party, banned_ms.0, session)).map(drop)
    }
}

fn share(row: &Row<'_>) -> Result<ShareRow, StoreError> {
    let tenant: String = row.get(1)?;
    let epoch: i64 = row.get(3)?;
    let corrupt = || StoreError::Corrupt { what: "a share" };
    Ok(ShareRow {
        session: row.get(0)?,
        tenant: tenant.parse().map_err(|_| corrupt())?,
        wallet: name(row, 2)?,
        epoch: u64::try_from(epoch).map_err(|_| corrupt())?,
        created_ms: UnixMillis(row.get(4)?),
        record: row.get(5)?,
        sealed: row.get(6)?,
        certificate: row.get(7)?,
    })
}

fn name(row: &Row<'_>, column: usize) -> Result<WalletId, StoreError> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| StoreError::Corrupt { what: "a wallet's name" })
}
