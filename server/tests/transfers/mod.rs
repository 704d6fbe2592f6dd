//! What wallets of tests are asked to sign: a Bitcoin payment, with Bitcoin's consensus code as its judge, and a transfer of SOL.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "test code; each file uses its part"
)]

use bitcoin::psbt::Psbt;
use bitcoin::{
    Address, Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, absolute, transaction,
};
use chancery_intent::solana::{Pubkey, address};

/// The payee of the vault's address book.
pub const EXCHANGE: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

/// The payee of the example bundle `payouts`.
pub const SOLANA_EXCHANGE: &str = "71e8mDsh3PR6gN64zL1HjwuxyKpgRXrPDUJT7XXojsVd";
const SYSTEM: &str = "11111111111111111111111111111111";

pub fn script(address: &str) -> ScriptBuf {
    address.parse::<Address<_>>().unwrap().require_network(Network::Regtest).unwrap().script_pubkey()
}

fn paying(script: &ScriptBuf, sat: u64) -> TxOut {
    TxOut { value: Amount::from_sat(sat), script_pubkey: script.clone() }
}

/// Two inputs of 60,000 sat, 20,000 to the exchange, the rest but 1,000 back.
pub fn payment(ours: &ScriptBuf) -> Psbt {
    let funding = |salt: u32| Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new("11".repeat(32).parse().unwrap(), salt),
            ..TxIn::default()
        }],
        output: vec![paying(ours, 60_000)],
    };
    let funding = [funding(0), funding(1)];
    let spend = |from: &Transaction| TxIn {
        previous_output: OutPoint::new(from.compute_txid(), 0),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        ..TxIn::default()
    };
    let mut psbt = Psbt::from_unsigned_tx(Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: funding.iter().map(spend).collect(),
        output: vec![paying(&script(EXCHANGE), 20_000), paying(ours, 99_000)],
    })
    .unwrap();
    for (input, from) in psbt.inputs.iter_mut().zip(funding) {
        input.non_witness_utxo = Some(from);
    }
    psbt
}

/// Whether Bitcoin's consensus code takes every input; taproot's signatures are over all that is spent.
pub fn check_spends(raw: &[u8], psbt: &Psbt) -> Result<(), bitcoinconsensus::Error> {
    let spent: Vec<_> =
        psbt.inputs.iter().map(|input| &input.non_witness_utxo.as_ref().unwrap().output[0]).collect();
    let held: Vec<_> = spent
        .iter()
        .map(|spent| bitcoinconsensus::Utxo {
            script_pubkey: spent.script_pubkey.as_bytes().as_ptr(),
            script_pubkey_len: u32::try_from(spent.script_pubkey.len()).unwrap(),
            value: i64::try_from(spent.value.to_sat()).unwrap(),
        })
        .collect();
    let flags = bitcoinconsensus::VERIFY_ALL_PRE_TAPROOT | bitcoinconsensus::VERIFY_TAPROOT;
    spent.iter().enumerate().try_for_each(|(index, spent)| {
        let (script, value) = (spent.script_pubkey.as_bytes(), spent.value.to_sat());
        bitcoinconsensus::verify_with_flags(script, value, raw, Some(&held), index, flags)
    })
}

/// A legacy message of one instruction, whose first account signs and pays and whose last is the program.
pub fn message(accounts: &[Pubkey], instruction: &[u8], data: &[u8]) -> Vec<u8> {
    let mut message = vec![1, 0, 0, u8::try_from(accounts.len()).unwrap()];
    accounts.iter().for_each(|account| message.extend(account.as_ref()));
    message.extend([7; 32]);
    message.extend([1, u8::try_from(accounts.len()).unwrap() - 1, u8::try_from(instruction.len()).unwrap()]);
    message.extend(instruction);
    message.push(u8::try_from(data.len()).unwrap());
    message.extend(data);
    message
}

pub fn lamports(from: &Pubkey, amount: u64) -> Vec<u8> {
    let data = [&[2, 0, 0, 0][..], &amount.to_le_bytes()].concat();
    message(&[*from, address(SOLANA_EXCHANGE).unwrap(), address(SYSTEM).unwrap()], &[0, 1], &data)
}
