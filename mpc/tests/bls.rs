//! A quorum signs statements with threshold BLS; what comes out is what the published vectors and the key that was never split give.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use blsful::inner_types::{G1Projective, G2Projective, Scalar};
use blsful::{Bls12381G2Impl, SecretKey, SignatureSchemes};
use chancery_mpc::bls::{self, Bls12381, Dkg, Refresh, Reshare, Share, Sign, Statement};
use chancery_mpc::{PartyId, Random, Reason, frost};
use frost_core::SigningKey;
use frost_core::keys::{IdentifierList, KeyPackage, split};
use frost_ed25519::rand_core::OsRng;
use support::{Run, outcomes, party, scheme, set};

type Shares = BTreeMap<PartyId, Share>;

const NOTE: Statement<'static> = Statement::Checkpoint(b"log.example/1\n7\nroot\n");

fn sign(shares: &Shares, signers: &BTreeSet<PartyId>, statement: &Statement<'_>) -> Vec<u8> {
    let machine = |me: &PartyId| (*me, Sign::new(*me, shares[me].clone(), signers, statement).unwrap());
    let run = Run { seed: 3, ..Run::of(shares.values().next().unwrap().scheme().unwrap()) };
    let signatures: BTreeSet<_> =
        outcomes(run.run(signers.iter().map(machine).collect())).into_values().collect();
    assert_eq!(signatures.len(), 1);
    signatures.into_iter().next().unwrap()
}

/// A known key's shares.
fn dealt(secret: Scalar) -> Shares {
    let key = SigningKey::<Bls12381>::from_scalar(secret).unwrap();
    let (shares, group) = split(&key, 3, 2, IdentifierList::Default, &mut OsRng).unwrap();
    let group = group.serialize().unwrap();
    let share = |(secret, me): (frost_core::keys::SecretShare<Bls12381>, u8)| {
        let own = KeyPackage::try_from(secret).unwrap().serialize().unwrap();
        (party(me), Share::from_bytes(&postcard::to_stdvec(&(own, &group)).unwrap()).unwrap())
    };
    shares.into_values().zip(1..).map(share).collect()
}

/// Would catch another curve, hash, domain or encoding than the world's, and parts that add up to another signature.
#[test]
fn published_vectors_hold_and_parts_add_up_to_them() {
    #[derive(serde::Deserialize)]
    struct Case {
        secret: String,
        public: String,
        message: String,
        signature: String,
    }
    #[derive(serde::Deserialize)]
    struct Vectors {
        cases: Vec<Case>,
    }
    let vectors: Vectors = serde_json::from_str(include_str!("vectors/bls12-381-sign.json")).unwrap();
    for case in vectors.cases {
        let secret = Scalar::from_be_bytes(&hex::decode(case.secret).unwrap().try_into().unwrap()).unwrap();
        let whole = SecretKey::<Bls12381G2Impl>(secret);
        let by_whole = |message: &[u8]| {
            let signature = whole.sign(SignatureSchemes::ProofOfPossession, message).unwrap();
            G2Projective::to_compressed(signature.as_raw_value()).to_vec()
        };
        assert_eq!(hex::encode(by_whole(&hex::decode(case.message).unwrap())), case.signature);
        let shares = dealt(secret);
        assert_eq!(hex::encode(shares[&party(1)].public_key()), case.public);
        assert_eq!(
            G1Projective::to_compressed(&whole.public_key().0).to_vec(),
            shares[&party(1)].public_key()
        );
        assert_eq!(sign(&shares, &set([1, 3]), &NOTE), by_whole(&NOTE.text()));
    }
}

/// Would catch a quorum whose word depends on who speaks, changes with its shares, or is taken for another word.
#[test]
fn any_quorum_says_the_same_and_nothing_else_is_said() {
    let of = scheme(3, 5);
    let new = |me| (me, Dkg::new(me, of, Random::os()));
    let shares: Shares = outcomes(Run::of(of).run(of.all().map(new).collect()));
    let key = shares[&party(1)].public_key();
    let word = sign(&shares, &set([1, 2, 3]), &NOTE);
    assert_eq!(sign(&shares, &set([2, 4, 5]), &NOTE), word);
    assert_eq!(sign(&shares, &set(1..=5), &NOTE), word);
    assert!(bls::verify(&key, &NOTE, &word));

    let name = [7; 32];
    let epoch = Statement::Epoch(&name);
    assert!(!bls::verify(&key, &epoch, &word) && !bls::verify(&key, &Statement::Checkpoint(b"log"), &word));
    assert!(!bls::verify(&key, &Statement::Checkpoint(&name), &sign(&shares, &set(1..=3), &epoch)));
    assert!(!bls::verify(&key[..47], &NOTE, &word) && !bls::verify(&key, &NOTE, &word[..95]));
    assert!(!bls::verify(&[0; 48], &NOTE, &word) && !bls::verify(&key, &NOTE, &[0; 96]));
    let infinity = |length: usize| [&[0xc0][..], &vec![0; length - 1]].concat();
    assert!(!bls::verify(&infinity(48), &NOTE, &infinity(96)), "nobody's key signs everything");

    let refresh = |me| (me, Refresh::new(me, shares[&me].clone(), 5, Random::os()));
    let new: Shares = outcomes(Run::of(of).run(of.all().map(refresh).collect()));
    assert_eq!(sign(&new, &set([1, 3, 5]), &NOTE), word);
    let (group, to) = (new[&party(1)].group(), set([4, 5, 6]));
    let reshare = |me: PartyId| {
        let own = new.get(&me).cloned().filter(|_| me != party(5));
        (me, Reshare::new(me, &group, own, set([1, 2, 4]), to.clone(), 2, Random::os()).unwrap())
    };
    let moved = outcomes(Run::of(of).run(set([1, 2, 4, 5, 6]).into_iter().map(reshare).collect()));
    let moved: Shares = moved.into_iter().filter_map(|(me, one)| Some((me, one.share?))).collect();
    assert_eq!(sign(&moved, &set([5, 6]), &NOTE), word);

    // A share of another epoch is no part of it, and has a name; a key has one use.
    let signers = set([4, 5]);
    let machine = |me: u8, share: &Share| (party(me), Sign::new(party(me), share.clone(), &signers, &NOTE));
    assert!(machine(4, &new[&party(4)]).1.is_err(), "three sign of those");
    let mut came = Run::of(scheme(2, 3)).run_over(
        [machine(4, &moved[&party(4)]), machine(5, &moved[&party(5)])]
            .map(|(me, one)| (me, one.unwrap()))
            .into(),
        &mut |mut envelope, session| {
            if envelope.from == party(5) {
                envelope.to_all.clone_from(&word);
                support::sign(&mut envelope, session);
            }
            vec![envelope]
        },
    );
    let fault = came.remove(&party(4)).unwrap().fault.unwrap();
    assert_eq!((fault.reason, fault.culprits), (Reason::SignatureShare, set([5])));
    assert!(frost::Sign::new(moved[&party(4)].clone(), &signers, vec![1], Random::os()).is_err());
    assert!(Sign::new(party(4), moved[&party(5)].clone(), &signers, &NOTE).is_err());
}
