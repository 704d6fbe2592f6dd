//! What is refused, each with its own code: a PSBT that lies, leaves something open, or asks for what cannot be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod coins;

use bitcoin::psbt::Psbt;
use bitcoin::{Amount, OutPoint, ScriptBuf, absolute};
use chancery_core::{Code, Payload, limit};
use chancery_intent::bitcoin::{Network, Wallet};
use chancery_intent::contracts::Registry;
use chancery_intent::{Account, ethereum, understand};
use proptest::prelude::*;

use coins::{
    XPUB, code, cosign, psbt, public, script, sighash, signed, stranger, understood, understood_bytes,
    wallet, without_transactions,
};

/// A sound payment with change, of two inputs.
fn payment(wallet: &Wallet) -> Psbt {
    let ours = script(wallet);
    psbt(&[(&ours, 70_000), (&ours, 50_000)], &[(&stranger(1), 40_000), (&ours, 79_000)])
}

#[test]
fn a_fee_cannot_be_hidden_behind_an_amount_that_nobody_signs() {
    // BIP-143 signs each amount alone: with two inputs each can be told a lie about in a request of its own.
    for descriptor in ["wpkh(@0)", "sh(wpkh(@0))"] {
        let wallet = wallet(descriptor);
        let spend = without_transactions(payment(&wallet));
        assert_eq!(code(&spend, &wallet), Code::UtxoMissing, "{descriptor}: two inputs");
        let ours = script(&wallet);
        let one = without_transactions(psbt(&[(&ours, 70_000)], &[(&stranger(1), 69_000)]));
        assert!(understood(&one, &wallet).is_ok(), "{descriptor}: one input signs the only amount");
    }
    let legacy = wallet("pkh(@0)");
    let ours = script(&legacy);
    let one = without_transactions(psbt(&[(&ours, 70_000)], &[(&stranger(1), 69_000)]));
    assert_eq!(code(&one, &legacy), Code::UtxoMissing, "a legacy signature signs no amount");

    // One taproot input among others does not help: the others' signatures do not know its amount.
    let taproot = wallet("tr(@0)");
    let ours = script(&taproot);
    let mixed =
        without_transactions(psbt(&[(&ours, 70_000), (&stranger(1), 9_000)], &[(&stranger(2), 69_000)]));
    assert_eq!(code(&mixed, &taproot), Code::UtxoMissing);
}

#[test]
fn what_is_spent_must_be_told_and_be_true() {
    let wallet = wallet("wpkh(@0)");
    let mut none = payment(&wallet);
    none.inputs[1].non_witness_utxo = None;
    assert_eq!(code(&none, &wallet), Code::UtxoMissing);

    let mut foreign = payment(&wallet);
    foreign.inputs[1].non_witness_utxo.as_mut().unwrap().output[1].value = Amount::from_sat(9_999_999);
    assert_eq!(
        code(&foreign, &wallet),
        Code::UtxoMismatch,
        "an amount that was raised is another transaction"
    );

    let mut swapped = payment(&wallet);
    swapped.inputs[1].non_witness_utxo = swapped.inputs[0].non_witness_utxo.clone();
    assert_eq!(code(&swapped, &wallet), Code::UtxoMismatch);

    let mut beyond = payment(&wallet);
    beyond.unsigned_tx.input[1].previous_output.vout = 2;
    assert_eq!(code(&beyond, &wallet), Code::UtxoMismatch, "there is no third output");

    let mut two_words = payment(&wallet);
    let mut output = two_words.inputs[0].non_witness_utxo.as_ref().unwrap().output[1].clone();
    two_words.inputs[0].witness_utxo = Some(output.clone());
    assert!(understood(&two_words, &wallet).is_ok());
    output.value = Amount::from_sat(70_001);
    two_words.inputs[0].witness_utxo = Some(output);
    assert_eq!(code(&two_words, &wallet), Code::UtxoMismatch);
}

