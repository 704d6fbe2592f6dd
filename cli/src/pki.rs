//! The certificate authority of one appliance: it names the server, and every client with tenant, role and name in
//! one URI. Holds the CA's private key while a command runs. If this is wrong, somebody is let in as somebody else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chancery_core::{Role, Subject, UnixMillis};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use serde::Serialize;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{ASN1Time, CertificateRevocationList, FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::{Error, file};

const DAY_MS: i64 = 86_400_000;
/// The authority's own certificate, in days.
pub const AUTHORITY_DAYS: i64 = 3_652;
/// The server's certificate, in days.
pub const SERVER_DAYS: i64 = 825;
/// Other machines' clocks may be this far behind, in milliseconds.
const SKEW_MS: i64 = 300_000;

/// Reads a role from the command line.
pub fn roles() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::as_str)).try_map(|text| text.parse::<Role>())
}

/// A certificate and its private key, both in PEM. The key is wiped when dropped.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// PKCS #8.
    pub key: Zeroizing<String>,
}

/// The authority whose files lie in one folder: `ca.pem` and `ca-key.pem`.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    not_after: UnixMillis,
}

impl Authority {
    /// Makes an authority and writes its files. P-256, ten years, may sign end entities only.
    ///
    /// # Errors
    /// [`Error::File`] when a file exists or cannot be written.
    pub fn create(directory: &Path, name: &str, now: UnixMillis) -> Result<Self, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let not_after = now.plus_ms(AUTHORITY_DAYS * DAY_MS);
        let mut params = params(name, now, not_after)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = false;
        let certificate = params.self_signed(&key)?.pem();
        let pem = Zeroizing::new(key.serialize_pem());
        file::write_new(&key_path(directory), pem.as_bytes(), file::SECRET)?;
        file::write_new(&certificate_path(directory), certificate.as_bytes(), file::PUBLIC)?;
        Ok(Self { issuer: Issuer::new(params, key), certificate, not_after })
    }

    /// Opens an authority made before.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Content`] when its files are missing, are no authority, or belong to two.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let path = certificate_path(directory);
        let certificate = file::read_text(&path)?;
        let seen = read_one(&path, certificate.as_bytes())?;
        let pem = Zeroizing::new(file::read_text(&key_path(directory))?);
        let key = KeyPair::from_pem(&pem)
            .map_err(|_| Error::content(&key_path(directory), "holds no private key this program can use"))?;
        if !seen.is_authority {
            return Err(Error::content(&path, "is no certificate authority"));
        }
        if seen.public_key != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(Error::content(&key_path(directory), "is not the key of `ca.pem` beside it"));
        }
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)?;
        Ok(Self { issuer, certificate, not_after: seen.not_after })
    }

    /// The authority's certificate in PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// True if this authority signed the first certificate of a PEM text.
    #[must_use]
    pub fn issued(&self, pem: &[u8]) -> bool {
        let (ours, theirs) = (
            CertificateDer::from_pem_slice(self.certificate.as_bytes()),
            CertificateDer::from_pem_slice(pem),
        );
        let (Ok(ours), Ok(theirs)) = (ours, theirs) else { return false };
        let parsed = X509Certificate::from_der(&ours).ok().zip(X509Certificate::from_der(&theirs).ok());
        parsed
            .is_some_and(|((_, ours), (_, theirs))| theirs.verify_signature(Some(ours.public_key())).is_ok())
    }

    /// A server certificate for these host names and IP addresses.
    ///
    /// # Errors
    /// [`Error::Certificate`] when a name cannot stand in a certificate.
    pub fn issue_server(&self, hosts: &[String], now: UnixMillis) -> Result<Issued, Error> {
        let common = hosts.first().map_or("chancery", String::as_str);
        let mut params = params(common, now, now.plus_ms(SERVER_DAYS * DAY_MS).min(self.not_after))?;
        for host in hosts {
            params.subject_alt_names.push(match host.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.as_str().try_into()?),
            });
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(&params)
    }

    /// A client certificate with the one URI `chancery://<tenant>/<role>/<name>`.
    ///
    /// # Errors
    /// [`Error::Usage`] when it would outlive the authority.
    pub fn issue_client(&self, subject: &Subject, days: u32, now: UnixMillis) -> Result<Issued, Error> {
        let not_after = now.plus_ms(i64::from(days) * DAY_MS);
        if not_after > self.not_after {
            return Err(Error::Usage {
                detail: format!("`--days {days}` is longer than the authority itself lasts"),
                hint: "ask for fewer days",
            });
        }
        let mut params = params(subject.name.as_str(), now, not_after)?;
        params.subject_alt_names.push(SanType::URI(subject.to_string().as_str().try_into()?));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&params)
    }

    /// Signs a list of everything revoked so far and of `serials`, now. Without `days` it lasts as long as the authority
    /// itself. Returns how many it holds.
    ///
    /// # Errors
    /// [`Error::Content`] when the list at `path` is of another authority, [`Error::File`], [`Error::Usage`].
    pub fn revoke(
        &self,
        path: &Path,
        serials: &[Vec<u8>],
        days: Option<u32>,
        now: UnixMillis,
    ) -> Result<(usize, UnixMillis), Error> {
        let mut number = 1_u128;
        let mut revoked: BTreeMap<Vec<u8>, UnixMillis> = BTreeMap::new();
        if path.exists() {
            let [list] = &read_lists(path, &file::read(path)?)?[..] else {
                return Err(Error::content(path, "holds more than one revocation list"));
            };
            if !split(self.certificate.as_bytes()).first().is_some_and(|authority| list.is_of(authority)) {
                return Err(Error::content(path, "is not signed by the authority of this folder"));
            }
            number = list.number.saturating_add(1);
            revoked.extend(list.revoked.iter().map(|(serial, at)| (digits(serial), *at)));
        }
        for serial in serials {
            revoked.entry(digits(serial)).or_insert(now);
        }
        let until =
            days.map_or(self.not_after, |days| now.plus_ms(i64::from(days) * DAY_MS)).min(self.not_after);
        let entry = |(serial, at): (&Vec<u8>, &UnixMillis)| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial),
                revocation_time: date(*at)?,
                reason_code: None,
                invalidity_date: None,
            })
        };
        let list = CertificateRevocationListParams {
            this_update: date(now.plus_ms(-SKEW_MS))?,
            next_update: date(until)?,
            crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_, Error>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        file::replace(path, list.signed_by(&self.issuer)?.pem()?.as_bytes(), file::PUBLIC)?;
        Ok((revoked.len(), until))
    }

    fn issue(&self, params: &CertificateParams) -> Result<Issued, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }
}

