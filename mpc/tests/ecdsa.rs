//! ECDSA keys are made, sign, derive, are refreshed and repaired; what comes out is judged by libsecp256k1.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use chancery_mpc::ecdsa::{Dkg, Refresh, Repair, Reshare, Share, Sign, Signature};
use chancery_mpc::{PartyId, Random, Scheme};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey, Secp256k1};
use support::{Run, outcomes, party, scheme, set};

type Shares = BTreeMap<PartyId, Share>;

fn make(scheme: Scheme) -> Shares {
    outcomes(
        Run { seed: 11, ..Run::of(scheme) }.run(scheme.all().map(|me| (me, Dkg::new(me, scheme))).collect()),
    )
}

fn sign(scheme: Scheme, shares: &Shares, signers: &BTreeSet<PartyId>, digest: [u8; 32]) -> Signature {
    let machines =
        signers.iter().map(|me| (*me, Sign::new(shares[me].clone(), signers, digest).unwrap())).collect();
    let run = Run { about: &digest, seed: 5, ..Run::of(scheme) };
    let signatures: BTreeSet<_> = outcomes(run.run(machines)).into_values().collect();
    assert_eq!(signatures.len(), 1, "everybody comes to the same signature");
    signatures.into_iter().next().unwrap()
}

/// Whether the key is recovered, and `s` is low.
fn verifies(key: [u8; 33], digest: [u8; 32], signature: &Signature) -> bool {
    let id = RecoveryId::from_i32(signature[64].into()).unwrap();
    let recoverable = RecoverableSignature::from_compact(&signature[..64], id).unwrap();
    let mut low = recoverable.to_standard();
    low.normalize_s();
    let recovered = Secp256k1::verification_only().recover_ecdsa(&Message::from_digest(digest), &recoverable);
    low == recoverable.to_standard() && recovered.unwrap() == PublicKey::from_slice(&key).unwrap()
}

#[test]
fn any_threshold_signs_and_children_too() {
    for (threshold, parties) in [(2, 2), (2, 3), (3, 3), (3, 5)] {
        let scheme = scheme(threshold, parties);
        let shares = make(scheme);
        let key = shares[&party(1)].public_key();
        assert!(shares.values().all(|share| share.public_key() == key));
        let signers = set(parties - threshold + 1..=parties);
        assert!(verifies(key, [parties; 32], &sign(scheme, &shares, &signers, [parties; 32])), "{scheme}");
        assert!(Sign::new(shares[&party(1)].clone(), &set(1..threshold), [0; 32]).is_err());

        // The child that any wallet would derive from the key and its chain code.
        let path = [0, 17];
        let children: Shares = shares.iter().map(|(me, share)| (*me, share.derive(&path).unwrap())).collect();
        let child = children[&party(1)].public_key();
        assert_ne!(child, key);
        assert!(verifies(child, [9; 32], &sign(scheme, &children, &signers, [9; 32])), "{scheme}");
        assert!(shares[&party(1)].derive(&[1 << 31]).is_err(), "nobody has a hardened child");
    }
}

#[test]
fn shares_are_refreshed_and_repaired() {
    let scheme = scheme(2, 3);
    let old = make(scheme);
    let key = old[&party(1)].public_key();
    let refresh = |shares: &Shares, nonce| -> Shares {
        let machines = scheme.all().map(|me| (me, Refresh::new(shares[&me].clone()))).collect();
        outcomes(Run { nonce, ..Run::of(scheme) }.run(machines))
    };
    let new = refresh(&old, 1);
    assert!(new.values().all(|share| share.public_key() == key));
    assert!(verifies(key, [3; 32], &sign(scheme, &new, &set([1, 2]), [3; 32])));

    let signers = set([1, 2]);
    let mixed = [(party(1), &new), (party(2), &old)];
    let machines = mixed.map(|(me, of)| (me, Sign::new(of[&me].clone(), &signers, [4; 32]).unwrap()));
    let came = Run::of(scheme).run(machines.into());
    assert!(came.values().all(|one| one.outcome.is_none()));
    assert!(came.values().any(|one| one.fault.is_some()));
    assert!(
        came.values().filter_map(|one| one.fault.as_ref()).all(|fault| !fault.ban),
        "an old epoch is no crime"
    );

    let helpers = set([1, 3]);
    let mut machines: BTreeMap<PartyId, Repair> =
        helpers.iter().map(|me| (*me, Repair::help(new[me].clone(), helpers.clone(), party(2)))).collect();
    let group = new[&party(1)].group();
    machines.insert(party(2), Repair::lost(party(2), &group, helpers.clone()).unwrap());
    let given =
        outcomes(Run { nonce: 2, ..Run::of(scheme) }.run(machines)).remove(&party(2)).unwrap().unwrap();
    assert_eq!(given.public_key(), key);
    // It signs once everybody has refreshed.
    let mut hollow = new.clone();
    hollow.insert(party(2), given);
    let whole = refresh(&hollow, 3);
    assert!(verifies(key, [5; 32], &sign(scheme, &whole, &set([2, 3]), [5; 32])));
}