#[test]
fn scripts_that_are_not_the_wallets_are_refused() {
    let wrong = stranger(9);
    for descriptor in
        ["pkh(@0)", "sh(wpkh(@0))", "wpkh(@0)", &format!("wsh(multi(1,@0,{}))", public(2)), "tr(@0)"]
    {
        let wallet = wallet(descriptor);
        let break_it: [fn(&mut Psbt, &ScriptBuf); 5] = [
            |psbt, wrong| psbt.inputs[0].redeem_script = Some(wrong.clone()),
            |psbt, wrong| psbt.inputs[1].witness_script = Some(wrong.clone()),
            |psbt, wrong| psbt.outputs[1].redeem_script = Some(wrong.clone()),
            |psbt, wrong| psbt.outputs[1].witness_script = Some(wrong.clone()),
            |psbt, _| psbt.inputs[0].tap_internal_key = Some(public(5).x_only_public_key().0),
        ];
        for (number, break_it) in break_it.iter().enumerate() {
            let mut spend = payment(&wallet);
            break_it(&mut spend, &wrong);
            assert_eq!(code(&spend, &wallet), Code::ScriptMismatch, "{descriptor}, {number}");
        }
    }
}

#[test]
fn sighash_types_that_leave_something_open_are_refused() {
    let wallet = wallet("wpkh(@0)");
    let mut spend = payment(&wallet);
    for open in [0, 2, 3, 0x80, 0x81, 0x82, 0x83, 0x101, u32::MAX] {
        sighash(&mut spend, 1, open);
        assert_eq!(code(&spend, &wallet), Code::SighashNotAllowed, "{open:#x}");
    }
    sighash(&mut spend, 1, 1);
    assert!(understood(&spend, &wallet).is_ok());
    let taproot = self::wallet("tr(@0)");
    let mut spend = payment(&taproot);
    for (sighash_type, good) in [(0, true), (1, true), (2, false), (3, false), (0x81, false)] {
        sighash(&mut spend, 0, sighash_type);
        assert_eq!(understood(&spend, &taproot).is_ok(), good, "{sighash_type:#x}");
    }
}

#[test]
fn an_absurd_fee_is_refused() {
    let wallet = wallet("wpkh(@0)");
    let ours = script(&wallet);
    // A part of what the inputs hold.
    let quarter = psbt(&[(&ours, 80_000)], &[(&stranger(1), 60_000)]);
    assert!(understood(&quarter, &wallet).is_ok(), "one part in four");
    let more = psbt(&[(&ours, 80_000)], &[(&stranger(1), 59_999)]);
    assert_eq!(code(&more, &wallet), Code::FeeAbsurd);
    // A rate: about 110 virtual bytes at 10,000 sat each.
    let held = 1_000_000_000;
    let rate = |fee| psbt(&[(&ours, held)], &[(&stranger(1), held - fee)]);
    assert!(understood(&rate(1_000_000), &wallet).is_ok());
    assert_eq!(code(&rate(1_200_000), &wallet), Code::FeeAbsurd);
}

#[test]
fn amounts_that_cannot_be_are_refused() {
    let wallet = wallet("wpkh(@0)");
    let ours = script(&wallet);
    let all = Amount::MAX_MONEY.to_sat();
    for (spends, pays) in [
        (vec![(&ours, 80_000)], vec![(&ours, 80_001)]),
        (vec![(&ours, all + 1)], vec![(&ours, 80_000)]),
        (vec![(&ours, all), (&ours, 1)], vec![(&ours, all)]),
        (vec![(&ours, all)], vec![(&ours, u64::MAX), (&ours, 2)]),
        (vec![(&ours, all)], vec![(&ours, all), (&ours, all)]),
    ] {
        assert_eq!(code(&psbt(&spends, &pays), &wallet), Code::AmountOutOfRange, "{spends:?} {pays:?}");
    }
}

