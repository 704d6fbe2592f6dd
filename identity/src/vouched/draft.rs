//! A signature before it is made: what a client has to sign, and the header fields that carry what comes of it.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::base::{COMPONENTS, Message, base, content_digest};
use super::fields::TAG;
use super::key::Algorithm;
use crate::IdentityError;
use crate::peer::Fingerprint;

/// The label of the one signature; labels mean nothing.
const LABEL: &str = "sig";

/// What a client signs.
#[derive(Clone, Debug)]
pub struct Draft {
    parameters: String,
    content_digest: String,
    base: String,
}

impl Draft {
    /// For a message, as of `created_s` seconds since 1970, under a `nonce` that was never used before.
    ///
    /// # Errors
    /// [`IdentityError::RequestSignature`] where the message cannot be signed, or no appliance would take the nonce.
    pub fn new(
        message: &Message<'_>,
        certificate: &Fingerprint,
        algorithm: Algorithm,
        created_s: i64,
        nonce: &str,
    ) -> Result<Self, IdentityError> {
        let covered: Vec<String> = COMPONENTS.iter().map(|name| format!("\"{name}\"")).collect();
        let parameters = format!(
            "({});created={created_s};nonce=\"{nonce}\";keyid=\"{certificate}\";alg=\"{}\";tag=\"{TAG}\"",
            covered.join(" "),
            algorithm.as_str()
        );
        super::Parameters::parse(&parameters)?;
        let base = base(&message.values()?, &parameters);
        Ok(Self { parameters, content_digest: content_digest(message.body), base })
    }

    /// The signature base: the bytes to sign.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Names and values of the header fields, with the signature's 64 bytes in them.
    #[must_use]
    pub fn fields(&self, signature: &[u8]) -> [(&'static str, String); 3] {
        [
            ("content-digest", self.content_digest.clone()),
            ("signature-input", format!("{LABEL}={}", self.parameters)),
            ("signature", format!("{LABEL}=:{}:", STANDARD.encode(signature))),
        ]
    }
}
