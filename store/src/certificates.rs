//! The authority of each tenant's clients, and its certificates. Wrong here: one that was taken back holds again, or
//! one key has two names.

use chancery_core::{RequestId, Serial, Subject, Tenant, UnixMillis, limit};
use rusqlite::Row;

use crate::reader::{Reader, index, optional_index, page, signed};
use crate::tx::{RECORD_BYTES, Tx, one_row, within};
use crate::{AuthorityRow, CertificateRow, StoreError};

macro_rules! select_certificate {
    ($rest:literal) => {
        concat!(
            "SELECT tenant, serial, client, key, until_ms, request, leaf, der, revoked_ms, revoked_leaf FROM certificate ",
            $rest
        )
    };
}

pub(crate) mod sql {
    pub(crate) const AUTHORITY: &str =
        "SELECT tenant, created_ms, leaf, record FROM authority WHERE tenant = ?1";
    pub(crate) const INSERT_AUTHORITY: &str =
        "INSERT INTO authority (tenant, created_ms, leaf, record) VALUES (?1, ?2, ?3, ?4)";
    pub(crate) const CERTIFICATE: &str = select_certificate!("WHERE tenant = ?1 AND serial = ?2");
    pub(crate) const BY_REQUEST: &str = select_certificate!("WHERE request = ?1");
    pub(crate) const BY_KEY: &str = select_certificate!("WHERE tenant = ?1 AND key = ?2");
    pub(crate) const CERTIFICATES: &str = select_certificate!(
        "WHERE tenant = ?1 AND (client, serial) > (?2, ?3) ORDER BY client, serial LIMIT ?4"
    );
    pub(crate) const HOLDING: &str = select_certificate!(
        "INDEXED BY certificate_by_client WHERE tenant = ?1 AND client = ?2 AND until_ms >= ?3 AND revoked_ms IS NULL \
         ORDER BY serial LIMIT ?4"
    );
    pub(crate) const UNENDED: &str =
        "SELECT count(*) FROM certificate INDEXED BY certificate_by_end WHERE tenant = ?1 AND until_ms >= ?2";
    pub(crate) const REVOKED: &str = "SELECT serial, revoked_ms FROM certificate INDEXED BY certificate_revoked \
         WHERE tenant = ?1 AND until_ms >= ?2 AND revoked_ms IS NOT NULL LIMIT ?3";
    pub(crate) const INSERT_CERTIFICATE: &str = "INSERT INTO certificate (tenant, serial, client, key, until_ms, request, leaf, der) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    pub(crate) const REVOKE: &str =
        "UPDATE certificate SET revoked_ms = ?3, revoked_leaf = ?4 WHERE tenant = ?1 AND serial = ?2";
}

impl Reader<'_> {
    /// The authority of a tenant's clients.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn authority(&self, tenant: &Tenant) -> Result<Option<AuthorityRow>, StoreError> {
        self.link.one(sql::AUTHORITY, [tenant.as_str()], authority)
    }

    /// One certificate by its number.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn certificate(
        &self,
        tenant: &Tenant,
        serial: &Serial,
    ) -> Result<Option<CertificateRow>, StoreError> {
        self.link.one(sql::CERTIFICATE, (tenant.as_str(), serial.as_bytes()), certificate)
    }

    /// The certificate that a request led to.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn certificate_of(&self, request: RequestId) -> Result<Option<CertificateRow>, StoreError> {
        self.link.one(sql::BY_REQUEST, [request.as_bytes()], certificate)
    }

    /// The certificate of a key, by the SHA-256 of its SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn certificate_with_key(
        &self,
        tenant: &Tenant,
        key: &[u8; 32],
    ) -> Result<Option<CertificateRow>, StoreError> {
        self.link.one(sql::BY_KEY, (tenant.as_str(), key), certificate)
    }

    /// One page of a tenant's certificates by whom they name, those after `after`.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] for a limit of 0 or above [`limit::PAGE_ROWS`].
    pub fn certificates(
        &self,
        tenant: &Tenant,
        after: Option<&CertificateRow>,
        limit: usize,
    ) -> Result<Vec<CertificateRow>, StoreError> {
        let (client, serial) =
            after.map_or((String::new(), &[0; 20]), |row| (row.client.to_string(), row.serial.as_bytes()));
        self.link.many(sql::CERTIFICATES, (tenant.as_str(), client, serial, page(limit)?), certificate)
    }

    /// The certificates of one name that hold at `now`, up to one more than there may be.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn certificates_of(
        &self,
        client: &Subject,
        now: UnixMillis,
    ) -> Result<Vec<CertificateRow>, StoreError> {
        let limit = limit::CERTIFICATES_OF_CLIENT as i64 + 1;
        let values = (client.tenant.as_str(), client.to_string(), now.0, limit);
        self.link.many(sql::HOLDING, values, certificate)
    }

    /// What a tenant's authority took back of what has not ended at `now`: what its revocation list names.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn revoked(&self, tenant: &Tenant, now: UnixMillis) -> Result<Vec<(Serial, UnixMillis)>, StoreError> {
        let values = (tenant.as_str(), now.0, limit::CERTIFICATES as i64);
        self.link
            .many(sql::REVOKED, values, |row| Ok((Serial::from_bytes(row.get(0)?), UnixMillis(row.get(1)?))))
    }
}

