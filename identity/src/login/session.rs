//! A session: that a person was there, for a short time, at one device, behind one certificate. It lets read; what is
//! approved is an assertion of its own. If this is wrong, a stolen token is worth something.

use chancery_core::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::officer::Registered;
use crate::peer::Fingerprint;
use crate::webauthn::Base64Url;

/// What a session is bound to, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// When it was opened.
    pub opened_ms: UnixMillis,
    /// When it ends.
    pub expires_ms: UnixMillis,
    /// SHA-256 of the certificate that it was opened with.
    pub certificate: Base64Url,
    /// The credential that logged in; none where a one-time code did.
    pub credential: Option<Base64Url>,
    /// The enrolment of the password that logged in.
    pub enrolment: Base64Url,
}

/// Why a session is not good here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// It is good.
    Holds,
    /// Its time is over, or the bundle in force no longer has the officer, the credential or the enrolment.
    Ended,
    /// It is shown with another certificate than it was opened with: somebody has the token who should not.
    Stolen,
}

impl Session {
    /// Whether its time is not over, and the bundle in force has officer, credential and enrolment as it did.
    #[must_use]
    pub fn is_open(&self, officer: Option<&Registered>, now: UnixMillis) -> bool {
        let stands = |officer: &Registered| {
            let enrolled = officer.enrolment.as_ref().map(|enrolment| &enrolment.code_sha256[..]);
            enrolled == Some(&self.enrolment.0)
                && self.credential.as_ref().is_none_or(|credential| officer.credential(credential).is_some())
        };
        now < self.expires_ms && officer.is_some_and(stands)
    }

    /// Whether it is good for the peer with this certificate, now, under the bundle in force.
    #[must_use]
    pub fn binding(
        &self,
        certificate: &Fingerprint,
        officer: Option<&Registered>,
        now: UnixMillis,
    ) -> Binding {
        if !self.is_open(officer, now) {
            Binding::Ended
        } else if self.certificate.0 != certificate.as_bytes() {
            Binding::Stolen
        } else {
            Binding::Holds
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::officer::{Credential, Enrolment, Held};

    fn session(credential: Option<u8>) -> Session {
        Session {
            opened_ms: UnixMillis(0),
            expires_ms: UnixMillis(1_000),
            certificate: Base64Url(Fingerprint::of(b"ann's").as_bytes().to_vec()),
            credential: credential.map(|id| Base64Url(vec![id])),
            enrolment: Base64Url(vec![7; 32]),
        }
    }

    fn ann(credential: u8, enrolment: u8) -> Registered {
        let key = format!("ed25519:{}", "00".repeat(32)).parse().unwrap();
        Registered {
            id: "ann".parse().unwrap(),
            roles: Default::default(),
            groups: Default::default(),
            credentials: vec![Credential { id: Base64Url(vec![credential]), key, held: Held::Device }],
            clients: Default::default(),
            enrolment: Some(Enrolment { code_sha256: [enrolment; 32], until: UnixMillis(0) }),
        }
    }

    /// Would catch a session that goes on elsewhere, for longer, or by an authenticator that was taken away.
    #[test]
    fn a_session_holds_where_all_of_it_does() {
        let own = Fingerprint::of(b"ann's");
        let at = |session: &Session, officer: Option<&Registered>, now| {
            session.binding(&own, officer, UnixMillis(now))
        };
        let (same, by_key) = (ann(1, 7), session(Some(1)));
        assert_eq!(at(&by_key, Some(&same), 999), Binding::Holds);
        assert_eq!(at(&by_key, Some(&same), 1_000), Binding::Ended);
        assert_eq!(at(&by_key, None, 0), Binding::Ended);
        assert_eq!(at(&by_key, Some(&ann(2, 7)), 0), Binding::Ended, "another authenticator");
        assert_eq!(at(&session(None), Some(&ann(2, 7)), 0), Binding::Holds, "none logged in");
        assert_eq!(at(&by_key, Some(&ann(1, 8)), 0), Binding::Ended, "another enrolment");
        let other = Fingerprint::of(b"another's");
        assert_eq!(by_key.binding(&other, Some(&same), UnixMillis(0)), Binding::Stolen);
        assert_eq!(by_key.binding(&other, Some(&same), UnixMillis(1_000)), Binding::Ended);
    }
}
