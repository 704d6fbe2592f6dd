//! Every class of bytes that must not be signed, each under its own code, through the one public door.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

mod fixture;

use alloy_consensus::transaction::RlpEcdsaEncodableTx as _;
use alloy_consensus::{SignableTransaction as _, TxEip2930, TxEip4844, TxEip7702};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Signature, TxKind, U256};
use chancery_core::{Code, Payload, limit};
use fixture::*;

fn signature() -> Signature {
    Signature::new(U256::from(5), U256::from(6), true)
}

fn access_list_tx() -> TxEip2930 {
    TxEip2930 { chain_id: 1, gas_price: 1, gas_limit: 21_000, to: TxKind::Call(BOB), ..Default::default() }
}

fn blob_tx() -> TxEip4844 {
    TxEip4844 {
        chain_id: 1,
        nonce: 3,
        gas_limit: 21_000,
        max_fee_per_gas: 10,
        max_priority_fee_per_gas: 1,
        max_fee_per_blob_gas: 7,
        to: BOB,
        blob_versioned_hashes: vec![B256::left_padding_from(&[1]).map_first(1)],
        ..Default::default()
    }
}

trait MapFirst {
    fn map_first(self, byte: u8) -> Self;
}

impl MapFirst for B256 {
    fn map_first(mut self, byte: u8) -> Self {
        self.0[0] = byte;
        self
    }
}

/// A key other than the wallet's.
const OTHER_KEY: &str = "4646464646464646464646464646464646464646464646464646464646464646";
const OTHER: &str = "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F";

fn authorized(key: &str, chain_id: u64) -> SignedAuthorization {
    let authorization = Authorization { chain_id: U256::from(chain_id), address: VAULT, nonce: 4 };
    let (r, s, y) = sign(key, &authorization.signature_hash().0);
    authorization.into_signed(Signature::new(U256::from_be_bytes(r), U256::from_be_bytes(s), y))
}

fn set_code_tx(list: Vec<SignedAuthorization>) -> TxEip7702 {
    TxEip7702 {
        chain_id: 1,
        nonce: 3,
        gas_limit: 100_000,
        max_fee_per_gas: 10,
        max_priority_fee_per_gas: 1,
        to: BOB,
        authorization_list: list,
        ..Default::default()
    }
}

/// One unsigned transaction of every type.
fn unsigned() -> [Vec<u8>; 5] {
    [
        legacy().encoded_for_signing(),
        access_list_tx().encoded_for_signing(),
        dynamic(TxKind::Call(BOB), 5, []).encoded_for_signing(),
        blob_tx().encoded_for_signing(),
        set_code_tx(vec![authorized(OTHER_KEY, 1)]).encoded_for_signing(),
    ]
}

#[test]
fn what_the_others_are_made_from_is_understood() {
    for (data, form) in unsigned().into_iter().zip(["legacy", "eip2930", "eip1559", "eip4844", "eip7702"]) {
        let intent = ask(&transaction(data.clone())).unwrap();
        assert_eq!(intent.description().form, form);
        assert_eq!(intent.preimage(), data);
    }
}

#[test]
fn empty_payloads() {
    let document = serde_json::json!({});
    for payload in [
        transaction([]),
        Payload::EthereumAuthorization { data: vec![] },
        Payload::EthereumMessage { data: vec![] },
        Payload::EthereumTypedData { document },
    ] {
        assert_eq!(code_of(&payload), Code::PayloadEmpty, "{payload:?}");
    }
}

#[test]
fn oversized_payloads() {
    let data = vec![0x02; limit::PAYLOAD_BYTES + 1];
    assert_eq!(code_of(&transaction(data.clone())), Code::PayloadTooLarge);
    assert_eq!(code_of(&Payload::EthereumAuthorization { data: data.clone() }), Code::PayloadTooLarge);
    assert_eq!(code_of(&Payload::EthereumMessage { data }), Code::PayloadTooLarge);
    let full = vec![0x41; limit::PAYLOAD_BYTES];
    assert!(ask(&Payload::EthereumMessage { data: full }).is_ok(), "the limit itself is allowed");
    let document = serde_json::json!({ "message": "x".repeat(limit::TYPED_DATA_BYTES) });
    assert_eq!(code_of(&Payload::EthereumTypedData { document }), Code::PayloadTooLarge);
}

