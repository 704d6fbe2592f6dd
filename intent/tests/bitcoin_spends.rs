//! Every kind of input, from a PSBT that somebody else's code wrote to a transaction that Bitcoin's own consensus code
//! accepts, and what policy is told about it on the way.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod coins;

use bitcoin::consensus::deserialize;
use bitcoin::psbt::Psbt;
use bitcoin::{Amount, ScriptBuf, Sequence};
use chancery_core::{Code, Payload};
use chancery_intent::contracts::Registry;
use chancery_intent::model::Kind;
use chancery_intent::{Account, Artifact, Scheme, Taproot, understand};
use serde_json::json;

use coins::{
    COIN, XPUB, code, completed, consensus, cosign, origin, psbt, public, script, sighash, signed, stranger,
    understood, understood_bytes, understood_openly, version_2, wallet, without_transactions,
};

const SINGLE: [&str; 3] = ["pkh(@0)", "sh(wpkh(@0))", "wpkh(@0)"];

#[test]
fn a_payment_with_change_is_told_signed_and_accepted_by_the_network() {
    for descriptor in SINGLE {
        let wallet = wallet(descriptor);
        let ours = script(&wallet);
        let psbt = psbt(
            &[(&ours, 70_000), (&ours, 50_000)],
            &[(&stranger(1), 40_000), (&ours, 78_500), (&stranger(2), 1_000)],
        );
        let intent = understood(&psbt, &wallet).unwrap();

        let told = intent.description();
        assert_eq!((told.payload.as_str(), told.form.as_str()), ("bitcoin.psbt", "psbt0"), "{descriptor}");
        assert_eq!(told.account, wallet.address().unwrap());
        let effects: Vec<_> = told
            .effects
            .iter()
            .map(|effect| (effect.kind, effect.asset.as_deref(), effect.amount.unwrap().to_string()))
            .collect();
        let transfer = |sat: &str| (Kind::Transfer, Some(COIN), sat.to_owned());
        assert_eq!(effects, [transfer("40000"), transfer("1000")], "{descriptor}: change is no effect");
        assert!(told.effects[0].destination.as_deref().unwrap().starts_with("bc1q"));
        let fee = told.fee.as_ref().unwrap();
        assert_eq!((fee.asset.as_str(), fee.maximum.to_string().as_str()), (COIN, "500"));
        assert_eq!(
            told.detail["change"],
            json!([{"output": 1, "amount": "78500", "destination": told.account}])
        );
        assert_eq!(told.detail["inputs"][1]["amount"], "50000");
        assert_eq!(told.detail["replaceable"], true);

        assert_eq!(intent.signings().len(), 2, "{descriptor}: one signature for each input");
        let transaction = completed(&intent);
        consensus(&transaction, &psbt).unwrap_or_else(|error| panic!("{descriptor}: {error:?}"));
        let most = told.detail["most_virtual_bytes"].as_u64().unwrap();
        let size = transaction.vsize() as u64;
        assert!((size..size + 12).contains(&most), "{descriptor}: {size} is told as at most {most}");
    }
}

#[test]
fn both_versions_of_a_psbt_are_one_transaction() {
    let wallet = wallet("wpkh(@0)");
    let ours = script(&wallet);
    let version_0 = psbt(&[(&ours, 70_000), (&ours, 50_000)], &[(&stranger(1), 40_000), (&ours, 79_000)]);
    let bytes = version_2(&version_0);
    let (first, second) =
        (understood(&version_0, &wallet).unwrap(), understood_bytes(bytes.clone(), &wallet).unwrap());
    assert_eq!(second.description().form, "psbt2");
    assert_eq!(first.signings(), second.signings());
    assert_eq!(first.signing_digest(), second.signing_digest());
    assert_eq!(first.description().effects, second.description().effects);
    consensus(&completed(&second), &version_0).unwrap();
    let Artifact::Psbt { psbt, .. } = second.finish(&signed(&second)).unwrap() else { panic!("not a PSBT") };
    let flags = |bytes: &[u8]| bytes.windows(4).find(|w| w[..3] == [1, 6, 1]).map(|w| w[3]);
    assert_eq!((flags(&bytes), flags(&psbt)), (Some(0b011), Some(0)), "what is signed is not modifiable");
    assert_eq!(understood_bytes(psbt, &wallet).unwrap_err().code(), Code::AlreadySigned);
}

