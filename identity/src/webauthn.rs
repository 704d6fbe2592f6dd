//! WebAuthn assertions (Level 3, section 7.2) over a challenge that is known beforehand, so that they can be verified again by
//! anyone and at any time: nothing here is remembered. Trusts the public key it is given; who it belongs to is the policy
//! bundle's to say. If this is wrong, somebody approves in another's name.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// LIMIT: the collected client data, in bytes.
const CLIENT_DATA_BYTES: usize = 4 * 1024;
/// LIMIT: the authenticator data with extensions, in bytes.
const AUTHENTICATOR_DATA_BYTES: usize = 4 * 1024;
/// LIMIT: a credential id, in bytes (WebAuthn section 4).
const CREDENTIAL_BYTES: usize = 1_023;
/// LIMIT: a signature in DER, in bytes.
const SIGNATURE_BYTES: usize = 128;
/// The authenticator data without extensions: the relying party's hash, flags and a counter.
const HEAD_BYTES: usize = 37;

mod flag {
    pub(super) const USER_PRESENT: u8 = 0x01;
    pub(super) const USER_VERIFIED: u8 = 0x04;
    pub(super) const BACKUP_ELIGIBLE: u8 = 0x08;
    pub(super) const BACKED_UP: u8 = 0x10;
    pub(super) const ATTESTED: u8 = 0x40;
    pub(super) const EXTENSIONS: u8 = 0x80;
}

/// For whom credentials are made: assertions for another party are worth nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelyingParty {
    /// The domain that scopes credentials, such as `chancery.example` (`rpId`).
    pub id: String,
    /// The origins that may ask for assertions, such as `https://chancery.example`.
    pub origins: Vec<String>,
}

/// Bytes that JSON carries as base64url without padding.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Base64Url(pub Vec<u8>);

impl TryFrom<String> for Base64Url {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        URL_SAFE_NO_PAD.decode(text).map(Self).map_err(|_| "not base64url without padding")
    }
}

impl From<Base64Url> for String {
    fn from(Base64Url(bytes): Base64Url) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// One assertion: what an authenticator answers to `navigator.credentials.get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// The credential's id.
    pub credential: Base64Url,
    /// `clientDataJSON`, byte for byte.
    pub client_data: Base64Url,
    /// `authenticatorData`.
    pub authenticator_data: Base64Url,
    /// Over `authenticator_data || SHA-256(client_data)`: DER for ES256, 64 bytes for EdDSA.
    pub signature: Base64Url,
}

impl Assertion {
    /// What names this assertion: the SHA-256 of what was signed and of the signature.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [&self.credential, &self.client_data, &self.authenticator_data, &self.signature] {
            hash.update((part.0.len() as u64).to_be_bytes());
            hash.update(&part.0);
        }
        hash.finalize().into()
    }
}

/// A credential's public key, in text `es256:` and 65 bytes of uncompressed SEC 1, or `ed25519:` and 32 bytes, in lower-case
/// hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CredentialKey {
    /// ECDSA on P-256 with SHA-256 (COSE -7).
    Es256([u8; 65]),
    /// Ed25519 (COSE -8).
    Ed25519([u8; 32]),
}

impl CredentialKey {
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Es256(key) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(message, signature)
            }
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
        }
        .is_ok()
    }

    /// From a SubjectPublicKeyInfo (RFC 5280) in DER, as `getPublicKey()` of a registration gives it.
    ///
    /// # Errors
    /// [`WebauthnError::Key`].
    pub fn from_spki(der: &[u8]) -> Result<Self, WebauthnError> {
        // RFC 5480 and RFC 8410 leave one encoding each for these two.
        const P256: &[u8] = &[
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
            0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        const ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let key = |kind: &str, bytes: &[u8]| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{kind}:{hex}").parse()
        };
        match (der.strip_prefix(P256), der.strip_prefix(ED25519)) {
            (Some(point), _) => key("es256", point),
            (_, Some(point)) => key("ed25519", point),
            _ => Err(WebauthnError::Key),
        }
    }
}

impl fmt::Display for CredentialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, bytes) = match self {
            Self::Es256(bytes) => ("es256", &bytes[..]),
            Self::Ed25519(bytes) => ("ed25519", &bytes[..]),
        };
        write!(f, "{kind}:")?;
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for CredentialKey {
    type Err = WebauthnError;

    fn from_str(text: &str) -> Result<Self, WebauthnError> {
        fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
            let mut bytes = [0; N];
            let digits = hex.as_bytes();
            if digits.len() != 2 * N || !digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                return None;
            }
            for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
            }
            Some(bytes)
        }
        let key = match text.split_once(':') {
            Some(("es256", hex)) => bytes(hex).filter(|key| key.first() == Some(&0x04)).map(Self::Es256),
            Some(("ed25519", hex)) => bytes(hex).map(Self::Ed25519),
            _ => None,
        };
        key.ok_or(WebauthnError::Key)
    }
}

