//! From signatures to what a client sends on: the PSBT with our signatures in it and, where nobody else has to sign, the
//! transaction for the network. Trusts that the signatures were verified; a wrong one here is only useless, not dangerous.

use std::collections::HashMap;

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{PublicKey, Sequence, Transaction, Witness, absolute, ecdsa, transaction};

use super::spend::{Sighash, Spending, is_taproot};
use super::wallet::Own;
use crate::signing::{Scheme, Signature};
use crate::{Artifact, IntentError};

pub(super) fn signature(signature: &Signature, sighash: Sighash) -> Result<ecdsa::Signature, IntentError> {
    let signature =
        secp256k1::ecdsa::Signature::from_compact(&signature.bytes()).map_err(|_| IntentError::Signatures)?;
    Ok(ecdsa::Signature { signature, sighash_type: sighash.ecdsa() })
}

impl Spending {
    /// Puts each signature into its input.
    pub(super) fn finish(&self, signatures: &[Signature]) -> Result<Artifact, IntentError> {
        let ecdsa = self.signings.iter().all(|signing| signing.scheme == Scheme::Ecdsa);
        if !ecdsa || signatures.len() != self.signings.len() {
            return Err(IntentError::Signatures);
        }
        let mut psbt = self.psbt.clone();
        for (index, made) in self.signed_inputs.iter().zip(signatures) {
            let spent = self.spent.get(*index).and_then(|spent| spent.own.as_ref().zip(spent.sighash));
            let (Some((own, sighash)), Some(input)) = (spent, psbt.inputs.get_mut(*index)) else {
                return Err(IntentError::Signatures);
            };
            input.sign(&own.key, &signature(made, sighash)?);
        }
        psbt.fix(!self.open);
        let mut transaction = psbt.transaction.clone();
        let complete = psbt.inputs.iter().zip(&self.spent).enumerate().all(|(index, (input, spent))| {
            spent
                .own
                .as_ref()
                .and_then(|own| satisfied(own, &psbt.transaction, index, &input.signatures))
                .zip(transaction.input.get_mut(index))
                .map(|((witness, script), input)| {
                    input.witness = witness;
                    input.script_sig = script;
                })
                .is_some()
        });
        let transaction = complete.then(|| {
            let mut hash = transaction.compute_txid().to_byte_array();
            // Transactions are named by their hash read backwards.
            hash.reverse();
            (serialize(&transaction), hash)
        });
        Ok(Artifact::Psbt { psbt: psbt.write(), transaction })
    }
}

/// What proves to the network that an input may be spent, if these signatures are enough for it.
pub(super) fn satisfied(
    own: &Own,
    transaction: &Transaction,
    index: usize,
    signatures: &[(PublicKey, ecdsa::Signature)],
) -> Option<(Witness, bitcoin::ScriptBuf)> {
    if is_taproot(own) {
        return None;
    }
    let sequence = transaction.input.get(index)?.sequence;
    // BIP-68 counts from version 2 on; BIP-65 asks for an input that is not final.
    let relative = if transaction.version >= transaction::Version::TWO { sequence } else { Sequence::MAX };
    let lock_time = if sequence == Sequence::MAX { absolute::LockTime::ZERO } else { transaction.lock_time };
    let signatures: HashMap<PublicKey, ecdsa::Signature> = signatures.iter().copied().collect();
    let (witness, script) = own.descriptor.get_satisfaction((signatures, relative, lock_time)).ok()?;
    Some((Witness::from_slice(&witness), script))
}
