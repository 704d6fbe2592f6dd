//! The verifier against flipped, foreign, replayed and malleable signatures. Keys are made in software here.

use super::*;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use secp256k1::SecretKey;

type Sign = dyn Fn(&Message) -> [u8; 64];

/// A key pair, and a way to sign with it as a token would.
struct Signer {
    public: PublicKey,
    sign: Box<Sign>,
}

fn signer(algorithm: Algorithm, seed: u8) -> Signer {
    match algorithm {
        Algorithm::Secp256k1 => {
            let context = Secp256k1::new();
            let secret = SecretKey::from_slice(&[seed; 32]).unwrap();
            let public =
                PublicKey::parse(algorithm, &secret.public_key(&context).serialize_uncompressed()).unwrap();
            let sign = move |message: &Message| -> [u8; 64] {
                let Message::Digest(digest) = message else { panic!("not a digest") };
                context.sign_ecdsa(&secp256k1::Message::from_digest(*digest), &secret).serialize_compact()
            };
            Signer { public, sign: Box::new(sign) }
        }
        Algorithm::P256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            let public = PublicKey::parse(algorithm, pair.public_key().as_ref()).unwrap();
            let sign = move |message: &Message| -> [u8; 64] {
                let Message::Digest(digest) = message else { panic!("not a digest") };
                let digest = Digest::import_less_safe(digest, &SHA256).unwrap();
                let signature = pair.sign_digest(&digest).unwrap();
                signature.as_ref().try_into().unwrap()
            };
            Signer { public, sign: Box::new(sign) }
        }
        Algorithm::Ed25519 => {
            let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
            let public = PublicKey::parse(algorithm, pair.public_key().as_ref()).unwrap();
            let sign = move |message: &Message| -> [u8; 64] {
                let Message::Bytes(bytes) = message else { panic!("not bytes") };
                pair.sign(bytes).as_ref().try_into().unwrap()
            };
            Signer { public, sign: Box::new(sign) }
        }
    }
}

fn message(algorithm: Algorithm, seed: u8) -> Message {
    match algorithm {
        Algorithm::Ed25519 => Message::Bytes(vec![seed; 100]),
        _ => Message::Digest([seed; 32]),
    }
}

