//! One-time codes (TOTP, RFC 6238: SHA-1, six digits, 30 seconds, one step either way), the fallback for who has no
//! authenticator at hand. The secret is derived when it is needed and stored nowhere; a step is good once.

use std::fmt;

use chancery_core::{ClientId, UnixMillis};
use totp_rs::{Builder, Secret, Totp};
use zeroize::Zeroizing;

use super::opaque::LoginError;
use super::setup::Setup;

/// A secret, in bytes: what RFC 4226 recommends.
pub const TOTP_BYTES: usize = 20;

/// The secret of somebody's one-time codes.
pub struct TotpSecret(Zeroizing<Vec<u8>>);

impl TotpSecret {
    /// From its [`TOTP_BYTES`]: on the heap, so that whoever hands it on leaves no copy behind.
    ///
    /// # Errors
    /// [`LoginError::Message`] for another number of bytes.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, LoginError> {
        if bytes.len() == TOTP_BYTES { Ok(Self(bytes)) } else { Err(LoginError::Message) }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// In base32, as people type it into an application.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(Secret::from(&self.0[..]).to_base32())
    }

    /// As applications read it from a QR code.
    #[must_use]
    pub fn uri(&self, officer: &ClientId) -> Zeroizing<String> {
        Zeroizing::new(format!("otpauth://totp/Chancery:{officer}?secret={}&issuer=Chancery", *self.text()))
    }

    /// The code of a time.
    ///
    /// # Errors
    /// [`LoginError::Unable`].
    pub fn code(&self, now: UnixMillis) -> Result<String, LoginError> {
        Ok(self.totp()?.generate(seconds(now)).to_string())
    }

    fn totp(&self) -> Result<Totp, LoginError> {
        Builder::new().with_secret(&self.0[..]).build().map_err(|_| LoginError::Unable("TOTP"))
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl Setup {
    /// The step of a one-time code of `who` that is right now; its caller takes no step twice.
    ///
    /// # Errors
    /// [`LoginError::Unable`].
    pub fn totp_step(&self, who: &[u8], code: &str, now: UnixMillis) -> Result<Option<u64>, LoginError> {
        Ok(self.totp_secret(who)?.totp()?.check(code, seconds(now)))
    }
}

fn seconds(at: UnixMillis) -> u64 {
    u64::try_from(at.0 / 1_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B: the vectors of SHA-1, their last six digits. Would catch another hash, step or epoch.
    #[test]
    fn the_codes_are_those_of_the_rfc() {
        let secret = TotpSecret::new(Zeroizing::new(b"12345678901234567890".to_vec())).unwrap();
        for (second, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(secret.code(UnixMillis(second * 1_000)).unwrap(), code, "at {second}");
        }
        assert_eq!(*secret.text(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    }

    #[test]
    fn a_code_is_good_for_a_step_around_it_and_for_one_person() {
        let setup = Setup::new(Setup::fresh().unwrap()).unwrap();
        let at = UnixMillis(1_800_000_000_000);
        let code = setup.totp_secret(b"ann").unwrap().code(at).unwrap();
        let step = |who, now| setup.totp_step(who, &code, now).unwrap();
        for near in [-30_000, 0, 59_000] {
            assert_eq!(step(b"ann", at.plus_ms(near)), Some(60_000_000), "{near} ms");
        }
        assert_eq!((step(b"ann", at.plus_ms(60_000)), step(b"bob", at)), (None, None));
    }
}
