//! FROST (RFC 9591): Schnorr signatures of two suites, Ed25519 and secp256k1 as BIP-340 and BIP-341 want them.
//!
//! Keys are made by the distributed key generation of the FROST paper (section 5.1, with proofs of knowledge), refreshed by
//! adding shares of zero, dealt on to other parties by their weights, and a lost share is repaired by a threshold of helpers (RTS,
//! eprint 2017/1155), none of whom learns it.

pub(crate) mod deal;
mod dkg;
pub(crate) mod polynomial;
mod refresh;
mod repair;
mod reshare;
mod sign;
mod sign_all;

use std::fmt;

use frost_core::Ciphersuite;
use frost_core::keys::{KeyPackage, PublicKeyPackage};
use frost_secp256k1_tr::keys::Tweak as _;
use zeroize::Zeroizing;

pub use dkg::Dkg;
pub use refresh::Refresh;
pub use repair::Repair;
pub use reshare::{Reshare, Reshared};
pub use sign::Sign;
pub use sign_all::SignAll;

use crate::fault::{Fault, Reason};
use crate::party::{PartyId, Scheme};

/// FROST(Ed25519, SHA-512): signatures as of RFC 8032.
pub type Ed25519 = frost_ed25519::Ed25519Sha512;
/// FROST(secp256k1, SHA-256) whose signatures are those of BIP-340.
pub type Taproot = frost_secp256k1_tr::Secp256K1Sha256TR;

/// A suite, with its protocols' names.
pub trait Suite: Ciphersuite {
    /// Of [`Dkg`].
    const DKG: &'static str;
    /// Of [`Sign`].
    const SIGN: &'static str;
    /// Of [`SignAll`].
    const SIGN_ALL: &'static str;
    /// Of [`Refresh`].
    const REFRESH: &'static str;
    /// Of [`Repair`].
    const REPAIR: &'static str;
    /// Of [`Reshare`].
    const RESHARE: &'static str;
    /// Whether [`Sign`] signs with its keys.
    const SCHNORR: bool = true;
}

impl Suite for Ed25519 {
    const DKG: &'static str = "frost-ed25519/dkg/1";
    const SIGN: &'static str = "frost-ed25519/sign/2";
    const SIGN_ALL: &'static str = "frost-ed25519/sign-all/1";
    const REFRESH: &'static str = "frost-ed25519/refresh/1";
    const REPAIR: &'static str = "frost-ed25519/repair/2";
    const RESHARE: &'static str = "frost-ed25519/reshare/1";
}

impl Suite for Taproot {
    const DKG: &'static str = "frost-secp256k1-tr/dkg/1";
    const SIGN: &'static str = "frost-secp256k1-tr/sign/2";
    const SIGN_ALL: &'static str = "frost-secp256k1-tr/sign-all/1";
    const REFRESH: &'static str = "frost-secp256k1-tr/refresh/1";
    const REPAIR: &'static str = "frost-secp256k1-tr/repair/2";
    const RESHARE: &'static str = "frost-secp256k1-tr/reshare/1";
}

/// A party's share of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Share<C: Suite> {
    own: KeyPackage<C>,
    group: PublicKeyPackage<C>,
}

