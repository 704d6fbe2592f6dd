//! What both sides make of the key that OPAQUE gave them: the challenge of the assertion and the session's token. Neither is
//! ever sent by the server, so an assertion is worth something only to who took part in that login.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use opaque_ke::generic_array::GenericArray;
use opaque_ke::generic_array::typenum::U64;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::opaque::LoginError;
use super::totp::{TOTP_BYTES, TotpSecret};

/// The key of one login, wiped when it is dropped.
pub struct Agreed(Zeroizing<GenericArray<u8, U64>>);

impl Agreed {
    pub(super) fn new(key: Zeroizing<GenericArray<u8, U64>>) -> Self {
        Self(key)
    }

    /// The challenge of the assertion (WebAuthn), which the client makes for itself:
    /// `HKDF-Expand(SHA-256, key, "chancery login challenge v1\n" || login id, 32)`.
    ///
    /// # Errors
    /// [`LoginError::Unable`].
    pub fn challenge(&self, login: &[u8; 16]) -> Result<[u8; 32], LoginError> {
        self.expand(&[b"chancery login challenge v1\n", login]).map(|bytes| *bytes)
    }

    /// The token of the session that this login may open: `HKDF-Expand(SHA-256, key, "chancery session v1\n" || login id, 32)`.
    ///
    /// # Errors
    /// [`LoginError::Unable`].
    pub fn token(&self, login: &[u8; 16]) -> Result<Token, LoginError> {
        self.expand(&[b"chancery session v1\n", login]).map(Token)
    }

    /// Hides the secret of one-time codes for its way to the client, and shows it again there: the same act. So the server
    /// has it in no buffer. `HKDF-Expand(SHA-256, key, "chancery totp v1\n" || login id, 20)`, used for this once.
    ///
    /// # Errors
    /// [`LoginError::Unable`].
    pub fn veil(&self, login: &[u8; 16], secret: &TotpSecret) -> Result<TotpSecret, LoginError> {
        let pad: Zeroizing<[u8; TOTP_BYTES]> = self.expand(&[b"chancery totp v1\n", login])?;
        TotpSecret::new(Zeroizing::new(
            pad.iter().zip(secret.as_bytes()).map(|(pad, byte)| pad ^ byte).collect(),
        ))
    }

    fn expand<const N: usize>(&self, info: &[&[u8]]) -> Result<Zeroizing<[u8; N]>, LoginError> {
        let unable = LoginError::Unable("HKDF");
        let Ok(key) = Hkdf::<Sha256>::from_prk(&self.0) else { return Err(unable) };
        let mut bytes = Zeroizing::new([0; N]);
        key.expand_multi_info(info, &mut *bytes).map_err(|_| unable)?;
        Ok(bytes)
    }
}

/// What shows that one has a session: 32 bytes, in text base64url. The server keeps its SHA-256 alone.
pub struct Token(Zeroizing<[u8; 32]>);

impl Token {
    /// Reads the text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        <[u8; 32]>::try_from(bytes.as_slice()).ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// The text form.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.0))
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(*self.0).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}
