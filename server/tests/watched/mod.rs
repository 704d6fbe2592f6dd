//! The coins of an account, as a wallet that watches it sees them and asks to spend them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::str::FromStr as _;

use bitcoin::bip32::{ChildNumber, DerivationPath, Fingerprint, Xpub};
use bitcoin::psbt::Psbt;
use bitcoin::secp256k1::Secp256k1;
use bitcoin::{
    Address, Amount, CompressedPublicKey, KnownHrp, Network, OutPoint, ScriptBuf, Sequence, Transaction,
    TxIn, TxOut, absolute, transaction,
};
use serde_json::Value;

const EXCHANGE: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

/// An account as a wallet that watches knows it.
pub struct Watched {
    master: Fingerprint,
    pub path: DerivationPath,
    xpub: Xpub,
}

impl Watched {
    pub fn of(wallet: &Value) -> Self {
        let (origin, xpub) = wallet["account"].as_str().unwrap()[1..].split_once(']').unwrap();
        let (master, path) = origin.split_once('/').unwrap();
        Self {
            master: master.parse().unwrap(),
            path: path.parse().unwrap(),
            xpub: Xpub::from_str(xpub).unwrap(),
        }
    }

    pub fn key(&self, steps: [u32; 2]) -> CompressedPublicKey {
        let below = steps.map(|index| ChildNumber::Normal { index });
        CompressedPublicKey(self.xpub.derive_pub(&Secp256k1::verification_only(), &below).unwrap().public_key)
    }

    /// Whether it is an account of BIP-86.
    fn is_taproot(&self) -> bool {
        self.path[0] == ChildNumber::Hardened { index: 86 }
    }

    pub fn address(&self, steps: [u32; 2]) -> Address {
        let key = self.key(steps);
        match self.is_taproot() {
            true => {
                let internal = key.0.x_only_public_key().0;
                Address::p2tr(&Secp256k1::verification_only(), internal, None, KnownHrp::Regtest)
            }
            false => Address::p2wpkh(&key, KnownHrp::Regtest),
        }
    }

    /// One entry of BIP-174's derivation fields.
    pub fn origin(
        &self,
        steps: [u32; 2],
    ) -> std::collections::BTreeMap<bitcoin::secp256k1::PublicKey, (Fingerprint, DerivationPath)> {
        let path = self.path.extend(steps.map(|index| ChildNumber::Normal { index }));
        [(self.key(steps).0, (self.master, path))].into()
    }
}

/// Inputs of 60,000 sat at these addresses, 20,000 to the exchange, the rest but 1,000 back to a change address.
pub fn payment(wallet: &Watched, from: &[[u32; 2]], change: [u32; 2]) -> Psbt {
    let paying = |script: ScriptBuf, sat| TxOut { value: Amount::from_sat(sat), script_pubkey: script };
    let funding: Vec<Transaction> = from
        .iter()
        .zip(0..)
        .map(|(steps, salt)| Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::new("11".repeat(32).parse().unwrap(), salt),
                ..TxIn::default()
            }],
            output: vec![paying(wallet.address(*steps).script_pubkey(), 60_000)],
        })
        .collect();
    let exchange = EXCHANGE.parse::<Address<_>>().unwrap().require_network(Network::Regtest).unwrap();
    let held = 60_000 * funding.len() as u64;
    let spend = |from: &Transaction| TxIn {
        previous_output: OutPoint::new(from.compute_txid(), 0),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        ..TxIn::default()
    };
    let mut psbt = Psbt::from_unsigned_tx(Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: funding.iter().map(spend).collect(),
        output: vec![
            paying(exchange.script_pubkey(), 20_000),
            paying(wallet.address(change).script_pubkey(), held - 21_000),
        ],
    })
    .unwrap();
    let taproot = |steps| {
        let origins = wallet.origin(steps).into_iter();
        origins.map(|(key, origin)| (key.x_only_public_key().0, (Vec::new(), origin))).collect()
    };
    for ((input, spent), steps) in psbt.inputs.iter_mut().zip(funding).zip(from) {
        input.non_witness_utxo = Some(spent);
        match wallet.is_taproot() {
            true => input.tap_key_origins = taproot(*steps),
            false => input.bip32_derivation = wallet.origin(*steps),
        }
    }
    match wallet.is_taproot() {
        true => psbt.outputs[1].tap_key_origins = taproot(change),
        false => psbt.outputs[1].bip32_derivation = wallet.origin(change),
    }
    psbt
}
