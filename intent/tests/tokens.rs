//! Token methods and contract calls: what each does, and what becomes of calldata that only nearly says it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

mod fixture;

use alloy_consensus::SignableTransaction as _;
use alloy_primitives::{Address, TxKind, U256};
use chancery_core::Code;
use chancery_intent::model::{Effect, Kind};
use fixture::*;

/// One recognised method: where it is called, its words, and what it must read as.
struct Case {
    contract: Address,
    signature: &'static str,
    words: Vec<[u8; 32]>,
    /// Words that hold an address, a boolean or a short number: their top bits must be clear.
    narrow: Vec<usize>,
    kind: Kind,
    asset: String,
    amount: U256,
    destination: Address,
    owner: Option<Address>,
}

fn coin_asset() -> String {
    format!("eip155:1/erc20:{COIN_TOKEN}")
}

fn item(id: u64) -> String {
    format!("eip155:1/erc721:{ITEM_TOKEN}/{id}")
}

fn cases() -> Vec<Case> {
    use Kind::{TokenApproval, TokenTransfer};
    let (bob, carol, me) = (party(BOB), party(CAROL), party(WALLET));
    let n = number;
    let amount = |n: u64| U256::from(n);
    let many = |id: u64| format!("eip155:1/erc1155:{MANY_TOKEN}/{id}");
    let case = |contract,
                signature,
                words: &[[u8; 32]],
                narrow: &[usize],
                kind,
                asset,
                amount,
                destination,
                owner| Case {
        contract,
        signature,
        words: words.to_vec(),
        narrow: narrow.to_vec(),
        kind,
        asset,
        amount,
        destination,
        owner,
    };
    let authorized: &[[u8; 32]] = &[carol, bob, n(9), n(0), n(1), n(7), n(27), n(1), n(2)];
    #[rustfmt::skip]
    let cases = vec![
        case(COIN_TOKEN, "transfer(address,uint256)", &[bob, n(9)], &[0], TokenTransfer, coin_asset(), amount(9), BOB, None),
        case(COIN_TOKEN, "transferFrom(address,address,uint256)", &[carol, bob, n(9)], &[0, 1], TokenTransfer, coin_asset(), amount(9), BOB, Some(CAROL)),
        case(COIN_TOKEN, "transferFrom(address,address,uint256)", &[me, bob, n(9)], &[0, 1], TokenTransfer, coin_asset(), amount(9), BOB, None),
        case(COIN_TOKEN, "approve(address,uint256)", &[bob, n(9)], &[0], TokenApproval, coin_asset(), amount(9), BOB, None),
        case(COIN_TOKEN, "increaseAllowance(address,uint256)", &[bob, n(9)], &[0], TokenApproval, coin_asset(), amount(9), BOB, None),
        case(COIN_TOKEN, "decreaseAllowance(address,uint256)", &[bob, n(9)], &[0], TokenApproval, coin_asset(), amount(0), BOB, None),
        case(COIN_TOKEN, "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", &[carol, bob, n(9), n(5), n(27), n(1), n(2)], &[0, 1, 4], TokenApproval, coin_asset(), amount(9), BOB, Some(CAROL)),
        case(COIN_TOKEN, "permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)", &[carol, bob, n(0), n(5), n(1), n(27), n(1), n(2)], &[0, 1, 4, 5], TokenApproval, coin_asset(), U256::MAX, BOB, Some(CAROL)),
        case(COIN_TOKEN, "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)", authorized, &[0, 1, 6], TokenTransfer, coin_asset(), amount(9), BOB, Some(CAROL)),
        case(COIN_TOKEN, "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)", authorized, &[0, 1, 6], TokenTransfer, coin_asset(), amount(9), BOB, Some(CAROL)),
        case(ITEM_TOKEN, "transferFrom(address,address,uint256)", &[me, bob, n(42)], &[0, 1], TokenTransfer, item(42), amount(1), BOB, None),
        case(ITEM_TOKEN, "safeTransferFrom(address,address,uint256)", &[carol, bob, n(42)], &[0, 1], TokenTransfer, item(42), amount(1), BOB, Some(CAROL)),
        case(ITEM_TOKEN, "safeTransferFrom(address,address,uint256,bytes)", &[me, bob, n(42), n(128), n(0)], &[0, 1, 3], TokenTransfer, item(42), amount(1), BOB, None),
        case(ITEM_TOKEN, "approve(address,uint256)", &[bob, n(42)], &[0], TokenApproval, item(42), amount(1), BOB, None),
        case(ITEM_TOKEN, "approve(address,uint256)", &[n(0), n(42)], &[0], TokenApproval, item(42), amount(0), Address::ZERO, None),
        case(ITEM_TOKEN, "setApprovalForAll(address,bool)", &[bob, n(1)], &[0, 1], TokenApproval, format!("eip155:1/erc721:{ITEM_TOKEN}"), U256::MAX, BOB, None),
        case(MANY_TOKEN, "setApprovalForAll(address,bool)", &[bob, n(0)], &[0, 1], TokenApproval, format!("eip155:1/erc1155:{MANY_TOKEN}"), amount(0), BOB, None),
        case(MANY_TOKEN, "safeTransferFrom(address,address,uint256,uint256,bytes)", &[me, bob, n(42), n(9), n(160), n(0)], &[0, 1, 4], TokenTransfer, many(42), amount(9), BOB, None),
        case(MANY_TOKEN, "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)", &[me, bob, n(160), n(224), n(288), n(1), n(42), n(1), n(9), n(0)], &[0, 1, 2, 3, 4], TokenTransfer, many(42), amount(9), BOB, None),
        case(PERMIT2, "approve(address,address,uint160,uint48)", &[party(COIN_TOKEN), bob, n(9), n(5)], &[0, 1, 2, 3], TokenApproval, coin_asset(), amount(9), BOB, None),
        case(PERMIT2, "transferFrom(address,address,uint160,address)", &[carol, bob, n(9), party(COIN_TOKEN)], &[0, 1, 2, 3], TokenTransfer, coin_asset(), amount(9), BOB, Some(CAROL)),
        case(PERMIT2, "permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)", &[carol, party(COIN_TOKEN), n(9), n(5), n(0), bob, n(5), n(256), n(0)], &[0, 1, 2, 3, 4, 5, 7], TokenApproval, coin_asset(), amount(9), BOB, Some(CAROL)),
    ];
    cases
}