#[test]
fn two_of_three_is_finished_with_another_signer() {
    let descriptor = format!("wsh(sortedmulti(2,@0,{},{}))", public(2), public(3));
    let wallet = wallet(&descriptor);
    let ours = script(&wallet);
    let mut psbt = psbt(&[(&ours, 90_000)], &[(&stranger(1), 89_000)]);
    let alone = understood(&psbt, &wallet).unwrap();
    let Artifact::Psbt { psbt: ours_in, transaction: None } = alone.finish(&signed(&alone)).unwrap() else {
        panic!("one signature of two is no transaction")
    };
    let key = bitcoin::PublicKey::new(public(1));
    assert!(Psbt::deserialize(&ours_in).unwrap().inputs[0].partial_sigs.contains_key(&key));

    cosign(&mut psbt, &alone, 0, 3);
    let intent = understood(&psbt, &wallet).unwrap();
    assert_eq!(intent.signing_digest(), alone.signing_digest(), "another's signature changes no digest");
    consensus(&completed(&intent), &psbt).unwrap();
}

#[test]
fn a_miniscript_with_a_wait_is_satisfied_when_it_is_over() {
    let wallet = wallet(&format!("wsh(or_d(pk({}),and_v(v:pkh(@0),older(144))))", public(2)));
    let ours = script(&wallet);
    let mut psbt = psbt(&[(&ours, 90_000)], &[(&stranger(1), 89_000)]);
    psbt.unsigned_tx.input[0].sequence = Sequence::from_height(143);
    let early = understood(&psbt, &wallet).unwrap();
    let early = early.finish(&signed(&early)).unwrap();
    assert!(matches!(early, Artifact::Psbt { transaction: None, .. }), "143 blocks are too few");
    psbt.unsigned_tx.input[0].sequence = Sequence::from_height(144);
    let intent = understood(&psbt, &wallet).unwrap();
    consensus(&completed(&intent), &psbt).unwrap();
}

#[test]
fn change_of_a_wallet_that_derives_is_found_at_the_stated_index_only() {
    let wallet = wallet(&format!("wsh(multi(1,@0,{XPUB}/<0;1>/*))"));
    let at = |branch: u32, index: u32| -> ScriptBuf {
        // Derived here by the `bitcoin` crate alone.
        let secp = bitcoin::secp256k1::Secp256k1::new();
        let child = XPUB.parse::<bitcoin::bip32::Xpub>().unwrap();
        let path = [branch, index].map(|step| bitcoin::bip32::ChildNumber::from_normal_idx(step).unwrap());
        let other = child.derive_pub(&secp, &path).unwrap().public_key;
        bitcoin::script::Builder::new()
            .push_int(1)
            .push_key(&bitcoin::PublicKey::new(public(1)))
            .push_key(&bitcoin::PublicKey::new(other))
            .push_int(2)
            .push_opcode(bitcoin::opcodes::all::OP_CHECKMULTISIG)
            .into_script()
            .to_p2wsh()
    };
    let (source, change) = (at(0, 9), at(1, 4));
    let mut psbt = psbt(&[(&source, 90_000)], &[(&stranger(1), 40_000), (&change, 49_000)]);
    assert_eq!(code(&psbt, &wallet), Code::NothingToSign, "nobody says where the input stands");
    psbt.inputs[0].bip32_derivation.insert(public(7), origin(9));
    psbt.outputs[1].bip32_derivation.insert(public(7), origin(5));
    let intent = understood(&psbt, &wallet).unwrap();
    assert_eq!(intent.description().effects.len(), 2, "a wrong index makes no change");
    psbt.outputs[1].bip32_derivation.insert(public(7), origin(4));
    let intent = understood(&psbt, &wallet).unwrap();
    assert_eq!(intent.description().effects.len(), 1);
    assert_eq!(intent.description().detail["change"][0]["index"], 4);
    assert_eq!(intent.description().detail["change"][0]["branch"], 1);
    assert_eq!(intent.description().detail["inputs"][0]["index"], 9);
    consensus(&completed(&intent), &psbt).unwrap();
}

