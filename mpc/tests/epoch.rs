//! Shares change under the same key while everything fails at any message: whoever is cut off, and when, each party signs with the
//! shares of one epoch, all come to the same one when they talk again, and who is left out is told.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use chancery_mpc::epoch::{Act, Change, EpochError, Holding, Standing, Word};
use chancery_mpc::frost::{Dkg, Ed25519, Reshare, Share, Sign, Suite};
use chancery_mpc::{Certificate, Identity, Machine, Outcome, PartyId, Random, Scheme, Session};
use support::{Run, members, node, outcomes, party, scheme, set};

/// A party with its disk: what it wrote last, and its counter.
#[derive(Clone)]
struct Node {
    me: PartyId,
    holding: Holding,
    disk: (Vec<u8>, u64),
}

impl Node {
    fn new(me: PartyId) -> Self {
        let holding = Holding::new("treasury", me, node(me).public_key());
        Self { me, holding, disk: (Vec::new(), 0) }
    }

    /// Writes first, and gives what is then said.
    fn does(&mut self, act: Act) -> Vec<Word> {
        if let Some(kept) = act.keep {
            self.disk = (kept.bytes.to_vec(), kept.counter);
        }
        act.say
    }

    fn restart(&mut self) {
        if self.disk.1 > 0 {
            self.holding = Holding::open(&self.disk.0, self.disk.1).unwrap();
        }
    }

    fn share(&self) -> Option<Share<Ed25519>> {
        self.holding.share().map(|bytes| Share::from_bytes(bytes).unwrap())
    }
}

type Nodes = BTreeMap<PartyId, Node>;

fn change(
    nodes: &Nodes,
    protocol: &str,
    scheme: Scheme,
    holders: &BTreeSet<PartyId>,
    all: &BTreeSet<PartyId>,
) -> Change {
    let known = || all.iter().filter_map(|party| nodes.get(party));
    Change {
        protocol: protocol.to_owned(),
        key: "treasury".to_owned(),
        number: known().map(|node| node.holding.next_number()).max().unwrap(),
        base: known().find_map(|node| node.holding.epoch().map(chancery_mpc::epoch::Link::base)),
        scheme,
        holders: members(holders),
        members: members(all),
        nonce: [7; 32],
    }
}

/// Runs a change, of which only so many messages arrive. Answers how many there were.
fn run<M: Machine>(
    nodes: &mut Nodes,
    change: &Change,
    machines: BTreeMap<PartyId, M>,
    share: impl Fn(M::Output) -> Option<Share<Ed25519>>,
    arrive: usize,
) -> usize {
    let about = change.about();
    let (mut sessions, mut under_way) = (BTreeMap::new(), std::collections::VecDeque::new());
    for (me, machine) in machines {
        nodes[&me].holding.accepts(change).unwrap();
        let (session, first) = Session::begin(machine, &change.terms(&about), me, node(me)).unwrap();
        assert_eq!(*session.id(), change.session());
        under_way.extend(first);
        sessions.insert(me, session);
    }
    let mut arrived = 0;
    while let Some(envelope) = under_way.pop_front().filter(|_| arrived < arrive) {
        arrived += 1;
        let (session, node) = (sessions.get_mut(&envelope.to).unwrap(), nodes.get_mut(&envelope.to).unwrap());
        let mut progress = session.receive(envelope).unwrap();
        loop {
            under_way.extend(progress.send);
            match progress.came_to {
                None => break,
                Some(Outcome::Done(_)) => panic!("it makes keys"),
                Some(Outcome::Made(made)) => {
                    let public = M::public(&made);
                    let bytes = share(made).map(|share| share.to_bytes().unwrap());
                    let act = node
                        .holding
                        .prepare(change.clone(), public, bytes, &*support::node(node.me))
                        .unwrap();
                    // The session's own messages say the same.
                    drop(node.does(act));
                    progress = session.confirm().unwrap();
                }
                Some(Outcome::Certified(certificate)) => {
                    let act = node.holding.certified(certificate).unwrap();
                    drop(node.does(act));
                    break;
                }
            }
        }
    }
    arrived
}

fn make(scheme: Scheme) -> Nodes {
    let all: BTreeSet<PartyId> = scheme.all().collect();
    let mut nodes = scheme.all().map(|me| (me, Node::new(me))).collect();
    let change = change(&nodes, Ed25519::DKG, scheme, &all, &all);
    let machines = scheme.all().map(|me| (me, Dkg::<Ed25519>::new(me, scheme, Random::os()))).collect();
    run(&mut nodes, &change, machines, Some, usize::MAX);
    nodes
}

