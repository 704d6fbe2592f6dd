//! A time-stamp token as CMS signed data (RFC 5652, 5; RFC 3161, 2.4.2; RFC 5816): one signer, whose certificate comes with
//! it and is named by hash in what is signed. What is signed is used only where signature and certificate hold. If this is
//! wrong, a time is believed that no authority said.

use cms::cert::CertificateChoices;
use cms::cert::x509::Certificate;
use cms::cert::x509::attr::Attributes;
use cms::cert::x509::ext::pkix::SubjectKeyIdentifier;
use cms::cert::x509::spki::AlgorithmIdentifierOwned;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use der::asn1::{ObjectIdentifier, OctetString};
use der::{Any, Decode, Encode};
use rustls_pki_types::{AlgorithmIdentifier, CertificateDer, SignatureVerificationAlgorithm, alg_id};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert};

use super::TimestampError;
use super::asn1::{SigningCertificateV2, TstInfo};
use super::roots::TimestampRoots;

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

const SIGNED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = oid("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = oid("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = oid("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.47");
const RSA_ENCRYPTION: ObjectIdentifier = oid("1.2.840.113549.1.1.1");
pub(super) const SHA256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.3");

/// LIMIT: certificates in a token; path building is quadratic in them at worst.
const CERTIFICATES: usize = 8;

/// What an authority under one of the roots signed, and its name.
pub(super) fn open(token: &ContentInfo, roots: &TimestampRoots) -> Result<(TstInfo, String), TimestampError> {
    let malformed = TimestampError::Malformed;
    if token.content_type != SIGNED_DATA {
        return Err(malformed("the token is not signed data"));
    }
    let signed: SignedData = token.content.decode_as()?;
    let content = &signed.encap_content_info;
    if content.econtent_type != TST_INFO {
        return Err(malformed("what is signed is no timestamp"));
    }
    let content = content.econtent.as_ref().ok_or(malformed("what is signed is not there"))?;
    let content: OctetString = content.decode_as()?;
    let [signer] = signed.signer_infos.0.as_slice() else {
        return Err(malformed("it has not one signer"));
    };
    let certificates = certificates(&signed)?;
    let certificate = certificates
        .iter()
        .find(|certificate| is_of(&signer.sid, certificate))
        .ok_or(TimestampError::Signer("its certificate is not in the token"))?;

    signature_holds(signer, certificate, content.as_bytes())?;
    let info = TstInfo::from_der(content.as_bytes())?;
    let time = info.time().ok_or(malformed("its time is none"))?;
    let others = certificates.iter().filter(|other| *other != certificate);
    let others =
        others.map(|other| other.to_der().map(CertificateDer::from)).collect::<Result<Vec<_>, _>>()?;
    roots.admit(certificate, &others, time)?;
    Ok((info, certificate.tbs_certificate.subject.to_string()))
}

fn certificates(signed: &SignedData) -> Result<Vec<&Certificate>, TimestampError> {
    let all = signed.certificates.iter().flat_map(|set| set.0.iter());
    let certificates: Vec<_> = all
        .filter_map(|choice| match choice {
            CertificateChoices::Certificate(certificate) => Some(certificate),
            CertificateChoices::Other(_) => None,
        })
        .collect();
    if certificates.len() > CERTIFICATES {
        return Err(TimestampError::Malformed("it brings more than 8 certificates"));
    }
    Ok(certificates)
}

fn is_of(signer: &SignerIdentifier, certificate: &Certificate) -> bool {
    let certificate = &certificate.tbs_certificate;
    match signer {
        SignerIdentifier::IssuerAndSerialNumber(named) => {
            named.issuer == certificate.issuer && named.serial_number == certificate.serial_number
        }
        SignerIdentifier::SubjectKeyIdentifier(named) => {
            matches!(certificate.get::<SubjectKeyIdentifier>(), Ok(Some((_, own))) if own == *named)
        }
    }
}

/// The signature is over the attributes, and these name content and certificate by their hashes.
fn signature_holds(
    signer: &SignerInfo,
    certificate: &Certificate,
    content: &[u8],
) -> Result<(), TimestampError> {
    let rule = |holds: bool, rule| if holds { Ok(()) } else { Err(TimestampError::Signature(rule)) };
    let attributes =
        signer.signed_attrs.as_ref().ok_or(TimestampError::Signature("it signs no attributes"))?;
    let content_type: ObjectIdentifier = only(attributes, CONTENT_TYPE)?.decode_as()?;
    rule(content_type == TST_INFO, "it names another type of content")?;
    let digest: OctetString = only(attributes, MESSAGE_DIGEST)?.decode_as()?;
    let found =
        hash(&signer.digest_alg, content).ok_or(TimestampError::Signature("its hash is not SHA-2"))?;
    rule(digest.as_bytes() == found, "what is signed was changed")?;

    let named: SigningCertificateV2 = only(attributes, SIGNING_CERTIFICATE_V2)?.decode_as()?;
    let named = named.certificates.first().ok_or(TimestampError::Signature("it names no certificate"))?;
    let der = certificate.to_der()?;
    let sha256 = AlgorithmIdentifierOwned { oid: SHA256, parameters: None };
    let found = hash(named.hash_algorithm.as_ref().unwrap_or(&sha256), &der);
    rule(found.as_deref() == Some(named.hash.as_bytes()), "it names another certificate")?;

    let der = CertificateDer::from(der);
    let key = EndEntityCert::try_from(&der).map_err(TimestampError::Chain)?;
    let message = attributes.to_der()?;
    let verified = algorithms(signer)?
        .any(|algorithm| key.verify_signature(algorithm, &message, signer.signature.as_bytes()).is_ok());
    rule(verified, "it does not verify under the signer's key")
}

/// The one value of the one attribute of this type.
fn only(attributes: &Attributes, oid: ObjectIdentifier) -> Result<&Any, TimestampError> {
    let mut found = attributes.iter().filter(|attribute| attribute.oid == oid);
    match (found.next().map(|attribute| attribute.values.as_slice()), found.next()) {
        (Some([value]), None) => Ok(value),
        (None, _) => Err(TimestampError::Signature("an attribute that it must sign is not there")),
        _ => Err(TimestampError::Signature("an attribute is there more than once")),
    }
}

/// The hash by an algorithm of the SHA-2 family; `None` for any other.
pub(super) fn hash(algorithm: &AlgorithmIdentifierOwned, bytes: &[u8]) -> Option<Vec<u8>> {
    if algorithm.parameters.as_ref().is_some_and(|parameters| !parameters.is_null()) {
        return None;
    }
    match algorithm.oid {
        SHA256 => Some(Sha256::digest(bytes).to_vec()),
        SHA384 => Some(Sha384::digest(bytes).to_vec()),
        SHA512 => Some(Sha512::digest(bytes).to_vec()),
        _ => None,
    }
}

/// What the signature may have been made with; one of them fits the key.
fn algorithms(
    signer: &SignerInfo,
) -> Result<impl Iterator<Item = &'static dyn SignatureVerificationAlgorithm>, TimestampError> {
    // RFC 3370, 3.2: `rsaEncryption` says the padding, and the digest algorithm says the hash.
    let by_digest = match signer.digest_alg.oid {
        _ if signer.signature_algorithm.oid != RSA_ENCRYPTION => None,
        SHA256 => Some(alg_id::RSA_PKCS1_SHA256),
        SHA384 => Some(alg_id::RSA_PKCS1_SHA384),
        SHA512 => Some(alg_id::RSA_PKCS1_SHA512),
        _ => None,
    };
    let named = Any::from_der(&signer.signature_algorithm.to_der()?)?;
    Ok(ALL_VERIFICATION_ALGS.iter().copied().filter(move |algorithm| {
        let id: AlgorithmIdentifier = algorithm.signature_alg_id();
        by_digest.map_or_else(|| id.as_ref() == named.value(), |wanted| id == wanted)
    }))
}
