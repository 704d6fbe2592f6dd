//! `[mpc]`: which party this appliance is, and who the others are.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Broken;
use crate::limit;

/// This party, and the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mpc {
    /// Its number, 1 to 16: no other party has it, and it never changes.
    pub party: u8,
    /// Where it listens for the other parties, and for nobody else.
    pub listen: SocketAddr,
    /// The others.
    #[serde(default)]
    pub peer: Vec<MpcPeer>,
}

/// Another party.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MpcPeer {
    /// Its number.
    pub party: u8,
    /// Where it listens for parties: `https://host:port`.
    pub url: String,
    /// What `chancery mpc identity` wrote there: the keys of its node and of its log. It comes by a way that is trusted.
    pub identity: PathBuf,
    /// The names by which clients call it: what a client signed for one of them counts when that party passes it on.
    pub hosts: Vec<String>,
    /// Whether it may propose wallets, where no policy in force here governs changes.
    #[serde(default)]
    pub may_propose: bool,
}

impl Mpc {
    pub(super) fn rules(&self, broken: &mut Broken) {
        let numbers: BTreeSet<u8> = self.peer.iter().map(|peer| peer.party).chain([self.party]).collect();
        broken.unless(
            numbers.iter().all(|number| (1..=limit::PARTIES).contains(number)),
            "mpc.party",
            "must be 1 to 16",
        );
        broken.unless(
            numbers.len() == self.peer.len() + 1,
            "mpc.peer.party",
            "must be another number for each party",
        );
        broken.unless(
            self.peer.iter().all(|peer| peer.url.starts_with("https://") && !peer.url.contains('@')),
            "mpc.peer.url",
            "must begin with https:// and hold no password",
        );
        let named = |peer: &MpcPeer| {
            (1..=16).contains(&peer.hosts.len()) && peer.hosts.iter().all(|host| !host.is_empty())
        };
        broken.unless(self.peer.iter().all(named), "mpc.peer.hosts", "must be 1 to 16 names");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(party: u8, peers: &[(u8, &str, &str)]) -> Broken {
        let peer = |(party, url, host): &(u8, &str, &str)| MpcPeer {
            party: *party,
            url: (*url).to_owned(),
            identity: "parties/2.json".into(),
            hosts: vec![(*host).to_owned()],
            may_propose: false,
        };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut broken = Broken::default();
        Mpc { party, listen, peer: peers.iter().map(peer).collect() }.rules(&mut broken);
        broken
    }

    /// Would catch two parties that are told apart by nobody.
    #[test]
    fn parties_have_numbers_of_their_own() {
        let good = (2, "https://b.example:1", "b.example");
        assert!(broken(1, &[good]).is_empty());
        for (party, peers) in [
            (0, vec![good]),
            (17, vec![good]),
            (2, vec![good]),
            (1, vec![good, good]),
            (1, vec![(2, "http://b.example", "b.example")]),
            (1, vec![(2, "https://a:b@b.example", "b.example")]),
            (1, vec![(2, "https://b.example", "")]),
        ] {
            assert_eq!(broken(party, &peers).iter().count(), 1, "{party} {peers:?}");
        }
    }
}
