//! From signatures to what a client sends on: the PSBT with our signatures in it and, where nobody else has to sign, the
//! transaction for the network. Trusts that the signatures were verified; a wrong one here is only useless, not dangerous.

use std::collections::HashMap;

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::taproot::TapLeafHash;
use bitcoin::{PublicKey, Sequence, Transaction, Witness, absolute, ecdsa, taproot, transaction};
use chancery_core::Taproot;
use miniscript::{Satisfier, ToPublicKey as _};

use super::psbt::Input;
use super::spend::{Sighash, Spending};
use super::wallet::Own;
use crate::signing::{Scheme, Signature, Signing};
use crate::{Artifact, IntentError};

/// Puts a signature into its input.
pub(super) fn put(
    input: &mut Input,
    own: &Own,
    signing: &Signing,
    made: &Signature,
    sighash: Sighash,
) -> Result<(), IntentError> {
    let bytes = made.bytes();
    let refused = |_| IntentError::Signatures;
    match signing.scheme {
        Scheme::Ecdsa => {
            let signature = secp256k1::ecdsa::Signature::from_compact(&bytes).map_err(refused)?;
            input.sign(&own.key, &ecdsa::Signature { signature, sighash_type: sighash.ecdsa() });
        }
        Scheme::Schnorr(taproot) => {
            let signature = secp256k1::schnorr::Signature::from_slice(&bytes).map_err(refused)?;
            let signature = taproot::Signature { signature, sighash_type: sighash.taproot() };
            input.sign_taproot(&own.key, taproot, &signature);
        }
        Scheme::Ed25519 => return Err(IntentError::Signatures),
    }
    Ok(())
}

impl Spending {
    /// Puts each signature into its input.
    pub(super) fn finish(&self, signatures: &[Signature]) -> Result<Artifact, IntentError> {
        if signatures.len() != self.signings.len() {
            return Err(IntentError::Signatures);
        }
        let mut psbt = self.psbt.clone();
        for ((index, signing), made) in self.signed_inputs.iter().zip(&self.signings).zip(signatures) {
            let spent = self.spent.get(*index).and_then(|spent| spent.own.as_ref().zip(spent.sighash));
            let (Some((own, sighash)), Some(input)) = (spent, psbt.inputs.get_mut(*index)) else {
                return Err(IntentError::Signatures);
            };
            put(input, own, signing, made, sighash)?;
        }
        psbt.fix(!self.open);
        let mut transaction = psbt.transaction.clone();
        let complete = psbt.inputs.iter().zip(&self.spent).enumerate().all(|(index, (input, spent))| {
            spent
                .own
                .as_ref()
                .and_then(|own| satisfied(own, &psbt.transaction, index, input))
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

/// Our Schnorr signatures of an input, as miniscript asks for them.
struct Schnorr<'a> {
    own: &'a Own,
    made: &'a [(Taproot, taproot::Signature)],
}

impl Satisfier<PublicKey> for Schnorr<'_> {
    fn lookup_tap_key_spend_sig(&self, _: &PublicKey) -> Option<taproot::Signature> {
        self.made.iter().find(|(taproot, _)| matches!(taproot, Taproot::Key(_))).map(|(_, made)| *made)
    }

    fn lookup_tap_leaf_script_sig(&self, key: &PublicKey, leaf: &TapLeafHash) -> Option<taproot::Signature> {
        let ours = key.to_x_only_pubkey() == self.own.key.to_x_only_pubkey();
        let leaf = Taproot::Leaf(leaf.to_byte_array());
        self.made.iter().find(|(taproot, _)| ours && *taproot == leaf).map(|(_, made)| *made)
    }
}

/// What proves to the network that an input may be spent, if its signatures are enough for it.
pub(super) fn satisfied(
    own: &Own,
    transaction: &Transaction,
    index: usize,
    input: &Input,
) -> Option<(Witness, bitcoin::ScriptBuf)> {
    let sequence = transaction.input.get(index)?.sequence;
    // BIP-68 counts from version 2 on; BIP-65 asks for an input that is not final.
    let relative = if transaction.version >= transaction::Version::TWO { sequence } else { Sequence::MAX };
    let lock_time = if sequence == Sequence::MAX { absolute::LockTime::ZERO } else { transaction.lock_time };
    let ecdsa: HashMap<PublicKey, ecdsa::Signature> = input.signatures.iter().copied().collect();
    let schnorr = Schnorr { own, made: &input.schnorr };
    let (witness, script) = own.descriptor.get_satisfaction((ecdsa, schnorr, relative, lock_time)).ok()?;
    Some((Witness::from_slice(&witness), script))
}
