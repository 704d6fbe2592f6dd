//! BIP-322, format `simple`: a signature over a transaction that cannot be, which spends an output that cannot exist. Its
//! digest is no payment's, because the transaction that it would spend from hashes the message and pays nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::script::Builder;
use bitcoin::sighash::SighashCache;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use chancery_core::limit;

use super::finish::{put, satisfied};
use super::psbt::Input;
use super::spend::{Sighash, ecdsa_digest, is_taproot, schnorr_digests};
use super::wallet::{Own, Wallet};
use crate::signing::{Signature, Signing};
use crate::{Artifact, IntentError};

const TAG: &[u8] = b"BIP0322-signed-message";

/// A message and the transaction that signs it.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    own: Own,
    to_sign: Transaction,
    sighash: Sighash,
    pub signings: Vec<Signing>,
}

impl Proof {
    pub fn of(data: &[u8], wallet: &Wallet) -> Result<Self, IntentError> {
        // An empty message is one, here: the BIP's first vector.
        if data.len() > limit::PAYLOAD_BYTES {
            return Err(IntentError::TooLarge { bytes: data.len(), limit: limit::PAYLOAD_BYTES });
        }
        let own = wallet.first()?;
        if own.descriptor.desc_type().segwit_version().is_none() {
            return Err(IntentError::malformed("a `simple` signature is a witness, and `pkh` has none"));
        }
        let challenge = own.script();
        let to_sign = to_sign(&to_spend(data, &challenge));
        let spent = TxOut { value: Amount::ZERO, script_pubkey: challenge };
        let mut cache = SighashCache::new(&to_sign);
        let (sighash, signings) = if is_taproot(&own) {
            let sighash = Sighash::Default;
            (sighash, schnorr_digests(&mut cache, 0, &[spent], &own, sighash)?)
        } else {
            (Sighash::All, vec![ecdsa_digest(&mut cache, 0, &spent, &own, Sighash::All)?])
        };
        let proof = Self { own, to_sign, sighash, signings };
        // Any signatures: whether ours alone are enough does not depend on their bytes.
        let any = Signature { r: [1; 32], s: [1; 32], y_parity: None };
        proof.witness(&vec![any; proof.signings.len()])?;
        Ok(proof)
    }

    fn witness(&self, made: &[Signature]) -> Result<Witness, IntentError> {
        let mut input = Input::default();
        for (signing, made) in self.signings.iter().zip(made) {
            put(&mut input, &self.own, signing, made, self.sighash)?;
        }
        let (witness, _) = satisfied(&self.own, &self.to_sign, 0, &input)
            .ok_or_else(|| IntentError::malformed("this wallet's messages need other signers too"))?;
        Ok(witness)
    }

    /// The witness, in base64: what the BIP calls a simple signature.
    pub fn finish(&self, signatures: &[Signature]) -> Result<Artifact, IntentError> {
        if signatures.len() != self.signings.len() {
            return Err(IntentError::Signatures);
        }
        Ok(Artifact::Proof { simple: STANDARD.encode(serialize(&self.witness(signatures)?)) })
    }
}

/// BIP-340's tagged hash.
fn message_hash(data: &[u8]) -> [u8; 32] {
    let tag = sha256::Hash::hash(TAG);
    let mut engine = sha256::Hash::engine();
    engine.input(tag.as_byte_array());
    engine.input(tag.as_byte_array());
    engine.input(data);
    sha256::Hash::from_engine(engine).to_byte_array()
}

fn to_spend(data: &[u8], challenge: &Script) -> Transaction {
    let script_sig = Builder::new().push_int(0).push_slice(message_hash(data)).into_script();
    Transaction {
        version: Version(0),
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig,
            sequence: Sequence::ZERO,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::ZERO, script_pubkey: challenge.to_owned() }],
    }
}

fn to_sign(to_spend: &Transaction) -> Transaction {
    Transaction {
        version: Version(0),
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(to_spend.compute_txid(), 0),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ZERO,
            witness: Witness::new(),
        }],
        output: vec![TxOut {
            value: Amount::ZERO,
            script_pubkey: Builder::new().push_opcode(OP_RETURN).into_script(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bitcoin::Network;

    #[test]
    fn the_two_transactions_are_those_of_the_bip() {
        // BIP-322, Test vectors: message hashing and transaction hashes.
        let vectors = [
            (
                "",
                "c90c269c4f8fcbe6880f72a721ddfbf1914268a794cbb21cfafee13770ae19f1",
                "c5680aa69bb8d860bf82d4e9cd3504b55dde018de765a91bb566283c545a99a7",
                "1e9654e951a5ba44c8604c4de6c67fd78a27e81dcadcfe1edf638ba3aaebaed6",
            ),
            (
                "Hello World",
                "f0eb03b1a75ac6d9847f55c624a99169b5dccba2a31f5b23bea77ba270de0a7a",
                "b79d196740ad5217771c1098fc4a4b51e0535c32236c71f1ea4d61a2d603352b",
                "88737ae86f2077145f93cc4b153ae9a1cb8d56afa511988c149c5c8c9d93bddf",
            ),
        ];
        // Key and address of the BIP: L3VFeEuj..., bc1q9vza....
        let key = hex::decode("02c7f12003196442943d8588e01aee840423cc54fc1521526a3b85c2b0cbd58872").unwrap();
        let wallet = Wallet::parse(Network::Mainnet, "wpkh(@0)", &key).unwrap();
        assert_eq!(wallet.address().unwrap(), "bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l");
        let challenge = wallet.first().unwrap().script();
        for (message, hash, spend, sign) in vectors {
            assert_eq!(hex::encode(message_hash(message.as_bytes())), hash);
            let to_spend = to_spend(message.as_bytes(), &challenge);
            assert_eq!(to_spend.compute_txid().to_string(), spend);
            assert_eq!(to_sign(&to_spend).compute_txid().to_string(), sign);
        }
    }
}
