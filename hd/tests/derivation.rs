//! The published vectors of BIP-32, BIP-39, BIP-44, 49, 84, 86, SLIP-10 and SLIP-39, and what they do not say: that what is
//! derived in private is what `bitcoin` derives from the extended public key.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code"
)]

use std::collections::BTreeMap;
use std::str::FromStr as _;

use bitcoin::bip32::{ChildNumber, DerivationPath, Fingerprint, Xpriv, Xpub};
use bitcoin::secp256k1::{PublicKey, Secp256k1};
use bitcoin::{Address, CompressedPublicKey, Network, NetworkKind};
use chancery_hd::slip39::{self, Group, Plan};
use chancery_hd::{Curve, Extended, HdError, Key, Path, phrase_of, seed_of_phrase};
use chancery_secret::SecretBytes;
use serde_json::{Value, json};

fn secret(bytes: &[u8]) -> SecretBytes {
    SecretBytes::take(&mut bytes.to_vec()).unwrap()
}

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What `cargo xtask assurance --only vectors` counts; a vector that fails ends its test before this.
fn tally(file: &str, total: usize, skipped: &BTreeMap<&str, usize>) {
    let passed = total - skipped.values().sum::<usize>();
    let tally = json!({ "file": file, "by": "hd", "total": total, "passed": passed, "skipped": skipped, "failed": [] });
    println!("\nassurance vectors {tally}");
}

/// An extended public key as wallets write it.
fn xpub(known: &Extended, path: &Path) -> Xpub {
    let parent = match path.steps() {
        [] => Fingerprint::default(),
        _ => {
            let key = PublicKey::from_slice(&known.parent).unwrap();
            Xpub { public_key: key, ..dummy() }.fingerprint()
        }
    };
    Xpub {
        network: NetworkKind::Main,
        depth: u8::try_from(path.steps().len()).unwrap(),
        parent_fingerprint: parent,
        child_number: path.steps().last().map_or(ChildNumber::Normal { index: 0 }, |step| (*step).into()),
        public_key: PublicKey::from_slice(&known.public).unwrap(),
        chain_code: known.chain_code.into(),
    }
}

fn dummy() -> Xpub {
    Xpub::from_str("xpub661MyMwAqRbcFW31YEwpkMuc5THy2PSt5bDMsktWQcFF8syAmRUapSCGu8ED9W6oDMSgv6Zz8idoc4a6mr8BDzTJY47LJhkJ8UB7WEGuduB").unwrap()
}

#[test]
fn published_bip_32() {
    let all = vectors(include_str!("vectors/bip32.json"));
    let all = all["vectors"].as_array().unwrap();
    for vector in all {
        let seed = secret(&hex::decode(vector["seed"].as_str().unwrap()).unwrap());
        let path: Path = vector["path"].as_str().unwrap().parse().unwrap();
        let known = Key::extended(Curve::Secp256k1, &seed, &path).unwrap();
        assert_eq!(xpub(&known, &path).to_string(), vector["xpub"].as_str().unwrap(), "{path}");
        // The private key is the published one: it signs what that key signs.
        let published = Xpriv::from_str(vector["xprv"].as_str().unwrap()).unwrap();
        let message = bitcoin::secp256k1::Message::from_digest([7; 32]);
        let expected = Secp256k1::new().sign_ecdsa(&message, &published.private_key).serialize_compact();
        let key = Key::derive(Curve::Secp256k1, &seed, &path).unwrap();
        assert_eq!(key.sign(&[7; 32]).unwrap(), expected, "{path}");
    }
    tally("bip32", all.len(), &BTreeMap::new());
}

