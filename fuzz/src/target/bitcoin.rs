//! PSBTs, BIP-322 messages and descriptors. A PSBT that is read must be the same transaction to two other readers.

use std::sync::LazyLock;

use bitcoin::consensus::serialize;
use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, absolute, transaction};
use chancery_core::Payload;
use chancery_intent::bitcoin::{Network, Wallet, unsigned_transaction};
use chancery_intent::contracts::Registry;
use chancery_intent::{Account, Intent, IntentError, ethereum, understand};
use serde_json::Value;

use super::ethereum::holds;
use crate::Seen;

const DESCRIPTORS: [&str; 5] =
    ["wpkh(@0)", "pkh(@0)", "sh(wpkh(@0))", "wsh(and_v(v:pk(@0),older(10)))", "tr(@0)"];
const XPUB: &str = "xpub661MyMwAqRbcFW31YEwpkMuc5THy2PSt5bDMsktWQcFF8syAmRUapSCGu8ED9W6oDMSgv6Zz8idoc4a6mr8BDzTJY47LJhkJ8UB7WEGuduB";

static KEY: LazyLock<[u8; 33]> = LazyLock::new(|| {
    PublicKey::from_secret_key(&Secp256k1::new(), &SecretKey::from_slice(&[1; 32]).unwrap()).serialize()
});
static WALLETS: LazyLock<Vec<Wallet>> = LazyLock::new(|| {
    DESCRIPTORS.iter().map(|text| Wallet::parse(Network::Mainnet, text, &*KEY).unwrap()).collect()
});

fn ask(payload: &Payload, wallet: &Wallet) -> Result<Intent, IntentError> {
    understand(payload, &Account::Bitcoin(wallet), &Registry::default().with_anyone_can_pay(true))
}

pub(super) fn psbt(data: &[u8]) -> Seen {
    let ours = match unsigned_transaction(data) {
        Ok(ours) => ours,
        Err(error) => return Seen::refused(&error),
    };
    let theirs = others(data);
    assert!(
        theirs.iter().all(|theirs| *theirs == ours),
        "others read another transaction: {}",
        hex::encode(data)
    );
    let mut seen = Seen::accepted(&theirs.len());
    for wallet in &*WALLETS {
        let Ok(intent) = ask(&Payload::BitcoinPsbt { data: data.to_vec() }, wallet) else { continue };
        seen = holds(&intent);
        accounted(&intent, &ours);
    }
    seen
}

/// What the other readers take for the unsigned transaction: `bitcoin` of version 0, `psbt-v2` of version 2.
fn others(data: &[u8]) -> Vec<Vec<u8>> {
    let zero = bitcoin::Psbt::deserialize(data).map(|psbt| serialize(&psbt.unsigned_tx));
    let two = psbt_v2::v2::Psbt::deserialize(data).ok().and_then(|psbt| {
        let lock_time = psbt.determine_lock_time().ok()?;
        let input = |input: &psbt_v2::v2::Input| TxIn {
            previous_output: OutPoint::new(input.previous_txid, input.spent_output_index),
            sequence: input.sequence.unwrap_or(Sequence::MAX),
            ..TxIn::default()
        };
        let output = |output: &psbt_v2::v2::Output| TxOut {
            value: output.amount,
            script_pubkey: output.script_pubkey.clone(),
        };
        Some(serialize(&Transaction {
            version: psbt.global.tx_version,
            lock_time,
            input: psbt.inputs.iter().map(input).collect(),
            output: psbt.outputs.iter().map(output).collect(),
        }))
    });
    zero.ok().into_iter().chain(two).collect()
}

/// Every satoshi that goes in is told as going out or as fee, and the transaction is the one that was read.
fn accounted(intent: &Intent, unsigned: &[u8]) {
    let transaction: Transaction = bitcoin::consensus::deserialize(unsigned).unwrap();
    let description = intent.description();
    assert_eq!(description.detail["unsigned_txid"], transaction.compute_txid().to_string());
    let sat = |value: &Value| value["amount"].as_str().unwrap().parse::<u64>().unwrap();
    let inputs: u64 = description.detail["inputs"].as_array().unwrap().iter().map(sat).sum();
    let outputs: u64 = transaction.output.iter().map(|output| output.value.to_sat()).sum();
    let fee = u64::try_from(description.fee.as_ref().unwrap().maximum).unwrap();
    assert_eq!(inputs, outputs + fee);
    let mine = |input: &&Value| input["own"] == true;
    assert!(description.detail["inputs"].as_array().unwrap().iter().any(|input| mine(&input)));
}

