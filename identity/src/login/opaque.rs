//! The one profile of OPAQUE (RFC 9807) that is spoken: OPAQUE-3DH over ristretto255 with SHA-512, Argon2id as the RFC's
//! section 7 has it (a salt of zeros), with the second parameters that RFC 9106 recommends, which a browser can still afford.

use argon2::{Algorithm, Argon2, Params, Version};
use opaque_ke::errors::ProtocolError;
use opaque_ke::{CipherSuite, Ristretto255, TripleDh};
use sha2::Sha512;

/// LIMIT: a password, in bytes.
pub(super) const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 12..=256;

/// RFC 9106, section 4: memory in KiB, passes, lanes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;

/// What both sides put into the transcript besides.
pub(super) const CONTEXT: &[u8] = b"chancery login v1";

/// The profile.
pub(super) struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, Sha512>;
    type Ksf = Argon2<'static>;
}

/// The stretching of passwords; it runs at the client alone.
pub(super) fn stretch() -> Result<Argon2<'static>, LoginError> {
    let parameters =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| LoginError::Unable("Argon2id"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters))
}

/// Why a step of a login cannot be taken. For the log; on the wire every failure looks the same.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// A message that is none of this profile.
    #[error("the message is not one of this protocol")]
    Message,
    /// Another password, another server, or a message that was changed on its way.
    #[error("the password, or who answers, is another")]
    Refused,
    /// A password shorter or longer than is taken.
    #[error("a password is {} to {} bytes", PASSWORD_BYTES.start(), PASSWORD_BYTES.end())]
    Password,
    /// A code of another form.
    #[error("a code is 32 hexadecimal digits")]
    Code,
    /// No memory for secrets, or no randomness.
    #[error(transparent)]
    Memory(#[from] chancery_secret::SecretError),
    /// A library does not do what it must.
    #[error("{0} is not available")]
    Unable(&'static str),
}

impl From<ProtocolError> for LoginError {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::InvalidLoginError | ProtocolError::ReflectedValueError => Self::Refused,
            ProtocolError::SerializationError | ProtocolError::SizeError { .. } => Self::Message,
            ProtocolError::LibraryError(_) | ProtocolError::Custom(_) => Self::Unable("OPAQUE"),
        }
    }
}
