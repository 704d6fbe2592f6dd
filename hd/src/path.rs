//! Derivation paths (BIP-32): the steps from a seed to a key.

use std::fmt;
use std::str::FromStr;

use crate::HdError;

/// The first hardened step.
pub const HARDENED: u32 = 1 << 31;
/// LIMIT: steps of a path.
pub const DEPTH: usize = 10;

/// Steps from the seed; those at or above [`HARDENED`] need the private key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(Vec<u32>);

impl Path {
    /// A path of these steps.
    ///
    /// # Errors
    /// [`HdError::Path`] above [`DEPTH`] steps.
    pub fn new(steps: Vec<u32>) -> Result<Self, HdError> {
        if steps.len() > DEPTH { Err(HdError::Path) } else { Ok(Self(steps)) }
    }

    /// The account of a purpose (BIP-43, BIP-44): `m/purpose'/coin'/account'`.
    #[must_use]
    pub fn account(purpose: u32, coin: u32, account: u32) -> Self {
        Self([purpose, coin, account].map(|step| step | HARDENED).to_vec())
    }

    /// The path and these steps after it.
    ///
    /// # Errors
    /// As [`Path::new`].
    pub fn then(&self, steps: &[u32]) -> Result<Self, HdError> {
        Self::new([&self.0, steps].concat())
    }

    /// Its steps.
    #[must_use]
    pub fn steps(&self) -> &[u32] {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        for step in &self.0 {
            let mark = if *step >= HARDENED { "'" } else { "" };
            write!(f, "/{}{mark}", step & !HARDENED)?;
        }
        Ok(())
    }
}

impl FromStr for Path {
    type Err = HdError;

    /// Reads `m/84'/0'/0'`, in that one spelling or with `h` for `'`.
    fn from_str(text: &str) -> Result<Self, HdError> {
        let steps = match text.strip_prefix("m/") {
            None if text == "m" => return Ok(Self::default()),
            None => return Err(HdError::Path),
            Some(steps) => steps.split('/'),
        };
        let step = |text: &str| {
            let number = text.strip_suffix('\'').or_else(|| text.strip_suffix('h'));
            let mark = if number.is_some() { HARDENED } else { 0 };
            let digits = number.unwrap_or(text);
            let plain =
                digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
            let number: u32 = digits.parse().ok().filter(|number| plain && *number < HARDENED)?;
            Some(number | mark)
        };
        Self::new(steps.map(step).collect::<Option<_>>().ok_or(HdError::Path)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_spelling() {
        for text in ["m", "m/0", "m/84'/0'/0'/1/2147483647", "m/2147483647'"] {
            assert_eq!(text.parse::<Path>().unwrap().to_string(), text);
        }
        assert_eq!("m/44h/60h/0h".parse::<Path>().unwrap(), Path::account(44, 60, 0));
        for bad in [
            "",
            "m/",
            "0",
            "m/01",
            "m/+1",
            "m/2147483648",
            "m/1''",
            "m//1",
            "m/ 1",
            "M/0",
            "m/0/0/0/0/0/0/0/0/0/0/0",
        ] {
            assert!(bad.parse::<Path>().is_err(), "{bad}");
        }
    }
}
