//! Threshold ECDSA on secp256k1: DKLs23 (eprint 2023/765) by the crate `dkls23`, whose review is nobody's but its authors': see
//! `docs/mpc.md`. Exactly the threshold sign.
//!
//! The parties multiply by oblivious transfers set up with the key and used again and again. Who cheats there may learn a part of
//! another's share: such a [`Fault`](crate::Fault) says `ban`, and a ban is for ever.

mod dkg;
mod refresh;
mod repair;
mod reshare;
mod seats;
mod sign;
mod story;

use std::collections::BTreeSet;
use std::fmt;

use dkls23::secp256k1::{Party, PublicKeyPackage};
use k256::Secp256k1;
use k256::elliptic_curve::group::GroupEncoding;
use zeroize::Zeroizing;

pub use dkg::Dkg;
pub use refresh::Refresh;
pub use repair::Repair;
pub use reshare::{Reshare, Reshared};
pub use sign::{Sign, Signature};

use crate::fault::{Fault, Reason};
use crate::machine::write;
use crate::party::{PartyId, Scheme};
use seats::Seats;

/// A party's share of a key, with what it multiplies by.
#[derive(Clone)]
pub struct Share {
    party: Party,
    group: PublicKeyPackage,
    seats: Seats,
}

/// What everybody knows of a key.
type Known = (PublicKeyPackage, [u8; 32], Seats);

impl Share {
    /// The key: 33 bytes of compressed SEC1.
    #[must_use]
    pub fn public_key(&self) -> [u8; 33] {
        self.party.pk.to_bytes().into()
    }

    /// The chain code of BIP-32, which all parties made together.
    #[must_use]
    pub fn chain_code(&self) -> [u8; 32] {
        self.party.derivation_data.chain_code
    }

    /// What everybody knows of the key.
    #[must_use]
    pub fn group(&self) -> Vec<u8> {
        // Points and numbers: there is nothing that could not be written.
        write(&(&self.group, self.chain_code(), &self.seats)).unwrap_or_default()
    }

    /// Who holds shares of the key.
    #[must_use]
    pub fn parties(&self) -> &BTreeSet<PartyId> {
        &self.seats.0
    }

    /// Whose it is.
    fn owner(&self) -> Result<PartyId, Fault> {
        self.seats.party(self.party.party_index).ok_or(Fault::nobodys(Reason::Misuse))
    }

    /// How many of how many.
    ///
    /// # Errors
    /// [`Reason::Misuse`] where it is of no such scheme.
    pub fn scheme(&self) -> Result<Scheme, Fault> {
        Scheme::new(self.group.threshold(), self.group.share_count())
            .map_err(|_| Fault::nobodys(Reason::Misuse))
    }

    /// The share of a child key, not hardened (BIP-32). It signs with the others' shares of the same child, needs no message and
    /// is made again when it is wanted; only the share it comes from is refreshed or repaired.
    ///
    /// # Errors
    /// [`Reason::Misuse`] for a hardened number, a path of more than 255, or, once in 2^127, a number that has no child.
    pub fn derive(&self, path: &[u32]) -> Result<Self, Fault> {
        let misuse = |_| Fault::nobodys(Reason::Misuse);
        let mut share = self.clone();
        for number in path {
            let chain_code = share.chain_code();
            let party = share.party.derive_child(*number, |_| String::new()).map_err(misuse)?;
            let group = share.group.derive_child(&chain_code, *number).map_err(misuse)?;
            share = Self { party, group, seats: share.seats };
        }
        Ok(share)
    }

    /// Its bytes, secret.
    ///
    /// # Errors
    /// [`Reason::Misuse`], which a share never gives.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        Ok(Zeroizing::new(write(&(&self.party, &self.group, &self.seats))?))
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`Reason::Misuse`] where they are no share, or of two keys.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        let misuse = || Fault::nobodys(Reason::Misuse);
        let (party, group, seats): (Party, PublicKeyPackage, Seats) = match postcard::take_from_bytes(bytes) {
            Ok((parts, [])) => parts,
            _ => return Err(misuse()),
        };
        let own = k256::ProjectivePoint::GENERATOR * party.poly_point;
        let fits =
            party.pk == *group.verifying_key() && group.verify_share(party.party_index, &own.to_affine());
        let share = Self { party, group, seats };
        if fits && share.scheme().is_ok() { Ok(share) } else { Err(misuse()) }
    }
}

/// What [`Share::group`] gave, read back.
fn known(group: &[u8]) -> Result<Known, Fault> {
    match postcard::take_from_bytes::<Known>(group) {
        Ok((known, [])) if known.2.0.len() == usize::from(known.0.share_count()) => Ok(known),
        _ => Err(Fault::nobodys(Reason::Misuse)),
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("public_key", &self.party.pk).finish_non_exhaustive()
    }
}

type Curve = Secp256k1;
