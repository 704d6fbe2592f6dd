//! Payload bytes to what they would do: decode, re-encode, require the same bytes, describe, and only then hash.
//! Pure parsers, no I/O; trusts the caller for the wallet's account and for what contracts are registered.
//! If this is wrong, policy decides about something else than what the key signs.

mod account_key;
mod artifact;
pub mod bitcoin;
pub mod change;
pub mod contracts;
mod error;
pub mod ethereum;
pub mod model;
mod signing;
pub mod solana;
mod text;

use alloy_primitives::keccak256;
use chancery_core::Payload;

pub use account_key::AccountKey;
pub use alloy_primitives::Address;
pub use artifact::Artifact;
pub use chancery_core::Taproot;
pub use contracts::{Contracts, Standard};
pub use error::IntentError;
pub use ethereum::address_of;
pub use model::Description;
pub use signing::{Derived, Scheme, Signature, Signing};

/// What a wallet's key controls, and where.
#[derive(Clone, Copy, Debug)]
pub enum Account<'a> {
    /// One address on some chains.
    Ethereum(ethereum::Account<'a>),
    /// The scripts of a descriptor on one network.
    Bitcoin(&'a bitcoin::Wallet),
    /// One address on one cluster.
    Solana(solana::Account),
    /// Changes of the appliance itself.
    Seal(change::Seal<'a>),
}

/// A payload that was understood: what it would do, and the digests that sign exactly that.
///
/// Evidence: made only by [`understand`], so whoever holds one knows that the description and the digests belong together.
#[derive(Clone, Debug)]
pub struct Intent {
    description: Description,
    preimage: Vec<u8>,
    digest: [u8; 32],
    signings: Vec<Signing>,
    document: Document,
}

/// What is left to do once signatures exist.
#[derive(Clone, Debug)]
enum Document {
    Ethereum(Box<ethereum::Document>),
    Bitcoin(Box<bitcoin::Document>),
    Solana(solana::Document),
    Change,
}

impl Intent {
    /// What the payload would do.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What is permitted, recorded and signed, in one digest. Of an Ethereum payload it is the digest that is signed:
    /// Keccak-256 of [`preimage`](Self::preimage). Of a Bitcoin payload, which may need a signature for each input, it is
    /// SHA-256 of the same and commits to every one of [`signings`](Self::signings). Of a change it is SHA-256 too, and of a
    /// Solana payload, whose preimage is signed itself.
    #[must_use]
    pub fn signing_digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Every signature that the payload needs, in their order; at least one.
    #[must_use]
    pub fn signings(&self) -> &[Signing] {
        &self.signings
    }

    /// What [`signing_digest`](Self::signing_digest) hashes, as this crate encoded it: the EIP-2718 signing form of a
    /// transaction, `0x05 || rlp` of an authorization, the prefixed EIP-191 message, `0x1901 || domain || message` of
    /// EIP-712; for Bitcoin `"chancery signing digests v1\n"` and each digest; for Solana the message; for a change `"chancery change v1\n"`
    /// and its JSON.
    #[must_use]
    pub fn preimage(&self) -> &[u8] {
        &self.preimage
    }

    /// How all of [`signings`](Self::signings) are made.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.signings.first().map_or(Scheme::Ecdsa, |signing| signing.scheme)
    }

    /// What one of [`signings`](Self::signings) is made over: its digest, or the preimage itself for Ed25519.
    #[must_use]
    pub fn signed<'a>(&'a self, signing: &'a Signing) -> &'a [u8] {
        match signing.scheme {
            Scheme::Ecdsa | Scheme::Schnorr(_) => &signing.digest,
            Scheme::Ed25519 => &self.preimage,
        }
    }

    /// Puts signatures, one for each of [`signings`](Self::signings), into their final form. They are not verified here:
    /// the caller holds signatures already verified under the pinned key, and low-S.
    ///
    /// # Errors
    /// [`IntentError::Signatures`] where there are more or fewer, or of another kind.
    pub fn finish(&self, signatures: &[Signature]) -> Result<Artifact, IntentError> {
        match (&self.document, signatures) {
            (Document::Ethereum(document), [one]) => document.finish(one),
            (Document::Change, [one]) => ethereum::Document::Message.finish(one),
            (Document::Solana(document), [one]) => Ok(document.finish(one)),
            (Document::Ethereum(_) | Document::Solana(_) | Document::Change, _) => {
                Err(IntentError::Signatures)
            }
            (Document::Bitcoin(document), all) => document.finish(all),
        }
    }

    fn of_ethereum(understood: ethereum::Understood) -> Self {
        let digest = keccak256(&understood.preimage).0;
        Self {
            description: understood.description,
            preimage: understood.preimage,
            digest,
            signings: vec![Signing { scheme: Scheme::Ecdsa, digest, key: None }],
            document: Document::Ethereum(Box::new(understood.document)),
        }
    }

    fn of_change((description, preimage): (Description, Vec<u8>)) -> Self {
        let digest = signing::sha256(&preimage);
        Self {
            description,
            digest,
            preimage,
            signings: vec![Signing { scheme: Scheme::Ecdsa, digest, key: None }],
            document: Document::Change,
        }
    }

    fn of_solana(understood: solana::Understood) -> Self {
        let preimage = understood.document.message().to_vec();
        let digest = signing::sha256(&preimage);
        Self {
            description: understood.description,
            preimage,
            digest,
            signings: vec![Signing { scheme: Scheme::Ed25519, digest, key: None }],
            document: Document::Solana(understood.document),
        }
    }

    fn of_bitcoin(understood: bitcoin::Understood) -> Self {
        Self {
            description: understood.description,
            digest: signing::sha256(&understood.preimage),
            preimage: understood.preimage,
            signings: understood.signings,
            document: Document::Bitcoin(Box::new(understood.document)),
        }
    }
}

/// Understands a payload, or refuses it.
///
/// # Errors
/// Every class of malformed input has its own [`IntentError::code`]. An effect that cannot be told for sure is an error,
/// never a guess.
pub fn understand(
    payload: &Payload,
    account: &Account<'_>,
    contracts: &dyn Contracts,
) -> Result<Intent, IntentError> {
    match (payload, account) {
        (Payload::EthereumTransaction { data }, Account::Ethereum(account)) => {
            ethereum::transaction::understand(data, account, contracts).map(Intent::of_ethereum)
        }
        (Payload::EthereumAuthorization { data }, Account::Ethereum(account)) => {
            ethereum::authorization::understand(data, account).map(Intent::of_ethereum)
        }
        (Payload::EthereumMessage { data }, Account::Ethereum(account)) => {
            ethereum::message::understand(data, account).map(Intent::of_ethereum)
        }
        (Payload::EthereumTypedData { document }, Account::Ethereum(account)) => {
            ethereum::typed_data::understand(document, account, contracts).map(Intent::of_ethereum)
        }
        (Payload::BitcoinPsbt { data }, Account::Bitcoin(wallet)) => {
            bitcoin::psbt(data, wallet, contracts).map(Intent::of_bitcoin)
        }
        (Payload::BitcoinMessage { data }, Account::Bitcoin(wallet)) => {
            bitcoin::message(data, wallet).map(Intent::of_bitcoin)
        }
        (Payload::SolanaTransaction { data, token_accounts }, Account::Solana(account)) => {
            solana::transaction(data, token_accounts, account, contracts).map(Intent::of_solana)
        }
        (Payload::ApplianceChange { change }, Account::Seal(seal)) => {
            change::understand(change, seal).map(Intent::of_change)
        }
        _ => Err(IntentError::OtherChain),
    }
}