#[test]
fn what_is_not_ours_to_sign_is_refused() {
    let wallet = wallet("wpkh(@0)");
    let spend = psbt(&[(&stranger(1), 80_000)], &[(&stranger(2), 79_000)]);
    assert_eq!(code(&spend, &wallet), Code::NothingToSign);
    // The same key under another script is another wallet.
    let legacy = script(&self::wallet("pkh(@0)"));
    assert_eq!(code(&psbt(&[(&legacy, 80_000)], &[(&stranger(2), 79_000)]), &wallet), Code::NothingToSign);
}

#[test]
fn what_is_signed_already_is_refused_where_it_is_ours() {
    let wallet = wallet("wpkh(@0)");
    let mut spend = payment(&wallet);
    let intent = understood(&spend, &wallet).unwrap();
    let chancery_intent::Artifact::Psbt { psbt: once, .. } = intent.finish(&signed(&intent)).unwrap() else {
        panic!("not a PSBT")
    };
    assert_eq!(understood_bytes(once, &wallet).unwrap_err().code(), Code::AlreadySigned);
    spend.inputs[0].final_script_witness = Some(bitcoin::Witness::from_slice(&[[1; 4]]));
    assert_eq!(code(&spend, &wallet), Code::AlreadySigned);

    // Another's input may be finished: that is their affair.
    let ours = script(&wallet);
    let mut joined = psbt(&[(&ours, 80_000), (&stranger(1), 9_000)], &[(&stranger(2), 88_000)]);
    joined.inputs[1].final_script_witness = Some(bitcoin::Witness::from_slice(&[[1; 4]]));
    assert!(understood(&joined, &wallet).is_ok());
}

#[test]
fn another_signers_signature_must_be_of_this_transaction() {
    let wallet = wallet(&format!("wsh(multi(2,@0,{}))", public(2)));
    let ours = script(&wallet);
    let mut spend = psbt(&[(&ours, 80_000)], &[(&stranger(1), 79_000)]);
    let intent = understood(&spend, &wallet).unwrap();
    cosign(&mut spend, &intent, 0, 2);
    assert!(understood(&spend, &wallet).is_ok());
    let mut stale = spend.clone();
    stale.unsigned_tx.output[0].value = Amount::from_sat(78_000);
    assert_eq!(code(&stale, &wallet), Code::PayloadMalformed, "over another transaction");
    let mut foreign = spend;
    cosign(&mut foreign, &intent, 0, 3);
    assert_eq!(code(&foreign, &wallet), Code::PayloadMalformed, "by a key that is not in the script");
}

#[test]
fn structures_that_no_network_takes_are_refused() {
    let wallet = wallet("wpkh(@0)");
    let mut twice = payment(&wallet);
    twice.unsigned_tx.input[1].previous_output = twice.unsigned_tx.input[0].previous_output;
    twice.inputs[1].non_witness_utxo = twice.inputs[0].non_witness_utxo.clone();
    assert_eq!(code(&twice, &wallet), Code::PayloadMalformed, "one output spent twice");

    let ours = script(&wallet);
    assert_eq!(code(&psbt(&[(&ours, 80_000)], &[]), &wallet), Code::PayloadMalformed, "no outputs");

    let empty = bitcoin::Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![],
        output: vec![],
    };
    let empty = Psbt::from_unsigned_tx(empty).unwrap();
    assert!(understood(&empty, &wallet).is_err());

    let many: Vec<_> = (0..=limit::PSBT_INPUTS).map(|_| (&ours, 80_000)).collect();
    let mut many = psbt(&many, &[(&stranger(1), 70_000)]);
    for (number, input) in many.unsigned_tx.input.iter_mut().enumerate() {
        input.previous_output =
            OutPoint::new("22".repeat(32).parse().unwrap(), u32::try_from(number).unwrap());
    }
    assert_eq!(code(&many, &wallet), Code::PayloadTooComplex);

    let strangers: Vec<_> = (0..=64).map(|_| stranger(1)).collect();
    let payments: Vec<_> = strangers.iter().map(|script| (script, 1_000)).collect();
    assert_eq!(code(&psbt(&[(&ours, 80_000)], &payments), &wallet), Code::PayloadTooComplex);
}

