//! Certificates on their way: signed beside the walk, and worth nothing until the transaction that puts them on record. What
//! is taken back is on the signed list before that transaction, so that nothing can keep the door from hearing of it.
//! If this is wrong, somebody comes in whom nobody agreed to, or stays who should not.

use std::collections::BTreeMap;

use chancery_audit::{self as audit, Digest, V1};
use chancery_core::{Code, RequestId, Serial, Subject, Tenant, UnixMillis, limit};
use chancery_identity::Application;
use chancery_store::{CertificateRow, Tx};

use super::office::{Issued, Turn};
use crate::asker::Asker;
use crate::house::House;
use crate::refusal::Refusal;

/// Why a certificate is not issued at once, and beside which others of its name it would be.
///
/// # Errors
/// [`Code::Forbidden`] for another tenant's name; [`Code::AlreadyExists`] where the key has a certificate, or too many of the
/// name hold.
pub(super) fn admissible(
    house: &House,
    tenant: &Tenant,
    application: &Application,
) -> Result<Vec<Serial>, Refusal> {
    let client = application.client();
    if client.tenant != *tenant {
        let detail = format!("`{client}` is of another tenant than `{tenant}`");
        return Err(Refusal::new(Code::Forbidden, detail));
    }
    let now = house.clock.now()?;
    let (known, beside) = house.store.read(|rows| {
        Ok((
            rows.certificate_with_key(tenant, &application.key_digest())?,
            rows.certificates_of(client, now)?,
        ))
    })?;
    if let Some(known) = known {
        let detail = format!(
            "the key has a certificate already, {} of `{}`: a new one is for a new key",
            known.serial, known.client
        );
        return Err(Refusal::new(Code::AlreadyExists, detail));
    }
    if beside.len() >= limit::CERTIFICATES_OF_CLIENT {
        let detail = format!("{} certificates of `{client}` hold already: take one back first", beside.len());
        return Err(Refusal::new(Code::AlreadyExists, detail));
    }
    Ok(beside.into_iter().map(|row| row.serial).collect())
}

/// A certificate that is signed, and that no row names yet.
pub(crate) struct Issuing {
    row: CertificateRow,
    record: audit::Record,
    now: UnixMillis,
    _turn: Turn,
}

impl Issuing {
    /// Signs it.
    ///
    /// # Errors
    /// As [`admissible`], and [`Code::ApprovalStale`] where another of the name came to hold than those in `beside`.
    pub async fn begin(
        house: &House,
        request: RequestId,
        by: &Asker,
        tenant: &Tenant,
        application: &Application,
        days: u32,
        beside: &[Serial],
    ) -> Result<Self, Refusal> {
        let turn = house.offices.turn().await;
        let others = admissible(house, tenant, application)?;
        if !others.iter().all(|serial| beside.contains(serial)) {
            let detail =
                "another certificate of that name was issued since this one was asked for: ask again";
            return Err(Refusal::new(Code::ApprovalStale, detail));
        }
        let office = house.offices.find_or_make(house, &turn, tenant, request, by).await?;
        let now = house.clock.now()?;
        let serial = fresh_serial()?;
        let (draft, until_ms) = office.issuer.certify(application, serial, days, now)?;
        let der = office.sign(&house.hsm, &draft).await?;
        let (client, key) = (application.client().clone(), application.key_digest());
        let record = audit::Record::Client(audit::ClientAdded {
            v: V1,
            tenant: tenant.clone(),
            request_id: request,
            time_ms: now,
            client: by.id.clone(),
            certificate: by.certificate,
            added: audit::Added {
                serial,
                subject: client.clone(),
                certificate: Digest::of(&der),
                public_key: Digest::from_bytes(key),
                until_ms,
            },
        });
        let row = CertificateRow {
            tenant: tenant.clone(),
            serial,
            client,
            key,
            until_ms,
            request,
            leaf: 0,
            der,
            revoked_ms: None,
            revoked_leaf: None,
        };
        Ok(Self { row, record, now, _turn: turn })
    }

