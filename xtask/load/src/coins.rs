//! A Bitcoin payment as a wallet backend would send it, and whether the network would take what came of it: the judge is
//! Bitcoin's own consensus code.

use std::str::FromStr as _;

use bitcoin::address::NetworkUnchecked;
use bitcoin::consensus::deserialize;
use bitcoin::psbt::Psbt;
use bitcoin::{
    Address, Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, absolute,
    hashes::Hash as _, transaction,
};

use crate::Error;

/// What each of the two spent outputs holds, in satoshi.
const HELD_SAT: u64 = 60_000_000;
/// What the network takes, in satoshi.
const FEE_SAT: u64 = 1_000;

fn script(address: &str) -> Result<ScriptBuf, Error> {
    Address::<NetworkUnchecked>::from_str(address)
        .ok()
        .and_then(|address| address.require_network(Network::Regtest).ok())
        .map(|address| address.script_pubkey())
        .ok_or_else(|| Error::Option(address.to_owned()))
}

fn paying(sat: u64, script: &ScriptBuf) -> TxOut {
    TxOut { value: Amount::from_sat(sat), script_pubkey: script.clone() }
}

/// A transaction that pays the wallet on a chain that nobody else has.
fn funding(salt: u8, wallet: &ScriptBuf) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::from_byte_array([salt; 32]), 0),
            ..TxIn::default()
        }],
        output: vec![paying(HELD_SAT, wallet)],
    }
}

/// A PSBT (BIP-174) on regtest that spends two outputs of `wallet`, pays `amount` satoshi to `to`, and the rest but a fee
/// back.
///
/// # Errors
/// [`Error::Option`] for what is no address of regtest, or more than there is.
pub fn payment(wallet: &str, to: &str, amount: u64) -> Result<Vec<u8>, Error> {
    let (wallet, to) = (script(wallet)?, script(to)?);
    let funding = [funding(1, &wallet), funding(2, &wallet)];
    let change = (2 * HELD_SAT)
        .checked_sub(FEE_SAT)
        .and_then(|left| left.checked_sub(amount))
        .ok_or_else(|| Error::Option(amount.to_string()))?;
    let spend = |from: &Transaction| TxIn {
        previous_output: OutPoint::new(from.compute_txid(), 0),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        ..TxIn::default()
    };
    let unsigned = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: funding.iter().map(spend).collect(),
        output: vec![paying(amount, &to), paying(change, &wallet)],
    };
    let mut psbt = Psbt::from_unsigned_tx(unsigned).map_err(|error| Error::Payment(error.to_string()))?;
    for (input, from) in psbt.inputs.iter_mut().zip(funding) {
        input.non_witness_utxo = Some(from);
    }
    Ok(psbt.serialize())
}

/// Whether `raw` is the transaction of `psbt` and spends what that says, by every consensus rule before taproot.
///
/// # Errors
/// [`Error::Payment`] with the input that does not hold.
pub fn accepted(psbt: &[u8], raw: &[u8]) -> Result<Txid, Error> {
    let value = |what: String| Error::Payment(what);
    let psbt = Psbt::deserialize(psbt).map_err(|error| value(error.to_string()))?;
    let signed: Transaction = deserialize(raw).map_err(|error| value(error.to_string()))?;
    if signed.output != psbt.unsigned_tx.output || signed.input.len() != psbt.inputs.len() {
        return Err(value("another transaction".to_owned()));
    }
    for (index, (input, said)) in signed.input.iter().zip(&psbt.inputs).enumerate() {
        let from =
            said.non_witness_utxo.as_ref().filter(|from| from.compute_txid() == input.previous_output.txid);
        let spent = from.zip(usize::try_from(input.previous_output.vout).ok());
        let spent = spent.and_then(|(from, vout)| from.output.get(vout));
        let spent = spent.ok_or_else(|| value(format!("input {index} spends something else")))?;
        let flags = bitcoinconsensus::VERIFY_ALL_PRE_TAPROOT;
        let (script, sat) = (spent.script_pubkey.as_bytes(), spent.value.to_sat());
        bitcoinconsensus::verify_with_flags(script, sat, raw, None, index, flags)
            .map_err(|error| value(format!("input {index}: {error}")))?;
    }
    Ok(signed.compute_txid())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

    #[test]
    fn a_payment_pays_and_an_unsigned_one_is_not_accepted() {
        let psbt = payment(ADDRESS, ADDRESS, 20_000_000).unwrap();
        let read = Psbt::deserialize(&psbt).unwrap();
        assert_eq!(read.unsigned_tx.output[1].value.to_sat(), 99_999_000);
        assert!(accepted(&psbt, &bitcoin::consensus::serialize(&read.unsigned_tx)).is_err());
        assert!(payment(ADDRESS, ADDRESS, 120_000_000).is_err(), "more than there is");
        assert!(payment("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", ADDRESS, 1).is_err(), "real coins");
    }
}
