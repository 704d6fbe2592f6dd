//! Officers whose keys are here, and their assertions (WebAuthn), made without an authenticator.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use xtask::Stop;

use crate::Error;
use crate::stage::PARTY;

/// An officer with an authenticator.
pub(crate) struct Person {
    /// As in the certificate.
    pub(crate) name: String,
    /// Of the enrolment.
    pub(crate) code: [u8; 16],
    pub(crate) pair: EcdsaKeyPair,
}

impl Person {
    pub(crate) fn new(number: usize) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let unable = |_| Stop::answer("a key", "none");
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(unable)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref());
        let pair = pair.map_err(|error| Stop::answer("a key", error))?;
        let code = Sha256::digest(pair.public_key().as_ref());
        let code = code.first_chunk().copied().unwrap_or_default();
        Ok(Self { name: format!("officer-{number}"), code, pair })
    }

    fn credential(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.name.as_bytes())
    }

    /// Lines of the bundle's manifest.
    pub(crate) fn entry(&self, roles: &str) -> String {
        let Self { name, code, pair } = self;
        let digest = Sha256::new().chain_update(format!("chancery enrolment v1\ndefault/{name}\n"));
        format!(
            "\n[[officer]]\nid = \"{name}\"\n{roles}\n\
             enrolment = {{ code_sha256 = \"{}\", until = \"2100-01-01T00:00:00Z\" }}\n\n\
             [[officer.credential]]\nid = \"{}\"\nkey = \"es256:{}\"\nheld = \"software\"\n",
            hex::encode(digest.chain_update(code).finalize()),
            self.credential(),
            hex::encode(pair.public_key().as_ref()),
        )
    }

    /// An assertion over `challenge`, the person verified.
    pub(crate) fn assertion(&self, challenge: &[u8; 32]) -> Result<Value, Error> {
        let client_data = json!({
            "type": "webauthn.get",
            "challenge": URL_SAFE_NO_PAD.encode(challenge),
            "origin": format!("https://{PARTY}"),
        });
        let client_data = client_data.to_string();
        let data = [&Sha256::digest(PARTY)[..], &[5, 0, 0, 0, 0]].concat();
        let signed = [&data[..], &Sha256::digest(&client_data)].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &signed);
        let signature = signature.map_err(|_| Stop::answer("a signature", "none"))?;
        Ok(json!({
            "credential": self.credential(),
            "client_data": URL_SAFE_NO_PAD.encode(client_data),
            "authenticator_data": URL_SAFE_NO_PAD.encode(data),
            "signature": URL_SAFE_NO_PAD.encode(signature.as_ref()),
        }))
    }
}
