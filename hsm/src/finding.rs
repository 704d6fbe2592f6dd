//! What the honesty probe asks of a token and what it found. A token that lies here would give its keys away, or use
//! them for what they were not made for, whatever the attributes say.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One question put to the token with throw-away session keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// Does it refuse to wrap a key with `CKA_EXTRACTABLE` false?
    WrapUnextractable,
    /// Does it refuse to set `CKA_SENSITIVE` to false or `CKA_EXTRACTABLE` to true?
    RelaxAttributes,
    /// Does it refuse a copy (`C_CopyObject`) with those relaxed?
    RelaxByCopy,
    /// Does it refuse a mechanism outside `CKA_ALLOWED_MECHANISMS`?
    AllowedMechanisms,
    /// Does it refuse to show `CKA_VALUE` of a sensitive key?
    ReadSensitive,
    /// Does it refuse to wrap a `CKA_WRAP_WITH_TRUSTED` key under a key that is not trusted?
    WrapWithTrusted,
}

impl Probe {
    /// Every probe, in the order they are made.
    pub const ALL: [Self; 6] = [
        Self::WrapUnextractable,
        Self::RelaxAttributes,
        Self::RelaxByCopy,
        Self::AllowedMechanisms,
        Self::ReadSensitive,
        Self::WrapWithTrusted,
    ];

    /// The name in logs, metrics and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrapUnextractable => "wrap-unextractable",
            Self::RelaxAttributes => "relax-attributes",
            Self::RelaxByCopy => "relax-by-copy",
            Self::AllowedMechanisms => "allowed-mechanisms",
            Self::ReadSensitive => "read-sensitive",
            Self::WrapWithTrusted => "wrap-with-trusted",
        }
    }

    /// What a token does that lies here, in one sentence.
    #[must_use]
    pub fn lie(self) -> &'static str {
        match self {
            Self::WrapUnextractable => "it wraps a key that is marked as not extractable",
            Self::RelaxAttributes => "it lets a key's sensitive or unextractable mark be taken off",
            Self::RelaxByCopy => "it copies a key with its sensitive or unextractable mark taken off",
            Self::AllowedMechanisms => "it uses a key with a mechanism outside the key's allowed mechanisms",
            Self::ReadSensitive => "it shows the value of a sensitive key",
            Self::WrapWithTrusted => "it wraps a key under an untrusted key although only trusted ones may",
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a probe showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The token refused, as it must.
    Honest,
    /// The token did it.
    Lie,
    /// The token has not got what the question needs, so nothing was shown.
    NotSupported,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Honest => "honest",
            Self::Lie => "lie",
            Self::NotSupported => "not-supported",
        })
    }
}

/// One probe's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was asked.
    pub probe: Probe,
    /// What came out.
    pub verdict: Verdict,
    /// The token's own answer, such as the CKR code.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verdict {
            Verdict::Lie => write!(f, "{}: {} ({})", self.probe, self.probe.lie(), self.detail),
            verdict => write!(f, "{}: {verdict} ({})", self.probe, self.detail),
        }
    }
}
