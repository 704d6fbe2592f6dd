//! What people hold, opened with what they know, to know what to look for: a seed under its password, a share under its holder's identity,
//! the seed that shares join to.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use age::secrecy::SecretString;
use chancery_hd::slip39;
use chancery_secret::SecretBytes;

use crate::Error;

/// The words of a share, last line of the file that its holder's identity opens.
///
/// # Errors
/// [`Error::File`].
pub fn words(path: &Path, identity: &str) -> Result<String, Error> {
    let wrong = |what: &str| Error::file(path)(io::Error::other(what.to_owned()));
    let identity = age::x25519::Identity::from_str(identity).map_err(wrong)?;
    let text = String::from_utf8(opened(path, &identity)?).map_err(|_| wrong("it is no text"))?;
    text.lines().last().map(str::to_owned).ok_or_else(|| wrong("it is empty"))
}

/// The seed of a cold wallet's folder: what stands behind the heading.
///
/// # Errors
/// [`Error::File`].
pub fn seed(path: &Path, password: &str) -> Result<Vec<u8>, Error> {
    let identity = age::scrypt::Identity::new(SecretString::from(password.to_owned()));
    let whole = opened(path, &identity)?;
    let at = whole.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    Ok(whole.get(at..).unwrap_or_default().to_vec())
}

/// What these words join to.
///
/// # Errors
/// [`Error::Option`].
pub fn joined(words: &[String]) -> Result<Vec<u8>, Error> {
    let wrong = |_| Error::Option("words of shares".to_owned());
    let secret = |text: &str| {
        SecretBytes::take(&mut text.as_bytes().to_vec()).map_err(|_| Error::Option("words".to_owned()))
    };
    let words = words.iter().map(|words| secret(words)).collect::<Result<Vec<_>, _>>()?;
    Ok(slip39::combine(&words, &secret("")?).map_err(wrong)?.expose().to_vec())
}

fn opened(path: &Path, identity: &dyn age::Identity) -> Result<Vec<u8>, Error> {
    let wrong = |what: String| Error::file(path)(io::Error::other(what));
    let sealed = fs::read(path).map_err(Error::file(path))?;
    let decryptor = age::Decryptor::new(&sealed[..]).map_err(|error| wrong(error.to_string()))?;
    let mut plain = Vec::new();
    let reader = decryptor.decrypt(std::iter::once(identity)).map_err(|error| wrong(error.to_string()));
    reader?.read_to_end(&mut plain).map_err(Error::file(path))?;
    Ok(plain)
}
