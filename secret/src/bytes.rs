//! A byte string in secret memory: filled in place, compared in constant time, shown to nobody.
//! No `Clone` and no serde, so that a copy is always somebody's written decision.

use std::fmt;
use std::io::{self, Read};

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

use crate::page::Page;

/// Why a secret cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The kernel gives no memory, or the source cannot be read.
    #[error("secret memory or its source failed")]
    Io(#[from] io::Error),
    /// The source has more bytes than allowed.
    #[error("the secret is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// Bytes in a mapping of their own, zeroized on drop.
pub struct SecretBytes {
    page: Page,
    len: usize,
}

impl SecretBytes {
    /// Reads `source` to its end, straight into secret memory; no copy is left in a buffer of this process.
    ///
    /// # Errors
    /// [`SecretError::TooLong`] when the source has more than `limit` bytes.
    pub fn read_to_end(mut source: impl Read, limit: usize) -> Result<Self, SecretError> {
        // One byte more than allowed shows that there is more.
        let mut page = Page::map(limit.saturating_add(1))?;
        let mut len = 0;
        loop {
            let free = page.as_mut_slice().get_mut(len..=limit).unwrap_or_default();
            match source.read(free) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if len > limit {
            return Err(SecretError::TooLong { limit });
        }
        Ok(Self { page, len })
    }

    /// Reads exactly `len` bytes of `source` straight into secret memory.
    ///
    /// # Errors
    /// [`SecretError::Io`] when the source ends early.
    pub fn read_exact(mut source: impl Read, len: usize) -> Result<Self, SecretError> {
        let mut page = Page::map(len)?;
        source.read_exact(page.as_mut_slice().get_mut(..len).unwrap_or_default())?;
        Ok(Self { page, len })
    }

    /// Makes `len` random bytes of the kernel's, straight in secret memory.
    ///
    /// # Errors
    /// [`SecretError::Io`] when the kernel gives no page or no randomness.
    pub fn random(len: usize) -> Result<Self, SecretError> {
        Self::read_exact(Kernel, len)
    }

    /// Has `fill` write all of `len` bytes straight into secret memory.
    ///
    /// # Errors
    /// [`SecretError::Io`] when no page can be mapped; what `fill` answers.
    pub fn filled<E: From<SecretError>>(
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut page = Page::map(len).map_err(SecretError::from)?;
        fill(page.as_mut_slice().get_mut(..len).unwrap_or_default())?;
        Ok(Self { page, len })
    }

    /// Moves `source` into secret memory and wipes it.
    ///
    /// # Errors
    /// [`SecretError::Io`] when no page can be mapped; `source` is wiped then too.
    pub fn take(source: &mut [u8]) -> Result<Self, SecretError> {
        let taken = Self::read_exact(&*source, source.len());
        source.zeroize();
        taken
    }

    /// The secret itself. Whoever calls this answers for what becomes of it.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.page.as_slice().get(..self.len).unwrap_or_default()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops bytes after the first `len`, wiping them.
    pub(crate) fn truncate(&mut self, len: usize) {
        if let Some(rest) = self.page.as_mut_slice().get_mut(len..) {
            rest.zeroize();
        }
        self.len = self.len.min(len);
    }
}

/// The kernel's random bytes, as a source to read from.
struct Kernel;

impl Read for Kernel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::rand::getrandom(buffer, rustix::rand::GetRandomFlags::empty())?)
    }
}

impl ConstantTimeEq for SecretBytes {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.expose().ct_eq(other.expose())
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_wipes_the_source() {
        let mut source = *b"1234";
        let secret = SecretBytes::take(&mut source).unwrap();
        assert_eq!((secret.expose(), secret.len(), source), (&b"1234"[..], 4, [0; 4]));
    }

    #[test]
    fn the_limit_counts_every_byte() {
        assert_eq!(SecretBytes::read_to_end(&b"1234"[..], 4).unwrap().expose(), b"1234");
        let error = SecretBytes::read_to_end(&b"12345"[..], 4).unwrap_err();
        assert_eq!(error.to_string(), "the secret is longer than 4 bytes");
    }

    #[test]
    fn a_source_that_trickles_is_read_whole() {
        struct Trickle<'a>(&'a [u8]);
        impl Read for Trickle<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.read(&mut buffer[..1])
            }
        }
        assert_eq!(SecretBytes::read_to_end(Trickle(b"slowly"), 64).unwrap().expose(), b"slowly");
    }

    #[test]
    fn truncation_wipes_what_it_drops() {
        let mut secret = SecretBytes::take(&mut *b"1234".to_owned().as_mut_slice()).unwrap();
        secret.truncate(2);
        assert_eq!(secret.expose(), b"12");
        assert_eq!(secret.page.as_slice(), [b'1', b'2', 0, 0], "bytes past the end must not stay");
    }

    #[test]
    fn random_secrets_are_whole_and_differ() {
        let [a, b] = [(); 2].map(|()| SecretBytes::random(64).unwrap());
        assert!(a != b && a.len() == 64);
        // Would catch a page that is filled in part: 16 bytes of zeros are no accident.
        assert!(a.expose().chunks(16).all(|part| part.iter().any(|byte| *byte != 0)));
    }

    #[test]
    fn debug_shows_nothing_and_equality_is_by_content() {
        let [a, b, c] = [*b"1234", *b"1234", *b"1235"].map(|mut text| SecretBytes::take(&mut text).unwrap());
        assert_eq!(format!("{a:?}"), "<redacted>");
        assert!(a == b && a != c);
    }
}