#[test]
fn an_output_is_not_change_because_the_psbt_says_so() {
    let wallet = wallet("wpkh(@0)");
    let (ours, thief) = (script(&wallet), stranger(66));
    let mut psbt = psbt(&[(&ours, 90_000)], &[(&stranger(1), 10_000), (&thief, 79_000)]);
    // Everything that a wallet says of its change, said of a thief's output.
    psbt.outputs[1].bip32_derivation.insert(public(1), origin(0));
    psbt.outputs[1].witness_script = Some(ours.clone());
    let intent = understood(&psbt, &wallet).unwrap();
    assert_eq!(intent.description().effects.len(), 2);
    assert_eq!(intent.description().effects[1].amount.unwrap().to_string(), "79000");
}

#[test]
fn what_others_put_in_is_not_ours_and_what_they_take_is_told() {
    let wallet = wallet("wpkh(@0)");
    let ours = script(&wallet);
    let psbt = psbt(
        &[(&stranger(1), 500_000), (&ours, 90_000)],
        &[(&stranger(2), 499_000), (&stranger(3), 50_000), (&ours, 40_000)],
    );
    let intent = understood(&psbt, &wallet).unwrap();
    let told = intent.description();
    assert_eq!(told.effects.len(), 2);
    assert_eq!(told.detail["inputs"][0]["own"], false);
    assert_eq!(told.detail["inputs"][1]["own"], true);
    assert_eq!(intent.signings().len(), 1, "only our input is signed");
    let Artifact::Psbt { psbt: bytes, transaction: None } = intent.finish(&signed(&intent)).unwrap() else {
        panic!("others have to sign")
    };
    let finished = Psbt::deserialize(&bytes).unwrap();
    assert_eq!((finished.inputs[0].partial_sigs.len(), finished.inputs[1].partial_sigs.len()), (0, 1));
}

#[test]
fn a_payment_to_oneself_is_still_an_effect() {
    let wallet = wallet("wpkh(@0)");
    let ours = script(&wallet);
    let intent = understood(&psbt(&[(&ours, 90_000)], &[(&ours, 89_000)]), &wallet).unwrap();
    let [effect] = intent.description().effects.as_slice() else { panic!() };
    assert_eq!(effect.destination.as_deref(), Some(wallet.address().unwrap().as_str()));
    assert_eq!(effect.amount.unwrap().to_string(), "89000");
}

#[test]
fn data_and_scripts_without_an_address_are_told_as_such() {
    let wallet = wallet("wpkh(@0)");
    let ours = script(&wallet);
    let data = ScriptBuf::new_op_return(b"anchor");
    let bare = ScriptBuf::new_p2pk(&bitcoin::PublicKey::new(public(9)));
    let spend = psbt(&[(&ours, 90_000)], &[(&data, 0), (&data, 700), (&bare, 80_000), (&ours, 9_000)]);
    let intent = understood(&spend, &wallet).unwrap();
    let effects = &intent.description().effects;
    assert_eq!((effects[0].kind, effects[0].amount), (Kind::Data, None));
    assert_eq!(effects[0].destination.as_deref(), Some("script-6a06616e63686f72"));
    assert_eq!(effects[1].amount.unwrap().to_string(), "700", "coins that data carries are burnt");
    assert_eq!(effects[2].kind, Kind::Transfer);
    assert_eq!(effects[2].destination.clone().unwrap(), format!("script-{}", hex::encode(bare.as_bytes())));
}

