//! One party does not keep to the protocol, at each step in each way. Whatever it does: no honest party comes to a wrong signature or
//! to another key than the others, none holds a certified key that the others lack, and nobody honest is ever named.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may panic")]
#![allow(clippy::print_stdout, reason = "figures are printed")]

mod support;

use std::collections::BTreeMap;

use chancery_mpc::{
    ENVELOPE_BYTES, Envelope, Machine, PartyId, Random, Reason, Scheme, SessionId, ecdsa, frost,
};
use support::{Came, Run, outcomes, party, scheme, set, sign};

/// What the cheater does with its messages of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cheat {
    /// Bytes that mean nothing.
    Garbage,
    /// The last byte is missing.
    Short,
    /// One bit is another, in what is for all and in what is for one.
    Flipped,
    /// One bit is another in what is for one party alone.
    WrongShare,
    /// Something else for one party than for the others.
    TwoFaced,
    /// What was for one party goes to the other.
    Swapped,
    /// A second message, signed as well.
    Twice,
    /// The same message again, as it was.
    Replayed,
    /// A message under its name that it did not sign.
    Unsigned,
    /// Signed for another session.
    OtherSession,
    /// More than a message may say.
    Flooding,
    /// Nothing.
    Silent,
}

const CHEATS: [Cheat; 12] = [
    Cheat::Garbage,
    Cheat::Short,
    Cheat::Flipped,
    Cheat::WrongShare,
    Cheat::TwoFaced,
    Cheat::Swapped,
    Cheat::Twice,
    Cheat::Replayed,
    Cheat::Unsigned,
    Cheat::OtherSession,
    Cheat::Flooding,
    Cheat::Silent,
];

const CHEATER: u8 = 2;

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
}

/// The messages in place of this one; `kept` holds what a swap needs.
fn cheated(
    cheat: Cheat,
    mut envelope: Envelope,
    session: &SessionId,
    kept: &mut Option<Envelope>,
) -> Vec<Envelope> {
    match cheat {
        Cheat::Silent => return Vec::new(),
        Cheat::Replayed => return vec![envelope.clone(), envelope],
        Cheat::Unsigned => {
            flip(&mut envelope.signature);
            return vec![envelope];
        }
        Cheat::OtherSession => {
            let other = SessionId::named([9; 32]);
            sign(&mut envelope, &other);
            return vec![envelope];
        }
        Cheat::Twice => {
            let mut second = envelope.clone();
            second.to_all.push(0);
            sign(&mut second, session);
            return vec![envelope, second];
        }
        Cheat::Garbage => {
            envelope.to_all = vec![0xff; 40];
            *envelope.to_me = vec![0xff; 40];
        }
        Cheat::Flooding => envelope.to_all.resize(ENVELOPE_BYTES + 1, 0),
        Cheat::Short => {
            envelope.to_all.pop();
            envelope.to_me.pop();
        }
        Cheat::Flipped => {
            flip(&mut envelope.to_all);
            flip(&mut envelope.to_me);
        }
        Cheat::WrongShare => flip(&mut envelope.to_me),
        Cheat::TwoFaced => {
            if envelope.to == party(1) {
                flip(&mut envelope.to_all);
            }
        }
        Cheat::Swapped => {
            let Some(mut first) = kept.take() else {
                *kept = Some(envelope);
                return Vec::new();
            };
            std::mem::swap(&mut first.to_me, &mut envelope.to_me);
            sign(&mut first, session);
            sign(&mut envelope, session);
            return vec![first, envelope];
        }
    }
    sign(&mut envelope, session);
    vec![envelope]
}

/// How many times a cheater was named, of how many times it cheated, by step.
type Named = BTreeMap<u8, (usize, usize)>;

