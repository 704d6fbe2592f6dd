//! Names of things. Every one is parsed from text with a fixed alphabet and length, so an identifier can be put
//! into a log line, a path or a Cedar entity without escaping. A tenant qualifies each of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{kind}` must be {rule}")]
pub struct IdError {
    /// The identifier's name in the API, such as `wallet`.
    pub kind: &'static str,
    /// The rule in words.
    pub rule: &'static str,
}

const NAME_RULE: &str = "1 to 64 characters of a-z, 0-9, `-`, `_` and `.`, starting with a letter or digit";
const KEY_RULE: &str = "1 to 128 visible ASCII characters";
const UUID_RULE: &str = "a UUID in lower-case hyphenated form";
const KEY_ID_RULE: &str = "32 lower-case hexadecimal digits";

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 64
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_visible(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text form, which is also the wire form.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                if $check(&text) { Ok(Self(text)) } else { Err(IdError { kind: $kind, rule: $rule }) }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// An isolated customer of one appliance. Qualifies every other identifier.
    Tenant, "tenant", NAME_RULE, is_name
);
text_id!(
    /// A wallet: one key and what it may be used on.
    WalletId, "wallet", NAME_RULE, is_name
);
text_id!(
    /// A program that asks for signatures, as its certificate names it.
    ClientId, "client", NAME_RULE, is_name
);
text_id!(
    /// The client's own name for one intended effect; a retry carries the same key.
    /// Source: draft-ietf-httpapi-idempotency-key-header.
    IdempotencyKey, "idempotency-key", KEY_RULE, is_visible
);

impl Default for Tenant {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

/// One request as the appliance names it: a UUIDv7, so ids sort by the time they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(uuid::Uuid);

impl RequestId {
    /// A fresh id.
    #[must_use]
    pub fn fresh() -> Self {
        Self(uuid::Uuid::now_v7())
    }

    /// The 16 bytes, as stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// From the 16 stored bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }
}

impl FromStr for RequestId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = IdError { kind: "request", rule: UUID_RULE };
        let id = uuid::Uuid::try_parse(text).map_err(|_| error.clone())?;
        if id.hyphenated().to_string() == text { Ok(Self(id)) } else { Err(error) }
    }
}

impl TryFrom<String> for RequestId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> String {
        id.to_string()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// `CKA_ID` of a key in the HSM: 16 bytes, written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// A fresh random id.
    #[must_use]
    pub fn fresh() -> Self {
        Self(*uuid::Uuid::new_v4().as_bytes())
    }

    /// The bytes of `CKA_ID`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From the bytes of `CKA_ID`.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl FromStr for KeyId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = IdError { kind: "key", rule: KEY_ID_RULE };
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(error);
        }
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id).map_err(|_| error)?;
        Ok(Self(id))
    }
}

impl TryFrom<String> for KeyId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> String {
        id.to_string()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabet() {
        for good in ["a", "treasury-1", "0x.y_z", &"a".repeat(64)] {
            assert!(good.parse::<WalletId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".", "A", "a/b", "a\n", "ä", "a b", &"a".repeat(65)] {
            assert!(bad.parse::<WalletId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn idempotency_keys_are_visible_and_bounded() {
        assert!("order:42/retry".parse::<IdempotencyKey>().is_ok());
        for bad in ["", "a b", "a\u{7f}", &"k".repeat(129)] {
            assert!(bad.parse::<IdempotencyKey>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn request_and_key_ids_have_one_spelling() {
        let id = RequestId::fresh();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_uppercase().parse::<RequestId>().is_err());
        let key = KeyId::fresh();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert!("FF".repeat(16).parse::<KeyId>().is_err());
    }
}
