//! What somebody asks to be named: a request for a certificate (PKCS #10, RFC 2986) whose signature shows that the asker
//! holds the key. Nothing else that it asks for is given. If this is wrong, a certificate is issued for a key that somebody
//! else holds, or for a name that nobody agreed to.

use chancery_core::{Subject, limit};
use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData as _, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest, Sha256};
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509CertificationRequest};

use crate::IdentityError;

/// A name and the key that shall have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    client: Subject,
    public_key: Vec<u8>,
}

impl Application {
    /// Reads a request in PEM, of which there is one, and verifies that its own key signed it.
    ///
    /// # Errors
    /// [`IdentityError::Application`] names the rule: one URI that is a client's name and no other extension; a key on
    /// P-256 or P-384, or for Ed25519; at most [`limit::CSR_BYTES`].
    pub fn read(pem: &str) -> Result<Self, IdentityError> {
        if pem.len() > limit::CSR_BYTES {
            return Err(refused("it must be at most 16 KiB"));
        }
        let mut all = CertificateSigningRequestDer::pem_slice_iter(pem.as_bytes());
        let (Some(Ok(der)), None) = (all.next(), all.next()) else {
            return Err(refused("it must be one certificate request in PEM"));
        };
        Self::from_der(&der)
    }

    /// The same in DER.
    ///
    /// # Errors
    /// As [`Application::read`].
    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        let broken = refused("it must be a certificate request of PKCS #10 in DER");
        let Ok(([], request)) = X509CertificationRequest::from_der(der) else { return Err(broken) };
        let application =
            Self::of(only_name(&request)?, request.certification_request_info.subject_pki.raw.to_vec())?;
        request.verify_signature().map_err(|_| refused("it must be signed by the key that it names"))?;
        Ok(application)
    }

    /// The same, of a request that was read before.
    ///
    /// # Errors
    /// [`IdentityError::Application`] for a key of another kind.
    pub fn of(client: Subject, public_key: Vec<u8>) -> Result<Self, IdentityError> {
        let kinds = [(&PKCS_ECDSA_P256_SHA256, 65), (&PKCS_ECDSA_P384_SHA384, 97), (&PKCS_ED25519, 32)];
        let known = SubjectPublicKeyInfo::from_der(&public_key).ok().filter(|key| {
            let is_known = kinds.contains(&(key.algorithm(), key.der_bytes().len()));
            // One spelling: what is shown to officers is what the certificate holds.
            is_known && key.subject_public_key_info() == public_key
        });
        match known {
            Some(_) => Ok(Self { client, public_key }),
            None => Err(refused("its key must be on P-256 or P-384, uncompressed, or for Ed25519")),
        }
    }

    /// Whom the certificate shall name.
    #[must_use]
    pub fn client(&self) -> &Subject {
        &self.client
    }

    /// The public key: DER of its SubjectPublicKeyInfo (RFC 5280 4.1).
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// SHA-256 of that, by which people compare it.
    #[must_use]
    pub fn key_digest(&self) -> [u8; 32] {
        Sha256::digest(&self.public_key).into()
    }
}

/// The one name that is asked for, and that nothing else is.
fn only_name(request: &X509CertificationRequest<'_>) -> Result<Subject, IdentityError> {
    let mut names = Vec::new();
    for attribute in request.certification_request_info.iter_attributes() {
        let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() else {
            return Err(refused("it must have no attribute but a request for extensions"));
        };
        for extension in &asked.extensions {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(found) => names.extend(&found.general_names),
                _ => return Err(refused("it must ask for no extension but a subject alternative name")),
            }
        }
    }
    match names[..] {
        [GeneralName::URI(uri)] => uri.parse().map_err(|error: chancery_core::SubjectError| refused(error.0)),
        _ => Err(refused("it must ask for one subject alternative name, a URI")),
    }
}

fn refused(rule: &'static str) -> IdentityError {
    IdentityError::Application { rule }
}
