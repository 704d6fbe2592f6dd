//! Measures understanding: microseconds from payload bytes to intent and digest, for each kind of payload, beside what a
//! library takes to parse the same bytes and hash what is signed. Prints one JSON row a line. Run with
//! `cargo run --release -p chancery-intent --example decode`; `--quick` takes fewer samples.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "figures go to standard output; fixed payloads")]

#[path = "../tests/coins/mod.rs"]
mod coins;
#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::hint::black_box;
use std::time::{Duration, Instant};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702};
use alloy_dyn_abi::TypedData;
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{B256, Signature, TxKind, U256, eip191_hash_message};
use bitcoin::psbt::Psbt;
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use chancery_core::Payload;
use chancery_intent::bitcoin::Wallet;
use chancery_intent::{Account, understand};
use fixture::{ACCOUNT, BOB, COIN_TOKEN, VAULT, calldata, dynamic, legacy, number, party, registry};
use serde_json::{Value, json};

/// One kind of payload, and a library's way to what is signed.
struct Kind<'a> {
    name: &'static str,
    payload: Payload,
    account: Account<'a>,
    alone: Box<dyn Fn() + 'a>,
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let time = Duration::from_millis(if quick { 20 } else { 200 });
    let contracts = registry();
    let wallet = coins::wallet("wpkh(@0)");
    for kind in transactions().into_iter().chain(messages()).chain(coins_of(&wallet)) {
        let (ours, theirs) = (
            best(time, || {
                drop(black_box(understand(black_box(&kind.payload), &kind.account, &contracts).unwrap()))
            }),
            best(time, || (kind.alone)()),
        );
        let row = json!({
            "name": format!("understand {}", kind.name),
            "value": ours, "unit": "us", "limit": theirs, "ratio": ours / theirs,
        });
        println!("{row}");
    }
}

/// Microseconds of one call: the best of five rounds, the others were disturbed.
fn best(time: Duration, act: impl Fn()) -> f64 {
    let round = || {
        let (started, mut calls) = (Instant::now(), 0_u32);
        while started.elapsed() < time {
            (0..16).for_each(|_| act());
            calls += 16;
        }
        started.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
    };
    (0..5).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn transactions() -> Vec<Kind<'static>> {
    let coin = |words: &[[u8; 32]]| calldata("transfer(address,uint256)", words);
    let ether = dynamic(TxKind::Call(BOB), 1_000, []);
    let token = dynamic(TxKind::Call(COIN_TOKEN), 0, coin(&[party(BOB), number(5)]));
    let note =
        [number(7), number(64), number(5), *b"hello\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"];
    let call = dynamic(TxKind::Call(VAULT), 0, calldata("deposit(uint256,string)", &note));
    let TxEip1559 { chain_id, nonce, gas_limit, max_fee_per_gas, max_priority_fee_per_gas, value, .. } =
        ether.clone();
    let listed = TxEip2930 {
        chain_id,
        nonce,
        gas_price: max_fee_per_gas,
        gas_limit,
        to: TxKind::Call(BOB),
        value,
        ..TxEip2930::default()
    };
    let blobs = TxEip4844 {
        chain_id,
        nonce,
        gas_limit,
        max_fee_per_gas,
        max_priority_fee_per_gas,
        to: BOB,
        value,
        max_fee_per_blob_gas: 1_000,
        blob_versioned_hashes: vec![B256::with_last_byte(1) | B256::from(U256::from(1) << 248)],
        ..TxEip4844::default()
    };
    let delegating = TxEip7702 {
        chain_id,
        nonce,
        gas_limit,
        max_fee_per_gas,
        max_priority_fee_per_gas,
        to: BOB,
        value,
        authorization_list: vec![authorization()],
        ..TxEip7702::default()
    };
    vec![
        transaction("a legacy transfer", &legacy()),
        transaction("an EIP-2930 transfer", &listed),
        transaction("an EIP-1559 transfer", &ether),
        transaction("an ERC-20 transfer", &token),
        transaction("a call by its registered ABI", &call),
        transaction("an EIP-4844 transaction", &blobs),
        transaction("an EIP-7702 transaction", &delegating),
    ]
}

fn transaction<T>(name: &'static str, unsigned: &T) -> Kind<'static>
where
    T: SignableTransaction<Signature> + alloy_rlp::Decodable,
{
    let data = unsigned.encoded_for_signing();
    let bytes = data.clone();
    // A typed envelope begins with its type, a legacy one with its list.
    let skip = usize::from(bytes.first().is_some_and(|first| *first < 0xc0));
    let alone = move || {
        let parsed = T::decode(&mut black_box(&bytes).get(skip..).unwrap_or_default());
        black_box(parsed.map(|parsed| parsed.signature_hash()).ok());
    };
    Kind { name, payload: Payload::EthereumTransaction { data }, account: ACCOUNT, alone: Box::new(alone) }
}

fn authorization() -> SignedAuthorization {
    let unsigned = Authorization { chain_id: U256::from(1), address: VAULT, nonce: 8 };
    let (r, s, y_parity) = fixture::sign(fixture::WALLET_KEY, &unsigned.signature_hash().0);
    unsigned.into_signed(Signature::new(U256::from_be_bytes(r), U256::from_be_bytes(s), y_parity))
}

fn messages() -> Vec<Kind<'static>> {
    let text = b"I own this address".to_vec();
    let bytes = text.clone();
    let vector: Value = serde_json::from_str(include_str!("../tests/vectors/mail.json")).unwrap();
    let document = vector.get("document").cloned().unwrap();
    let mail = document.clone();
    vec![
        Kind {
            name: "an EIP-191 message",
            payload: Payload::EthereumMessage { data: text },
            account: ACCOUNT,
            alone: Box::new(move || {
                black_box(eip191_hash_message(black_box(&bytes)));
            }),
        },
        Kind {
            name: "an EIP-712 document",
            payload: Payload::EthereumTypedData { document },
            account: ACCOUNT,
            alone: Box::new(move || {
                let parsed: TypedData = serde_json::from_value(black_box(&mail).clone()).unwrap();
                black_box(parsed.eip712_signing_hash().unwrap());
            }),
        },
    ]
}

fn coins_of(wallet: &Wallet) -> Vec<Kind<'_>> {
    let ours = coins::script(wallet);
    let paying = |name, inputs: usize| {
        let change = 50_000 * inputs as u64 - 41_000;
        let spends = vec![(&ours, 50_000); inputs];
        let data = coins::psbt(&spends, &[(&coins::stranger(1), 40_000), (&ours, change)]).serialize();
        let bytes = data.clone();
        let alone = move || {
            let psbt = Psbt::deserialize(black_box(&bytes)).unwrap();
            let mut cache = SighashCache::new(&psbt.unsigned_tx);
            for (index, input) in psbt.inputs.iter().enumerate() {
                let spent = input.non_witness_utxo.as_ref().and_then(|from| from.output.get(1)).unwrap();
                let all = EcdsaSighashType::All;
                let digest = cache.p2wpkh_signature_hash(index, &spent.script_pubkey, spent.value, all);
                black_box(digest.unwrap());
            }
        };
        Kind {
            name,
            payload: Payload::BitcoinPsbt { data },
            account: Account::Bitcoin(wallet),
            alone: Box::new(alone),
        }
    };
    vec![paying("a PSBT of one input", 1), paying("a PSBT of sixteen inputs", 16)]
}
