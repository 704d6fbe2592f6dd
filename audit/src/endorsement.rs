//! Who signed a policy bundle: a C2SP signed note (c2sp.org/signed-note) over its hash, made offline with Ed25519 keys that
//! the appliance does not have. A bundle comes into force only with enough signatures of the keys in the configuration, and
//! the log says whose. If this is wrong, one operator alone decides what may be signed.

use chancery_core::{Tenant, limit};
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, HexBytes};
use crate::note::{Note, NoteError, VerifierKey};

/// What a signature is about: one bundle, for one tenant of the appliance with this log, so that what was signed for a
/// trial is worth nothing elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Endorsed<'a> {
    /// The log's origin.
    pub origin: &'a str,
    /// The tenant.
    pub tenant: &'a Tenant,
    /// The bundle's hash.
    pub bundle: &'a Digest,
}

impl Endorsed<'_> {
    /// The note's text: `chancery policy v1`, the origin, the tenant and the hash, a line each.
    #[must_use]
    pub fn text(&self) -> String {
        // No origin holds a space, so no checkpoint begins like this.
        format!("chancery policy v1\n{}\n{}\n{}\n", self.origin, self.tenant, self.bundle)
    }
}

/// One signature, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endorsement {
    /// The verifier key, `name+hash+base64`.
    pub key: String,
    /// Ed25519 (RFC 8032) over [`Endorsed::text`].
    pub signature: HexBytes,
}

impl Endorsement {
    /// The key that made it.
    ///
    /// # Errors
    /// [`EndorsementError::Key`] for a text that is no key, [`EndorsementError::Note`] for a signature that is not its own.
    pub fn signer(&self, of: Endorsed<'_>) -> Result<VerifierKey, EndorsementError> {
        let key: VerifierKey = self.key.parse().map_err(EndorsementError::Key)?;
        if key.verifies(of.text().as_bytes(), self.signature.as_bytes()) {
            Ok(key)
        } else {
            Err(NoteError::WrongSignature(key.name().to_owned()).into())
        }
    }
}

/// Why a bundle does not count as signed.
#[derive(Debug, thiserror::Error)]
pub enum EndorsementError {
    /// A key that is none.
    #[error("a policy key is {0}")]
    Key(#[source] NoteError),
    /// A rule that the keys of a configuration break.
    #[error("`policy.keys` {0}")]
    Keys(&'static str),
    /// A note that does not parse, or a signature that does not hold.
    #[error("a bundle's signature does not hold: {0}")]
    Note(#[from] NoteError),
    /// Signatures over something else.
    #[error("a signature is over another bundle, tenant or log; what must be signed is {expected:?}")]
    Other {
        /// The text.
        expected: String,
    },
    /// More notes than there can be signers.
    #[error("more than {} notes of signatures", limit::POLICY_KEYS)]
    Many,
    /// Too few.
    #[error(
        "the bundle has {found} of {needed} signatures by the configured policy keys: have its signers run `chancery policy \
         sign`, and apply it with a `--signature` for each note"
    )]
    Few {
        /// Signatures by different known keys.
        found: usize,
        /// What the configuration asks for.
        needed: usize,
    },
}

/// Whose signatures count, and how many there must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endorsers {
    keys: Vec<VerifierKey>,
    needed: usize,
}

impl Endorsers {
    /// `needed` of these verifier keys.
    ///
    /// # Errors
    /// [`EndorsementError::Key`]; [`EndorsementError::Keys`] for one person under two names, for two of one name, and for
    /// more signatures than keys.
    pub fn new(keys: &[String], needed: usize) -> Result<Self, EndorsementError> {
        let keys: Vec<VerifierKey> =
            keys.iter().map(|key| key.parse()).collect::<Result<_, _>>().map_err(EndorsementError::Key)?;
        for (at, key) in keys.iter().enumerate() {
            if keys.iter().take(at).any(|other| other.key() == key.key() || other.name() == key.name()) {
                return Err(EndorsementError::Keys("holds a key or a name twice"));
            }
        }
        if needed > keys.len() || keys.len() > limit::POLICY_KEYS {
            return Err(EndorsementError::Keys("are fewer than the signatures asked for, or too many"));
        }
        Ok(Self { keys, needed })
    }