/// The other signature that verifies for the same message: `(r, n - s)`.
fn mirrored(bytes: &[u8; 64], order: &[u8; 32]) -> [u8; 64] {
    let mut mirrored = *bytes;
    let mut borrow = 0_i16;
    for place in (0..32).rev() {
        let difference = i16::from(order[place]) - i16::from(bytes[32 + place]) - borrow;
        borrow = i16::from(difference < 0);
        mirrored[32 + place] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    mirrored
}

const K1_ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

fn order(algorithm: Algorithm) -> [u8; 32] {
    match algorithm {
        Algorithm::Secp256k1 => hex::decode(K1_ORDER).unwrap().try_into().unwrap(),
        _ => P256_ORDER,
    }
}

#[test]
fn a_good_signature_is_sealed() {
    for algorithm in Algorithm::ALL {
        let signer = signer(algorithm, 1);
        let message = message(algorithm, 2);
        let sealed = seal(&signer.public, &message, &(signer.sign)(&message)).unwrap();
        assert_eq!(format!("{sealed:?}"), "<sealed>");
        assert_eq!(sealed.open().algorithm, algorithm);
    }
}

/// Would catch a signature of somebody else's that is taken for the wallet's, and two spellings of one.
#[test]
fn what_is_brought_is_the_keys_and_has_one_form() {
    let (ours, foreign) = (signer(Algorithm::Secp256k1, 1), signer(Algorithm::Secp256k1, 9));
    let (asked, other) = (message(Algorithm::Secp256k1, 2), message(Algorithm::Secp256k1, 3));
    let good = (ours.sign)(&asked);
    assert_eq!(Sealed::brought(&ours.public, &asked, &good).unwrap().open().bytes, good);
    let high = mirrored(&good, &order(Algorithm::Secp256k1));
    for bad in [&high[..], &good[..63], &[], &[0; 64], &(foreign.sign)(&asked), &(ours.sign)(&other)] {
        assert!(Sealed::brought(&ours.public, &asked, bad).is_err(), "{}", hex::encode(bad));
    }
}

#[test]
fn every_flipped_byte_is_found() {
    for algorithm in Algorithm::ALL {
        let signer = signer(algorithm, 1);
        let message = message(algorithm, 2);
        let good = (signer.sign)(&message);
        for place in 0..64 {
            for bit in [1, 0x80] {
                let mut flipped = good;
                flipped[place] ^= bit;
                assert!(
                    seal(&signer.public, &message, &flipped).is_err(),
                    "{algorithm} byte {place} bit {bit}"
                );
            }
        }
    }
}

#[test]
fn a_foreign_key_or_another_message_is_found() {
    for algorithm in Algorithm::ALL {
        let (ours, foreign) = (signer(algorithm, 1), signer(algorithm, 9));
        let (asked, earlier) = (message(algorithm, 2), message(algorithm, 3));
        let by_foreign = seal(&ours.public, &asked, &(foreign.sign)(&asked));
        assert_eq!(by_foreign.unwrap_err(), WrongAnswer::Unverified, "{algorithm}: another key's signature");
        let replayed = seal(&ours.public, &asked, &(ours.sign)(&earlier));
        assert_eq!(replayed.unwrap_err(), WrongAnswer::Unverified, "{algorithm}: an earlier signature");
    }
}

/// Would catch a high-S signature that is released, and one that is normalised into a wrong one.
#[test]
fn both_mirror_images_come_out_as_the_same_low_s_signature() {
    for algorithm in [Algorithm::Secp256k1, Algorithm::P256] {
        for seed in 1..=64 {
            let signer = signer(algorithm, 1);
            let message = message(algorithm, seed);
            let raw = (signer.sign)(&message);
            let [one, other] = [raw, mirrored(&raw, &order(algorithm))]
                .map(|raw| seal(&signer.public, &message, &raw).unwrap().open());
            assert_eq!(one, other, "{algorithm}");
            let high = mirrored(&one.bytes, &order(algorithm));
            assert!(one.bytes[32..] < high[32..], "{algorithm}: {one:?} is not low-S");
        }
    }
}

/// Would catch a wrong parity, with which a chain recovers another sender.
#[test]
fn the_recovery_id_recovers_the_key_and_only_it() {
    let signer = signer(Algorithm::Secp256k1, 5);
    let mut parities = [0; 2];
    for seed in 1..=64 {
        let message = message(Algorithm::Secp256k1, seed);
        let signature = seal(&signer.public, &message, &(signer.sign)(&message)).unwrap().open();
        let parity = signature.recovery_id.unwrap();
        parities[usize::from(parity)] += 1;
        let Message::Digest(digest) = message else { unreachable!() };
        for claimed in 0..=1 {
            let id = RecoveryId::from_i32(claimed.into()).unwrap();
            let recovered = RecoverableSignature::from_compact(&signature.bytes, id)
                .and_then(|signature| {
                    SECP256K1.recover_ecdsa(&secp256k1::Message::from_digest(digest), &signature)
                })
                .map(|key| key.serialize_uncompressed())
                .ok();
            assert_eq!(recovered == signer.public.uncompressed(), claimed == parity);
        }
    }
    assert!(parities.iter().all(|count| *count > 0), "both parities must have been seen: {parities:?}");
}

#[test]
fn numbers_out_of_range_and_wrong_lengths_are_named() {
    for algorithm in [Algorithm::Secp256k1, Algorithm::P256] {
        let signer = signer(algorithm, 1);
        let message = message(algorithm, 2);
        let good = (signer.sign)(&message);
        for half in [0..32, 32..64] {
            for number in [[0; 32], order(algorithm), [0xff; 32]] {
                let mut bad = good;
                bad[half.clone()].copy_from_slice(&number);
                assert_eq!(
                    seal(&signer.public, &message, &bad).unwrap_err(),
                    WrongAnswer::Range,
                    "{algorithm}"
                );
            }
        }
        for bad in [&good[..63], &[&good[..], &[0]].concat(), &[]] {
            assert_eq!(seal(&signer.public, &message, bad).unwrap_err(), WrongAnswer::Length);
        }
    }
}

#[test]
fn an_algorithm_signs_only_its_own_form_of_message() {
    let (digest, bytes) = (Message::Digest([1; 32]), Message::Bytes(vec![1; 32]));
    assert!(
        fits(Algorithm::Secp256k1, &digest)
            && fits(Algorithm::P256, &digest)
            && fits(Algorithm::Ed25519, &bytes)
    );
    assert!(!fits(Algorithm::Secp256k1, &bytes) && !fits(Algorithm::Ed25519, &digest));
    assert!(!fits(Algorithm::Ed25519, &Message::Bytes(vec![0; MESSAGE_BYTES + 1])));
}