fn reshare(nodes: &mut Nodes, dealers: &BTreeSet<PartyId>, to: &BTreeSet<PartyId>, arrive: usize) -> usize {
    let links = nodes[dealers.first().unwrap()].holding.epochs().to_vec();
    for joining in to {
        nodes.entry(*joining).or_insert_with(|| Node {
            holding: Holding::joining("treasury", *joining, node(*joining).public_key(), links.clone())
                .unwrap(),
            ..Node::new(*joining)
        });
    }
    let all = dealers | to;
    let scheme = scheme(2, u8::try_from(to.len()).unwrap());
    let change = change(nodes, Ed25519::RESHARE, scheme, to, &all);
    let group = links.last().unwrap().certificate.public.clone();
    let machine = |me: &PartyId| {
        let own = dealers.contains(me).then(|| nodes[me].share().unwrap());
        (*me, Reshare::new(*me, &group, own, dealers.clone(), to.clone(), 2, Random::os()).unwrap())
    };
    let machines = all.iter().map(machine).collect();
    run(nodes, &change, machines, |reshared| reshared.share, arrive)
}

/// Everybody asks everybody until nobody has anything to say.
fn talk(nodes: &mut Nodes) {
    let asked = nodes.values().map(|node| (node.me, None, node.holding.ask()));
    let mut said: Vec<(PartyId, Option<PartyId>, Word)> = asked.collect();
    while let Some((from, to, word)) = said.pop() {
        let asks = matches!(word, Word::Asks { .. });
        let word = word.to_bytes().unwrap();
        let all: Vec<PartyId> = nodes.keys().copied().collect();
        for me in all.into_iter().filter(|me| *me != from && to.is_none_or(|to| to == *me)) {
            let one = nodes.get_mut(&me).unwrap();
            let word = Word::from_bytes(&word).unwrap();
            let act = one.holding.hear(from, word, &*support::node(me)).unwrap();
            said.extend(one.does(act).into_iter().map(|word| (me, asks.then_some(from), word)));
        }
    }
}

/// Whether any threshold of these signs under this key.
fn signs(nodes: &Nodes, scheme: Scheme, key: &[u8]) {
    let able: BTreeSet<PartyId> =
        nodes.values().filter(|node| node.share().is_some()).map(|node| node.me).collect();
    for pair in able.iter().zip(able.iter().skip(1)) {
        let signers = BTreeSet::from([*pair.0, *pair.1]);
        let machine = |me: &PartyId| {
            let share = nodes[me].share().unwrap();
            (*me, Sign::new(share, &signers, b"pay".to_vec(), Random::os()).unwrap())
        };
        let signatures = outcomes(Run::of(scheme).run(signers.iter().map(machine).collect()));
        for signature in signatures.values() {
            assert!(UnparsedPublicKey::new(&ED25519, key).verify(b"pay", signature).is_ok());
        }
    }
}

fn number(node: &Node) -> u64 {
    node.holding.epoch().unwrap().change.number
}

/// Would catch old shares that are erased too early, shares that are used before all have confirmed, and a party that is left
/// between two epochs.
#[test]
fn whichever_message_is_the_last_there_is_one_key_in_one_epoch() {
    let (dealers, to) = (set([1, 3]), set([1, 4, 5]));
    let made = make(scheme(2, 3));
    let key = made[&party(1)].share().unwrap().public_key();
    let whole = reshare(&mut made.clone(), &dealers, &to, usize::MAX);
    let (mut stayed, mut moved, mut between) = (0, 0, 0);
    for arrive in 0..=whole {
        let mut nodes = made.clone();
        reshare(&mut nodes, &dealers, &to, arrive);
        nodes.values_mut().for_each(Node::restart);
        let before: BTreeSet<u64> = nodes.values().map(number).collect();
        between += usize::from(before.len() > 1);
        talk(&mut nodes);
        let after: BTreeSet<u64> = nodes.values().map(number).collect();
        assert_eq!(after.len(), 1, "{arrive} messages: {after:?}");
        if after.contains(&0) {
            stayed += 1;
            assert!(
                [1, 2, 3].into_iter().all(|old| nodes[&party(old)].holding.standing() == Standing::Signs(0))
            );
            signs(&nodes, scheme(2, 3), &key);
            // They are not stuck: what is in doubt gives way to a next change.
            reshare(&mut nodes, &dealers, &to, usize::MAX);
            talk(&mut nodes);
        } else {
            moved += 1;
        }
        let now = number(&nodes[&party(1)]);
        for me in to.iter() {
            assert_eq!(nodes[me].holding.standing(), Standing::Signs(now), "{arrive} messages: {me}");
            assert_eq!(nodes[me].holding.in_doubt().count(), 0);
        }
        for out in [2, 3] {
            assert_eq!(nodes[&party(out)].holding.standing(), Standing::Out(now), "{arrive} messages");
            assert!(nodes[&party(out)].holding.share().is_none());
        }
        signs(&nodes, scheme(2, 3), &key);
    }
    assert!(stayed > 0 && moved > 0 && between > 0, "{stayed} {moved} {between}");
}

