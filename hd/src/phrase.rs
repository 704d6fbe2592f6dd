//! BIP-39 phrases, in English: how a cold wallet's seed comes from other wallets, and is copied on paper.

use bip39::{Language, Mnemonic};
use chancery_secret::SecretBytes;
use zeroize::Zeroizing;

use crate::HdError;

/// The 64 bytes that a phrase and its passphrase, which may be empty, stand for. Both are ASCII: other letters would have
/// to be normalized first (BIP-39, NFKD), and nothing here does that.
///
/// # Errors
/// [`HdError::Phrase`]: other words, another number of them, a checksum that does not hold, or letters that are not ASCII.
pub fn seed_of_phrase(phrase: &SecretBytes, passphrase: &SecretBytes) -> Result<SecretBytes, HdError> {
    fn text(secret: &SecretBytes) -> Option<&str> {
        std::str::from_utf8(secret.expose()).ok().filter(|text| text.is_ascii())
    }
    let phrase = text(phrase).ok_or(HdError::Phrase("it is not ASCII"))?;
    let passphrase = text(passphrase).ok_or(HdError::Phrase("its passphrase is not ASCII"))?;
    let mnemonic = Mnemonic::parse_in_normalized(Language::English, phrase).map_err(|error| {
        HdError::Phrase(match error {
            bip39::Error::BadWordCount(_) => "it has not 12, 15, 18, 21 or 24 words",
            bip39::Error::UnknownWord(_) => "a word is none of the list",
            bip39::Error::InvalidChecksum => "its checksum does not hold",
            _ => "it does not parse",
        })
    })?;
    let mut seed = Zeroizing::new(mnemonic.to_seed_normalized(passphrase));
    Ok(SecretBytes::take(&mut *seed)?)
}

/// The phrase of 16, 20, 24, 28 or 32 bytes of entropy.
///
/// # Errors
/// [`HdError::Phrase`] for another length.
pub fn phrase_of(entropy: &SecretBytes) -> Result<SecretBytes, HdError> {
    let mnemonic = Mnemonic::from_entropy_in(Language::English, entropy.expose())
        .map_err(|_| HdError::Phrase("no such length"))?;
    let mut text = Zeroizing::new(mnemonic.to_string().into_bytes());
    Ok(SecretBytes::take(&mut text)?)
}