#[test]
fn published_slip_10() {
    let all = vectors(include_str!("vectors/slip10.json"));
    let all = all["vectors"].as_array().unwrap();
    let mut skipped = BTreeMap::new();
    for vector in all {
        let curve = match vector["curve"].as_str().unwrap() {
            "secp256k1" => Curve::Secp256k1,
            "ed25519" => Curve::Ed25519,
            _ => {
                *skipped.entry("P-256: no wallet derives such keys").or_default() += 1;
                continue;
            }
        };
        let seed = secret(&hex::decode(vector["seed"].as_str().unwrap()).unwrap());
        let path: Path = vector["path"].as_str().unwrap().parse().unwrap();
        let known = Key::extended(curve, &seed, &path).unwrap();
        assert_eq!(hex::encode(known.public), vector["public"].as_str().unwrap(), "{curve:?} {path}");
        assert_eq!(hex::encode(known.chain_code), vector["chain_code"].as_str().unwrap(), "{curve:?} {path}");
    }
    tally("slip10", all.len(), &skipped);
}

#[test]
fn published_bip_39() {
    let all = vectors(include_str!("vectors/bip39.json"));
    let all = all["english"].as_array().unwrap();
    for vector in all {
        let [entropy, phrase, seed, xprv] = [0, 1, 2, 3].map(|field| vector[field].as_str().unwrap());
        let entropy = secret(&hex::decode(entropy).unwrap());
        assert_eq!(phrase_of(&entropy).unwrap().expose(), phrase.as_bytes());
        let made = seed_of_phrase(&secret(phrase.as_bytes()), &secret(b"TREZOR")).unwrap();
        assert_eq!(hex::encode(made.expose()), seed);
        let root = Key::extended(Curve::Secp256k1, &made, &Path::default()).unwrap();
        let published = Xpub::from_priv(&Secp256k1::new(), &Xpriv::from_str(xprv).unwrap());
        assert_eq!(xpub(&root, &Path::default()), published);
    }
    tally("bip39", all.len(), &BTreeMap::new());
    for bad in [
        "abandon about",
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon",
        "",
    ] {
        assert!(
            matches!(seed_of_phrase(&secret(bad.as_bytes()), &secret(b"")), Err(HdError::Phrase(_))),
            "{bad}"
        );
    }
}

#[test]
fn published_bip_44_49_84_86() {
    let all = vectors(include_str!("vectors/addresses.json"));
    let phrase = all["phrase"].as_str().unwrap();
    let seed = seed_of_phrase(&secret(phrase.as_bytes()), &secret(b"")).unwrap();
    let all = all["vectors"].as_array().unwrap();
    for vector in all {
        let path: Path = vector["path"].as_str().unwrap().parse().unwrap();
        let known = Key::extended(Curve::Secp256k1, &seed, &path).unwrap();
        let public = PublicKey::from_slice(&known.public).unwrap();
        if path.to_string().starts_with("m/44'/60'") {
            let hash = alloy_primitives::keccak256(&public.serialize_uncompressed()[1..]);
            let address = alloy_primitives::Address::from_slice(&hash[12..]);
            assert_eq!(address.to_string(), vector["address"].as_str().unwrap(), "{path}");
            continue;
        }
        let key = CompressedPublicKey(public);
        let network = if path.to_string().contains("/1'/0'") { Network::Testnet } else { Network::Bitcoin };
        let address = match path.steps()[0] & 0xff {
            44 => Address::p2pkh(key, network),
            49 => Address::p2shwpkh(&key, network),
            84 => Address::p2wpkh(&key, network),
            _ => Address::p2tr(&Secp256k1::verification_only(), key.0.into(), None, network),
        };
        assert_eq!(address.to_string(), vector["address"].as_str().unwrap(), "{path}");
    }
    tally("bip44, 49, 84, 86", all.len(), &BTreeMap::new());
}

#[test]
fn below_an_account_public_and_private_derivation_agree() {
    let seed = SecretBytes::random(32).unwrap();
    let account = Path::account(84, 0, 0);
    let above = xpub(&Key::extended(Curve::Secp256k1, &seed, &account).unwrap(), &account);
    for index in [0, 1, 19, 1_000, 0x7fff_ffff] {
        let path = account.then(&[1, index]).unwrap();
        let below: DerivationPath = format!("m/1/{index}").parse().unwrap();
        let public =
            above.derive_pub(&Secp256k1::verification_only(), &below).unwrap().public_key.serialize();
        assert_eq!(Key::derive(Curve::Secp256k1, &seed, &path).unwrap().public().unwrap(), public, "{path}");
    }
    let soft = "m/0".parse().unwrap();
    assert!(matches!(Key::derive(Curve::Ed25519, &seed, &soft), Err(HdError::NotHardened)));
    assert!(matches!(Key::derive(Curve::Secp256k1, &secret(&[1; 15]), &soft), Err(HdError::Seed)));
}

