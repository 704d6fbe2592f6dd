//! The key of the door's certificate: a new one beside it, a request that goes to the authority, and both put in their places
//! once the certificate has come. The private key is in its file and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};

use chancery_audit::Digest;
use chancery_core::UnixMillis;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use serde_json::{Value, json};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroizing;

use crate::error::CeremonyError;
use crate::run::Stage;
use crate::store;

/// What goes to the authority.
const REQUEST: &str = "request.pem";
/// What comes back, and is put into the ceremony's folder.
const CERTIFICATE: &str = "certificate.pem";

impl Stage {
    /// Makes the key beside the door's, and the request. A key that an interrupted attempt made is taken.
    pub(crate) fn tls_key(&mut self, again: bool) -> Result<Value, CeremonyError> {
        let before = Seen::read(&self.room.door.certificate)?;
        let place = self.next_key();
        if place.exists() && !again {
            return Err(CeremonyError::Occupied(format!("`{}` is there", place.display())));
        }
        if !place.exists() {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| unmade(&error))?;
            store::write(&place, Zeroizing::new(key.serialize_pem()).as_bytes())?;
        }
        let key = read_key(&place)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, before.names.first().map_or("chancery", String::as_str));
        params.subject_alt_names = before.names.iter().map(|name| san(name)).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let request = params.serialize_request(&key).and_then(|request| request.pem());
        let request = request.map_err(|error| unmade(&error))?;
        store::write(&self.room.folder.join(REQUEST), request.as_bytes())?;
        Ok(json!({
            "names": before.names,
            "key_before": before.key,
            "key_after": Digest::of(&key.subject_public_key_info()),
            "request": Digest::of(request.as_bytes()),
            "next": format!("have the authority sign `{REQUEST}`, and put the certificate into this folder as `{CERTIFICATE}`"),
        }))
    }

    /// Puts both in their places.
    pub(crate) fn tls_certificate(&mut self, again: bool) -> Result<Value, CeremonyError> {
        let path = self.room.folder.join(CERTIFICATE);
        let (issued, before) = (Seen::read(&path)?, Seen::read(&self.room.door.certificate)?);
        let (place, next) = (self.room.door.key.clone(), self.next_key());
        // The key is moved first: what an interrupted attempt left is the key in its place and the certificate before.
        let moved = again && !next.exists();
        let key = read_key(if moved { &place } else { &next })?;
        let wrong = |what: &str| CeremonyError::Content { path: path.clone(), what: what.to_owned() };
        if issued.key != Digest::of(&key.subject_public_key_info()) {
            return Err(wrong("is not of the key that was made"));
        }
        if issued.names != before.names {
            return Err(wrong("is not for the names of the certificate before"));
        }
        let now = (self.room.now)();
        if now < issued.not_before || now >= issued.not_after {
            return Err(wrong("is not in date"));
        }
        if !moved {
            fs::rename(&next, &place).map_err(CeremonyError::file(&place))?;
            store::sync_folder(&place)?;
        }
        // ORDER: between the two the daemon refuses the set and goes on with the last good one. A crash here is gone on from.
        let bytes = store::read(&path)?;
        store::write_public(&self.room.door.certificate, &bytes)?;
        Ok(json!({
            "certificate": Digest::of(&bytes),
            "key": issued.key,
            "names": issued.names,
            "until_ms": issued.not_after,
        }))
    }

    /// Where the next key waits: beside the one in force.
    fn next_key(&self) -> PathBuf {
        let mut name = self.room.door.key.clone().into_os_string();
        name.push(".next");
        name.into()
    }
}

fn unmade(error: &dyn std::fmt::Display) -> CeremonyError {
    CeremonyError::Mismatch(format!("no certificate can be asked for: {error}"))
}

fn read_key(path: &Path) -> Result<KeyPair, CeremonyError> {
    let bytes = Zeroizing::new(store::read(path)?);
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let none = |_| CeremonyError::Content { path: path.to_owned(), what: "holds no private key".to_owned() };
    KeyPair::from_pem(text).map_err(none)
}

fn san(name: &str) -> Result<SanType, CeremonyError> {
    Ok(match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into().map_err(|error| unmade(&error))?),
    })
}

/// What the first certificate of a file says.
struct Seen {
    /// SHA-256 of the SubjectPublicKeyInfo (RFC 5280, 4.1).
    key: Digest,
    /// Host names and addresses, sorted.
    names: Vec<String>,
    not_before: UnixMillis,
    not_after: UnixMillis,
}

impl Seen {
    fn read(path: &Path) -> Result<Self, CeremonyError> {
        let bytes = store::read(path)?;
        let none =
            || CeremonyError::Content { path: path.to_owned(), what: "holds no certificate".to_owned() };
        let (_, pem) = parse_x509_pem(&bytes).map_err(|_| none())?;
        let certificate = pem.parse_x509().map_err(|_| none())?;
        let names = certificate.subject_alternative_name().map_err(|_| none())?;
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let mut names: Vec<_> = names.iter().filter_map(host).collect();
        names.sort();
        if names.is_empty() {
            return Err(none());
        }
        let at = |time: x509_parser::time::ASN1Time| UnixMillis(time.timestamp().saturating_mul(1_000));
        Ok(Self {
            key: Digest::of(certificate.public_key().raw),
            names,
            not_before: at(certificate.validity().not_before),
            not_after: at(certificate.validity().not_after),
        })
    }
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