impl<C: Suite> Share<C> {
    /// The key, as the suite writes it: 32 bytes of RFC 8032, or 33 of compressed SEC1.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        // A key that was made or read is no point at infinity, which alone has no bytes.
        self.group.verifying_key().serialize().unwrap_or_default()
    }

    /// What everybody knows of the key: its group's public package.
    #[must_use]
    pub fn group(&self) -> Vec<u8> {
        self.group.serialize().unwrap_or_default()
    }

    /// How many of how many.
    ///
    /// # Errors
    /// [`Reason::Misuse`] where it is of no such scheme.
    pub fn scheme(&self) -> Result<Scheme, Fault> {
        let number = |count: u16| u8::try_from(count).unwrap_or_default();
        Scheme::new(number(*self.own.min_signers()), number(self.group.max_signers()))
            .map_err(|_| Fault::nobodys(Reason::Misuse))
    }

    /// Whether it is this party's.
    pub(crate) fn is_of(&self, party: PartyId) -> bool {
        id::<C>(party).as_ref() == Ok(self.own.identifier())
    }

    /// What all know of a party's share.
    pub(crate) fn public(&self, party: PartyId) -> Option<frost_core::Element<C>> {
        reshare::public(&self.group, party)
    }

    /// The number that it is.
    pub(crate) fn secret(&self) -> Vec<u8> {
        self.own.signing_share().serialize()
    }

    /// Its bytes, secret.
    ///
    /// # Errors
    /// [`Reason::Misuse`], which a share never gives.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let misuse = |_| Fault::nobodys(Reason::Misuse);
        let own = Zeroizing::new(self.own.serialize().map_err(misuse)?);
        let group = self.group.serialize().map_err(misuse)?;
        Ok(Zeroizing::new(crate::machine::write(&(&**own, group))?))
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`Reason::Misuse`] where they are no share of this suite, or of two keys.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        let misuse = || Fault::nobodys(Reason::Misuse);
        let (own, group): (Zeroizing<Vec<u8>>, Vec<u8>) = match postcard::take_from_bytes(bytes) {
            Ok((parts, [])) => parts,
            _ => return Err(misuse()),
        };
        let own = KeyPackage::deserialize(&own).map_err(|_| misuse())?;
        let group = PublicKeyPackage::deserialize(&group).map_err(|_| misuse())?;
        let share = Self { own, group };
        let known = share.group.verifying_shares().get(share.own.identifier());
        let fits = known == Some(share.own.verifying_share())
            && share.group.verifying_key() == share.own.verifying_key()
            && share.group.min_signers() == Some(*share.own.min_signers());
        if fits && share.scheme().is_ok() { Ok(share) } else { Err(misuse()) }
    }
}

impl<C: Suite> fmt::Debug for Share<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("public_key", &self.group.verifying_key()).finish_non_exhaustive()
    }
}

impl Share<Taproot> {
    /// The share of the output key of BIP-341, of which this key is the internal one, with the script tree of that root, or none: it
    /// spends by the key. The untweaked share signs for a script that the key stands in.
    #[must_use]
    pub fn tweaked(&self, root: Option<[u8; 32]>) -> Self {
        Self { own: self.own.clone().tweak(root), group: self.group.clone().tweak(root) }
    }
}

type Id<C> = frost_core::Identifier<C>;
type FieldOf<C> = <<C as Ciphersuite>::Group as frost_core::Group>::Field;

fn id<C: Suite>(party: PartyId) -> Result<Id<C>, Fault> {
    Id::<C>::try_from(u16::from(party.get())).map_err(|_| Fault::nobodys(Reason::Misuse))
}

/// The party of an identifier, among those asked.
fn party<C: Suite>(id: &Id<C>) -> Option<PartyId> {
    (1..=crate::PARTIES)
        .filter_map(|number| PartyId::try_from(number).ok())
        .find(|party| self::id::<C>(*party).as_ref() == Ok(id))
}

/// What the library says is wrong, and by whom it says so.
fn fault<C: Suite>(error: &frost_core::Error<C>) -> Fault {
    use frost_core::Error;
    let reason = match error {
        Error::InvalidProofOfKnowledge { .. } => Reason::Proof,
        Error::InvalidSecretShare { .. } => Reason::Share,
        Error::InvalidSignatureShare { .. } => Reason::SignatureShare,
        Error::InvalidSignature => Reason::Outcome,
        _ => Reason::Misuse,
    };
    Fault::by(reason, error.culprits().iter().filter_map(party::<C>))
}

/// A message of the library's; else its sender is named.
fn parsed<C: Suite, T>(from: PartyId, read: Result<T, frost_core::Error<C>>) -> Result<T, Fault> {
    read.map_err(|_| Fault::by(Reason::Malformed, [from]))
}
