//! What the appliance's own authority signs: its certificate, those of clients, and the list of those it took back. The key
//! is elsewhere and signs a digest: everything here is a draft until that signature stands in it.
//! If this is wrong, a certificate says more than was agreed to, or a revoked one still holds.

use std::cell::RefCell;

use chancery_core::{Serial, Tenant, UnixMillis, limit};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm, SigningKey, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Application, IdentityError};

const DAY_MS: i64 = 86_400_000;
/// How long the authority's own certificate holds, in days.
const AUTHORITY_DAYS: i64 = 3_652;
/// Other machines' clocks may be this far behind, in milliseconds.
const SKEW_MS: i64 = 300_000;
/// `ecdsa-with-SHA256` as an AlgorithmIdentifier (RFC 5758 3.2).
const ECDSA_WITH_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// Something that an authority's key has still to sign.
#[derive(Debug)]
pub struct Draft(Vec<u8>);

impl Draft {
    /// SHA-256 of what is signed.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// The whole of it in DER, with `r || s` over that digest.
    #[must_use]
    pub fn signed(&self, signature: &[u8; 64]) -> Vec<u8> {
        let (r, s) = signature.split_at(32);
        let numbers = der(0x30, &[&integer(r), &integer(s)]);
        der(0x30, &[&self.0, ECDSA_WITH_SHA256, &der(0x03, &[&[0], &numbers])])
    }
}

/// Drafts the certificate of a tenant's authority around a key on P-256, whose SubjectPublicKeyInfo this is in DER.
///
/// # Errors
/// [`IdentityError::Unmade`].
pub fn authority(tenant: &Tenant, public_key: &[u8], now: UnixMillis) -> Result<Draft, IdentityError> {
    let digest = hex::encode(Sha256::digest(public_key));
    let mut params = params(now, now.plus_ms(AUTHORITY_DAYS * DAY_MS))?;
    // Told apart by their keys: names of two appliances must not be one.
    let name = format!("chancery clients {}", digest.get(..16).unwrap_or_default());
    params.distinguished_name.push(DnType::OrganizationName, tenant.as_str());
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&[1]));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    hear(public_key, |hand| params.self_signed(&hand).map(drop))
}

/// The authority of one tenant's clients.
#[derive(Clone, Debug)]
pub struct Issuer {
    tenant: Tenant,
    certificate: CertificateDer<'static>,
    public_key: Vec<u8>,
    until: UnixMillis,
}

impl Issuer {
    /// From its certificate in DER, as it was signed.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`].
    pub fn open(tenant: Tenant, certificate: Vec<u8>) -> Result<Self, IdentityError> {
        let Ok(([], parsed)) = X509Certificate::from_der(&certificate) else {
            return Err(IdentityError::Certificate);
        };
        let until = UnixMillis(parsed.validity().not_after.timestamp().saturating_mul(1_000));
        let public_key = parsed.public_key().raw.to_vec();
        Ok(Self { tenant, public_key, until, certificate: certificate.into() })
    }

    /// The tenant whose clients it names.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Its certificate in DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Its public key: DER of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// When it ends.
    #[must_use]
    pub fn until(&self) -> UnixMillis {
        self.until
    }

    /// Drafts a client's certificate, for TLS clients alone, and says when it will end.
    ///
    /// # Errors
    /// [`IdentityError::Application`] for another tenant's name, or where it would outlive the authority.
    pub fn certify(
        &self,
        application: &Application,
        serial: Serial,
        days: u32,
        now: UnixMillis,
    ) -> Result<(Draft, UnixMillis), IdentityError> {
        let client = application.client();
        if client.tenant != self.tenant {
            return Err(IdentityError::Application { rule: "the tenant must be the authority's own" });
        }
        let until = UnixMillis(seconds(now.plus_ms(i64::from(days) * DAY_MS)).saturating_mul(1_000));
        if until > self.until {
            return Err(IdentityError::Application { rule: "it must end before the authority does" });
        }
        let mut params = params(now, until)?;
        params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
        params.distinguished_name.push(DnType::CommonName, client.name.as_str());
        let uri = client.to_string().try_into().map_err(IdentityError::Unmade)?;
        params.subject_alt_names.push(SanType::URI(uri));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = SubjectPublicKeyInfo::from_der(application.public_key()).map_err(IdentityError::Unmade)?;
        let draft = hear(&self.public_key, |hand| {
            params.signed_by(&key, &rcgen::Issuer::from_ca_cert_der(&self.certificate, hand)?).map(drop)
        })?;
        Ok((draft, until))
    }

    /// Drafts the list of the certificates that were taken back, which holds for [`limit::REVOCATION_LIST_MS`].
    ///
    /// # Errors
    /// [`IdentityError::Unmade`].
    pub fn list(&self, revoked: &[(Serial, UnixMillis)], now: UnixMillis) -> Result<Draft, IdentityError> {
        let entry = |(serial, at): &(Serial, UnixMillis)| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial.as_bytes()),
                revocation_time: date(*at)?,
                reason_code: None,
                invalidity_date: None,
            })
        };
        let list = CertificateRevocationListParams {
            this_update: date(now)?,
            next_update: date(now.plus_ms(limit::REVOCATION_LIST_MS))?,
            crl_number: SerialNumber::from_slice(&now.0.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_, IdentityError>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        hear(&self.public_key, |hand| {
            list.signed_by(&rcgen::Issuer::from_ca_cert_der(&self.certificate, hand)?).map(drop)
        })
    }
}

/// A key that is not here: it hears what it should sign, and answers nothing.
struct Hand<'a> {
    point: &'a [u8],
    heard: &'a RefCell<Vec<u8>>,
}

impl PublicKeyData for Hand<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Hand<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        message.clone_into(&mut self.heard.borrow_mut());
        Ok(Vec::new())
    }
}

/// What `make` would have the key of this SubjectPublicKeyInfo sign.
fn hear(
    public_key: &[u8],
    make: impl FnOnce(Hand<'_>) -> Result<(), rcgen::Error>,
) -> Result<Draft, IdentityError> {
    let key = SubjectPublicKeyInfo::from_der(public_key).map_err(IdentityError::Unmade)?;
    let heard = RefCell::default();
    make(Hand { point: key.der_bytes(), heard: &heard }).map_err(IdentityError::Unmade)?;
    Ok(Draft(heard.into_inner()))
}

fn params(now: UnixMillis, until: UnixMillis) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = date(now.plus_ms(-SKEW_MS))?;
    params.not_after = date(until)?;
    Ok(params)
}

fn seconds(at: UnixMillis) -> i64 {
    at.0.div_euclid(1_000)
}

pub(crate) fn date(at: UnixMillis) -> Result<OffsetDateTime, IdentityError> {
    OffsetDateTime::from_unix_timestamp(seconds(at))
        .map_err(|_| IdentityError::Application { rule: "its dates must be ones that can be written" })
}

/// A value in DER: tag, length, parts.
pub(crate) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let digits: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut value = vec![tag];
    match content.len() {
        0..=0x7f => value.extend(digits.last().or(Some(&0))),
        _ => {
            value.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
            value.extend(digits);
        }
    }
    value.extend(content);
    value
}

/// A positive number as an INTEGER.
fn integer(number: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
    match digits.first() {
        Some(first) if *first < 0x80 => der(0x02, &[&digits]),
        _ => der(0x02, &[&[0], &digits]),
    }
}