#[test]
fn taproot_is_decided_on_and_asks_for_schnorr() {
    let single = wallet("tr(@0)");
    let ours = script(&single);
    let spend = without_transactions(psbt(
        &[(&ours, 70_000), (&ours, 50_000)],
        &[(&stranger(1), 40_000), (&ours, 79_000)],
    ));
    let intent = understood(&spend, &single).unwrap();
    assert_eq!(intent.description().effects.len(), 1, "taproot change is change too");
    assert_eq!(intent.description().detail["inputs"][0]["sighash"], "default");
    assert!(intent.signings().iter().all(|signing| signing.scheme == Scheme::Schnorr(Taproot::Key(None))));
    assert!(intent.finish(&[]).is_err(), "two signatures are asked for");
    let output = intent.signings()[0].signer(&public(1).serialize()).unwrap();
    assert_eq!(output, ours.as_bytes()[2..], "the key that the output is locked to");

    // The key in a leaf, under another's internal key.
    let leaf = wallet(&format!("tr({},pk(@0))", public(2).x_only_public_key().0));
    let ours = script(&leaf);
    let spend = without_transactions(psbt(&[(&ours, 70_000)], &[(&stranger(1), 69_000)]));
    let intent = understood(&spend, &leaf).unwrap();
    assert_eq!(intent.signings().len(), 1);
    let mut all = spend.clone();
    sighash(&mut all, 0, 1);
    let all = understood(&all, &leaf).unwrap();
    assert_ne!(intent.signings()[0].digest, all.signings()[0].digest, "the sighash type is signed too");
}

#[test]
fn inputs_may_stay_open_only_where_the_bundle_says_so() {
    let wallet = wallet("wpkh(@0)");
    let ours = script(&wallet);
    let mut spend = psbt(&[(&ours, 90_000)], &[(&stranger(1), 89_000)]);
    sighash(&mut spend, 0, 0x81);
    assert_eq!(code(&spend, &wallet), Code::SighashNotAllowed);
    let intent = understood_openly(&spend, &wallet).unwrap();
    assert_eq!(intent.description().detail["open_to_more_inputs"], true);
    consensus(&completed(&intent), &spend).unwrap();
    for other in [0, 2, 3, 4, 0x80, 0x82, 0x83, 0x101] {
        sighash(&mut spend, 0, other);
        let error = understood_openly(&spend, &wallet).unwrap_err();
        assert_eq!(error.code(), Code::SighashNotAllowed, "{other:#x}");
    }
    sighash(&mut spend, 0, 0x81);
    let bare = without_transactions(spend);
    let error = understood_openly(&bare, &wallet).unwrap_err();
    assert_eq!(error.code(), Code::UtxoMissing, "an open signature does not fix what is held");
}

#[test]
fn messages_are_signed_as_the_bip_shows() {
    // BIP-322, `simple`: the BIP's key and address; its second signature of each message has the same digest.
    let secret =
        bitcoin::PrivateKey::from_wif("L3VFeEujGtevx9w18HD1fhRbCH67Az2dpCymeRE1SoPK6XQtaN2k").unwrap();
    let secp = bitcoin::secp256k1::Secp256k1::new();
    let key = secret.public_key(&secp);
    let wallet = chancery_intent::bitcoin::Wallet::parse(
        chancery_intent::bitcoin::Network::Mainnet,
        "wpkh(@0)",
        &key.to_bytes(),
    )
    .unwrap();
    for (message, published) in [
        (
            "",
            "AkcwRAIgM2gBAQqvZX15ZiysmKmQpDrG83avLIT492QBzLnQIxYCIBaTpOaD20qRlEylyxFSeEA2ba9YOixpX8z46TSDtS40ASECx/EgAxlkQpQ9hYjgGu6EBCPMVPwVIVJqO4XCsMvViHI=",
        ),
        (
            "Hello World",
            "AkcwRAIgZRfIY3p7/DoVTty6YZbWS71bc5Vct9p9Fia83eRmw2QCICK/ENGfwLtptFluMGs2KsqoNSk89pO7F29zJLUx9a/sASECx/EgAxlkQpQ9hYjgGu6EBCPMVPwVIVJqO4XCsMvViHI=",
        ),
    ] {
        let payload = Payload::BitcoinMessage { data: message.into() };
        let intent = understand(&payload, &Account::Bitcoin(&wallet), &Registry::default()).unwrap();
        let [signing] = intent.signings() else { panic!("one signature") };
        assert_eq!(intent.description().effects[0].kind, Kind::Message);

        // The published signature is over our digest, and finishing with it gives the published text.
        use base64::Engine as _;
        let witness: bitcoin::Witness =
            deserialize(&base64::engine::general_purpose::STANDARD.decode(published).unwrap()).unwrap();
        let signature = bitcoin::ecdsa::Signature::from_slice(witness.nth(0).unwrap()).unwrap().signature;
        let digest = bitcoin::secp256k1::Message::from_digest(signing.digest);
        secp.verify_ecdsa(&digest, &signature, &key.inner).unwrap();
        let compact = signature.serialize_compact();
        let (r, s) = compact.split_at(32);
        let made =
            chancery_intent::Signature { r: r.try_into().unwrap(), s: s.try_into().unwrap(), y_parity: None };
        let Artifact::Proof { simple } = intent.finish(&[made]).unwrap() else { panic!("not a proof") };
        assert_eq!(simple, published, "`{message}`");
    }
}

