//! Until when something that is signed holds: a certificate, or a revocation list.

use chancery_core::UnixMillis;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::IdentityError;

/// What is dated, and between which times it holds (both included).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dates {
    /// A certificate's subject, or a revocation list's issuer, as text.
    pub name: String,
    /// notBefore, or thisUpdate.
    pub from: UnixMillis,
    /// notAfter, or nextUpdate.
    pub until: UnixMillis,
}

impl Dates {
    /// Those of a certificate.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`] when it does not parse.
    pub fn of_certificate(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError::Certificate)?;
        Ok(Self::of(&certificate))
    }

    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        let (subject, validity) = (certificate.subject().to_string(), certificate.validity());
        Self::new(subject, validity.not_before.timestamp(), validity.not_after.timestamp())
    }

    pub(crate) fn new(name: String, from_s: i64, until_s: i64) -> Self {
        let until = UnixMillis(until_s.saturating_mul(1_000)).plus_ms(999);
        Self { name, from: UnixMillis(from_s.saturating_mul(1_000)), until }
    }

    /// True while it holds.
    #[must_use]
    pub fn hold(&self, now: UnixMillis) -> bool {
        (self.from..=self.until).contains(&now)
    }

    /// What is left of it, in milliseconds; negative once it has ended.
    #[must_use]
    pub fn left_ms(&self, now: UnixMillis) -> i64 {
        self.until.0.saturating_sub(now.0)
    }
}