/// Cheats in each way at each step of a protocol, or in one of `every` ways where a run is dear. `judge` looks at what honest
/// parties came to.
fn cheat<M: Machine>(
    what: &str,
    scheme: Scheme,
    steps: u8,
    every: usize,
    machines: impl Fn() -> BTreeMap<PartyId, M>,
    judge: impl Fn(&str, &BTreeMap<PartyId, Came<M::Output>>),
) -> Named {
    let mut named = Named::new();
    for step in 1..=steps {
        for cheat in CHEATS.into_iter().skip(usize::from(step) % every).step_by(every) {
            let at = format!("{what}: {cheat:?} at step {step}");
            let (mut kept, mut cheats) = (None, 0);
            let mut came = Run::of(scheme).run_over(machines(), &mut |envelope, session| {
                if envelope.from != party(CHEATER) || envelope.step != step {
                    return vec![envelope];
                }
                cheats += 1;
                cheated(cheat, envelope, session, &mut kept)
            });
            assert!(cheats > 0, "{at}: there is no such step");
            came.remove(&party(CHEATER));
            let faults = || came.values().filter_map(|one| one.fault.as_ref());
            for fault in faults() {
                assert!(fault.culprits.is_subset(&set([CHEATER])), "{at}: somebody honest is named: {fault}");
            }
            let alone =
                matches!(cheat, Cheat::Unsigned | Cheat::OtherSession | Cheat::Flooding | Cheat::Silent);
            if alone {
                // Nothing of it counts, and nobody is blamed for what somebody else may have sent.
                assert!(faults().count() == 0, "{at}");
                assert!(came.values().all(|one| (one.foreign > 0) == (cheat != Cheat::Silent)), "{at}");
            } else if cheat == Cheat::Replayed {
                assert!(faults().count() == 0, "{at}: what is delivered twice is one message");
                assert!(came.values().all(|one| one.outcome.is_some()), "{at}");
            } else {
                let of = named.entry(step).or_default();
                of.0 += usize::from(faults().any(|fault| !fault.culprits.is_empty()));
                of.1 += 1;
            }
            judge(&at, &came);
        }
    }
    println!("figure: {what}: cheater named, of the ways to cheat, by step: {named:?}");
    named
}

/// For protocols that make keys: what is certified is certified by all, and is one key.
fn one_key<T>(at: &str, came: &BTreeMap<PartyId, Came<T>>) {
    let certified: Vec<_> = came.values().filter_map(|one| one.certificate.as_ref()).collect();
    assert!(certified.windows(2).all(|pair| pair[0].public == pair[1].public), "{at}: two keys");
}

fn frost_is_safe<C: frost::Suite>(what: &str, verifies: impl Fn(&[u8], &[u8]) -> bool) {
    let scheme = scheme(3, 3);
    let new = || scheme.all().map(|me| (me, frost::Dkg::<C>::new(me, scheme, Random::os()))).collect();
    // Commitments, their echo, points, the certificate.
    let named = cheat(&format!("{what} key"), scheme, 4, 1, new, one_key);
    // Where nothing is for one alone, a swap changes nothing; a second message may come when the step is over.
    assert!(named[&1].0 >= 4 && named[&2].0 >= 3 && named[&3].0 >= 4 && named[&4].0 >= 3, "{named:?}");

    let shares = outcomes(Run::of(scheme).run(new()));
    let key = shares[&party(1)].public_key();
    let sign = || {
        let one =
            |me| (me, frost::Sign::new(shares[&me].clone(), &set(1..=3), vec![1; 32], Random::os()).unwrap());
        scheme.all().map(one).collect()
    };
    let named = cheat(&format!("{what} signature"), scheme, 2, 1, sign, |at, came| {
        for signature in came.values().filter_map(|one| one.outcome.as_ref()) {
            assert!(verifies(&key, signature), "{at}: a wrong signature came out");
        }
    });
    assert!(named[&2].0 >= 3, "{named:?}");

    let refresh = || {
        let one = |me| (me, frost::Refresh::new(me, shares[&me].clone(), 3, Random::os()));
        scheme.all().map(one).collect()
    };
    let named = cheat(&format!("{what} refresh"), scheme, 4, 1, refresh, one_key);
    assert!(named[&3].0 >= 4, "{named:?}");

    let group = shares[&party(1)].group();
    let reshare = || {
        let one = |me| {
            let own = shares.get(&me).cloned();
            let machine = frost::Reshare::new(me, &group, own, set(1..=3), set([1, 3, 4]), 3, Random::os());
            (me, machine.unwrap())
        };
        scheme.all().chain([party(4)]).map(one).collect()
    };
    let named = cheat(&format!("{what} reshare"), scheme, 3, 1, reshare, one_key);
    assert!(named[&1].0 >= 6, "{named:?}");

    let of_four = support::scheme(3, 4);
    let new = |me| (me, frost::Dkg::<C>::new(me, of_four, Random::os()));
    let shares = outcomes(Run::of(of_four).run(of_four.all().map(new).collect()));
    let (group, helpers, lost) = (shares[&party(1)].group(), set(1..=3), party(4));
    let repair = || {
        let help = |me: &PartyId| {
            (*me, frost::Repair::help(*me, shares[me].clone(), helpers.clone(), lost, Random::os()))
        };
        let mut machines: BTreeMap<_, _> = helpers.iter().map(help).collect();
        machines.insert(lost, frost::Repair::lost(lost, &group, helpers.clone(), Random::os()).unwrap());
        machines
    };
    let named = cheat(&format!("{what} repair"), of_four, 2, 1, repair, |at, came| {
        for share in came.values().filter_map(|one| one.outcome.as_ref()).flatten() {
            assert!(*share == shares[&lost], "{at}: another share");
        }
    });
    // Each way that is not nobody's, but a swap where only one is told something, and a second message that comes late.
    assert!(named[&1].0 >= 6 && named[&2].0 >= 4, "{named:?}");
}

