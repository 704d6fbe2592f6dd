//! What the Bitcoin tests share: keys, wallets, and PSBTs built with the `bitcoin` crate's own types, so that what is
//! understood here was written by somebody else.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: a failure here is a failed test"
)]

use bitcoin::bip32::{DerivationPath, Fingerprint};
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::psbt::{Psbt, PsbtSighashType};
use bitcoin::secp256k1::{Message, PublicKey, Secp256k1, SecretKey};
use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, absolute, ecdsa, transaction,
};
use chancery_core::{Code, Payload};
use chancery_intent::bitcoin::{Network, Wallet};
use chancery_intent::contracts::Registry;
use chancery_intent::{Account, Artifact, Intent, IntentError, Scheme, Signature, understand};

/// BIP-32's second vector, at its root.
pub const XPUB: &str = "xpub661MyMwAqRbcFW31YEwpkMuc5THy2PSt5bDMsktWQcFF8syAmRUapSCGu8ED9W6oDMSgv6Zz8idoc4a6mr8BDzTJY47LJhkJ8UB7WEGuduB";
pub const COIN: &str = "bip122:000000000019d6689c085ae165831e93/slip44:0";

pub fn secret(number: u8) -> SecretKey {
    SecretKey::from_slice(&[number; 32]).unwrap()
}

pub fn public(number: u8) -> PublicKey {
    PublicKey::from_secret_key(&Secp256k1::new(), &secret(number))
}

/// The wallet whose key is number 1.
pub fn wallet(descriptor: &str) -> Wallet {
    Wallet::parse(Network::Mainnet, descriptor, &public(1).serialize()).unwrap()
}

/// The script of a wallet with one script.
pub fn script(wallet: &Wallet) -> ScriptBuf {
    wallet.address().unwrap().parse::<bitcoin::Address<_>>().unwrap().assume_checked().script_pubkey()
}

/// A stranger's script.
pub fn stranger(number: u8) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&bitcoin::PublicKey::new(public(100 + number)).wpubkey_hash().unwrap())
}

/// A transaction that pays `amount` to `script` as its second output.
pub fn funding(script: &ScriptBuf, sat: u64, salt: u8) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new("11".repeat(32).parse().unwrap(), u32::from(salt)),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[vec![1; 64]]),
        }],
        output: vec![
            TxOut { value: Amount::from_sat(1_000), script_pubkey: stranger(90) },
            TxOut { value: Amount::from_sat(sat), script_pubkey: script.clone() },
        ],
    }
}

/// A PSBT of version 0 that spends from these scripts and pays those, each input with its whole transaction.
pub fn psbt(spends: &[(&ScriptBuf, u64)], pays: &[(&ScriptBuf, u64)]) -> Psbt {
    let funding: Vec<Transaction> =
        spends.iter().zip(0..).map(|((script, sat), salt)| funding(script, *sat, salt)).collect();
    let unsigned = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: funding
            .iter()
            .map(|from| TxIn {
                previous_output: OutPoint::new(from.compute_txid(), 1),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                ..TxIn::default()
            })
            .collect(),
        output: pays
            .iter()
            .map(|(script, sat)| TxOut { value: Amount::from_sat(*sat), script_pubkey: (*script).clone() })
            .collect(),
    };
    let mut psbt = Psbt::from_unsigned_tx(unsigned).unwrap();
    for (input, from) in psbt.inputs.iter_mut().zip(funding) {
        input.non_witness_utxo = Some(from);
    }
    psbt
}

/// The same with the outputs alone and no transactions.
pub fn without_transactions(mut psbt: Psbt) -> Psbt {
    for input in &mut psbt.inputs {
        input.witness_utxo = input.non_witness_utxo.take().map(|from| from.output[1].clone());
    }
    psbt
}

/// What a wallet that derives says of a key.
pub fn origin(index: u32) -> (Fingerprint, DerivationPath) {
    (Fingerprint::from([1, 2, 3, 4]), format!("m/0/{index}").parse().unwrap())
}

pub fn understood(psbt: &Psbt, wallet: &Wallet) -> Result<Intent, IntentError> {
    understood_bytes(psbt.serialize(), wallet)
}

pub fn understood_bytes(data: Vec<u8>, wallet: &Wallet) -> Result<Intent, IntentError> {
    understand(&Payload::BitcoinPsbt { data }, &Account::Bitcoin(wallet), &Registry::default())
}

pub fn understood_openly(psbt: &Psbt, wallet: &Wallet) -> Result<Intent, IntentError> {
    let contracts = Registry::default().with_anyone_can_pay(true);
    understand(&Payload::BitcoinPsbt { data: psbt.serialize() }, &Account::Bitcoin(wallet), &contracts)
}

