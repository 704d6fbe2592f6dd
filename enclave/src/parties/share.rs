//! A party's share of a key: of which protocol it is, what all know of the key, and how it is kept and opened.
//! If this is wrong, a share is used for another key, or in a protocol that it is not of.

use std::collections::BTreeMap;

use chancery_audit::{Digest, V1};
use chancery_core::{Code, Tenant, WalletId};
use chancery_hsm::Algorithm;
use chancery_intent::bitcoin::OWN_KEY;
use chancery_mpc::frost::{Ed25519, Taproot};
use chancery_mpc::{Fault, ecdsa, frost};
use chancery_store::{ShareRow, Store};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Parties, Shared};
use crate::kept;
use crate::refusal::Refusal;
use crate::wallet::Design;

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ecdsa,
    Taproot,
    Ed25519,
}

impl Kind {
    /// As a wallet of this design asks for it.
    ///
    /// # Errors
    /// [`Code::BadRequest`] for one that several parties do not sign for.
    pub fn of(design: &Design) -> Result<Self, Refusal> {
        match design {
            Design::Ethereum { .. } => Ok(Self::Ecdsa),
            Design::Solana { .. } => Ok(Self::Ed25519),
            Design::Bitcoin { descriptor, .. } if is_internal(descriptor) => Ok(Self::Taproot),
            Design::Bitcoin { .. } | Design::Seal => {
                let detail = "several parties sign for a Bitcoin wallet by taproot's key: its descriptor is `tr(@0)`, or `tr(@0,...)`";
                Err(Refusal::new(Code::BadRequest, detail))
            }
        }
    }

    pub fn algorithm(self) -> Algorithm {
        match self {
            Self::Ecdsa | Self::Taproot => Algorithm::Secp256k1,
            Self::Ed25519 => Algorithm::Ed25519,
        }
    }
}

/// Whether the wallet's own key is the internal one of a taproot output, and not derived: what is signed then spends by the key.
fn is_internal(descriptor: &str) -> bool {
    let own = descriptor.strip_prefix("tr(").and_then(|rest| rest.strip_prefix(OWN_KEY));
    own.is_some_and(|rest| rest.starts_with([')', ',']))
}

/// A share, opened.
pub(super) enum Share {
    Ecdsa(Box<ecdsa::Share>),
    Taproot(Box<frost::Share<Taproot>>),
    Ed25519(Box<frost::Share<Ed25519>>),
}

impl From<ecdsa::Share> for Share {
    fn from(share: ecdsa::Share) -> Self {
        Self::Ecdsa(Box::new(share))
    }
}

impl From<frost::Share<Taproot>> for Share {
    fn from(share: frost::Share<Taproot>) -> Self {
        Self::Taproot(Box::new(share))
    }
}

impl From<frost::Share<Ed25519>> for Share {
    fn from(share: frost::Share<Ed25519>) -> Self {
        Self::Ed25519(Box::new(share))
    }
}

impl Share {
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        match self {
            Self::Ecdsa(share) => share.to_bytes(),
            Self::Taproot(share) => share.to_bytes(),
            Self::Ed25519(share) => share.to_bytes(),
        }
    }

    pub fn read(kind: Kind, bytes: &[u8]) -> Result<Self, Fault> {
        match kind {
            Kind::Ecdsa => ecdsa::Share::from_bytes(bytes).map(Self::from),
            Kind::Taproot => frost::Share::<Taproot>::from_bytes(bytes).map(Self::from),
            Kind::Ed25519 => frost::Share::<Ed25519>::from_bytes(bytes).map(Self::from),
        }
    }

    /// The key, as [`chancery_hsm::PublicKey`] reads it.
    pub fn public_key(&self) -> Vec<u8> {
        match self {
            Self::Ecdsa(share) => share.public_key().to_vec(),
            Self::Taproot(share) => share.public_key(),
            Self::Ed25519(share) => share.public_key(),
        }
    }

    /// What everybody knows of the key.
    pub fn group(&self) -> Vec<u8> {
        match self {
            Self::Ecdsa(share) => share.group(),
            Self::Taproot(share) => share.group(),
            Self::Ed25519(share) => share.group(),
        }
    }
}

/// What all know of a key, beside a party's share of it; format 1.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    pub v: V1,
    pub threshold: u8,
    pub parties: u8,
    pub party: u8,
    /// Each party's node key.
    pub nodes: BTreeMap<u8, Digest>,
    pub design: Design,
    /// Compressed SEC 1, or the 32 bytes of Ed25519.
    pub public_key: String,
    /// What the certificate is over.
    pub group: String,
}

impl Parties {
    /// Opens this party's share of a key.
    pub(super) fn open_share(
        &self,
        store: &Store,
        tenant: &Tenant,
        wallet: &WalletId,
        shared: &Shared,
    ) -> Result<Share, Refusal> {
        let gone = || Refusal::new(Code::StoreUnavailable, "this party's share is missing, or not certified");
        let row = store.read(|rows| rows.share(&shared.session))?;
        let row = row.filter(|row| row.certificate.is_some() && row.epoch == shared.share.epoch);
        let ShareRow { sealed, record, .. } = row.ok_or_else(gone)?;
        let known: Known = kept::read("share", &record)?;
        let context = self.context(tenant, wallet, shared.share.epoch, &shared.session);
        let opened = self.vault.unseal(&context, &sealed)?;
        let share = Share::read(Kind::of(&known.design)?, opened.expose()).map_err(|_| gone())?;
        if share.public_key() == shared.public.bytes() { Ok(share) } else { Err(gone()) }
    }
}