fn certificate_path(directory: &Path) -> PathBuf {
    directory.join("ca.pem")
}

fn key_path(directory: &Path) -> PathBuf {
    directory.join("ca-key.pem")
}

fn params(name: &str, now: UnixMillis, not_after: UnixMillis) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date(now.plus_ms(-SKEW_MS))?;
    params.not_after = date(not_after)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn date(at: UnixMillis) -> Result<OffsetDateTime, Error> {
    OffsetDateTime::from_unix_timestamp(at.0 / 1_000).map_err(|_| Error::Usage {
        detail: "the date of a certificate is out of range".to_owned(),
        hint: "ask for fewer days, and look at this machine's clock",
    })
}

/// A fresh key on P-256, and a request for a certificate that gives it this name, both in PEM.
///
/// # Errors
/// [`Error::Certificate`] when no key can be made.
pub fn request(subject: &Subject) -> Result<(String, Zeroizing<String>), Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject.name.as_str());
    params.subject_alt_names.push(SanType::URI(subject.to_string().as_str().try_into()?));
    let request = params.serialize_request(&key)?.pem()?;
    Ok((request, Zeroizing::new(key.serialize_pem())))
}

/// What a certificate says.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// The subject, as text.
    pub subject: String,
    /// The issuer, as text.
    pub issuer: String,
    /// The serial number, in hexadecimal.
    pub serial: String,
    /// Valid from.
    pub not_before: UnixMillis,
    /// Valid until.
    pub not_after: UnixMillis,
    /// URIs among its subject alternative names.
    pub uris: Vec<String>,
    /// Host names and addresses among them.
    pub hosts: Vec<String>,
    /// May sign other certificates.
    pub is_authority: bool,
    /// Made for TLS servers.
    pub for_servers: bool,
    /// Made for TLS clients.
    pub for_clients: bool,
    /// The public key: DER of its SubjectPublicKeyInfo (RFC 5280 4.1).
    #[serde(skip)]
    pub public_key: Vec<u8>,
}

/// What a revocation list says.
pub struct SeenList {
    /// The issuer, as text.
    pub issuer: String,
    /// thisUpdate.
    pub from: UnixMillis,
    /// nextUpdate.
    pub until: UnixMillis,
    /// The serial numbers it takes back, and when each was.
    pub revoked: Vec<(Vec<u8>, UnixMillis)>,
    number: u128,
    der: Vec<u8>,
}

