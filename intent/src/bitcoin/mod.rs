//! Bitcoin: PSBTs and BIP-322 messages for a wallet that is a descriptor. A PSBT is read, written again to the same bytes,
//! described from what the wallet derives and the signatures commit to, and only then hashed.
//! If this is wrong, somebody else's script passes for change, or a fee for nothing.

mod describe;
mod finish;
mod message;
mod psbt;
mod spend;
mod wallet;

use crate::signing::{Signature, Signing, commitment};
use crate::{Artifact, Contracts, Description, IntentError};

pub(crate) use wallet::SECP;
pub use wallet::{Network, OWN_KEY, Wallet};

/// What is left to do once signatures exist.
#[derive(Clone, Debug)]
pub(crate) struct Document(Asked);

#[derive(Clone, Debug)]
enum Asked {
    Spending(Box<spend::Spending>),
    Proof(Box<message::Proof>),
}

/// What one of the parsers found.
pub(crate) struct Understood {
    pub description: Description,
    pub preimage: Vec<u8>,
    pub signings: Vec<Signing>,
    pub document: Document,
}

pub(crate) fn psbt(
    data: &[u8],
    wallet: &Wallet,
    contracts: &dyn Contracts,
) -> Result<Understood, IntentError> {
    let psbt = psbt::Psbt::read(data)?;
    let spending = spend::Spending::of(psbt, wallet, contracts.anyone_can_pay())?;
    let description = spending.describe(wallet)?;
    Ok(understood(description, spending.signings.clone(), Asked::Spending(Box::new(spending))))
}

/// The unsigned transaction of a PSBT, as the network encodes it. Nothing is understood by it: this is what other readers
/// are compared with.
///
/// # Errors
/// As [`understand`](crate::understand) for bytes that are no PSBT of version 0 or 2, or not in their one form.
pub fn unsigned_transaction(psbt: &[u8]) -> Result<Vec<u8>, IntentError> {
    psbt::Psbt::read(psbt).map(|psbt| ::bitcoin::consensus::serialize(&psbt.transaction))
}

/// A public key, compressed SEC 1, and an ECDSA signature by it, `r || s`.
pub type PartialSignature = ([u8; 33], [u8; 64]);

/// The ECDSA signatures in a PSBT before its inputs are finalised (BIP-174, `PSBT_IN_PARTIAL_SIG`), input by input. Nothing is
/// verified.
///
/// # Errors
/// As [`unsigned_transaction`].
pub fn partial_signatures(psbt: &[u8]) -> Result<Vec<Vec<PartialSignature>>, IntentError> {
    let of = |input: &psbt::Input| {
        let signatures = input.signatures.iter();
        signatures.map(|(key, ecdsa)| (key.inner.serialize(), ecdsa.signature.serialize_compact())).collect()
    };
    psbt::Psbt::read(psbt).map(|psbt| psbt.inputs.iter().map(of).collect())
}

pub(crate) fn message(data: &[u8], wallet: &Wallet) -> Result<Understood, IntentError> {
    let proof = message::Proof::of(data, wallet)?;
    let description = describe::message(wallet, data)?;
    Ok(understood(description, proof.signings.clone(), Asked::Proof(Box::new(proof))))
}

fn understood(description: Description, signings: Vec<Signing>, asked: Asked) -> Understood {
    Understood { description, preimage: commitment(&signings), signings, document: Document(asked) }
}

impl Document {
    pub fn finish(&self, signatures: &[Signature]) -> Result<Artifact, IntentError> {
        match &self.0 {
            Asked::Spending(spending) => spending.finish(signatures),
            Asked::Proof(proof) => proof.finish(signatures),
        }
    }
}
