//! Who is believed to be a time-stamping authority: whoever has a certificate for that and for nothing else, under a root
//! that a reader was given by the authority itself. Revocation is not asked for: see docs/threat-model.md.

use std::time::Duration;

use chancery_core::UnixMillis;
use cms::cert::x509::Certificate;
use cms::cert::x509::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use der::asn1::ObjectIdentifier;
use der::{Decode, Encode};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert};

use super::TimestampError;

/// LIMIT: roots that are believed.
const ROOTS: usize = 16;
/// `id-kp-timeStamping`.
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");
/// The same without tag and length.
const TIME_STAMPING_VALUE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 8];

/// Why roots are refused.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// Not PEM.
    #[error("it is not PEM: {0}")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// None or too many.
    #[error("it holds {0} certificates and must hold 1 to {ROOTS}")]
    Number(usize),
    /// One that can be no root.
    #[error("certificate {index} {rule}")]
    Certificate {
        /// Its place, from 0.
        index: usize,
        /// What it must be.
        rule: &'static str,
    },
}

/// The roots under which time-stamping authorities are believed.
#[derive(Clone)]
pub struct TimestampRoots {
    roots: Vec<Root>,
}

#[derive(Clone)]
struct Root {
    anchor: TrustAnchor<'static>,
    from: Duration,
    until: Duration,
}

impl TimestampRoots {
    /// From certificates in PEM, which others may stand beside.
    ///
    /// # Errors
    /// [`RootsError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, RootsError> {
        let ders: Vec<_> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(RootsError::Pem)?;
        if !(1..=ROOTS).contains(&ders.len()) {
            return Err(RootsError::Number(ders.len()));
        }
        let roots = ders.iter().enumerate().map(|(index, der)| root(index, der));
        Ok(Self { roots: roots.collect::<Result<_, _>>()? })
    }

    /// Whether `signer` was an authority under one of the roots at `time`, by way of some of the `others`.
    pub(super) fn admit(
        &self,
        signer: &Certificate,
        others: &[CertificateDer<'_>],
        time: UnixMillis,
    ) -> Result<(), TimestampError> {
        for_time_stamping_alone(signer)?;
        let der = CertificateDer::from(signer.to_der()?);
        let leaf = EndEntityCert::try_from(&der).map_err(TimestampError::Chain)?;
        let time = Duration::from_millis(u64::try_from(time.0).unwrap_or(0));
        let mut refused = TimestampError::Chain(webpki::Error::UnknownIssuer);
        // Each root apart, because webpki does not look at a root's own dates.
        for root in &self.roots {
            let path = leaf.verify_for_usage(
                ALL_VERIFICATION_ALGS,
                std::slice::from_ref(&root.anchor),
                others,
                UnixTime::since_unix_epoch(time),
                // Authorities between need no usage; the signer's own is looked at above.
                webpki::KeyUsage::required_if_present(TIME_STAMPING_VALUE),
                None,
                None,
            );
            match path {
                Ok(_) if (root.from..=root.until).contains(&time) => return Ok(()),
                Ok(_) => refused = TimestampError::Signer("its root is out of date at that time"),
                Err(webpki::Error::UnknownIssuer) => {}
                Err(error) => refused = TimestampError::Chain(error),
            }
        }
        Err(refused)
    }
}

fn root(index: usize, der: &CertificateDer<'_>) -> Result<Root, RootsError> {
    let broken = |rule| RootsError::Certificate { index, rule };
    let certificate = Certificate::from_der(der).map_err(|_| broken("must be an X.509 certificate"))?;
    let constraints = certificate.tbs_certificate.get::<BasicConstraints>();
    if !matches!(constraints, Ok(Some((_, BasicConstraints { ca: true, .. })))) {
        return Err(broken("must be marked as a certificate authority"));
    }
    let anchor = webpki::anchor_from_trusted_cert(der)
        .map_err(|_| broken("must be an X.509 v3 certificate"))?
        .to_owned();
    let validity = certificate.tbs_certificate.validity;
    Ok(Root {
        anchor,
        from: validity.not_before.to_unix_duration(),
        until: validity.not_after.to_unix_duration(),
    })
}

/// RFC 3161, 2.3: one extended key usage, critical. Key usage, where there is one, allows to sign.
fn for_time_stamping_alone(signer: &Certificate) -> Result<(), TimestampError> {
    let rule = |holds: bool, rule| if holds { Ok(()) } else { Err(TimestampError::Signer(rule)) };
    let (critical, ExtendedKeyUsage(purposes)) = signer
        .tbs_certificate
        .get::<ExtendedKeyUsage>()?
        .ok_or(TimestampError::Signer("its certificate is not for time-stamping"))?;
    rule(purposes == [TIME_STAMPING], "its certificate is not for time-stamping alone")?;
    rule(critical, "its certificate does not insist on time-stamping (a critical extended key usage)")?;
    let usage = signer.tbs_certificate.get::<KeyUsage>()?;
    rule(
        usage.is_none_or(|(_, usage)| usage.digital_signature() || usage.non_repudiation()),
        "its certificate is not for signatures",
    )
}