pub(super) fn message(data: &[u8]) -> Seen {
    let payload = Payload::EthereumMessage { data: data.to_vec() };
    let account = ethereum::Account { address: [0xf3; 20].into(), chain_ids: &[1] };
    if let Ok(intent) = understand(&payload, &Account::Ethereum(account), &Registry::default()) {
        let prefix = format!("\u{19}Ethereum Signed Message:\n{}", data.len());
        assert_eq!(intent.preimage(), [prefix.as_bytes(), data].concat(), "EIP-191, version 0x45");
        holds(&intent);
    }
    let mut seen = None;
    let mut digests = Vec::new();
    for wallet in &*WALLETS {
        match ask(&Payload::BitcoinMessage { data: data.to_vec() }, wallet) {
            Err(error) => seen = seen.or(Some(Seen::refused(&error))),
            Ok(intent) => {
                seen = Some(holds(&intent));
                digests.push(*intent.signing_digest());
            }
        }
    }
    let all = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), all, "one message, one digest for each wallet");
    seen.unwrap_or(Seen::refused(&"no wallet signs it"))
}

pub(super) fn descriptor(text: &[u8]) -> Seen {
    let Ok(text) = std::str::from_utf8(text) else { return Seen::refused(&"not text") };
    let wallet = match Wallet::parse(Network::Mainnet, text, &*KEY) {
        Ok(wallet) => wallet,
        Err(error) => return Seen::refused(&error),
    };
    let written = wallet.descriptor();
    let again = Wallet::parse(Network::Mainnet, &written, &*KEY).expect("what was written is read");
    assert_eq!(again.descriptor(), written);
    assert_eq!(again.address().unwrap(), wallet.address().unwrap());
    let address = wallet.address().unwrap();
    assert!(Network::Mainnet.has_destination(&address), "{address}");
    Seen::accepted(&written.split('(').next())
}

pub(super) fn psbts() -> Vec<Vec<u8>> {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../intent/tests/vectors/psbt.json")).unwrap();
    let published = vectors["vectors"].as_array().unwrap().iter();
    let mut psbts: Vec<Vec<u8>> =
        published.map(|v| hex::decode(v["psbt"].as_str().unwrap()).unwrap()).collect();
    for wallet in &*WALLETS {
        let zero = spending(wallet);
        psbts.push(zero.serialize());
        psbts.push(psbt_two(&zero).serialize());
    }
    psbts
}

/// Pays half to a stranger and half back.
fn spending(wallet: &Wallet) -> bitcoin::Psbt {
    let script = |text: &str| text.parse::<bitcoin::Address<_>>().unwrap().assume_checked().script_pubkey();
    let own = script(&wallet.address().unwrap());
    let coins = |sat, script_pubkey| TxOut { value: Amount::from_sat(sat), script_pubkey };
    let funding = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new("11".repeat(32).parse().unwrap(), 1),
            ..TxIn::default()
        }],
        output: vec![coins(100_000, own.clone())],
    };
    let unsigned = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(funding.compute_txid(), 0),
            sequence: Sequence::from_height(10),
            ..TxIn::default()
        }],
        output: vec![coins(50_000, ScriptBuf::new_op_return([1; 4])), coins(48_000, own)],
    };
    let mut psbt = bitcoin::Psbt::from_unsigned_tx(unsigned).unwrap();
    psbt.unsigned_tx.output[0].script_pubkey = script("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4");
    psbt.inputs[0].witness_utxo = Some(funding.output[0].clone());
    psbt.inputs[0].non_witness_utxo = Some(funding);
    psbt
}

/// The same in version 2, by the other crate's own types.
fn psbt_two(zero: &bitcoin::Psbt) -> psbt_v2::v2::Psbt {
    use psbt_v2::v2::{Creator, InputBuilder, Output};
    let spent = zero.unsigned_tx.input[0].previous_output;
    let mut input = InputBuilder::new(&spent).build();
    input.sequence = Some(zero.unsigned_tx.input[0].sequence);
    input.non_witness_utxo.clone_from(&zero.inputs[0].non_witness_utxo);
    let creator = Creator::new().inputs_modifiable().outputs_modifiable().constructor_modifiable();
    let mut constructor = creator.input(input);
    for output in &zero.unsigned_tx.output {
        constructor = constructor.output(Output::new(output.clone()));
    }
    constructor.psbt().unwrap()
}

pub(super) fn messages() -> Vec<Vec<u8>> {
    vec![b"hello world".to_vec(), Vec::new(), "gr\u{fc}n".into()]
}

pub(super) fn descriptors() -> Vec<Vec<u8>> {
    let own = hex::encode(*KEY);
    let mut texts: Vec<String> = DESCRIPTORS.map(str::to_owned).into();
    texts.push(format!("wsh(sortedmulti(2,@0,{XPUB}/<0;1>/*))"));
    texts.push(format!("wsh(andor(pk({own}),older(144),pk({XPUB}/7/*)))"));
    texts.push(format!("tr({XPUB}/0/*,{{pk(@0),pk({XPUB}/1/*)}})"));
    texts.push(format!("wpkh([01020304/84h/0h/0h]{own})"));
    texts.into_iter().map(String::into_bytes).collect()
}