#[test]
fn bytes_are_refused_by_their_class() {
    let wallet = wallet("wpkh(@0)");
    let whole = payment(&wallet).serialize();
    let of = |data: Vec<u8>| understood_bytes(data, &wallet).unwrap_err().code();
    assert_eq!(of(vec![]), Code::PayloadEmpty);
    assert_eq!(of([whole.as_slice(), &[0]].concat()), Code::PayloadTrailingBytes);
    assert_eq!(of(whole[..whole.len() - 1].to_vec()), Code::PayloadMalformed);
    assert_eq!(of(vec![0x70; limit::PSBT_BYTES + 1]), Code::PayloadTooLarge);
    // The first length, in a longer form: 0x01 becomes 0xfd0100.
    let long = [&whole[..5], &[0xfd, 1, 0], &whole[6..]].concat();
    assert_eq!(of(long), Code::PayloadNotCanonical);
    let mut proprietary = payment(&wallet);
    proprietary.proprietary.insert(
        bitcoin::psbt::raw::ProprietaryKey { prefix: b"x".to_vec(), subtype: 1, key: vec![] },
        vec![1],
    );
    assert_eq!(code(&proprietary, &wallet), Code::PsbtFieldUnknown);
}

#[test]
fn a_payload_is_for_the_account_of_its_kind() {
    let wallet = wallet("wpkh(@0)");
    let data = payment(&wallet).serialize();
    let address = Account::Ethereum(ethereum::Account { address: Default::default(), chain_ids: &[1] });
    let psbt = Payload::BitcoinPsbt { data };
    let error = understand(&psbt, &address, &Registry::default()).unwrap_err();
    assert_eq!(error.code(), Code::ChainIdMismatch);
    let message = Payload::EthereumMessage { data: b"hello".to_vec() };
    let error = understand(&message, &Account::Bitcoin(&wallet), &Registry::default()).unwrap_err();
    assert_eq!(error.code(), Code::ChainIdMismatch);
}

#[test]
fn extended_keys_of_another_network_are_refused() {
    let signet = Wallet::parse(Network::Signet, "wpkh(@0)", &public(1).serialize()).unwrap();
    let mut spend = payment(&signet);
    assert!(understood(&spend, &signet).is_ok());
    spend.xpub.insert(XPUB.parse().unwrap(), (Default::default(), Default::default()));
    assert_eq!(code(&spend, &signet), Code::ChainIdMismatch);
}

proptest! {
    /// No bytes make it panic, and whatever is understood says the same of the same bytes.
    #[test]
    fn changed_bytes_never_panic(at in 0_usize..2_000, to in any::<u8>(), cut in 0_usize..2_000) {
        let wallet = wallet("wpkh(@0)");
        let mut bytes = payment(&wallet).serialize();
        let place = at % bytes.len();
        bytes[place] = to;
        let whole = understood_bytes(bytes.clone(), &wallet);
        if let Ok(intent) = whole {
            let again = understood_bytes(bytes.clone(), &wallet).unwrap();
            prop_assert_eq!(intent.description(), again.description());
            let fee: u64 = intent.description().fee.as_ref().unwrap().maximum.to_string().parse().unwrap();
            prop_assert!(fee <= 30_000, "no single byte may turn a payment into a fee");
        }
        let end = cut % bytes.len();
        prop_assert!(understood_bytes(bytes[..end].to_vec(), &wallet).is_err());
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let wallet = wallet("wpkh(@0)");
        let framed = [b"psbt\xff".as_slice(), &bytes].concat();
        let _ = understood_bytes(bytes, &wallet);
        let _ = understood_bytes(framed, &wallet);
    }
}
