//! How the parties stand: who answers, which keys they share, who is banned; and what of this party the others pin.

use std::sync::Arc;

use chancery_audit::{Digest, KeyShare, PartyIdentity, V1};
use chancery_core::{Tenant, UnixMillis, WalletId, limit};
use chancery_mpc::Identity as _;
use tokio::task::JoinSet;

use super::wire::Call;
use crate::kept;
use crate::refusal::Refusal;
use crate::start::Enclave;

/// How the parties stand.
#[derive(Debug)]
pub struct PartiesStanding {
    /// What the others pin of this one.
    pub identity: PartyIdentity,
    /// The others.
    pub peers: Vec<PeerStanding>,
    /// The keys they share, by wallet.
    pub wallets: Vec<(WalletId, KeyShare)>,
    /// Who is banned from which.
    pub bans: Vec<Banned>,
}

/// How another party stands.
#[derive(Clone, Debug)]
pub struct PeerStanding {
    /// Its number.
    pub party: u8,
    /// Where it listens.
    pub url: String,
    /// Whether it answered just now.
    pub reachable: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// A party that is banned from a key.
#[derive(Clone, Debug)]
pub struct Banned {
    /// The wallet.
    pub wallet: WalletId,
    /// The party.
    pub party: u8,
    /// Since when.
    pub banned_ms: UnixMillis,
    /// The session in which it cheated.
    pub session: Digest,
}

impl Enclave {
    /// How the parties stand; asks each whether it is there.
    ///
    /// # Errors
    /// `not-found` where this appliance is no party.
    pub async fn parties_standing(&self, tenant: &Tenant) -> Result<PartiesStanding, Refusal> {
        let (parties, house) = (self.parties()?, self.house());
        let mut asking = JoinSet::new();
        for party in parties.peers.keys().copied() {
            let there = Arc::clone(parties);
            asking.spawn(async move {
                (party, there.ask::<()>(party, Call::Standing, &(), limit::PARTY_ROUND_MS).await)
            });
        }
        let mut peers = Vec::new();
        while let Some(answer) = asking.join_next().await {
            let Ok((party, answer)) = answer else { continue };
            let reason = match answer {
                Ok(Ok(())) => None,
                Ok(Err(no)) => Some(no.of(party).detail),
                Err(reason) => Some(reason),
            };
            let url = parties.peer(party)?.url.clone();
            peers.push(PeerStanding { party: party.get(), url, reachable: reason.is_none(), reason });
        }
        peers.sort_by_key(|peer| peer.party);
        let bans = house.store.read(|rows| rows.bans(tenant))?.into_iter().map(|ban| Banned {
            wallet: ban.wallet,
            party: ban.party,
            banned_ms: ban.banned_ms,
            session: Digest::from_bytes(ban.session),
        });
        let trust = house.log.trust().clone().with_endorsers(house.policies.endorsers().clone());
        let identity = PartyIdentity {
            v: V1,
            party: parties.me.get(),
            node_key: Digest::from_bytes(parties.node.public_key()),
            trust: kept::read("trust", trust.to_json().as_bytes())?,
        };
        Ok(PartiesStanding { identity, peers, wallets: house.wallets.shared(tenant), bans: bans.collect() })
    }
}