    /// Whose signatures count.
    #[must_use]
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// How many there must be.
    #[must_use]
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// The signatures of known keys in `notes`, if they are enough. Those of unknown keys are passed over.
    ///
    /// # Errors
    /// [`EndorsementError`]; a known key's wrong signature is fatal, however many others there are.
    pub fn accept(&self, notes: &[String], of: Endorsed<'_>) -> Result<Vec<Endorsement>, EndorsementError> {
        if notes.len() > limit::POLICY_KEYS {
            return Err(EndorsementError::Many);
        }
        let text = of.text();
        let notes = notes.iter().map(|note| Note::parse(note.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        if notes.iter().any(|note| note.unverified_text() != text) {
            return Err(EndorsementError::Other { expected: text });
        }
        let mut found = Vec::new();
        for key in &self.keys {
            let mut signed = false;
            for note in &notes {
                let Some(signature) = note.signature(key)? else { continue };
                if !key.verifies(text.as_bytes(), signature) {
                    return Err(NoteError::WrongSignature(key.name().to_owned()).into());
                }
                if !signed {
                    found.push(Endorsement { key: key.to_string(), signature: signature.into() });
                }
                signed = true;
            }
        }
        self.enough(found.len())?;
        Ok(found)
    }

    /// Whether the signatures that a log entry keeps are still enough: those by keys that are known today.
    ///
    /// # Errors
    /// [`EndorsementError`].
    pub fn confirm(&self, kept: &[Endorsement], of: Endorsed<'_>) -> Result<(), EndorsementError> {
        let signers = kept.iter().map(|one| one.signer(of)).collect::<Result<Vec<_>, _>>()?;
        self.enough(self.keys.iter().filter(|key| signers.contains(key)).count())
    }

    fn enough(&self, found: usize) -> Result<(), EndorsementError> {
        if found >= self.needed { Ok(()) } else { Err(EndorsementError::Few { found, needed: self.needed }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use std::sync::LazyLock;

    static BUNDLE: LazyLock<Digest> = LazyLock::new(|| Digest::from_bytes([7; 32]));

    struct Officer(Ed25519KeyPair, VerifierKey);

    fn officer(name: &str, seed: u8) -> Officer {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let key = VerifierKey::new(name, pair.public_key().as_ref().try_into().unwrap()).unwrap();
        Officer(pair, key)
    }

    fn about<'a>(origin: &'a str, tenant: &'a Tenant) -> Endorsed<'a> {
        Endorsed { origin, tenant, bundle: &BUNDLE }
    }

    fn note(officers: &[&Officer], text: &str) -> String {
        let line = |officer: &&Officer| officer.1.line(officer.0.sign(text.as_bytes()).as_ref());
        format!("{text}\n{}", officers.iter().map(line).collect::<String>())
    }

    /// Would catch a threshold that counts one officer twice, unknown keys, or what was signed for another appliance.
    #[test]
    fn only_enough_different_known_signatures_over_this_bundle_here_count() {
        let (ann, bob, eve) = (officer("ann", 1), officer("bob", 2), officer("eve", 3));
        let keys = [ann.1.to_string(), bob.1.to_string()];
        let two = Endorsers::new(&keys, 2).unwrap();
        let tenant = Tenant::default();
        let of = about("log.example", &tenant);
        let text = of.text();
        let found = two.accept(&[note(&[&ann], &text), note(&[&bob, &eve], &text)], of).unwrap();
        assert_eq!(
            found.iter().map(|one| one.signer(of).unwrap()).collect::<Vec<_>>(),
            [ann.1.clone(), bob.1.clone()]
        );
        two.confirm(&found, of).unwrap();
        assert!(two.confirm(&found, about("other.example", &tenant)).is_err());
        assert!(two.confirm(&[found[0].clone(), found[0].clone()], of).is_err(), "one officer counted twice");

        let few = |notes: &[String]| {
            matches!(two.accept(notes, of), Err(EndorsementError::Few { found: 1, needed: 2 }))
        };
        assert!(few(&[note(&[&ann], &text), note(&[&ann], &text)]), "one officer counted twice");
        assert!(few(&[note(&[&ann, &eve], &text)]), "a stranger counted");
        assert!(matches!(two.accept(&[], of), Err(EndorsementError::Few { found: 0, .. })));
        let elsewhere = about("trial.example", &tenant).text();
        let refused = two.accept(&[note(&[&ann, &bob], &elsewhere)], of);
        assert!(matches!(refused, Err(EndorsementError::Other { .. })), "{refused:?}");
        // Bob's line over another text under this text.
        let forged = note(&[&ann, &bob], &elsewhere).replace(&elsewhere, &text);
        assert!(matches!(two.accept(&[forged], of), Err(EndorsementError::Note(_))));
        // A configuration that lost a key no longer believes what it signed.
        let fewer = Endorsers::new(&keys[..1], 1).unwrap();
        fewer.confirm(&found, of).unwrap();
        assert!(Endorsers::new(&[eve.1.to_string()], 1).unwrap().confirm(&found, of).is_err());
        Endorsers::default().confirm(&[], of).unwrap();
    }

    #[test]
    fn a_person_has_one_key_and_a_key_one_name() {
        let (ann, twin, other) = (officer("ann", 1), officer("twin", 1), officer("ann", 2));
        for pair in [[&ann, &twin], [&ann, &other], [&ann, &ann]] {
            let keys = pair.map(|officer| officer.1.to_string());
            assert!(matches!(Endorsers::new(&keys, 1), Err(EndorsementError::Keys(_))));
        }
        assert!(Endorsers::new(&[ann.1.to_string()], 2).is_err());
        assert!(matches!(Endorsers::new(&["ann+00000000+AA==".into()], 1), Err(EndorsementError::Key(_))));
    }
}
