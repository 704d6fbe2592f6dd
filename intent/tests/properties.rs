//! What must hold of any bytes: no panic, and nothing understood that is not signed byte for byte.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

mod fixture;

use alloy_consensus::{SignableTransaction as _, TxEip2930, TxEip4844};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{B256, TxKind};
use chancery_core::{Payload, limit};
use fixture::*;
use proptest::prelude::*;

fn valid() -> Vec<Vec<u8>> {
    let transfer = calldata("transfer(address,uint256)", &[party(BOB), number(9)]);
    let deposit = calldata("deposit(uint256,string)", &[number(9), number(64), number(0)]);
    let access_list =
        AccessList(vec![AccessListItem { address: BOB, storage_keys: vec![B256::repeat_byte(7); 2] }]);
    let listed = TxEip2930 {
        chain_id: 1,
        to: TxKind::Call(BOB),
        gas_limit: 21_000,
        access_list,
        ..Default::default()
    };
    let blob_versioned_hashes = vec![B256::repeat_byte(1); 2];
    let blobs = TxEip4844 { chain_id: 1, to: BOB, blob_versioned_hashes, ..Default::default() };
    vec![
        legacy().encoded_for_signing(),
        listed.encoded_for_signing(),
        dynamic(TxKind::Call(BOB), 5, []).encoded_for_signing(),
        dynamic(TxKind::Call(COIN_TOKEN), 0, transfer).encoded_for_signing(),
        dynamic(TxKind::Call(VAULT), 5, deposit).encoded_for_signing(),
        dynamic(TxKind::Create, 5, [0x60, 0x80]).encoded_for_signing(),
        blobs.encoded_for_signing(),
    ]
}

/// Understood only if it hashes to what `data` says, so that nothing was read into it or left out.
fn holds(data: &[u8]) -> Option<[u8; 32]> {
    let intent = ask(&transaction(data)).ok()?;
    assert_eq!(intent.preimage(), data, "what is signed is what was sent");
    assert!((1..=limit::EFFECTS).contains(&intent.description().effects.len()));
    assert_eq!(*intent.signing_digest(), alloy_primitives::keccak256(data).0);
    let text = serde_json::to_string(intent.description()).unwrap();
    let back: chancery_intent::Description = serde_json::from_str(&text).unwrap();
    assert_eq!(&back, intent.description(), "the stable form survives its own JSON");
    Some(*intent.signing_digest())
}

#[test]
fn every_single_byte_matters() {
    // Every byte of every transaction, set to each of several others: refused, or another digest.
    for data in valid() {
        let digest = holds(&data).unwrap();
        for at in 0..data.len() {
            for byte in [0x00, 0x01, 0x7f, 0x80, 0x81, 0xb8, 0xc0, 0xf8, 0xff, data[at] ^ 1, data[at] ^ 0x80]
            {
                let mut changed = data.clone();
                changed[at] = byte;
                if changed != data {
                    assert_ne!(
                        holds(&changed),
                        Some(digest),
                        "byte {at} set to {byte:#x} of {}",
                        hex::encode(&data)
                    );
                }
            }
        }
    }
}

/// Bytes that get further into the parsers than chance would bring them.
fn rlp_like() -> impl Strategy<Value = Vec<u8>> {
    let item = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| alloy_rlp::encode(&bytes[..])),
        prop::collection::vec(any::<u8>(), 0..4),
        Just(alloy_rlp::encode(BOB)),
        Just(vec![0x01]),
        Just(vec![0x80]),
        Just(vec![0xc0]),
    ];
    (prop::option::of(0_u8..7), prop::collection::vec(item, 0..14)).prop_map(|(first, items)| {
        let body = items.concat();
        let mut data: Vec<u8> = first.into_iter().collect();
        alloy_rlp::Header { list: true, payload_length: body.len() }.encode(&mut data);
        data.extend(body);
        data
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_or_signed_as_they_are(data in prop::collection::vec(any::<u8>(), 0..300)) {
        holds(&data);
        if let Ok(intent) = ask(&Payload::EthereumAuthorization { data: data.clone() }) {
            prop_assert_eq!(intent.preimage(), &data[..]);
        }
        if let Ok(intent) = ask(&Payload::EthereumMessage { data: data.clone() }) {
            prop_assert!(intent.preimage().ends_with(&data));
        }
    }

    #[test]
    fn rlp_of_any_items_is_refused_or_signed_as_it_is(data in rlp_like()) {
        holds(&data);
        let mut tuple = data;
        tuple.insert(0, 5);
        if let Ok(intent) = ask(&Payload::EthereumAuthorization { data: tuple.clone() }) {
            prop_assert_eq!(intent.preimage(), &tuple[..]);
        }
    }

    #[test]
    fn several_changes_at_once_are_refused_or_another_digest(
        which in 0_usize..7,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        let data = valid().swap_remove(which);
        let mut changed = data.clone();
        for (at, byte) in changes {
            let at = at.index(changed.len());
            changed[at] = byte;
        }
        if let Some(cut) = cut {
            changed.truncate(cut.index(data.len()));
        }
        changed.extend(tail);
        if changed != data {
            prop_assert_ne!(holds(&changed), holds(&data));
        }
    }

    /// Any calldata at a registered token or contract: refused, or told in effects that add up to the coin sent.
    #[test]
    fn every_wei_is_told_once(
        contract in prop::sample::select(vec![COIN_TOKEN, ITEM_TOKEN, MANY_TOKEN, VAULT, STRANGER, PERMIT2]),
        method in prop::sample::select(vec![
            "transfer(address,uint256)", "approve(address,uint256)", "setApprovalForAll(address,bool)",
            "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)", "deposit(uint256,string)", "other()",
        ]),
        words in prop::collection::vec(prop_oneof![0_u64..400, any::<u64>()].prop_map(number), 0..12),
        value in 0_u64..3,
    ) {
        let tx = dynamic(TxKind::Call(contract), value, calldata(method, &words));
        if let Ok(intent) = ask(&transaction(tx.encoded_for_signing())) {
            let coin: u64 = intent.description().effects.iter()
                .filter(|effect| effect.asset.as_deref() == Some("eip155:1/slip44:60"))
                .map(|effect| u64::try_from(effect.amount.unwrap()).unwrap())
                .sum();
            prop_assert_eq!(coin, value);
        }
    }

    #[test]
    fn messages_differ_where_their_bytes_do(a in prop::collection::vec(any::<u8>(), 1..64), b in prop::collection::vec(any::<u8>(), 1..64)) {
        prop_assume!(a != b);
        let digest = |data: &Vec<u8>| *ask(&Payload::EthereumMessage { data: data.clone() }).unwrap().signing_digest();
        prop_assert_ne!(digest(&a), digest(&b));
    }
}
