//! The evidence that a client signed one HTTP request itself (RFC 9421), with the key of its certificate: so whoever
//! forwards the request need not be trusted, and a receipt can show that the client asked.
//!
//! Trusts nothing but the certificate and the caller's clock. Replays within the time window are for the store to refuse,
//! by the nonce. If this is wrong, somebody asks in a client's name.

mod audience;
mod base;
mod draft;
mod fields;
mod key;
#[cfg(test)]
mod tests;

use std::fmt;

use chancery_core::{ClientId, Subject, Tenant, UnixMillis, limit};
use x509_parser::prelude::{FromDer, X509Certificate};

pub use audience::{authority_of, is_named_by};
pub use base::Message;
pub use draft::Draft;
pub use fields::Fields;
pub use key::Algorithm;

use crate::authority::{require_client_auth, subject_of};
use crate::peer::Fingerprint;
use crate::{Client, IdentityError, Role};
use fields::Parameters;
use key::Key;

/// What a client signed itself. Made by [`Client::vouch`] alone.
///
/// ```compile_fail,E0451
/// fn forge(vouched: chancery_identity::Vouched) -> chancery_identity::Vouched {
///     chancery_identity::Vouched { body: Vec::new(), ..vouched }
/// }
/// ```
#[derive(Clone)]
pub struct Vouched {
    client: Client,
    method: String,
    path: String,
    authority: String,
    idempotency_key: String,
    body: Vec<u8>,
    nonce: String,
    parameters: String,
    signature: Vec<u8>,
}

impl Vouched {
    /// Who signed.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The request's method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The request's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whom it was for: host and port as the client knows them.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The request's `Idempotency-Key`.
    #[must_use]
    pub fn idempotency_key(&self) -> &str {
        &self.idempotency_key
    }

    /// The request's body, to the byte.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// What makes this signature another than every other of the client's.
    #[must_use]
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The value of `@signature-params`: the covered components and the signature's parameters.
    #[must_use]
    pub fn parameters(&self) -> &str {
        &self.parameters
    }

    /// The signature's 64 bytes.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl fmt::Debug for Vouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vouched").field("client", &self.client).field("parameters", &self.parameters).finish()
    }
}

impl Client {
    /// Whether this client signed `message` itself, at most `limit::SIGNATURE_MS` before or after `now`.
    ///
    /// # Errors
    /// [`IdentityError::RequestSignature`] for any doubt; its code is `request-signature-invalid`.
    pub fn vouch(
        &self,
        message: Message<'_>,
        fields: &Fields<'_>,
        now: UnixMillis,
    ) -> Result<Vouched, IdentityError> {
        let found = fields.read(&message)?;
        let certificate = parse(self.certificate())?;
        signed(&certificate, self.fingerprint(), &message, &found.parameters, &found.text, &found.signature)?;
        let away_ms = now.0.saturating_sub(found.parameters.created().0).saturating_abs();
        if away_ms > limit::SIGNATURE_MS {
            return Err(refused("it was not made just now"));
        }
        Ok(Vouched {
            client: self.clone(),
            method: message.method.to_owned(),
            path: message.path.to_owned(),
            authority: message.authority.to_owned(),
            idempotency_key: message.idempotency_key.to_owned(),
            body: message.body.to_owned(),
            nonce: found.parameters.nonce,
            parameters: found.text,
            signature: found.signature,
        })
    }
}

/// What a kept signature shows to somebody who was not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Testimony {
    /// Whose tenant, as the certificate says.
    pub tenant: Tenant,
    /// Who signed, as the certificate says.
    pub client: ClientId,
    /// When, by the client's clock.
    pub created: UnixMillis,
}

/// Verifies a kept signature: that the key of this certificate, in DER, signed exactly this message. Whether the
/// certificate was anybody's then is not shown here; [`crate::Authority`] knew.
///
/// # Errors
/// [`IdentityError`]: the certificate is no client's, or the signature is not its key's over this.
pub fn testimony(
    certificate: &[u8],
    message: &Message<'_>,
    parameters: &str,
    signature: &[u8],
) -> Result<Testimony, IdentityError> {
    let parsed = parse(certificate)?;
    require_client_auth(&parsed)?;
    let Subject { tenant, role, name: client } = subject_of(&parsed)?;
    if role != Role::Client {
        return Err(refused("the certificate is no client's"));
    }
    let read = Parameters::parse(parameters)?;
    signed(&parsed, &Fingerprint::of(certificate), message, &read, parameters, signature)?;
    Ok(Testimony { tenant, client, created: read.created() })
}

fn signed(
    certificate: &X509Certificate<'_>,
    fingerprint: &Fingerprint,
    message: &Message<'_>,
    parameters: &Parameters,
    text: &str,
    signature: &[u8],
) -> Result<(), IdentityError> {
    if parameters.certificate != fingerprint.to_string() {
        return Err(refused("`keyid` is not the SHA-256 of the client's certificate"));
    }
    let key = Key::of(certificate).ok_or_else(|| refused("the certificate's key is of another kind"))?;
    if parameters.algorithm != key.algorithm() {
        return Err(refused("`alg` is not that of the certificate's key"));
    }
    if key.signed(base::base(&message.values()?, text).as_bytes(), signature) {
        Ok(())
    } else {
        Err(refused("it does not verify under the certificate's key"))
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, IdentityError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(IdentityError::Certificate),
    }
}

fn refused(rule: &'static str) -> IdentityError {
    IdentityError::RequestSignature { rule }
}
