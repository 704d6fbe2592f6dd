//! Payload bytes to what they would do: decode, re-encode, require the same bytes, describe, and only then hash.
//! Pure parsers, no I/O; trusts the caller for the wallet's address and chains and for what contracts are registered.
//! If this is wrong, policy decides about something else than what the key signs.

pub mod contracts;
mod error;
mod ethereum;
pub mod model;

use alloy_primitives::keccak256;
use chancery_core::Payload;

pub use alloy_primitives::Address;
pub use contracts::{Contracts, Standard};
pub use error::IntentError;
pub use ethereum::{Artifact, Finished, address_of};
pub use model::Description;

use ethereum::Document;

/// The account that a wallet's key controls, and where it may be used.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// The address of the wallet's key.
    pub address: Address,
    /// The EIP-155 chain ids the wallet may sign for.
    pub chain_ids: &'a [u64],
}

/// A payload that was understood: what it would do, and the digest that signs exactly that.
///
/// Evidence: made only by [`understand`], so whoever holds one knows that the description and the digest belong together.
#[derive(Clone, Debug)]
pub struct Intent {
    description: Description,
    preimage: Vec<u8>,
    digest: [u8; 32],
    document: Document,
}

impl Intent {
    /// What the payload would do.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The digest to sign: Keccak-256 of [`preimage`](Self::preimage).
    #[must_use]
    pub fn signing_digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The bytes that are hashed for signing, as this crate encoded them: the EIP-2718 signing form of a transaction,
    /// `0x05 || rlp` of an authorization, the prefixed EIP-191 message, `0x1901 || domain || message` of EIP-712.
    #[must_use]
    pub fn preimage(&self) -> &[u8] {
        &self.preimage
    }

    /// Puts a signature over [`signing_digest`](Self::signing_digest) into its final form.
    ///
    /// `r` and `s` are big-endian scalars, `y_parity` is true where the nonce point's y is odd. They are not verified
    /// here: the caller holds a signature already verified under the pinned key, and low-S.
    #[must_use]
    pub fn finish(&self, r: &[u8; 32], s: &[u8; 32], y_parity: bool) -> Finished {
        self.document.finish(r, s, y_parity)
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
    let understood = match payload {
        Payload::EthereumTransaction { data } => ethereum::transaction::understand(data, account, contracts),
        Payload::EthereumAuthorization { data } => ethereum::authorization::understand(data, account),
        Payload::EthereumMessage { data } => ethereum::message::understand(data, account),
        Payload::EthereumTypedData { document } => {
            ethereum::typed_data::understand(document, account, contracts)
        }
    }?;
    let digest = keccak256(&understood.preimage).0;
    Ok(Intent {
        description: understood.description,
        preimage: understood.preimage,
        digest,
        document: understood.document,
    })
}
