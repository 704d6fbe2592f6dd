//! The one-time code of an enrolment. Its hash stands in the policy bundle, so whoever signed the bundle approved that this
//! person sets a password; the code itself goes to that person by another way.

use std::fmt;

use chancery_core::{ClientId, Tenant};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::opaque::LoginError;

/// 128 random bits, in text 32 hexadecimal digits in groups of four.
pub struct Code(Zeroizing<[u8; 16]>);

impl Code {
    /// A fresh one.
    ///
    /// # Errors
    /// [`LoginError::Unable`].
    pub fn fresh() -> Result<Self, LoginError> {
        let mut bytes = Zeroizing::new([0; 16]);
        aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| LoginError::Unable("randomness"))?;
        Ok(Self(bytes))
    }

    /// Reads the text form; hyphens and the case of letters say nothing.
    ///
    /// # Errors
    /// [`LoginError::Code`].
    pub fn parse(text: &str) -> Result<Self, LoginError> {
        let mut bytes = Zeroizing::new([0_u8; 16]);
        let mut digits = text.chars().filter(|digit| *digit != '-').map(|digit| digit.to_digit(16));
        for byte in bytes.iter_mut() {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(LoginError::Code);
            };
            *byte = u8::try_from(high * 16 + low).map_err(|_| LoginError::Code)?;
        }
        if digits.next().is_some() { Err(LoginError::Code) } else { Ok(Self(bytes)) }
    }

    /// The text form.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let groups = self.0.chunks(2).map(|pair| pair.iter().map(|byte| format!("{byte:02x}")).collect());
        Zeroizing::new(groups.collect::<Vec<String>>().join("-"))
    }

    /// What the bundle says of it: `SHA-256("chancery enrolment v1\n" || tenant || "/" || officer || "\n" || code)`.
    #[must_use]
    pub fn digest(&self, tenant: &Tenant, officer: &ClientId) -> [u8; 32] {
        Sha256::new()
            .chain_update(format!("chancery enrolment v1\n{tenant}/{officer}\n"))
            .chain_update(*self.0)
            .finalize()
            .into()
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_it_is_written_and_is_one_persons() {
        let code = Code::fresh().unwrap();
        let text = code.text();
        assert_eq!((text.len(), text.matches('-').count()), (39, 7), "eight groups of four digits");
        let (tenant, ann, bob) = (Tenant::default(), "ann".parse().unwrap(), "bob".parse().unwrap());
        for same in [text.to_string(), text.to_uppercase(), text.replace('-', "")] {
            assert_eq!(Code::parse(&same).unwrap().digest(&tenant, &ann), code.digest(&tenant, &ann));
        }
        assert_ne!(code.digest(&tenant, &ann), code.digest(&tenant, &bob));
        for bad in ["", "12", &text[1..], &format!("{}0", *text), &text.replacen(|c: char| c != '-', "g", 1)]
        {
            assert!(Code::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(format!("{code:?}"), "<redacted>");
    }
}
