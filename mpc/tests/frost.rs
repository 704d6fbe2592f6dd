//! FROST keys are made, sign, are refreshed and repaired; what comes out is judged by other libraries.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use chancery_mpc::frost::{Dkg, Ed25519, Refresh, Repair, Reshare, Share, Sign, SignAll, Suite, Taproot};
use chancery_mpc::{PartyId, Random, Scheme};
use support::{Run, outcomes, party, scheme, set};

type Shares<C> = BTreeMap<PartyId, Share<C>>;

fn make<C: Suite>(scheme: Scheme, seed: u64) -> Shares<C> {
    let machines = scheme.all().map(|me| (me, Dkg::<C>::new(me, scheme, Random::os()))).collect();
    outcomes(Run { seed, ..Run::of(scheme) }.run(machines))
}

fn sign<C: Suite>(
    scheme: Scheme,
    shares: &Shares<C>,
    signers: &BTreeSet<PartyId>,
    message: &[u8],
) -> Vec<u8> {
    let machine =
        |me: &PartyId| (*me, Sign::new(shares[me].clone(), signers, message.to_vec(), Random::os()).unwrap());
    let run = Run { about: message, seed: 7, ..Run::of(scheme) };
    let signatures: BTreeSet<_> =
        outcomes(run.run(signers.iter().map(machine).collect())).into_values().collect();
    assert_eq!(signatures.len(), 1, "everybody comes to the same signature");
    signatures.into_iter().next().unwrap()
}

fn ed25519_verifies(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}

fn bip340_verifies(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    use secp256k1::{Message, Secp256k1, XOnlyPublicKey, schnorr};
    let key = XOnlyPublicKey::from_slice(&key[1..]).unwrap();
    let message = Message::from_digest(message.try_into().unwrap());
    let signature = schnorr::Signature::from_slice(signature).unwrap();
    Secp256k1::verification_only().verify_schnorr(&signature, &message, &key).is_ok()
}

/// Would catch a scheme for which keys are made and do not sign, or sign with fewer than they should.
fn every_scheme<C: Suite>(verifies: impl Fn(&[u8], &[u8], &[u8]) -> bool) {
    for parties in 2..=7 {
        for threshold in 2..=parties {
            let scheme = scheme(threshold, parties);
            let shares = make::<C>(scheme, u64::from(parties));
            let key = shares[&party(1)].public_key();
            assert!(shares.values().all(|share| share.public_key() == key));
            // The last ones: no subset is special.
            let signers = set(parties - threshold + 1..=parties);
            let message = [parties; 32];
            assert!(verifies(&key, &message, &sign(scheme, &shares, &signers, &message)), "{scheme}");
            let fewer = set(1..threshold);
            assert!(Sign::new(shares[&party(1)].clone(), &fewer, message.to_vec(), Random::os()).is_err());
        }
    }
}

#[test]
fn any_threshold_of_up_to_seven_make_ed25519_signatures() {
    every_scheme::<Ed25519>(ed25519_verifies);
}

#[test]
fn any_threshold_of_up_to_seven_make_taproot_signatures() {
    every_scheme::<Taproot>(bip340_verifies);
}