fn reshare(old: &Shares, dealers: BTreeSet<PartyId>, to: BTreeSet<PartyId>, threshold: u8) -> Shares {
    let share = &old[dealers.first().unwrap()];
    let (group, scheme) = (share.group(), share.scheme().unwrap());
    let machine = |me: PartyId| {
        let own = dealers.contains(&me).then(|| old[&me].clone());
        let machine = Reshare::new(me, &group, own, dealers.clone(), to.clone(), threshold, Random::os());
        (me, machine.unwrap())
    };
    let all = dealers.union(&to).copied();
    let came = outcomes(Run { seed: 9, ..Run::of(scheme) }.run(all.map(machine).collect()));
    let groups: BTreeSet<_> = came.values().map(|one| one.group.clone()).collect();
    assert_eq!(groups.len(), 1, "who leaves knows the same of the key");
    let new: Shares = came.into_iter().filter_map(|(me, one)| Some((me, one.share?))).collect();
    assert_eq!(new.keys().copied().collect::<BTreeSet<_>>(), to);
    new
}

/// Would catch a resharing that changes the key or its children, leaves old shares good, or counts parties by other numbers.
#[test]
fn shares_go_to_other_parties_and_another_threshold() {
    let old = make(scheme(2, 3));
    let key = old[&party(1)].public_key();
    let child = old[&party(1)].derive(&[4]).unwrap().public_key();
    // One leaves, one joins; one stays that deals nothing, as if it had lost its share.
    let new = reshare(&old, set([1, 3]), set([1, 2, 4]), 2);
    assert!(new.values().all(|share| share.public_key() == key));
    for signers in [set([1, 2]), set([2, 4])] {
        assert!(verifies(key, [6; 32], &sign(scheme(2, 3), &new, &signers, [6; 32])));
    }
    assert!(Sign::new(new[&party(1)].clone(), &set([1, 3]), [0; 32]).is_err());
    let mixed = [(party(1), &new), (party(2), &old)];
    let machines = mixed.map(|(me, of)| (me, Sign::new(of[&me].clone(), &set([1, 2]), [7; 32]).unwrap()));
    let came = Run::of(scheme(2, 3)).run(machines.into());
    assert!(came.values().all(|one| one.outcome.is_none()));
    assert!(came.values().filter_map(|one| one.fault.as_ref()).all(|fault| !fault.ban));

    // Their numbers are no longer their seats; and one more must agree.
    let more = reshare(&new, set([2, 4]), set([2, 5, 6]), 3);
    let children: Shares = more.iter().map(|(me, share)| (*me, share.derive(&[4]).unwrap())).collect();
    assert_eq!(children[&party(5)].public_key(), child);
    assert!(verifies(child, [8; 32], &sign(scheme(3, 3), &children, &set([2, 5, 6]), [8; 32])));
    assert!(Sign::new(more[&party(5)].clone(), &set([2, 5]), [0; 32]).is_err());
    let bytes = more[&party(6)].to_bytes().unwrap();
    assert_eq!(Share::from_bytes(&bytes).unwrap().to_bytes().unwrap(), bytes);

    let group = new[&party(2)].group();
    for (me, own, dealers) in [
        (2, None, set([2, 4])),
        (2, Some(new[&party(4)].clone()), set([2, 4])),
        (2, Some(old[&party(2)].clone()), set([2, 4])),
        (2, Some(new[&party(2)].clone()), set([2])),
        (2, Some(new[&party(2)].clone()), set([2, 3])),
        (7, None, set([2, 4])),
    ] {
        assert!(Reshare::new(party(me), &group, own, dealers, set([2, 5]), 2, Random::os()).is_err());
    }
}

#[test]
fn a_share_is_read_back_whole_or_not_at_all() {
    let (one, other) = (make(scheme(2, 2)), make(scheme(2, 2)));
    let bytes = one[&party(1)].to_bytes().unwrap();
    let again = Share::from_bytes(&bytes).unwrap();
    assert_eq!(again.to_bytes().unwrap(), bytes);
    assert!(Share::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    assert!(Share::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    let theirs = other[&party(1)].to_bytes().unwrap();
    let group = one[&party(1)].group().len() - 32;
    let (mine, their) = (bytes.len() - group, theirs.len() - group);
    assert!(Share::from_bytes(&[&bytes[..mine], &theirs[their..]].concat()).is_err());
    assert!(!format!("{again:?}").contains("poly_point"));
}