#[test]
fn unknown_types() {
    let [_, _, dynamic, ..] = unsigned();
    for first in [0x00, 0x05, 0x06, 0x7e, 0x7f] {
        let mut data = dynamic.clone();
        data[0] = first;
        assert_eq!(code_of(&transaction(data)), Code::TransactionTypeUnknown, "{first:#x}");
    }
    assert_eq!(
        code_of(&transaction(alloy_rlp::encode(&dynamic[..]))),
        Code::PayloadMalformed,
        "the network's wrapping"
    );
}

#[test]
fn cut_payloads() {
    for data in unsigned() {
        for cut in 1..data.len() {
            let code = code_of(&transaction(&data[..cut]));
            assert_eq!(code, Code::PayloadMalformed, "{} of {} bytes", cut, data.len());
        }
    }
}

#[test]
fn trailing_bytes() {
    for data in unsigned() {
        for tail in [&[0][..], &[0x80], &[0xc0], &[1, 2, 3]] {
            assert_eq!(code_of(&transaction([&data, tail].concat())), Code::PayloadTrailingBytes);
        }
    }
    let authorization = hex::decode("05d70194fba3912ca04dd458c843e2ee08967fc04f3579c28000").unwrap();
    assert_eq!(code_of(&Payload::EthereumAuthorization { data: authorization }), Code::PayloadTrailingBytes);
}

#[test]
fn signed_transactions_of_every_type() {
    let mut signed = Vec::new();
    let mut add = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut raw = Vec::new();
        encode(&mut raw);
        signed.push(raw);
    };
    add(&|raw| legacy().eip2718_encode(&signature(), raw));
    add(&|raw| access_list_tx().eip2718_encode(&signature(), raw));
    add(&|raw| dynamic(TxKind::Call(BOB), 5, []).eip2718_encode(&signature(), raw));
    add(&|raw| blob_tx().eip2718_encode(&signature(), raw));
    add(&|raw| set_code_tx(vec![authorized(OTHER_KEY, 1)]).eip2718_encode(&signature(), raw));
    // Before EIP-155: v is 27 or 28.
    let mut old = legacy();
    old.chain_id = None;
    add(&|raw| old.eip2718_encode(&signature(), raw));
    // The network form of a blob transaction: 0x03 || rlp([signed, blobs, commitments, proofs]).
    let inner = signed[3][1..].to_vec();
    let list = alloy_rlp::Header { list: true, payload_length: inner.len() + 3 };
    let mut network = vec![3];
    list.encode(&mut network);
    network.extend([&inner[..], &[0xc0, 0xc0, 0xc0]].concat());
    signed.push(network);

    for raw in signed {
        assert_eq!(code_of(&transaction(raw.clone())), Code::AlreadySigned, "{}", hex::encode(raw));
    }
    let tuple = alloy_rlp::encode(authorized(WALLET_KEY, 1));
    let data = [&[5][..], &tuple].concat();
    assert_eq!(code_of(&Payload::EthereumAuthorization { data }), Code::AlreadySigned);
}

#[test]
fn transactions_for_no_chain() {
    let mut old = legacy();
    old.chain_id = None;
    assert_eq!(code_of(&transaction(old.encoded_for_signing())), Code::ChainIdMissing, "before EIP-155");
    old.chain_id = Some(0);
    assert_eq!(code_of(&transaction(old.encoded_for_signing())), Code::ChainIdMissing, "chain id 0");
    let mut zero = dynamic(TxKind::Call(BOB), 5, []);
    zero.chain_id = 0;
    assert_eq!(code_of(&transaction(zero.encoded_for_signing())), Code::ChainIdMissing, "chain id 0");
    let any = hex::decode("05d78094fba3912ca04dd458c843e2ee08967fc04f3579c280").unwrap();
    let code = code_of(&Payload::EthereumAuthorization { data: any });
    assert_eq!(
        code,
        Code::ChainIdMissing,
        "an authorization for chain id 0 would bind the account everywhere"
    );
}

#[test]
fn payloads_for_another_chain() {
    let mut other = dynamic(TxKind::Call(BOB), 5, []);
    other.chain_id = 137;
    assert_eq!(code_of(&transaction(other.encoded_for_signing())), Code::ChainIdMismatch);
    let mut old = legacy();
    old.chain_id = Some(137);
    assert_eq!(code_of(&transaction(old.encoded_for_signing())), Code::ChainIdMismatch);
    let data = hex::decode("05d70294fba3912ca04dd458c843e2ee08967fc04f3579c280").unwrap();
    assert_eq!(code_of(&Payload::EthereumAuthorization { data }), Code::ChainIdMismatch);
    // A chain id that is 1 in its low 64 bits.
    let authorization = Authorization { chain_id: (U256::ONE << 64) | U256::ONE, address: BOB, nonce: 0 };
    let data = [&[5][..], &alloy_rlp::encode(&authorization)].concat();
    assert_eq!(code_of(&Payload::EthereumAuthorization { data }), Code::ChainIdMismatch);
}