fn check(case: &Case, effect: &Effect) {
    let what = format!("{} at {}", case.signature, case.contract);
    assert_eq!(effect.kind, case.kind, "{what}");
    assert_eq!(effect.asset.as_deref(), Some(case.asset.as_str()), "{what}");
    assert_eq!(effect.amount, Some(case.amount), "{what}");
    assert_eq!(effect.destination, Some(case.destination.to_string()), "{what}");
    assert_eq!(effect.owner, case.owner.map(|owner| owner.to_string()), "{what}");
    assert_eq!(effect.contract, Some(case.contract.to_string()), "{what}");
    assert_eq!(effect.unlimited, case.amount == U256::MAX, "{what}");
    let method = effect.method.as_ref().unwrap();
    assert_eq!(method.signature.as_deref(), Some(case.signature), "{what}");
    assert_eq!(method.selector, format!("0x{}", hex::encode(selector(case.signature))), "{what}");
    assert!(!method.arguments.is_empty(), "{what}");
}

#[test]
fn every_token_method_reads_as_what_it_does() {
    for case in cases() {
        check(&case, &one_effect(&call(case.contract, calldata(case.signature, &case.words))));
    }
}

#[test]
fn bytes_after_the_arguments_are_refused() {
    // Solidity ignores them, so the transfer would still happen: calling it something else would hide it.
    for case in cases() {
        let input = calldata(case.signature, &case.words);
        for tail in [&[0][..], &[0xff; 31], &[0; 32]] {
            let code = code_of(&call(case.contract, [&input, tail].concat()));
            assert_eq!(code, Code::PayloadNotCanonical, "{} and {} bytes", case.signature, tail.len());
        }
    }
}

#[test]
fn bytes_missing_from_the_arguments_are_refused() {
    // Old compilers read them as zeros: the "short address".
    for case in cases() {
        let input = calldata(case.signature, &case.words);
        for cut in [1, 12, 31, 32, input.len() - 4] {
            let code = code_of(&call(case.contract, &input[..input.len() - cut]));
            assert_eq!(code, Code::PayloadNotCanonical, "{} without {cut} bytes", case.signature);
        }
    }
}