impl Tx<'_> {
    /// Records the authority of a tenant's clients.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when it has one.
    pub fn insert_authority(&mut self, row: &AuthorityRow) -> Result<(), StoreError> {
        within(row.record.len(), RECORD_BYTES, "record")?;
        let values = (row.tenant.as_str(), row.created_ms.0, signed(row.leaf)?, &row.record);
        self.link.run(sql::INSERT_AUTHORITY, values)?;
        self.seen(row.created_ms);
        Ok(())
    }

    /// Records an issued certificate.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] where its number is taken or its key has one; [`StoreError::OutOfRange`] above
    /// [`limit::CERTIFICATES`] that have not ended at `now`.
    pub fn insert_certificate(&mut self, row: &CertificateRow, now: UnixMillis) -> Result<(), StoreError> {
        within(row.der.len(), RECORD_BYTES, "der")?;
        let unended =
            self.link.one(sql::UNENDED, (row.tenant.as_str(), now.0), |row| index(row, 0, "count"))?;
        if unended.is_none_or(|count| count >= limit::CERTIFICATES as u64) {
            return Err(StoreError::OutOfRange { what: "certificates" });
        }
        let values = rusqlite::params![
            row.tenant.as_str(),
            row.serial.as_bytes(),
            row.client.to_string(),
            row.key,
            row.until_ms.0,
            row.request.as_bytes(),
            signed(row.leaf)?,
            row.der,
        ];
        self.link.run(sql::INSERT_CERTIFICATE, values)?;
        self.seen(now);
        Ok(())
    }

    /// Takes a certificate back, for ever.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] without one of this number, [`StoreError::Refused`] where it was taken back before.
    pub fn revoke_certificate(
        &mut self,
        tenant: &Tenant,
        serial: &Serial,
        now: UnixMillis,
        leaf: u64,
    ) -> Result<(), StoreError> {
        let values = (tenant.as_str(), serial.as_bytes(), now.0, signed(leaf)?);
        one_row(self.link.run(sql::REVOKE, values)?, "certificate")?;
        self.seen(now);
        Ok(())
    }
}

fn authority(row: &Row<'_>) -> Result<AuthorityRow, StoreError> {
    Ok(AuthorityRow {
        tenant: row.get::<_, String>(0)?.try_into().map_err(StoreError::corrupt("tenant"))?,
        created_ms: UnixMillis(row.get(1)?),
        leaf: index(row, 2, "leaf")?,
        record: row.get(3)?,
    })
}

fn certificate(row: &Row<'_>) -> Result<CertificateRow, StoreError> {
    let client = row.get::<_, String>(2)?.parse().map_err(|_| StoreError::Corrupt { what: "client" })?;
    Ok(CertificateRow {
        tenant: row.get::<_, String>(0)?.try_into().map_err(StoreError::corrupt("tenant"))?,
        serial: Serial::from_bytes(row.get(1)?),
        client,
        key: row.get(3)?,
        until_ms: UnixMillis(row.get(4)?),
        request: RequestId::from_bytes(row.get(5)?),
        leaf: index(row, 6, "leaf")?,
        der: row.get(7)?,
        revoked_ms: row.get::<_, Option<i64>>(8)?.map(UnixMillis),
        revoked_leaf: optional_index(row, 9, "revoked_leaf")?,
    })
}