/// A list of already encoded items.
fn list(items: &[&[u8]]) -> Vec<u8> {
    let body = items.concat();
    let mut out = Vec::new();
    alloy_rlp::Header { list: true, payload_length: body.len() }.encode(&mut out);
    out.extend(body);
    out
}

#[test]
fn other_spellings_of_the_same_transaction() {
    let to = alloy_rlp::encode(BOB);
    let good: [&[u8]; 9] = [&[1], &[7], &[1], &[2], &[0x82, 0x52, 0x08], &to, &[5], &[0x80], &[0xc0]];
    let sent = |items: &[&[u8]]| transaction([&[2][..], &list(items)].concat());
    assert!(ask(&sent(&good)).is_ok(), "the spelling the others differ from");
    for (at, bytes, what) in [
        (1, &[0x00][..], "zero as a byte"),
        (1, &[0x81, 0x07], "a length before a single byte"),
        (1, &[0x82, 0x00, 0x07], "a leading zero"),
        (6, &[0x82, 0x00, 0x05], "a leading zero in the value"),
        (4, &[0xb8, 0x02, 0x52, 0x08], "a long length for a short number"),
        (7, &[0xb8, 0x01, 0xff], "a long length for short data"),
        (8, &[0xf8, 0x00], "a long length for an empty list"),
    ] {
        let mut items = good;
        items[at] = bytes;
        assert_eq!(code_of(&sent(&items)), Code::PayloadNotCanonical, "{what}");
    }
    let body = good.concat();
    let long = [&[2, 0xf8, u8::try_from(body.len()).unwrap()][..], &body].concat();
    assert_eq!(code_of(&transaction(long)), Code::PayloadNotCanonical, "a long length for the whole");

    let mut sentinel = legacy().encoded_for_signing();
    let last = sentinel.len() - 1;
    sentinel[last] = 0x00;
    assert_eq!(code_of(&transaction(sentinel)), Code::PayloadNotCanonical, "EIP-155's zero as a byte");
    let mut one = legacy().encoded_for_signing();
    one[last] = 0x01;
    assert_eq!(code_of(&transaction(one)), Code::PayloadMalformed, "EIP-155's zero as another number");
}

#[test]
fn fields_that_cannot_be() {
    let to = alloy_rlp::encode(BOB);
    let good: [&[u8]; 9] = [&[1], &[7], &[1], &[2], &[0x82, 0x52, 0x08], &to, &[5], &[0x80], &[0xc0]];
    let sent = |items: &[&[u8]]| transaction([&[2][..], &list(items)].concat());
    let wide = [0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1];
    let wider = [&[0xa1][..], &[1; 33]].concat();
    for (at, bytes, what) in [
        (1, &wide[..], "a nonce of nine bytes"),
        (6, &wider, "a value of 33 bytes"),
        (5, &[0x81, 0xff], "a recipient of one byte"),
        (7, &[0xc0], "a list for data"),
        (8, &[0x80], "a string for the access list"),
        (8, &[0xc1, 0xc0], "an access list entry of nothing"),
        (2, &[3], "a priority fee above the highest fee"),
        (1, &[0x87, 0x20, 0, 0, 0, 0, 0, 0], "a nonce above 2^53 - 1"),
    ] {
        let mut items = good;
        items[at] = bytes;
        assert_eq!(code_of(&sent(&items)), Code::PayloadMalformed, "{what}");
    }
    assert_eq!(code_of(&sent(&good[..8])), Code::PayloadMalformed, "a field too few");
    assert_eq!(code_of(&sent(&[&good[..], &[&[1]]].concat())), Code::PayloadMalformed, "a field too many");
    assert_eq!(code_of(&transaction([0x02])), Code::PayloadMalformed, "a type alone");
    assert_eq!(code_of(&transaction([0xc0])), Code::PayloadMalformed, "an empty list");
    assert_eq!(code_of(&Payload::EthereumAuthorization { data: vec![4, 0xc0] }), Code::PayloadMalformed);

    let mut blobs = blob_tx();
    blobs.blob_versioned_hashes[0] = B256::ZERO;
    assert_eq!(
        code_of(&transaction(blobs.encoded_for_signing())),
        Code::PayloadMalformed,
        "blob hash version 0"
    );
    blobs.blob_versioned_hashes.clear();
    assert_eq!(code_of(&transaction(blobs.encoded_for_signing())), Code::PayloadMalformed, "no blobs");
}