#[test]
fn nobody_makes_ed25519_go_wrong() {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    frost_is_safe::<frost::Ed25519>("frost-ed25519", |key, signature| {
        UnparsedPublicKey::new(&ED25519, key).verify(&[1; 32], signature).is_ok()
    });
}

#[test]
fn nobody_makes_taproot_go_wrong() {
    use secp256k1::{Message, Secp256k1, XOnlyPublicKey, schnorr};
    frost_is_safe::<frost::Taproot>("frost-secp256k1-tr", |key, signature| {
        let key = XOnlyPublicKey::from_slice(&key[1..]).unwrap();
        let signature = schnorr::Signature::from_slice(signature).unwrap();
        let message = Message::from_digest([1; 32]);
        Secp256k1::verification_only().verify_schnorr(&signature, &message, &key).is_ok()
    });
}

#[test]
fn nobody_makes_ecdsa_go_wrong() {
    use secp256k1::ecdsa::Signature;
    use secp256k1::{Message, PublicKey, Secp256k1};
    let scheme = scheme(3, 3);
    let new = || scheme.all().map(|me| (me, ecdsa::Dkg::new(me, scheme))).collect();
    // Points, commitments, openings, each with its echo; the certificate.
    let every = if std::env::var_os("MPC_CHEATS").is_some() { 1 } else { 6 };
    cheat("dkls23 key", scheme, 7, every, new, one_key);

    let shares = outcomes(Run::of(scheme).run(new()));
    let key = PublicKey::from_slice(&shares[&party(1)].public_key()).unwrap();
    let sign = || {
        let one = |me| (me, ecdsa::Sign::new(shares[&me].clone(), &set(1..=3), [1; 32]).unwrap());
        scheme.all().map(one).collect()
    };
    let mut bans = std::cell::Cell::new(0);
    let named = cheat("dkls23 signature", scheme, 3, 1, sign, |at, came| {
        for signature in came.values().filter_map(|one| one.outcome.as_ref()) {
            let signature = Signature::from_compact(&signature[..64]).unwrap();
            let verified =
                Secp256k1::verification_only().verify_ecdsa(&Message::from_digest([1; 32]), &signature, &key);
            assert!(verified.is_ok(), "{at}: a wrong signature came out");
        }
        let banned = came.values().filter(|one| one.fault.as_ref().is_some_and(|fault| fault.ban));
        bans.set(bans.get() + banned.count());
    });
    assert!(named[&1].0 >= 3 && named[&2].0 >= 3, "{named:?}");
    assert!(*bans.get_mut() > 0, "cheating in the transfers is for ever");
}

/// Would catch a key that is made, or fails without a name, where one party's point is not on the polynomial that it showed all;
/// and the same where shares go to others.
#[test]
fn who_deals_a_wrong_point_of_an_ecdsa_key_is_named() {
    let scheme = scheme(2, 3);
    let mut lie = |mut envelope: Envelope, session: &SessionId| {
        if (envelope.from, envelope.to, envelope.step) == (party(CHEATER), party(1), 1) {
            flip(&mut envelope.to_me);
            sign(&mut envelope, session);
        }
        vec![envelope]
    };
    let new = || scheme.all().map(|me| (me, ecdsa::Dkg::new(me, scheme))).collect();
    let judge = |fault: Option<&chancery_mpc::Fault>| {
        let fault = fault.unwrap();
        assert_eq!((fault.reason, &fault.culprits, fault.ban), (Reason::Share, &set([CHEATER]), false));
    };
    let came = Run::of(scheme).run_over(new(), &mut lie);
    judge(came[&party(1)].fault.as_ref());
    assert!(came.values().all(|one| one.outcome.is_none()));
    assert!(came[&party(3)].fault.is_none(), "who was told the truth waits, and blames nobody");

    let shares = outcomes(Run::of(scheme).run(new()));
    let group = shares[&party(1)].group();
    let machine = |me: PartyId| {
        let own = (me != party(3)).then(|| shares[&me].clone());
        let machine = ecdsa::Reshare::new(me, &group, own, set([1, 2]), set(1..=3), 2, Random::os());
        (me, machine.unwrap())
    };
    let came = Run::of(scheme).run_over(scheme.all().map(machine).collect(), &mut lie);
    judge(came[&party(1)].fault.as_ref());
    assert!(came.values().all(|one| one.certificate.is_none()));
}

