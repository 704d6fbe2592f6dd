//! Timestamps of checkpoints by an authority outside (RFC 3161): the question, and the verification of what comes back and
//! of what was kept, without network, clock or disk. Trusts the roots that the reader was given, and the SHA-2 family. If
//! this is wrong, the log's owner can date it back.

pub(crate) mod archive;
mod asn1;
mod roots;
mod token;

use chancery_core::{UnixMillis, limit};
use cms::cert::x509::spki::AlgorithmIdentifierOwned;
use der::asn1::{Int, Null, OctetString};
use der::{Any, Decode, Encode};
use sha2::{Digest as _, Sha256};

pub use archive::Archive;
use asn1::{MessageImprint, TimeStampReq, TimeStampResp, TstInfo};
pub use roots::{RootsError, TimestampRoots};

/// Why a timestamp is not to be believed.
#[derive(Debug, thiserror::Error)]
pub enum TimestampError {
    /// Longer than [`limit::TIMESTAMP_BYTES`].
    #[error("it is longer than {} bytes", limit::TIMESTAMP_BYTES)]
    TooLong,
    /// Not DER, or not the DER it must be.
    #[error("it does not parse: {0}")]
    Der(#[from] der::Error),
    /// Well-formed, but no timestamp.
    #[error("it is malformed: {0}")]
    Malformed(&'static str),
    /// The authority gave none.
    #[error("the authority refused, with status {status}: {text:?}")]
    Refused {
        /// `PKIStatus` (RFC 3161, 2.4.2).
        status: u8,
        /// The beginning of what it says of it.
        text: String,
    },
    /// It is of another message.
    #[error("it is of something else")]
    Imprint,
    /// It is no answer to this question.
    #[error("it does not carry the nonce that was sent")]
    Nonce,
    /// The signature, or what it must cover.
    #[error("its signature: {0}")]
    Signature(&'static str),
    /// The signer is no time-stamping authority.
    #[error("its signer: {0}")]
    Signer(&'static str),
    /// The signer's certificate does not lead to a root at that time.
    #[error("its signer's certificate: {0}")]
    Chain(#[source] webpki::Error),
}

/// LIMIT: characters kept of what an authority says of its refusal.
const TEXT: usize = 200;

/// The moment at which an authority saw some bytes, by its signature. Made by verification alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamp {
    time: UnixMillis,
    authority: String,
}

impl Timestamp {
    /// Verifies the answer of an authority (RFC 3161 `TimeStampResp`) that was kept with the message it is of. The signer's
    /// certificate must have held at the time it states, not today.
    ///
    /// # Errors
    /// [`TimestampError`].
    pub fn verify(message: &[u8], response: &[u8], roots: &TimestampRoots) -> Result<Self, TimestampError> {
        Ok(open(message, response, roots)?.0)
    }

    /// When: `genTime`, to the millisecond.
    #[must_use]
    pub fn time(&self) -> UnixMillis {
        self.time
    }

    /// Who says so: the subject of the signer's certificate.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

/// A question to an authority.
pub struct TimestampQuery<'a> {
    message: &'a [u8],
    nonce: Int,
    der: Vec<u8>,
}

impl<'a> TimestampQuery<'a> {
    /// Asks for a timestamp of `message` with the signer's certificate. `nonce` must be new and not to be guessed.
    ///
    /// # Errors
    /// [`TimestampError::Der`], which no input leads to.
    pub fn new(message: &'a [u8], mut nonce: [u8; 8]) -> Result<Self, TimestampError> {
        // A positive number of eight bytes, whatever was drawn.
        let [first, ..] = &mut nonce;
        *first = *first & 0x7f | 0x40;
        let nonce = Int::new(&nonce)?;
        let imprint = imprint(message)?;
        let question =
            TimeStampReq { version: 1, message_imprint: imprint, nonce: nonce.clone(), cert_req: true };
        Ok(Self { message, nonce, der: question.to_der()? })
    }

    /// What is sent, as `application/timestamp-query`.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Verifies the answer.
    ///
    /// # Errors
    /// [`TimestampError`].
    pub fn answered(&self, response: &[u8], roots: &TimestampRoots) -> Result<Timestamp, TimestampError> {
        let (timestamp, nonce) = open(self.message, response, roots)?;
        if nonce.as_ref() == Some(&self.nonce) { Ok(timestamp) } else { Err(TimestampError::Nonce) }
    }
}

fn imprint(message: &[u8]) -> Result<MessageImprint, TimestampError> {
    let parameters = Some(Any::encode_from(&Null)?);
    Ok(MessageImprint {
        hash_algorithm: AlgorithmIdentifierOwned { oid: token::SHA256, parameters },
        hashed_message: OctetString::new(Sha256::digest(message).to_vec())?,
    })
}

fn open(
    message: &[u8],
    response: &[u8],
    roots: &TimestampRoots,
) -> Result<(Timestamp, Option<Int>), TimestampError> {
    if response.len() > limit::TIMESTAMP_BYTES {
        return Err(TimestampError::TooLong);
    }
    if !asn1::uncrowded(response)? {
        return Err(TimestampError::Malformed("it holds more than 64 values in one"));
    }
    let TimeStampResp { status, token } = TimeStampResp::from_der(response)?;
    // 0 is granted, 1 granted with modifications: what was modified is held against the question like everything else.
    if status.status > 1 {
        let text = status.text.unwrap_or_default().join(" ").chars().take(TEXT).collect();
        return Err(TimestampError::Refused { status: status.status, text });
    }
    let token = token.ok_or(TimestampError::Malformed("it has no token"))?;
    let (info, authority) = token::open(&token, roots)?;
    let time = info.time().ok_or(TimestampError::Malformed("its time is none"))?;
    let TstInfo { version, message_imprint, nonce, extensions, .. } = info;
    if version != 1 {
        return Err(TimestampError::Malformed("it is of a version that this program does not read"));
    }
    if extensions.iter().flatten().any(|extension| extension.critical) {
        return Err(TimestampError::Malformed("it has a critical extension that this program does not know"));
    }
    let MessageImprint { hash_algorithm, hashed_message } = message_imprint;
    let ours = hash_algorithm.oid == token::SHA256;
    if !ours || token::hash(&hash_algorithm, message).as_deref() != Some(hashed_message.as_bytes()) {
        return Err(TimestampError::Imprint);
    }
    Ok((Timestamp { time, authority }, nonce))
}

impl TstInfo {
    fn time(&self) -> Option<UnixMillis> {
        self.gen_time.unix_ms().map(UnixMillis)
    }
}