#[test]
fn too_many_parts() {
    let access_list = |keys: usize| {
        let mut tx = access_list_tx();
        tx.access_list =
            AccessList(vec![AccessListItem { address: BOB, storage_keys: vec![B256::ZERO; keys] }]);
        transaction(tx.encoded_for_signing())
    };
    assert!(ask(&access_list(1_023)).is_ok());
    assert_eq!(code_of(&access_list(1_024)), Code::PayloadTooComplex);

    let full = set_code_tx(vec![authorized(OTHER_KEY, 1); limit::EFFECTS - 1]);
    assert_eq!(effects(&transaction(full.encoded_for_signing())).len(), limit::EFFECTS);
    let over = set_code_tx(vec![authorized(OTHER_KEY, 1); limit::EFFECTS]);
    assert_eq!(code_of(&transaction(over.encoded_for_signing())), Code::PayloadTooComplex);
    let far_over = set_code_tx(vec![authorized(OTHER_KEY, 1); limit::EFFECTS + 1]);
    assert_eq!(code_of(&transaction(far_over.encoded_for_signing())), Code::PayloadTooComplex);
}

#[test]
fn delegations_name_the_account_they_bind() {
    let list = vec![authorized(OTHER_KEY, 1), authorized(WALLET_KEY, 0)];
    let description = described(&transaction(set_code_tx(list).encoded_for_signing()));
    let kinds: Vec<_> = description.effects.iter().map(|effect| effect.kind.as_str()).collect();
    assert_eq!(kinds, ["authorization", "authorization", "transfer"]);
    assert_eq!(description.effects[0].owner.as_deref(), Some(OTHER), "the authority, recovered");
    assert_eq!(description.effects[1].owner, None, "the wallet's own account");
    assert_eq!(description.effects[0].destination.as_deref(), Some(VAULT.to_string().as_str()));
    assert_eq!(description.detail["authorizations"][1]["chain_id"], "0", "valid on any chain, and said so");
}

#[test]
fn delegations_that_no_chain_accepts() {
    let refused = |list| code_of(&transaction(set_code_tx(list).encoded_for_signing()));
    assert_eq!(refused(vec![]), Code::PayloadMalformed, "none at all");
    assert_eq!(
        refused(vec![authorized(OTHER_KEY, 10)]),
        Code::ChainIdMismatch,
        "for another chain than the transaction"
    );
    let good = authorized(OTHER_KEY, 1);
    let with = |y: u8, r, s| vec![SignedAuthorization::new_unchecked(good.inner().clone(), y, r, s)];
    let order = alloy_eips::eip7702::constants::SECP256K1N_HALF * U256::from(2) + U256::ONE;
    assert_eq!(refused(with(2, good.r(), good.s())), Code::PayloadMalformed, "y parity 2");
    assert_eq!(
        refused(with(1 - good.y_parity(), good.r(), order - good.s())),
        Code::PayloadMalformed,
        "high s"
    );
    assert_eq!(refused(with(good.y_parity(), U256::ZERO, good.s())), Code::PayloadMalformed, "r is zero");
}

#[test]
fn coin_and_fees_are_exact() {
    let description = described(&transaction(blob_tx().encoded_for_signing()));
    assert_eq!(description.fee.unwrap().maximum, U256::from(21_000 * 10 + 131_072 * 7), "gas and blobs");
    let description = described(&transaction(legacy().encoded_for_signing()));
    assert_eq!(description.fee.unwrap().maximum, U256::from(21_000_u64 * 20_000_000_000));
    assert_eq!(description.nonce, Some(9));
    let made = one_effect(&transaction(dynamic(TxKind::Create, 5, [0x60, 0x80]).encoded_for_signing()));
    assert_eq!(made.kind.as_str(), "deployment");
    assert_eq!(made.amount, Some(U256::from(5)));
    let address: Address = WALLET.create(7);
    assert_eq!(made.destination, Some(address.to_string()), "where the contract will be");
}
