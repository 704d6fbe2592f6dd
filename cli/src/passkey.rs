//! A passkey in a file: makes WebAuthn assertions (Level 3, section 7.2) as an authenticator does that was unlocked. For
//! development and tests, and said to be so in the bundle (`held = "software"`), which production refuses.

use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery_audit::Digest;
use chancery_identity::webauthn::{Assertion, Base64Url};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Error, file};

/// User present, user verified.
const FLAGS: u8 = 0x05;

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Kept {
    v: u8,
    rp_id: String,
    origin: String,
    credential: String,
    /// PKCS #8, base64url.
    private_key: String,
}

/// A passkey with its private key.
pub struct Passkey {
    kept: Kept,
    pair: EcdsaKeyPair,
}

impl Passkey {
    /// Makes a fresh one for a relying party, in a new file for its owner only.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Random`].
    pub fn make(path: &Path, rp_id: &str, origin: &str) -> Result<Self, Error> {
        let random = |_| Error::Failed("no key could be made".to_owned());
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(random)?;
        let mut credential = [0_u8; 32];
        getrandom::fill(&mut credential).map_err(Error::Random)?;
        let kept = Kept {
            v: 1,
            rp_id: rp_id.to_owned(),
            origin: origin.to_owned(),
            credential: URL_SAFE_NO_PAD.encode(credential),
            private_key: URL_SAFE_NO_PAD.encode(document.as_ref()),
        };
        let text = zeroize::Zeroizing::new(serde_json::to_vec_pretty(&kept).unwrap_or_default());
        file::write_new(path, &text, file::SECRET)?;
        Self::of(kept).ok_or_else(|| Error::Failed("no key could be made".to_owned()))
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        if file::open_to_others(path)? != 0 {
            return Err(Error::content(
                path,
                "can be read by others; `chmod go-rwx` it, and think of it as known",
            ));
        }
        let text = zeroize::Zeroizing::new(file::read(path)?);
        let kept: Option<Kept> = serde_json::from_slice(&text).ok().filter(|kept: &Kept| kept.v == 1);
        let form = || Error::content(path, "is not a passkey as `chancery officer passkey` makes it");
        kept.and_then(Self::of).ok_or_else(form)
    }

    fn of(kept: Kept) -> Option<Self> {
        let document = zeroize::Zeroizing::new(URL_SAFE_NO_PAD.decode(&kept.private_key).ok()?);
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &document).ok()?;
        Some(Self { kept, pair })
    }

    /// The credential's id.
    #[must_use]
    pub fn credential(&self) -> &str {
        &self.kept.credential
    }

    /// The public key, uncompressed SEC 1.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Answers a challenge.
    ///
    /// # Errors
    /// [`Error::Failed`] where no signature can be made.
    pub fn assert(&self, challenge: &[u8; 32]) -> Result<Assertion, Error> {
        let Kept { rp_id, origin, credential, .. } = &self.kept;
        let client_data = json!({
            "type": "webauthn.get",
            "challenge": URL_SAFE_NO_PAD.encode(challenge),
            "origin": origin,
            "crossOrigin": false,
        })
        .to_string()
        .into_bytes();
        // No counter: a file can be copied, and a counter would claim otherwise.
        let authenticator_data = [Digest::of(rp_id.as_bytes()).as_bytes(), &[FLAGS, 0, 0, 0, 0][..]].concat();
        let signed = [&authenticator_data, &Digest::of(&client_data).as_bytes()[..]].concat();
        let unable = |_| Error::Failed("the assertion could not be signed".to_owned());
        let signature = self.pair.sign(&SystemRandom::new(), &signed).map_err(unable)?;
        Ok(Assertion {
            credential: Base64Url(URL_SAFE_NO_PAD.decode(credential).unwrap_or_default()),
            client_data: Base64Url(client_data),
            authenticator_data: Base64Url(authenticator_data),
            signature: Base64Url(signature.as_ref().to_vec()),
        })
    }
}

/// An assertion as a browser writes it (WebAuthn Level 3, `AuthenticationResponseJSON`).
#[derive(Deserialize)]
struct Browser {
    id: Base64Url,
    response: BrowserResponse,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BrowserResponse {
    #[serde(rename = "clientDataJSON")]
    client_data: Base64Url,
    authenticator_data: Base64Url,
    signature: Base64Url,
}

/// Reads an assertion that was made elsewhere; `-` is standard input.
///
/// # Errors
/// [`Error::File`], [`Error::Content`].
pub fn assertion(path: &Path) -> Result<Assertion, Error> {
    let browser: Browser = serde_json::from_str(&file::read_text_or_stdin(path)?)
        .map_err(|_| Error::content(path, "is not an assertion as a browser writes it"))?;
    let BrowserResponse { client_data, authenticator_data, signature } = browser.response;
    Ok(Assertion { credential: browser.id, client_data, authenticator_data, signature })
}