impl Serialize for CredentialKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CredentialKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why an assertion is worth nothing. For the log; on the wire all of these look the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebauthnError {
    /// A public key of another form.
    #[error("the key is not `es256:` and 130, or `ed25519:` and 64, lower-case hexadecimal digits")]
    Key,
    /// A part longer than any authenticator makes it.
    #[error("a part of the assertion is longer than it can be")]
    TooLong,
    /// `clientDataJSON` is not the JSON it must be.
    #[error("the client data does not parse")]
    ClientData,
    /// Made for something else than an assertion.
    #[error("the client data is not of the type `webauthn.get`")]
    Type,
    /// Over another challenge.
    #[error("the assertion is over another challenge")]
    Challenge,
    /// Asked for by another page.
    #[error("the assertion was asked for by an origin that may not")]
    Origin,
    /// Made for another relying party.
    #[error("the assertion is for another relying party")]
    RelyingParty,
    /// The authenticator data is cut short, too long or contradicts itself.
    #[error("the authenticator data is malformed")]
    AuthenticatorData,
    /// Nobody touched the authenticator, or it did not ask for PIN or biometric.
    #[error("the authenticator did not verify the person")]
    NotVerified,
    /// Not by this key.
    #[error("the signature does not verify under the credential's key")]
    Signature,
}

#[derive(Deserialize)]
struct ClientData {
    r#type: String,
    challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    cross_origin: bool,
    #[serde(default, rename = "topOrigin")]
    top_origin: Option<String>,
}

/// Verifies that the holder of `key`, present and verified by the authenticator, answered this challenge for this party.
///
/// # Errors
/// [`WebauthnError`], the first thing that does not hold.
pub fn verify(
    assertion: &Assertion,
    key: &CredentialKey,
    party: &RelyingParty,
    challenge: &[u8; 32],
) -> Result<(), WebauthnError> {
    let Assertion { credential, client_data, authenticator_data, signature } = assertion;
    if client_data.0.len() > CLIENT_DATA_BYTES
        || authenticator_data.0.len() > AUTHENTICATOR_DATA_BYTES
        || credential.0.len() > CREDENTIAL_BYTES
        || signature.0.len() > SIGNATURE_BYTES
    {
        return Err(WebauthnError::TooLong);
    }
    let client: ClientData = serde_json::from_slice(&client_data.0).map_err(|_| WebauthnError::ClientData)?;
    if client.r#type != "webauthn.get" {
        return Err(WebauthnError::Type);
    }
    if client.challenge != URL_SAFE_NO_PAD.encode(challenge) {
        return Err(WebauthnError::Challenge);
    }
    if client.cross_origin || client.top_origin.is_some() || !party.origins.contains(&client.origin) {
        return Err(WebauthnError::Origin);
    }
    authenticator(&authenticator_data.0, party)?;
    let mut signed = authenticator_data.0.clone();
    signed.extend(Sha256::digest(&client_data.0));
    if key.verifies(&signed, &signature.0) { Ok(()) } else { Err(WebauthnError::Signature) }
}

/// Reads the authenticator data (section 6.1) and holds it to what an approval asks for.
fn authenticator(data: &[u8], party: &RelyingParty) -> Result<(), WebauthnError> {
    let (head, rest) = data.split_at_checked(HEAD_BYTES).ok_or(WebauthnError::AuthenticatorData)?;
    let (party_hash, tail) = head.split_at_checked(32).ok_or(WebauthnError::AuthenticatorData)?;
    let &[flags, ..] = tail else { return Err(WebauthnError::AuthenticatorData) };
    let set = |flag| flags & flag != 0;
    if *party_hash != *Sha256::digest(&party.id) {
        return Err(WebauthnError::RelyingParty);
    }
    // An assertion brings no new credential; what follows the head is extensions, and is there when they are announced.
    if set(flag::ATTESTED)
        || set(flag::EXTENSIONS) == rest.is_empty()
        || set(flag::BACKED_UP) && !set(flag::BACKUP_ELIGIBLE)
    {
        return Err(WebauthnError::AuthenticatorData);
    }
    if !set(flag::USER_PRESENT) || !set(flag::USER_VERIFIED) {
        return Err(WebauthnError::NotVerified);
    }
    Ok(())
}