    /// Its transaction; it runs on the store's writer. The log index of its issue.
    pub fn write(&mut self, tx: &mut Tx<'_>) -> Result<u64, Refusal> {
        self.row.leaf = audit::append(tx, &self.record)?.index();
        tx.insert_certificate(&self.row, self.now)?;
        Ok(self.row.leaf)
    }

    /// The certificate on record. The door knows its authority, so its holder can come in.
    pub fn take_effect(self) -> CertificateRow {
        self.row
    }
}

/// The certificates of these numbers, none of which was taken back.
///
/// # Errors
/// [`Code::NotFound`], [`Code::AlreadyExists`] for one that was.
pub(super) fn revocable<'a>(
    house: &House,
    tenant: &Tenant,
    serials: impl IntoIterator<Item = &'a Serial>,
) -> Result<Vec<CertificateRow>, Refusal> {
    let find = |serial: &Serial| {
        let row = house.store.read(|rows| rows.certificate(tenant, serial))?;
        let row = row.ok_or_else(|| Refusal::new(Code::NotFound, format!("no certificate `{serial}`")))?;
        match row.revoked_ms {
            None => Ok(row),
            Some(_) => {
                let detail = format!("certificate `{serial}` was taken back already");
                Err(Refusal::new(Code::AlreadyExists, detail))
            }
        }
    };
    serials.into_iter().map(find).collect()
}

/// Certificates that are on the signed list already, and still hold.
pub(crate) struct TakingBack {
    rows: Vec<CertificateRow>,
    record: audit::Record,
    issued: Issued,
    now: UnixMillis,
    _turn: Turn,
}

impl TakingBack {
    /// Signs the list.
    ///
    /// # Errors
    /// As [`revocable`], and [`Code::ApprovalStale`] where a number names somebody else.
    pub async fn begin(
        house: &House,
        request: RequestId,
        by: &Asker,
        tenant: &Tenant,
        certificates: &BTreeMap<Serial, Subject>,
    ) -> Result<Self, Refusal> {
        let turn = house.offices.turn().await;
        let rows = revocable(house, tenant, certificates.keys())?;
        if !rows.iter().all(|row| certificates.get(&row.serial) == Some(&row.client)) {
            return Err(Refusal::new(Code::ApprovalStale, "a certificate names somebody else than was said"));
        }
        let none = || Refusal::new(Code::NotFound, "no certificate was ever issued here");
        let office = house.offices.find(house, tenant)?.ok_or_else(none)?;
        let now = house.clock.now()?;
        let also: Vec<_> = rows.iter().map(|row| (row.serial, now)).collect();
        let issued = office.list(house, &also).await?;
        let record = audit::Record::Revocation(audit::ClientRevoked {
            v: V1,
            tenant: tenant.clone(),
            request_id: request,
            time_ms: now,
            client: by.id.clone(),
            certificate: by.certificate,
            revoked: rows
                .iter()
                .map(|row| audit::Revoked {
                    serial: row.serial,
                    subject: row.client.clone(),
                    certificate: Digest::of(&row.der),
                })
                .collect(),
        });
        Ok(Self { rows, record, issued, now, _turn: turn })
    }

    /// Its transaction; it runs on the store's writer. The log index of it.
    pub fn write(&mut self, tx: &mut Tx<'_>) -> Result<u64, Refusal> {
        let leaf = audit::append(tx, &self.record)?.index();
        for row in &mut self.rows {
            tx.revoke_certificate(&row.tenant, &row.serial, self.now, leaf)?;
            (row.revoked_ms, row.revoked_leaf) = (Some(self.now), Some(leaf));
        }
        Ok(leaf)
    }

    /// The door hears of it, and cuts them off. A crash before this is made good at the start, from the rows.
    pub fn take_effect(self, house: &House) -> Vec<CertificateRow> {
        house.offices.tell(self.issued);
        self.rows
    }
}

fn fresh_serial() -> Result<Serial, Refusal> {
    let mut random = [0; 20];
    getrandom::fill(&mut random).map_err(|_| Refusal::new(Code::Internal, "no randomness"))?;
    Ok(Serial::of(random))
}