#[test]
fn published_slip_39() {
    let all = vectors(include_str!("vectors/slip39.json"));
    let all = all["vectors"].as_array().unwrap();
    for vector in all {
        let name = &vector[0];
        let shares: Vec<_> = vector[1]
            .as_array()
            .unwrap()
            .iter()
            .map(|words| secret(words.as_str().unwrap().as_bytes()))
            .collect();
        let made = slip39::combine(&shares, &secret(b"TREZOR"));
        match (vector[2].as_str().unwrap(), made) {
            ("", Err(_)) => {}
            (expected, Ok(made)) => {
                assert_eq!(hex::encode(made.expose()), expected, "{name}");
                let root = Key::extended(Curve::Secp256k1, &made, &Path::default()).unwrap();
                let published = Xpriv::from_str(vector[3].as_str().unwrap()).unwrap();
                assert_eq!(
                    xpub(&root, &Path::default()),
                    Xpub::from_priv(&Secp256k1::new(), &published),
                    "{name}"
                );
            }
            (_, Err(error)) => panic!("{name}: {error}"),
        }
    }
    tally("slip39", all.len(), &BTreeMap::new());
}

/// Would catch shares that nobody's other wallet reads, or of which fewer than said are enough.
#[test]
fn a_secret_comes_back_from_any_enough_shares_and_from_no_fewer() {
    let (seed, passphrase) = (SecretBytes::random(32).unwrap(), secret(b"of the custodians"));
    let plan = Plan { iteration_exponent: 0, ..Plan::any(3, 5) };
    let [shares] = slip39::split(&seed, &passphrase, &plan).unwrap().try_into().unwrap();
    let pick = |places: &[usize]| {
        let picked: Vec<_> = places.iter().map(|place| secret(shares[*place].expose())).collect();
        slip39::combine(&picked, &passphrase)
    };
    for places in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
        assert!(pick(&places).unwrap() == seed, "{places:?}");
    }
    for places in [&[0, 1][..], &[0, 0, 1], &[0, 1, 2, 3], &[]] {
        assert!(pick(places).is_err(), "{places:?}");
    }
    let mut miswritten: Vec<_> = [0, 1, 2].map(|place| secret(shares[place].expose())).into();
    let mut words = String::from_utf8(shares[1].expose().to_vec()).unwrap();
    let at = words.rfind(' ').unwrap();
    words.truncate(at);
    words.push_str(if shares[1].expose().ends_with(b" academic") { " acid" } else { " academic" });
    miswritten[1] = secret(words.as_bytes());
    let error = slip39::combine(&miswritten, &passphrase).unwrap_err();
    assert_eq!(error.to_string(), "share 2: its checksum does not hold: a word is wrong");

    // Two of three groups, one of them of a single share.
    let group = |threshold, shares| Group { threshold, shares };
    let plan =
        Plan { groups_needed: 2, groups: vec![group(1, 1), group(2, 3), group(2, 2)], iteration_exponent: 0 };
    let groups = slip39::split(&seed, &passphrase, &plan).unwrap();
    let two = [&groups[0][0], &groups[1][2], &groups[1][0]].map(|share| secret(share.expose()));
    assert!(slip39::combine(&two, &passphrase).unwrap() == seed);
    assert!(slip39::combine(&two[1..], &passphrase).is_err());
    for bad in [Plan::any(0, 1), Plan::any(3, 2), Plan::any(1, 2), Plan::any(2, 17)] {
        assert!(slip39::split(&seed, &passphrase, &bad).is_err(), "{bad:?}");
    }
}
