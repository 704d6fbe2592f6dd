//! Solana: transactions for a wallet that is one Ed25519 key. A message is read, written again to the same bytes, and each of
//! its instructions told as what it does. A program that is not known here may do anything with what the wallet has, and is
//! told as such. If this is wrong, an instruction moves something that policy was not asked about.

mod act;
mod associated;
mod budget;
mod describe;
mod message;
mod program;
mod token;

use chancery_core::TokenAccount;
use serde::{Deserialize, Serialize};
use solana_address::Address;

use crate::contracts::Contracts;
use crate::signing::Signature;
use crate::{Artifact, Description, IntentError};

/// An address: a public key, or what a program derived.
pub type Pubkey = Address;

/// A cluster. No message names its own, so a wallet is of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cluster {
    /// Mainnet Beta.
    Mainnet,
    /// For those who run validators.
    Testnet,
    /// For those who write programs.
    Devnet,
}

impl Cluster {
    /// Every cluster.
    pub const ALL: &[Self] = &[Self::Mainnet, Self::Testnet, Self::Devnet];

    /// The name in configuration and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Testnet => "testnet",
            Self::Devnet => "devnet",
        }
    }

    /// CAIP-2: the first 32 letters of the genesis hash.
    #[must_use]
    pub fn chain(self) -> &'static str {
        match self {
            Self::Mainnet => "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp",
            Self::Testnet => "solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z",
            Self::Devnet => "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1",
        }
    }

    /// The cluster of a CAIP-2 chain.
    #[must_use]
    pub fn of_chain(chain: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cluster| cluster.chain() == chain)
    }

    /// The chain's own coin (CAIP-19), in lamports.
    #[must_use]
    pub fn coin(self) -> String {
        format!("{}/slip44:501", self.chain())
    }

    /// A token, by its mint (CAIP-19).
    #[must_use]
    pub fn token(self, mint: &Pubkey) -> String {
        format!("{}/token:{mint}", self.chain())
    }
}

/// What a wallet's key controls.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// The key's address: its 32 bytes.
    pub address: Pubkey,
    /// Where.
    pub cluster: Cluster,
}

/// An address in its one spelling, base58.
///
/// # Errors
/// [`IntentError::Malformed`] for any other text.
pub fn address(text: &str) -> Result<Pubkey, IntentError> {
    text.parse::<Pubkey>()
        .ok()
        .filter(|address| address.to_string() == text)
        .ok_or_else(|| IntentError::malformed("not a Solana address in base58"))
}

/// A public key's address.
///
/// # Errors
/// [`IntentError::Malformed`] for other than 32 bytes.
pub fn address_of(public_key: &[u8]) -> Result<Pubkey, IntentError> {
    Pubkey::try_from(public_key).map_err(|_| IntentError::malformed("an Ed25519 key has 32 bytes"))
}

/// The associated account of `owner` for a token of SPL Token; none in one of 2^255 cases.
#[must_use]
pub fn token_account(owner: &Pubkey, mint: &Pubkey) -> Option<Pubkey> {
    associated::associated(owner, &program::TOKEN, mint)
}

/// A signature as Solana writes it, and names a transaction by its first: base58.
#[must_use]
pub fn signature_text(signature: &[u8]) -> String {
    ::bitcoin::base58::encode(signature)
}

/// What is left to do once there is a signature.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    message: Vec<u8>,
    signers: u8,
}

/// What the parser found.
pub(crate) struct Understood {
    pub description: Description,
    pub document: Document,
}

pub(crate) fn transaction(
    data: &[u8],
    token_accounts: &[TokenAccount],
    account: &Account,
    contracts: &dyn Contracts,
) -> Result<Understood, IntentError> {
    let message = message::Message::read(data)?;
    if !message.signers().contains(&account.address) {
        return Err(IntentError::NothingToSign);
    }
    let description = describe::describe(&message, account, contracts, token_accounts)?;
    let document = Document { message: data.to_vec(), signers: message.required_signatures() };
    Ok(Understood { description, document })
}

impl Document {
    /// What is signed.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The transaction, where nobody else has to sign it.
    pub fn finish(&self, made: &Signature) -> Artifact {
        let signature = made.bytes();
        let alone = || [&[1][..], &signature, &self.message].concat();
        Artifact::Solana { signature, transaction: (self.signers == 1).then(alone) }
    }
}