/// Would catch a refresh that changes the key, leaves old shares good, or mixes with them; and a repair that gives another share.
fn refreshed_and_repaired<C: Suite>(verifies: impl Fn(&[u8], &[u8], &[u8]) -> bool) {
    let scheme = scheme(2, 3);
    let old = make::<C>(scheme, 3);
    let key = old[&party(1)].public_key();
    let machine = |me: PartyId| (me, Refresh::new(me, old[&me].clone(), 3, Random::os()));
    let new: Shares<C> = outcomes(Run::of(scheme).run(scheme.all().map(machine).collect()));
    let message = [1; 32];
    for share in new.values() {
        assert_eq!(share.public_key(), key);
        assert!(old.values().all(|one| one.to_bytes().unwrap() != share.to_bytes().unwrap()));
    }
    assert!(verifies(&key, &message, &sign(scheme, &new, &set([1, 3]), &message)));

    // An old share beside a new one: no signature, and nobody innocent is named by the party of the new epoch.
    let signers = set([1, 2]);
    let mixed = [(party(1), &new), (party(2), &old)];
    let machines = mixed
        .map(|(me, of)| (me, Sign::new(of[&me].clone(), &signers, message.to_vec(), Random::os()).unwrap()));
    let came = Run::of(scheme).run(machines.into());
    assert!(came.values().all(|one| one.outcome.is_none() && one.fault.is_some()));

    let helpers = set([1, 3]);
    let group = new[&party(1)].group();
    let mut machines: BTreeMap<PartyId, Repair<C>> = helpers
        .iter()
        .map(|me| (*me, Repair::help(*me, new[me].clone(), helpers.clone(), party(2), Random::os())))
        .collect();
    machines.insert(party(2), Repair::lost(party(2), &group, helpers.clone(), Random::os()).unwrap());
    let mut repaired = outcomes(Run::of(scheme).run(machines));
    let given = repaired.remove(&party(2)).unwrap().unwrap();
    assert!(repaired.values().all(Option::is_none), "no helper learns a share");
    assert_eq!(given, new[&party(2)]);

    // Members may be left out; who was, holds nothing that signs.
    let stay = set([1, 2]);
    let machine = |me: &PartyId| (*me, Refresh::new(*me, new[me].clone(), 2, Random::os()));
    let fewer: Shares<C> = outcomes(Run::of(scheme).run(stay.iter().map(machine).collect()));
    assert!(verifies(&key, &message, &sign(scheme, &fewer, &stay, &message)));
    assert!(Sign::new(fewer[&party(1)].clone(), &set([1, 3]), message.to_vec(), Random::os()).is_err());
}

/// Would catch a resharing that changes the key, makes shares that do not sign, or leaves old shares good.
fn reshared<C: Suite>(verifies: impl Fn(&[u8], &[u8], &[u8]) -> bool) {
    let (from, message) = (scheme(2, 3), [2; 32]);
    let old = make::<C>(from, 5);
    let (key, group) = (old[&party(1)].public_key(), old[&party(1)].group());
    // One stays, one goes, three join, and one more must agree.
    let (dealers, to, threshold) = (set([1, 3]), set([1, 4, 5, 6]), 3);
    let machine = |me: PartyId| {
        let own = dealers.contains(&me).then(|| old[&me].clone());
        let machine = Reshare::new(me, &group, own, dealers.clone(), to.clone(), threshold, Random::os());
        (me, machine.unwrap())
    };
    let all = dealers.union(&to).copied();
    let came = outcomes(Run { seed: 3, ..Run::of(from) }.run(all.map(machine).collect()));
    assert!(came[&party(3)].share.is_none());
    let new: Shares<C> =
        came.into_iter().filter_map(|(me, reshared)| reshared.share.map(|share| (me, share))).collect();
    assert_eq!(new.keys().copied().collect::<BTreeSet<_>>(), to);
    assert!(new.values().all(|share| share.public_key() == key));
    for signers in [set([1, 4, 5]), set([4, 5, 6])] {
        assert!(verifies(&key, &message, &sign(scheme(3, 4), &new, &signers, &message)));
    }
    assert!(Sign::new(new[&party(1)].clone(), &set([1, 4]), message.to_vec(), Random::os()).is_err());
    assert!(Sign::new(new[&party(1)].clone(), &set([1, 3, 4]), message.to_vec(), Random::os()).is_err());
    let again = Share::<C>::from_bytes(&new[&party(4)].to_bytes().unwrap()).unwrap();
    assert_eq!(again, new[&party(4)]);

    for bad in [
        Reshare::new(party(1), &group, None, dealers.clone(), to.clone(), 3, Random::os()),
        Reshare::new(party(4), &group, None, set([1]), to.clone(), 3, Random::os()),
        Reshare::new(party(4), &group, None, set([1, 9]), to.clone(), 3, Random::os()),
        Reshare::new(party(4), &group, None, dealers.clone(), to.clone(), 5, Random::os()),
        Reshare::new(party(7), &group, None, dealers.clone(), to.clone(), 3, Random::os()),
        Reshare::new(party(3), &group, Some(old[&party(1)].clone()), dealers.clone(), to, 3, Random::os()),
    ] {
        assert!(bad.is_err());
    }
}