/// Would catch a signature that fails without a name where one signer tells two others different commitments, both of them good.
#[test]
fn who_tells_signers_two_stories_is_convicted_by_both() {
    let scheme = scheme(3, 3);
    let new = |me| (me, frost::Dkg::<frost::Ed25519>::new(me, scheme, Random::os()));
    let shares = outcomes(Run::of(scheme).run(scheme.all().map(new).collect()));
    let machine = |me| frost::Sign::new(shares[&me].clone(), &set(1..=3), vec![1; 32], Random::os()).unwrap();
    let other = machine(party(CHEATER)).begin(&SessionId::named([0; 32])).unwrap().to_all;
    let machines = scheme.all().map(|me| (me, machine(me))).collect();
    let came = Run::of(scheme).run_over(machines, &mut |mut envelope, session| {
        if (envelope.from, envelope.to, envelope.step) == (party(CHEATER), party(1), 1) {
            envelope.to_all.clone_from(&other);
            sign(&mut envelope, session);
        }
        vec![envelope]
    });
    for me in [1, 3] {
        let fault = came[&party(me)].fault.as_ref().unwrap();
        assert_eq!((fault.reason, &fault.culprits), (Reason::Equivocation, &set([CHEATER])));
    }
}

/// Would catch a signature with a share of another epoch, and one that is refused without a name.
#[test]
fn who_signs_with_an_old_share_is_named() {
    let scheme = scheme(2, 3);
    let new = |me| (me, frost::Dkg::<frost::Taproot>::new(me, scheme, Random::os()));
    let old = outcomes(Run::of(scheme).run(scheme.all().map(new).collect()));
    let refresh = |me| (me, frost::Refresh::new(me, old[&me].clone(), 3, Random::os()));
    let shares = outcomes(Run::of(scheme).run(scheme.all().map(refresh).collect()));
    let machine = |(me, share): (u8, &frost::Share<frost::Taproot>)| {
        (party(me), frost::Sign::new(share.clone(), &set([1, 2]), vec![1; 32], Random::os()).unwrap())
    };
    let signers = [(1, &shares[&party(1)]), (CHEATER, &old[&party(CHEATER)])];
    let came = Run::of(scheme).run(signers.into_iter().map(machine).collect());
    let fault = came[&party(1)].fault.as_ref().unwrap();
    assert_eq!((fault.reason, &fault.culprits), (Reason::SignatureShare, &set([CHEATER])));
}

/// Would catch a session that takes a message of another epoch, key, signer set or intent, or of a run before.
#[test]
fn no_message_of_another_session_counts() {
    let scheme = scheme(2, 2);
    let shares = outcomes(Run::of(scheme).run(
        scheme.all().map(|me| (me, frost::Dkg::<frost::Ed25519>::new(me, scheme, Random::os()))).collect(),
    ));
    let machines = || -> BTreeMap<_, _> {
        let one =
            |me| (me, frost::Sign::new(shares[&me].clone(), &set(1..=2), vec![1; 32], Random::os()).unwrap());
        scheme.all().map(one).collect()
    };
    let plain = || Run { about: b"pay", epoch: 1, nonce: 1, ..Run::of(scheme) };
    for other in [
        Run { about: b"pay!", ..plain() },
        Run { epoch: 2, ..plain() },
        Run { nonce: 2, ..plain() },
        Run { scheme: support::scheme(2, 3), ..plain() },
    ] {
        let mut recorded = Vec::new();
        drop(other.run_over(machines(), &mut |envelope, _| {
            recorded.push(envelope.clone());
            vec![envelope]
        }));
        let mut replayed = recorded.into_iter();
        let came = plain()
            .run_over(machines(), &mut |envelope, _| replayed.next().into_iter().chain([envelope]).collect());
        for one in came.values() {
            assert!(one.outcome.is_some() && one.fault.is_none(), "what is foreign changes nothing");
            assert!(one.foreign > 0);
        }
    }
}

/// Would catch a session without the echo: both stories are good ones, and the honest parties would go on with two keys.
#[test]
fn who_tells_two_stories_is_convicted_by_both() {
    let scheme = scheme(3, 3);
    let new = |me| frost::Dkg::<frost::Ed25519>::new(me, scheme, Random::os());
    let other = new(party(CHEATER)).begin(&SessionId::named([0; 32])).unwrap().to_all;
    let machines = scheme.all().map(|me| (me, new(me))).collect();
    let mut came = Run::of(scheme).run_over(machines, &mut |mut envelope, session| {
        if envelope.from == party(CHEATER) && envelope.to == party(1) && envelope.step == 1 {
            envelope.to_all.clone_from(&other);
            sign(&mut envelope, session);
        }
        vec![envelope]
    });
    came.remove(&party(CHEATER));
    for one in came.values() {
        let fault = one.fault.as_ref().unwrap();
        assert_eq!((fault.reason, &fault.culprits), (Reason::Equivocation, &set([CHEATER])));
    }
}