#[test]
fn a_message_is_not_signed_through_the_door_of_transactions() {
    // BIP-322's own transaction as a PSBT: its input holds nothing.
    let wallet = wallet("wpkh(@0)");
    let ours = script(&wallet);
    let mut spend = psbt(&[(&ours, 0)], &[(&ScriptBuf::new_op_return([]), 0)]);
    assert_eq!(code(&spend, &wallet), Code::AmountOutOfRange);
    let from = spend.inputs[0].non_witness_utxo.take().unwrap();
    spend.inputs[0].witness_utxo = Some(from.output[1].clone());
    assert_eq!(spend.inputs[0].witness_utxo.as_ref().unwrap().value, Amount::ZERO);
    assert_eq!(code(&spend, &wallet), Code::AmountOutOfRange);
}

#[test]
fn a_message_that_needs_more_than_us_is_refused() {
    for (descriptor, good) in [
        ("pkh(@0)".to_owned(), false),
        (format!("wsh(multi(2,@0,{}))", public(2)), false),
        (format!("wsh(multi(1,@0,{}))", public(2)), true),
        ("sh(wpkh(@0))".to_owned(), true),
        ("tr(@0)".to_owned(), true),
    ] {
        let wallet = wallet(&descriptor);
        let payload = Payload::BitcoinMessage { data: b"hello".to_vec() };
        let intent = understand(&payload, &Account::Bitcoin(&wallet), &Registry::default());
        assert_eq!(intent.is_ok(), good, "{descriptor}");
    }
}

/// Would catch change at another account's key that passes for ours, and a signature asked of the wrong key.
#[test]
fn inputs_of_an_account_are_each_signed_by_their_own_key() {
    // BIP-84, Test vectors: the account, its first two receiving addresses and its first change address.
    let account = "[73c5da0a/84'/0'/0']xpub6CatWdiZiodmUeTDp8LT5or8nmbKNcuyvz7WyksVFkKB4RHwCD3XyuvPEbvqAQY3rAPshWcMLoP2fMFMKHPJ4ZeZXYVUhLv1VMrjPC7PW6V";
    let key: chancery_intent::AccountKey = account.parse().unwrap();
    let parse = |descriptor: &str, key: &[u8]| {
        let network = chancery_intent::bitcoin::Network::Mainnet;
        chancery_intent::bitcoin::Wallet::parse(network, descriptor, key)
    };
    let wallet = parse(&format!("wpkh({account}/<0;1>/*)"), &key.public()).unwrap();
    let addresses = wallet.addresses(0, 0, 2).unwrap();
    assert_eq!(addresses[0].1, "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu");
    assert_eq!(addresses[1].1, "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g");
    assert_eq!(wallet.addresses(1, 0, 1).unwrap()[0].1, "bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el");
    assert_eq!(wallet.addresses(2, 0, 1).unwrap(), [], "there is no third branch");
    assert!(wallet.addresses(0, 0x8000_0000, 1).is_err(), "no address is derived hardened");
    assert_eq!(wallet.branch_descriptors().len(), 2);
    let again = parse(&wallet.descriptor(), &key.public()).unwrap();
    assert_eq!(again.descriptor(), wallet.descriptor(), "the written form is read again");

    let other = public(1).serialize();
    assert!(parse(&format!("wpkh({account}/<0;1>/*)"), &other).is_err(), "another wallet's account");
    for bad in ["", "/*", "/0/1/*", "/<0;1>", "/<0;1>/*'"] {
        assert!(parse(&format!("wpkh({account}{bad})"), &key.public()).is_err(), "{bad}");
    }
    let twice = format!("wsh(multi(1,{account}/0/*,{account}/1/*))");
    assert!(parse(&twice, &key.public()).is_err(), "one key for a signature, or nobody knows which");
}