#[test]
fn ed25519_shares_go_to_other_parties() {
    reshared::<Ed25519>(ed25519_verifies);
}

#[test]
fn taproot_shares_go_to_other_parties() {
    reshared::<Taproot>(bip340_verifies);
}

#[test]
fn ed25519_shares_are_refreshed_and_repaired() {
    refreshed_and_repaired::<Ed25519>(ed25519_verifies);
}

#[test]
fn taproot_shares_are_refreshed_and_repaired() {
    refreshed_and_repaired::<Taproot>(bip340_verifies);
}

/// Would catch a share that is read back as another, or that is believed though it is of two keys.
#[test]
fn a_share_is_read_back_whole_or_not_at_all() {
    let (one, other) = (make::<Ed25519>(scheme(2, 2), 1), make::<Ed25519>(scheme(2, 2), 2));
    let bytes = one[&party(1)].to_bytes().unwrap();
    assert_eq!(Share::<Ed25519>::from_bytes(&bytes).unwrap(), one[&party(1)]);
    assert!(Share::<Taproot>::from_bytes(&bytes).is_err());
    assert!(Share::<Ed25519>::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    assert!(Share::<Ed25519>::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    // The share of one key, the group of another.
    let theirs = other[&party(1)].to_bytes().unwrap();
    let cut = bytes.len() - one[&party(1)].group().len();
    assert!(Share::<Ed25519>::from_bytes(&[&bytes[..cut], &theirs[cut..]].concat()).is_err());
    let told = format!("{:?}", one[&party(1)]);
    assert!(!told.contains("signing_share") && told.contains("public_key"), "{told}");
}

/// Would catch a tweak that is not BIP-341's, for keys of either parity; and signatures of one session that are mixed up.
#[test]
fn a_taproot_key_spends_its_outputs_several_at_once() {
    use secp256k1::{PublicKey, Scalar, Secp256k1};
    use sha2::{Digest, Sha256};
    let (scheme, signers) = (scheme(2, 3), set([1, 3]));
    let mut parities = BTreeSet::new();
    for seed in 0..40 {
        let shares = make::<Taproot>(scheme, seed);
        let key = shares[&party(1)].public_key();
        if !parities.insert(key[0]) {
            continue;
        }
        let roots = [None, Some([5; 32])];
        let machine = |me: &PartyId| {
            let each = roots.iter().zip(1..).map(|(root, message)| {
                let share = shares[me].tweaked(*root);
                Sign::new(share, &signers, vec![message; 32], Random::os()).unwrap()
            });
            (*me, SignAll::new(each.collect()).unwrap())
        };
        let signed = outcomes(Run::of(scheme).run(signers.iter().map(machine).collect()));
        let signatures = &signed[&party(1)];
        assert_eq!((signatures.len(), signatures), (2, &signed[&party(3)]));
        for ((root, message), signature) in roots.iter().zip(1..).zip(signatures) {
            let tag = Sha256::digest(b"TapTweak");
            let x = &key[1..];
            let text = [&tag[..], &tag[..], x, root.as_ref().map_or(&[], |root| &root[..])].concat();
            let tweak = Scalar::from_be_bytes(Sha256::digest(text).into()).unwrap();
            let (internal, _) = PublicKey::from_slice(&key).unwrap().x_only_public_key();
            let (output, _) = internal.add_tweak(&Secp256k1::verification_only(), &tweak).unwrap();
            let output = [&[2][..], &output.serialize()].concat();
            assert!(bip340_verifies(&output, &[message; 32], signature), "{root:?}");
            assert!(!bip340_verifies(&key, &[message; 32], signature), "the tweak is there");
        }
    }
    assert_eq!(parities.len(), 2, "keys of both parities were tried");
    assert!(SignAll::<Taproot>::new(Vec::new()).is_err());
}
