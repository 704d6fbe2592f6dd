//! Names inside a bundle: rules, groups, limits. Fixed alphabets, so they can be shown and compared without escaping.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a name may look like, for hints.
pub(crate) const NAME_FORM: &str =
    "a name is 1 to 64 characters of a-z, 0-9, `-`, `_` and `.`, starting with a letter or digit";
/// What an identifier may look like, for hints.
pub(crate) const WORD_FORM: &str = "such a name is 1 to 64 characters of a-z, 0-9 and `_`, starting with a letter, and no word of Cedar's own";

/// Words that Cedar keeps for itself, which cannot follow a dot.
const CEDAR_WORDS: &[&str] =
    &["true", "false", "if", "then", "else", "in", "is", "like", "has", "permit", "forbid", "when", "unless"];

/// Whether `text` can name a group, an asset, an address or a test.
pub(crate) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 64
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
}

/// Whether `text` can follow `context.spent.` in a policy.
pub(crate) fn is_word(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 64
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !CEDAR_WORDS.contains(&text)
}

/// The name of what decided: a policy's `@id`, or one of the reserved names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuleName(String);

/// Nothing permitted the effect.
pub const DEFAULT_DENY: &str = "default-deny";
/// The intent has no effects, or more than the limit.
pub const EFFECTS_OUT_OF_RANGE: &str = "effects-out-of-range";
/// What was spent could not be read, so limits could not be kept.
pub const SPENDING_UNREADABLE: &str = "spending-unreadable";
/// The question does not conform to the schema: a defect, refused.
pub const REQUEST_UNREADABLE: &str = "request-unreadable";

/// Names no policy may have.
pub const RESERVED: &[&str] = &[DEFAULT_DENY, EFFECTS_OUT_OF_RANGE, SPENDING_UNREADABLE, REQUEST_UNREADABLE];

impl RuleName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn reserved(name: &'static str) -> Self {
        Self(name.to_owned())
    }
}

impl TryFrom<String> for RuleName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if is_name(&text) { Ok(Self(text)) } else { Err(format!("`{text}`: {NAME_FORM}")) }
    }
}

impl From<RuleName> for String {
    fn from(name: RuleName) -> Self {
        name.0
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_can_follow_a_dot_in_cedar() {
        for good in ["a", "eth_daily", "x9"] {
            assert!(is_word(good), "{good}");
            let policy = format!("permit(principal, action, resource) when {{ context.spent.{good} > 1 }};");
            assert!(policy.parse::<cedar_policy::Policy>().is_ok(), "{good}");
        }
        for bad in ["", "9x", "_x", "a-b", "a.b", "in", "has", "A", "aB"] {
            assert!(!is_word(bad), "{bad:?}");
        }
    }

    #[test]
    fn names_have_one_alphabet_and_a_bound() {
        let longest = "a".repeat(64);
        for good in ["a", "9x", "a-b", "a_b", "a.b", longest.as_str()] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "_a", ".a", "A", "aB", "a b", "a/b", "é", format!("{longest}a").as_str()] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(is_word(&longest) && !is_word(&format!("{longest}a")));
    }

    #[test]
    fn reserved_names_are_names() {
        for name in RESERVED {
            assert!(is_name(name), "{name}");
        }
    }
}
