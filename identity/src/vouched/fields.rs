//! `Signature-Input`, `Signature` and `Content-Digest`, read in one spelling: what the structured fields would be written as
//! again (RFC 9651) must be what was sent, so that a repeated label or parameter, of which the last would count, is seen.

use chancery_core::{UnixMillis, limit};
use sfv::{BareItem, Dictionary, FieldType, InnerList, List, ListEntry, Parser};

use super::base::{COMPONENTS, Message, content_digest};
use super::key::Algorithm;
use super::refused;
use crate::IdentityError;

/// The `tag` of every signature: one made for another purpose is none here.
pub(crate) const TAG: &str = "chancery";

/// The fields that carry a signature, each sent once.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// `Signature-Input`.
    pub signature_input: &'a str,
    /// `Signature`.
    pub signature: &'a str,
    /// `Content-Digest`.
    pub content_digest: &'a str,
}

/// What they say.
pub(crate) struct Found {
    pub(crate) parameters: Parameters,
    /// The value of `@signature-params`.
    pub(crate) text: String,
    pub(crate) signature: Vec<u8>,
}

impl Fields<'_> {
    /// Reads them, and holds the digest against the message's body.
    pub(crate) fn read(&self, message: &Message<'_>) -> Result<Found, IdentityError> {
        if self.content_digest != content_digest(message.body) {
            return Err(refused("`Content-Digest` is not the SHA-256 of the body"));
        }
        let (input_label, input) = only(self.signature_input)?;
        let (label, signature) = only(self.signature)?;
        if input_label != label {
            return Err(refused("`Signature-Input` and `Signature` have different labels"));
        }
        let ListEntry::InnerList(list) = input else {
            return Err(refused("`Signature-Input` does not list components"));
        };
        let signature = match signature {
            ListEntry::Item(item) if item.params.is_empty() => match item.bare_item {
                BareItem::ByteSequence(bytes) => bytes,
                _ => return Err(refused("`Signature` is no byte sequence")),
            },
            _ => return Err(refused("`Signature` is not one byte sequence alone")),
        };
        let parameters = Parameters::of(&list)?;
        // The dictionary was found to be in its one spelling: a label, `=` and the list.
        let text = self.signature_input.get(label.len() + 1..).unwrap_or_default().to_owned();
        Ok(Found { parameters, text, signature })
    }
}

/// The one member of a dictionary in its one spelling.
fn only(text: &str) -> Result<(String, ListEntry), IdentityError> {
    let members: Dictionary =
        Parser::new(text).parse().map_err(|_| refused("a field is no dictionary (RFC 9651)"))?;
    if members.serialize().as_deref() != Some(text) {
        return Err(refused("a field is not in its one spelling"));
    }
    let mut members = members.into_iter();
    match (members.next(), members.next()) {
        (Some((label, entry)), None) => Ok((label.into(), entry)),
        _ => Err(refused("there must be one signature and no other")),
    }
}

/// A signature's own parameters: these five, each once, in any order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) created_s: i64,
    pub(crate) nonce: String,
    /// `keyid`: SHA-256 of the certificate in DER, 64 lower-case hexadecimal digits.
    pub(crate) certificate: String,
    pub(crate) algorithm: Algorithm,
}

impl Parameters {
    /// Reads the value of `@signature-params`.
    pub(crate) fn parse(text: &str) -> Result<Self, IdentityError> {
        let list: List = Parser::new(text).parse().map_err(|_| refused("the parameters are no list"))?;
        match list.as_slice() {
            [ListEntry::InnerList(inner)] if list.serialize().as_deref() == Some(text) => Self::of(inner),
            _ => Err(refused("the parameters are not in their one spelling")),
        }
    }

    fn of(list: &InnerList) -> Result<Self, IdentityError> {
        let covered = list.items.iter().map(|item| match &item.bare_item {
            BareItem::String(name) if item.params.is_empty() => Some(name.as_str()),
            _ => None,
        });
        if !covered.eq(COMPONENTS.map(Some)) {
            return Err(refused("the covered components are not the ones that must be"));
        }
        let missing = || refused("a parameter is missing or of another type");
        let text = |name: &str| match list.params.get(name) {
            Some(BareItem::String(text)) => Ok(text.as_str()),
            _ => Err(missing()),
        };
        let created = match list.params.get("created") {
            Some(BareItem::Integer(created)) => i64::from(*created),
            _ => return Err(missing()),
        };
        let (nonce, certificate, algorithm, tag) =
            (text("nonce")?, text("keyid")?, text("alg")?, text("tag")?);
        if list.params.len() != 5 {
            return Err(refused("a parameter is not known here"));
        }
        if tag != TAG {
            return Err(refused("`tag` is not `chancery`"));
        }
        if !limit::NONCE_BYTES.contains(&nonce.len()) || !nonce.bytes().all(is_plain) {
            return Err(refused("`nonce` must be 16 to 64 visible ASCII characters without quotes"));
        }
        let algorithm = Algorithm::named(algorithm).ok_or_else(|| refused("`alg` is not known here"))?;
        Ok(Self {
            created_s: created,
            nonce: nonce.to_owned(),
            certificate: certificate.to_owned(),
            algorithm,
        })
    }

    /// When it was made.
    pub(crate) fn created(&self) -> UnixMillis {
        UnixMillis(self.created_s.saturating_mul(1_000))
    }
}

/// Needs no escape within quotes.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')
}