#[test]
fn dirty_bits_are_refused() {
    // Contracts cut or reject them, depending on their compiler.
    for case in cases() {
        for at in &case.narrow {
            let mut words = case.words.clone();
            words[*at][0] = 0x01;
            let code = code_of(&call(case.contract, calldata(case.signature, &words)));
            assert_eq!(code, Code::PayloadNotCanonical, "{} word {at}", case.signature);
        }
    }
    let two = calldata("setApprovalForAll(address,bool)", &[party(BOB), number(2)]);
    assert_eq!(code_of(&call(ITEM_TOKEN, two)), Code::PayloadNotCanonical, "a boolean of 2");
}

#[test]
fn an_unregistered_token_is_not_called_by_a_standard() {
    let input = calldata("transfer(address,uint256)", &[party(BOB), number(9)]);
    let effect = one_effect(&call(STRANGER, input.clone()));
    assert_eq!(effect.kind, Kind::TokenTransfer);
    assert_eq!(effect.asset, Some(format!("eip155:1/token:{STRANGER}")));
    // Registered on chain 1 only.
    let mut elsewhere = dynamic(TxKind::Call(COIN_TOKEN), 0, input);
    elsewhere.chain_id = 10;
    let effect = one_effect(&transaction(elsewhere.encoded_for_signing()));
    assert_eq!(effect.asset, Some(format!("eip155:10/token:{COIN_TOKEN}")));
    let items =
        calldata("safeTransferFrom(address,address,uint256)", &[party(WALLET), party(BOB), number(42)]);
    assert_eq!(one_effect(&call(STRANGER, items)).asset, Some(format!("eip155:1/token:{STRANGER}/42")));
}

#[test]
fn a_method_of_another_standard_is_a_contract_call() {
    for (contract, signature, words) in [
        (COIN_TOKEN, "setApprovalForAll(address,bool)", vec![party(BOB), number(1)]),
        (COIN_TOKEN, "safeTransferFrom(address,address,uint256)", vec![party(WALLET), party(BOB), number(1)]),
        (ITEM_TOKEN, "increaseAllowance(address,uint256)", vec![party(BOB), number(1)]),
        (MANY_TOKEN, "transfer(address,uint256)", vec![party(BOB), number(1)]),
        (
            STRANGER,
            "approve(address,address,uint160,uint48)",
            vec![party(BOB), party(BOB), number(1), number(1)],
        ),
    ] {
        let effect = one_effect(&call(contract, calldata(signature, &words)));
        assert_eq!(effect.kind, Kind::ContractCall, "{signature} at {contract}");
        assert_eq!(effect.method.unwrap().signature, None);
    }
}

#[test]
fn an_approval_is_unlimited_from_2_to_the_255() {
    let approve = |amount: U256| {
        one_effect(&call(
            COIN_TOKEN,
            calldata("approve(address,uint256)", &[party(BOB), amount.to_be_bytes()]),
        ))
    };
    let bound: U256 = U256::ONE << 255;
    assert!(!approve(bound - U256::ONE).unlimited);
    assert!(approve(bound).unlimited);
    assert!(approve(U256::MAX).unlimited);
    let revoked = approve(U256::ZERO);
    assert!(
        !revoked.unlimited && revoked.amount == Some(U256::ZERO),
        "a revocation is an approval of nothing"
    );

    let wide: U256 = (U256::ONE << 160) - U256::ONE;
    let words = [party(COIN_TOKEN), party(BOB), wide.to_be_bytes(), number(5)];
    assert!(
        one_effect(&call(PERMIT2, calldata("approve(address,address,uint160,uint48)", &words))).unlimited
    );
    let beyond: U256 = U256::ONE << 160;
    let words = [party(COIN_TOKEN), party(BOB), beyond.to_be_bytes(), number(5)];
    let code = code_of(&call(PERMIT2, calldata("approve(address,address,uint160,uint48)", &words)));
    assert_eq!(code, Code::PayloadNotCanonical, "beyond uint160");
}

