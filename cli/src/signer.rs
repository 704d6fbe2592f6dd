//! Signs requests themselves (RFC 9421) with the key of the client's certificate, so that the appliance, and whoever reads the
//! receipt, sees that this client asked. What is signed is written in `identity`, which also verifies it.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use chancery_identity::{Algorithm, Draft, Fingerprint, Message};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Error, when};

/// The client's key, and the certificate that names it.
pub struct Signer {
    certificate: Fingerprint,
    key: Key,
}

enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// `None` for a key that is neither on P-256 nor Ed25519: no appliance takes another's signature.
    pub fn new(certificate: &CertificateDer<'_>, key: &PrivateKeyDer<'_>) -> Option<Self> {
        let der = key.secret_der();
        let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map(Key::P256)
            .or_else(|_| Ed25519KeyPair::from_pkcs8(der).map(Key::Ed25519));
        Some(Self { certificate: Fingerprint::of(certificate), key: key.ok()? })
    }

    /// The header fields that carry a fresh signature over `message`.
    ///
    /// # Errors
    /// [`Error::Random`]; [`Error::Failed`] where the message cannot be signed.
    pub fn sign(&self, message: &Message<'_>) -> Result<[(&'static str, String); 3], Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(Error::Random)?;
        let algorithm = match self.key {
            Key::P256(_) => Algorithm::EcdsaP256Sha256,
            Key::Ed25519(_) => Algorithm::Ed25519,
        };
        let created_s = when::now().0.div_euclid(1_000);
        let draft = Draft::new(message, &self.certificate, algorithm, created_s, &hex::encode(nonce))
            .map_err(|error| Error::Failed(error.to_string()))?;
        let base = draft.base().as_bytes();
        let signature = match &self.key {
            Key::P256(key) => key.sign(&SystemRandom::new(), base),
            Key::Ed25519(key) => Ok(key.sign(base)),
        };
        let signature = signature.map_err(|_| Error::Failed("the client's key does not sign".to_owned()))?;
        Ok(draft.fields(signature.as_ref()))
    }
}