impl SeenList {
    /// True if the key of this certificate, in DER, signed it.
    #[must_use]
    pub fn is_of(&self, authority: &[u8]) -> bool {
        let parsed = X509Certificate::from_der(authority)
            .ok()
            .zip(CertificateRevocationList::from_der(&self.der).ok());
        parsed
            .is_some_and(|((_, authority), (_, list))| list.verify_signature(authority.public_key()).is_ok())
    }
}

/// Every revocation list in a file, in PEM or one in DER.
///
/// # Errors
/// [`Error::Content`] when there is none, or one does not parse or has no end.
pub fn read_lists(path: &Path, bytes: &[u8]) -> Result<Vec<SeenList>, Error> {
    let ders = if bytes.first() == Some(&0x30) {
        vec![bytes.to_vec()]
    } else {
        CertificateRevocationListDer::pem_slice_iter(bytes)
            .map(|der| der.map(|der| der.to_vec()))
            .collect::<Result<_, _>>()
            .map_err(|_| Error::content(path, "is neither PEM nor DER"))?
    };
    if ders.is_empty() {
        return Err(Error::content(path, "holds no revocation list"));
    }
    let ms = |time: ASN1Time| UnixMillis(time.timestamp().saturating_mul(1_000));
    let read = |der: Vec<u8>| {
        let wrong = || Error::content(path, "holds a revocation list that does not parse or has no end");
        let (_, list) = CertificateRevocationList::from_der(&der).map_err(|_| wrong())?;
        let number = list.crl_number().map(|number| number.to_bytes_be()).unwrap_or_default();
        let number = number.iter().fold(0_u128, |sum, byte| sum.wrapping_shl(8) | u128::from(*byte));
        Ok(SeenList {
            issuer: list.issuer().to_string(),
            from: ms(list.last_update()),
            until: ms(list.next_update().ok_or_else(wrong)?),
            revoked: list
                .iter_revoked_certificates()
                .map(|entry| (entry.raw_serial().to_vec(), ms(entry.revocation_date)))
                .collect(),
            number,
            der: der.clone(),
        })
    };
    ders.into_iter().map(read).collect()
}

/// The DER of every certificate in a PEM text, up to the first that is broken.
#[must_use]
pub fn split(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).map_while(Result::ok).collect()
}

/// Every certificate in a PEM text, in its order.
///
/// # Errors
/// [`Error::Content`] when there is none, or one does not parse.
pub fn read_all(path: &Path, pem: &[u8]) -> Result<Vec<Seen>, Error> {
    let ders: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| Error::content(path, "is not PEM"))?;
    if ders.is_empty() {
        return Err(Error::content(path, "holds no certificate"));
    }
    ders.iter().map(|der| read_der(path, der)).collect()
}

/// The first certificate in a PEM text: the end entity of a chain.
///
/// # Errors
/// As [`read_all`].
pub fn read_one(path: &Path, pem: &[u8]) -> Result<Seen, Error> {
    read_all(path, pem)?.into_iter().next().ok_or_else(|| Error::content(path, "holds no certificate"))
}

fn read_der(path: &Path, der: &[u8]) -> Result<Seen, Error> {
    let wrong = |_| Error::content(path, "holds a certificate that does not parse");
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|error| wrong(error.to_string()))?;
    if !rest.is_empty() {
        return Err(wrong(String::new()));
    }
    let usage = certificate.extended_key_usage().map_err(|error| wrong(error.to_string()))?;
    let names = certificate.subject_alternative_name().map_err(|error| wrong(error.to_string()))?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    Ok(Seen {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial: hex::encode(certificate.raw_serial()),
        not_before: UnixMillis(certificate.validity().not_before.timestamp().saturating_mul(1_000)),
        not_after: UnixMillis(certificate.validity().not_after.timestamp().saturating_mul(1_000)),
        uris: names.iter().filter_map(uri).collect(),
        hosts: names.iter().filter_map(host).collect(),
        is_authority: certificate.is_ca(),
        for_servers: usage.as_ref().is_some_and(|usage| usage.value.server_auth),
        for_clients: usage.as_ref().is_some_and(|usage| usage.value.client_auth),
        public_key: certificate.public_key().raw.to_vec(),
    })
}

/// A serial number without the zero that DER puts before a high bit.
fn digits(serial: &[u8]) -> Vec<u8> {
    serial.iter().copied().skip_while(|byte| *byte == 0).collect()
}

fn uri(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None }
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => Some(std::net::Ipv4Addr::from(v4).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string()),
        },
        _ => None,
    }
}