#[test]
fn coin_sent_along_with_a_token_method_is_its_own_effect() {
    let input = calldata("transfer(address,uint256)", &[party(BOB), number(9)]);
    let effects = effects(&transaction(dynamic(TxKind::Call(COIN_TOKEN), 5, input).encoded_for_signing()));
    let [coin, token] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((coin.kind, coin.amount), (Kind::Transfer, Some(U256::from(5))));
    assert_eq!(coin.destination, Some(COIN_TOKEN.to_string()));
    assert_eq!((token.kind, token.amount), (Kind::TokenTransfer, Some(U256::from(9))));
}

fn batch(ids: &[u64], amounts: &[u64]) -> Vec<u8> {
    let tail = |values: &[u64]| -> Vec<[u8; 32]> {
        std::iter::once(number(values.len() as u64))
            .chain(values.iter().map(|value| number(*value)))
            .collect()
    };
    let (ids, amounts) = (tail(ids), tail(amounts));
    let second = 160 + 32 * ids.len() as u64;
    let third = second + 32 * amounts.len() as u64;
    let mut words = vec![party(WALLET), party(BOB), number(160), number(second), number(third)];
    words.extend(ids);
    words.extend(amounts);
    words.push(number(0));
    calldata("safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)", &words)
}

#[test]
fn a_batch_is_one_effect_for_each_token() {
    let moved = effects(&call(MANY_TOKEN, batch(&[1, 2, 1], &[10, 20, 30])));
    let seen: Vec<_> =
        moved.iter().map(|effect| (effect.asset.clone().unwrap(), effect.amount.unwrap())).collect();
    let asset = |id| format!("eip155:1/erc1155:{MANY_TOKEN}/{id}");
    assert_eq!(seen, [(asset(1), U256::from(10)), (asset(2), U256::from(20)), (asset(1), U256::from(30))]);
    assert_eq!(
        code_of(&call(MANY_TOKEN, batch(&[1, 2], &[10]))),
        Code::PayloadMalformed,
        "an amount missing"
    );
    assert_eq!(code_of(&call(MANY_TOKEN, batch(&[], &[]))), Code::PayloadMalformed, "a batch of nothing");
    assert_eq!(effects(&call(MANY_TOKEN, batch(&[1; 64], &[1; 64]))).len(), 64);
    assert_eq!(code_of(&call(MANY_TOKEN, batch(&[1; 65], &[1; 65]))), Code::PayloadTooComplex);
}

#[test]
fn a_registered_abi_names_method_and_arguments() {
    let words = [
        number(9),
        number(64),
        number(2),
        *b"hi\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ];
    let input = calldata("deposit(uint256,string)", &words);
    let effect =
        one_effect(&transaction(dynamic(TxKind::Call(VAULT), 5, input.clone()).encoded_for_signing()));
    assert_eq!((effect.kind, effect.amount), (Kind::ContractCall, Some(U256::from(5))), "coin is told once");
    let method = effect.method.unwrap();
    assert_eq!(method.signature.as_deref(), Some("deposit(uint256,string)"));
    let values: Vec<_> =
        method.arguments.iter().map(|a| (a.name.as_str(), a.value.as_str().unwrap())).collect();
    assert_eq!(values, [("amount", "9"), ("note", "hi")]);

    // A rule on the signature must not be dodged by bytes that the contract ignores.
    assert_eq!(code_of(&call(VAULT, [&input[..], &[0]].concat())), Code::PayloadNotCanonical);
    assert_eq!(
        code_of(&call(VAULT, [&selector("stop()")[..], &[0; 32]].concat())),
        Code::PayloadNotCanonical
    );
    assert!(ask(&call(VAULT, selector("stop()"))).is_ok());
}

#[test]
fn unknown_calldata_is_a_call_with_its_selector() {
    let effect = one_effect(&call(VAULT, [0xde, 0xad, 0xbe, 0xef, 1]));
    assert_eq!(effect.kind, Kind::ContractCall);
    assert_eq!(effect.contract, Some(VAULT.to_string()));
    assert_eq!(effect.method.unwrap().selector, "0xdeadbeef");
    for short in [&[0xa9][..], &[0xa9, 0x05], &[0xa9, 0x05, 0x9c]] {
        let effect = one_effect(&call(COIN_TOKEN, short));
        assert_eq!(effect.kind, Kind::ContractCall);
        assert_eq!(effect.method.unwrap().selector, "0x", "fewer than four bytes select nothing");
    }
}