pub fn code(psbt: &Psbt, wallet: &Wallet) -> Code {
    match understood(psbt, wallet) {
        Ok(intent) => panic!("understood as {:?}", intent.description()),
        Err(error) => error.code(),
    }
}

/// What the token does: signs every digest with key 1.
pub fn signed(intent: &Intent) -> Vec<Signature> {
    let secp = Secp256k1::new();
    intent
        .signings()
        .iter()
        .map(|signing| {
            assert_eq!(signing.scheme, Scheme::Ecdsa);
            let message = Message::from_digest(signing.digest);
            let (parity, compact) = secp.sign_ecdsa_recoverable(&message, &secret(1)).serialize_compact();
            let (r, s) = compact.split_at(32);
            Signature {
                r: r.try_into().unwrap(),
                s: s.try_into().unwrap(),
                y_parity: Some(parity.to_i32() & 1 == 1),
            }
        })
        .collect()
}

/// The transaction that our signatures alone complete.
pub fn completed(intent: &Intent) -> Transaction {
    match intent.finish(&signed(intent)).unwrap() {
        Artifact::Psbt { transaction: Some((raw, hash)), .. } => {
            let transaction: Transaction = deserialize(&raw).unwrap();
            let mut txid: [u8; 32] = *AsRef::<[u8; 32]>::as_ref(&transaction.compute_txid());
            txid.reverse();
            assert_eq!(hash, txid, "the hash by which the network names it");
            transaction
        }
        other => panic!("not complete: {other:?}"),
    }
}

/// Bitcoin's own consensus code, with every rule it has: does `transaction` spend what the PSBT says it spends?
pub fn consensus(transaction: &Transaction, psbt: &Psbt) -> Result<(), bitcoinconsensus::Error> {
    let spent: Vec<TxOut> = psbt
        .inputs
        .iter()
        .map(|input| match (&input.non_witness_utxo, &input.witness_utxo) {
            (Some(from), _) => from.output[1].clone(),
            (None, Some(output)) => output.clone(),
            _ => panic!("an input without its output"),
        })
        .collect();
    let raw = serialize(transaction);
    for (index, output) in spent.iter().enumerate() {
        bitcoinconsensus::verify_with_flags(
            output.script_pubkey.as_bytes(),
            output.value.to_sat(),
            &raw,
            None,
            index,
            bitcoinconsensus::VERIFY_ALL_PRE_TAPROOT,
        )?;
    }
    Ok(())
}

/// Another signer's signature of an input of ours.
pub fn cosign(psbt: &mut Psbt, intent: &Intent, input: usize, number: u8) {
    let message = Message::from_digest(intent.signings()[input].digest);
    let signature = Secp256k1::new().sign_ecdsa(&message, &secret(number));
    psbt.inputs[input]
        .partial_sigs
        .insert(bitcoin::PublicKey::new(public(number)), ecdsa::Signature::sighash_all(signature));
}

pub fn sighash(psbt: &mut Psbt, input: usize, sighash: u32) {
    psbt.inputs[input].sighash_type = Some(PsbtSighashType::from_u32(sighash));
}

fn field(out: &mut Vec<u8>, keytype: u8, value: &[u8]) {
    out.extend([1, keytype]);
    out.extend(serialize(&bitcoin::VarInt(value.len() as u64)));
    out.extend(value);
}

/// The same transaction as a PSBT of version 2 (BIP-370), all of it still modifiable.
pub fn version_2(psbt: &Psbt) -> Vec<u8> {
    let transaction = &psbt.unsigned_tx;
    let mut out = b"psbt\xff".to_vec();
    field(&mut out, 0xfb, &2_u32.to_le_bytes());
    field(&mut out, 0x02, &transaction.version.0.to_le_bytes());
    field(&mut out, 0x03, &transaction.lock_time.to_consensus_u32().to_le_bytes());
    field(&mut out, 0x04, &serialize(&bitcoin::VarInt(transaction.input.len() as u64)));
    field(&mut out, 0x05, &serialize(&bitcoin::VarInt(transaction.output.len() as u64)));
    field(&mut out, 0x06, &[0b011]);
    out.push(0);
    for (input, said) in transaction.input.iter().zip(&psbt.inputs) {
        field(&mut out, 0x0e, &serialize(&input.previous_output.txid));
        field(&mut out, 0x0f, &input.previous_output.vout.to_le_bytes());
        field(&mut out, 0x10, &input.sequence.0.to_le_bytes());
        field(&mut out, 0x00, &serialize(said.non_witness_utxo.as_ref().unwrap()));
        out.push(0);
    }
    for output in &transaction.output {
        field(&mut out, 0x03, &output.value.to_sat().to_le_bytes());
        field(&mut out, 0x04, output.script_pubkey.as_bytes());
        out.push(0);
    }
    out
}