/// Would catch an epoch that is believed without everybody's word, or without enough of those who held the key.
#[test]
fn an_epoch_is_believed_only_by_everybodys_word() {
    let mut nodes = make(scheme(2, 3));
    // Everything arrives but the last confirmations: it is in doubt, and is not signed with.
    let messages = reshare(&mut nodes.clone(), &set([1, 2]), &set([1, 2, 3]), usize::MAX);
    reshare(&mut nodes, &set([1, 2]), &set([1, 2, 3]), messages - 6);
    let one = &nodes[&party(1)].holding;
    assert_eq!((one.standing(), one.in_doubt().count()), (Standing::Signs(0), 1));
    let change = one.in_doubt().next().unwrap().clone();
    let said = one.clone().hear(party(2), nodes[&party(2)].holding.ask(), &*node(party(1))).unwrap().say;
    let [Word::Confirms { session, signature }] = &said[..] else { panic!("{said:?}") };
    // Another's word in its place, and one word for three.
    let mut three = nodes[&party(3)].holding.clone();
    let false_word = Word::Confirms { session: *session, signature: signature.clone() };
    assert_eq!(three.hear(party(2), false_word, &*node(party(3))).unwrap_err(), EpochError::Certificate);
    let signatures = scheme(2, 3).all().map(|party| (party, signature.clone())).collect();
    let public = nodes[&party(1)].holding.epoch().unwrap().certificate.public.clone();
    let forged = Certificate { session: *session, public, signatures };
    assert_eq!(three.certified(forged.clone()).unwrap_err(), EpochError::Certificate);
    let shown = Word::Shows(vec![chancery_mpc::epoch::Link { change: change.clone(), certificate: forged }]);
    assert_eq!(three.hear(party(2), shown, &*node(party(3))).unwrap_err(), EpochError::Certificate);
    assert_eq!(three.standing(), Standing::Signs(0));

    // The next change has a higher number, begins from what is in force, and leaves nobody out who could sign without the rest.
    let next = Change { number: change.number + 1, ..change.clone() };
    assert_eq!(three.accepts(&next), Ok(()));
    let cases = [
        (Change { number: change.number, ..next.clone() }, EpochError::Number),
        (Change { base: None, ..next.clone() }, EpochError::Base),
        (Change { key: "another".into(), ..next.clone() }, EpochError::Stranger),
        (Change { members: members(&set([1, 2])), ..next.clone() }, EpochError::Stranger),
        (Change { holders: members(&set([1, 2, 4])), ..next.clone() }, EpochError::Parties),
        (
            Change { members: members(&set([3, 4, 5])), holders: members(&set([3, 4, 5])), ..next.clone() },
            EpochError::TooFew,
        ),
    ];
    for (bad, why) in cases {
        assert_eq!(three.accepts(&bad), Err(why), "{bad:?}");
    }
}

/// Would catch a disk that was set back and is signed with: its shares may be of an epoch that is over.
#[test]
fn what_was_set_back_signs_nothing_until_it_is_dealt_to() {
    let mut nodes = make(scheme(2, 3));
    let key = nodes[&party(1)].share().unwrap().public_key();
    let old = nodes[&party(2)].disk.clone();
    reshare(&mut nodes, &set([1, 3]), &set([1, 2, 3]), usize::MAX);
    let two = nodes.get_mut(&party(2)).unwrap();
    assert_eq!(two.holding.standing(), Standing::Signs(1));
    two.holding = Holding::open(&old.0, two.disk.1).unwrap();
    assert_eq!(two.holding.standing(), Standing::RolledBack(0));
    assert!(two.holding.share().is_none());
    talk(&mut nodes);
    let two = &nodes[&party(2)].holding;
    assert!(!matches!(two.standing(), Standing::Signs(_)) && two.share().is_none());
    assert_eq!(two.epoch().unwrap().change.number, 1, "it learns of the epoch");
    reshare(&mut nodes, &set([1, 3]), &set([1, 2, 3]), usize::MAX);
    assert_eq!(nodes[&party(2)].holding.standing(), Standing::Signs(2));
    signs(&nodes, scheme(2, 3), &key);
    // A crash between the write and the counter is no setting back.
    let disk = &nodes[&party(1)].disk;
    assert_eq!(Holding::open(&disk.0, disk.1 - 1).unwrap().standing(), Standing::Signs(2));
}
