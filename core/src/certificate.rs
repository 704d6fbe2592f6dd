//! What a certificate is named by: whom it is for, `chancery://<tenant>/<role>/<name>` in one spelling only, and the number
//! that its authority gave it. If this is lenient, one certificate could be read as two people.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{ClientId, IdError, Tenant};

const SCHEME: &str = "chancery://";

/// What a certificate lets its holder be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Asks for signatures.
    Client,
    /// Reads decisions.
    Auditor,
    /// Makes wallets and applies policy.
    Operator,
    /// Approves and vetoes, as the policy bundle lets.
    Officer,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Client, Self::Auditor, Self::Operator, Self::Officer];

    /// The word in the certificate.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Officer => "officer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = SubjectError;
    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let known = Self::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or(SubjectError("the role is `client`, `auditor`, `operator` or `officer`"))
    }
}

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subject {
    /// The tenant.
    pub tenant: Tenant,
    /// The role.
    pub role: Role,
    /// The name.
    pub name: ClientId,
}

/// The rule that a name breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate's name breaks a rule: {0}")]
pub struct SubjectError(pub &'static str);

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.tenant, self.role, self.name)
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    /// No percent-encoding, no port, no query, no empty segment, no other spelling is accepted.
    fn from_str(uri: &str) -> Result<Self, SubjectError> {
        let path = uri.strip_prefix(SCHEME).ok_or(SubjectError("it starts with `chancery://`"))?;
        let mut segments = path.split('/');
        let (Some(tenant), Some(role), Some(name), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(SubjectError("it has three segments: tenant, role, name"));
        };
        Ok(Self {
            tenant: tenant.parse().map_err(|_| SubjectError("the tenant keeps to its alphabet"))?,
            role: role.parse()?,
            name: name.parse().map_err(|_| SubjectError("the name keeps to its alphabet"))?,
        })
    }
}

impl TryFrom<String> for Subject {
    type Error = SubjectError;
    fn try_from(uri: String) -> Result<Self, SubjectError> {
        uri.parse()
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.to_string()
    }
}

/// The serial number of a certificate of the appliance's own authority: 20 bytes (RFC 5280 4.1.2.2), written as 40
/// hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial([u8; 20]);

impl Serial {
    /// Of 20 random bytes: the first is made to begin a positive number of full length.
    #[must_use]
    pub fn of(mut random: [u8; 20]) -> Self {
        let [first, ..] = &mut random;
        *first = *first & 0x3f | 0x40;
        Self(random)
    }

    /// The bytes, as stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// From the stored bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Serial {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = IdError { kind: "serial", rule: "40 lower-case hexadecimal digits" };
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(error);
        }
        let mut bytes = [0; 20];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| error)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Serial {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.to_string()
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        let uri = "chancery://default/client/backend-1";
        let subject: Subject = uri.parse().unwrap();
        assert_eq!(
            (subject.tenant.as_str(), subject.role, subject.name.as_str()),
            ("default", Role::Client, "backend-1")
        );
        assert_eq!(subject.to_string(), uri);
        for bad in [
            "",
            "chancery://",
            "chancery://default/client",
            "chancery://default/client/",
            "chancery://default/client/a/",
            "chancery://default/client/a/b",
            "chancery:///client/a",
            "chancery://default//a",
            "chancery://default/admin/a",
            "chancery://default/Client/a",
            "Chancery://default/client/a",
            "CHANCERY://default/client/a",
            "https://default/client/a",
            "chancery://default:1/client/a",
            "chancery://user@default/client/a",
            "chancery://default/client/a?b",
            "chancery://default/client/a#b",
            "chancery://default/client/%61",
            "chancery://default/client/a%2fb",
            "chancery://default/client/A",
            "chancery://default/client/..",
            "chancery://default/client/a\0",
            " chancery://default/client/a",
            "chancery://default/client/a ",
        ] {
            assert!(bad.parse::<Subject>().is_err(), "{bad:?} was read as a name");
        }
    }

    #[test]
    fn a_serial_number_is_positive_and_has_one_spelling() {
        for random in [[0; 20], [0xff; 20]] {
            let serial = Serial::of(random);
            assert_eq!(serial.as_bytes()[0] & 0xc0, 0x40);
            assert_eq!(serial.to_string().parse(), Ok(serial));
        }
        assert!("FF".repeat(20).parse::<Serial>().is_err());
        assert!("00".repeat(19).parse::<Serial>().is_err());
    }
}
