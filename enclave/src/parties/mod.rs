//! Keys that several parties hold: this party's node, the others, and what goes on between them. Each party is an appliance of its
//! own, with its own token, policy, store and log, and none takes another's word for anything: a client's request is authenticated,
//! decoded, decided and recorded by each that signs, and a key is one once all have said that they keep their share.
//! If this is wrong, one party alone has the others sign, or a key is lost.

mod agreed;
mod asked;
mod catch_up;
mod make;
mod node;
mod share;
mod sign;
mod standing;
mod table;
mod vault;
mod waiting;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chancery_audit::{Digest, KeyShare, PartyIdentity, Trust, TrustError, key_id};
use chancery_core::config::{self, MpcPeer};
use chancery_core::{Code, KeyId, Tenant, UnixMillis, WalletId, limit};
use chancery_hsm::{Hsm, HsmError, PublicKey};
use chancery_identity::Client;
use chancery_identity::node::LinkKey;
use chancery_mpc::{Fault, Members, PartyId, Scheme};
use chancery_store::{BanRow, Store};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use agreed::keep;
pub(crate) use catch_up::catch_up_for_ever;
pub(crate) use make::make_key;
pub(crate) use node::Node;
pub(crate) use sign::{Matter, Seat, require_signature, sign};
pub use standing::{Banned, PartiesStanding, PeerStanding};
pub(crate) use waiting::Member;
pub use wire::Call;

use crate::house::House;
use crate::kept;
use crate::refusal::Refusal;
use crate::start::Enclave;
use agreed::Agreed;
use table::Tables;
use vault::Vault;
use waiting::Waiting;
use wire::{No, Reply};

/// An answer on its way.
pub type Carried<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + 'a>>;

/// The link to the other parties, and who the door knows: the server's.
pub trait Link: Send + Sync {
    /// Calls a party, whose node has proved itself, within so long.
    fn call(&self, party: u8, call: Call, body: Vec<u8>, within: Duration) -> Carried<'_>;

    /// The client of this certificate, in DER, as the door would admit it now.
    ///
    /// # Errors
    /// Why it would not, in words for the log.
    fn client(&self, certificate: &[u8]) -> Result<Client, String>;
}

/// Why this appliance cannot be a party.
#[derive(Debug, thiserror::Error)]
pub enum PartiesError {
    /// An identity cannot be read.
    #[error("`{path}` is no identity of party {party}: {reason}")]
    Identity {
        /// The file.
        path: PathBuf,
        /// Whose it should be.
        party: u8,
        /// What is wrong with it.
        reason: String,
    },
    /// The logs of the parties.
    #[error("the parties' logs: {0}")]
    Logs(#[from] TrustError),
    /// The token.
    #[error("the node's key: {0}")]
    Hsm(#[from] HsmError),
    /// The store is older than what the token remembers.
    #[error(
        "the store was set back: the token has seen {known} changes of shared keys, and the store has {here}; a share, a ban or a \
         limit of since would be forgotten"
    )]
    SetBack {
        /// What the token has seen.
        known: u64,
        /// What the store has.
        here: u64,
    },
    /// The store, or what it holds.
    #[error("the shares' data key: {0}")]
    Vault(#[from] Refusal),
}

/// Another party.
struct Peer {
    node_key: [u8; 32],
    trust: Trust,
    url: String,
    hosts: Vec<String>,
    may_propose: bool,
}

/// This party, and the others.
pub(crate) struct Parties {
    me: PartyId,
    node: Arc<Node>,
    peers: BTreeMap<PartyId, Peer>,
    vault: Vault,
    link: OnceLock<Arc<dyn Link>>,
    tables: Tables,
    waiting: Arc<Waiting>,
    agreed: Agreed,
    /// Held by whoever enters a wallet: whoever comes after sees it.
    entering: tokio::sync::Mutex<()>,
    /// The token's count of changes that a store set back would forget.
    counter: KeyId,
}

/// A key of several parties, as this one knows it.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub public: PublicKey,
    pub share: KeyShare,
    /// The session that made the share.
    pub session: [u8; 32],
}

/// How the registry's row writes it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptShared {
    pub share: KeyShare,
    pub session: Digest,
}

impl From<&Shared> for KeptShared {
    fn from(Shared { share, session, .. }: &Shared) -> Self {
        Self { share: *share, session: Digest::from_bytes(*session) }
    }
}

impl Parties {
    /// Opens the node's key and the identities of the others.
    pub async fn open(
        config: &config::Mpc,
        hsm: &Hsm,
        store: &Store,
        (origin, tenant): (&str, &Tenant),
    ) -> Result<Arc<Self>, PartiesError> {
        let node = Node::find_or_make(hsm, origin).await?;
        let mut peers = BTreeMap::new();
        for peer in &config.peer {
            let none = |reason: String| PartiesError::Identity {
                path: peer.identity.clone(),
                party: peer.party,
                reason,
            };
            let party = PartyId::try_from(peer.party).map_err(|error| none(error.to_string()))?;
            peers.insert(party, Peer::read(peer).map_err(none)?);
        }
        let me = PartyId::try_from(config.party).map_err(|error| PartiesError::Identity {
            path: PathBuf::new(),
            party: config.party,
            reason: error.to_string(),
        })?;
        let parties = Self {
            me,
            node,
            peers,
            vault: Vault::open(hsm, store, tenant).await?,
            link: OnceLock::new(),
            tables: Tables::default(),
            waiting: Arc::default(),
            agreed: Agreed::default(),
            entering: tokio::sync::Mutex::default(),
            counter: key_id("chancery shares counter v1", origin),
        };
        let known = hsm.count(parties.counter).await?;
        let here = store.read(|rows| rows.share_changes()).map_err(Refusal::from)?;
        if here < known {
            return Err(PartiesError::SetBack { known, here });
        }
        hsm.raise(parties.counter, here).await?;
        Ok(Arc::new(parties))
    }

    /// Has the token count what the store has just been told. ORDER: after it is durable there; a crash between is made up for at
    /// the next start.
    async fn count(&self, house: &House) -> Result<(), Refusal> {
        let here = house.store.read(|rows| rows.share_changes())?;
        Ok(house.hsm.raise(self.counter, here).await?)
    }

    /// A log's trust with that of the other parties' logs.
    pub fn joined(&self, trust: Trust) -> Result<Trust, TrustError> {
        if self.peers.is_empty() {
            return Ok(trust);
        }
        let logs = self.peers.iter().map(|(party, peer)| (party.get(), peer.trust.clone()));
        trust.with_parties(logs.collect())
    }

    /// Calls a party.
    async fn call(
        &self,
        party: PartyId,
        call: Call,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<Vec<u8>, String> {
        let link = self.link.get().ok_or("the link is not open yet")?;
        link.call(party.get(), call, body, within).await
    }

    /// Asks a party, and reads its answer.
    async fn ask<T: DeserializeOwned>(
        &self,
        party: PartyId,
        call: Call,
        body: &impl Serialize,
        within_ms: u64,
    ) -> Result<Result<T, No>, String> {
        let body = serde_json::to_vec(body).map_err(|error| error.to_string())?;
        let answer = self.call(party, call, body, Duration::from_millis(within_ms)).await?;
        match serde_json::from_slice(&answer)
            .map_err(|error| format!("its answer does not parse: {error}"))?
        {
            Reply::Yes(yes) => Ok(Ok(yes)),
            Reply::No(no) => Ok(Err(no)),
        }
    }

    fn peer(&self, party: PartyId) -> Result<&Peer, Refusal> {
        let unknown = || Refusal::new(Code::Forbidden, format!("party {party} is not known here"));
        self.peers.get(&party).ok_or_else(unknown)
    }

    /// The nodes of these parties, this one among them.
    fn members(&self, parties: &BTreeSet<PartyId>) -> Result<Members, Refusal> {
        use chancery_mpc::Identity as _;
        let node = |party: &PartyId| match *party == self.me {
            true => Ok((*party, self.node.public_key())),
            false => self.peer(*party).map(|peer| (*party, peer.node_key)),
        };
        parties.iter().map(node).collect()
    }

    /// What a share is bound to.
    fn context(&self, tenant: &Tenant, wallet: &WalletId, epoch: u64, session: &[u8; 32]) -> String {
        format!("{}\n{tenant}\n{wallet}\n{epoch}\n{}", self.me, hex::encode(session))
    }

    /// Bans whoever cheated where a part of the share may have leaked, before anything else is done.
    async fn ban(
        &self,
        house: &House,
        (tenant, wallet): (&Tenant, &WalletId),
        session: [u8; 32],
        fault: &Fault,
    ) -> Result<(), Refusal> {
        if !fault.ban {
            return Ok(());
        }
        let now = house.clock.now()?;
        for party in &fault.culprits {
            tracing::error!(%party, %wallet, reason = %fault.reason, "a party cheated: banned from this key for ever");
            let ban = BanRow { wallet: wallet.clone(), party: party.get(), banned_ms: now, session };
            let tenant = tenant.clone();
            house.store.write(move |tx| Ok::<_, Refusal>(tx.ban(&tenant, &ban)?)).await?;
        }
        self.count(house).await
    }
}

impl Peer {
    fn read(peer: &MpcPeer) -> Result<Self, String> {
        let bytes = std::fs::read(&peer.identity).map_err(|error| error.to_string())?;
        let (identity, trust) =
            PartyIdentity::parse(&bytes, peer.party).map_err(|error| error.to_string())?;
        Ok(Self {
            node_key: *identity.node_key.as_bytes(),
            trust,
            url: peer.url.clone(),
            hosts: peer.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            may_propose: peer.may_propose,
        })
    }

    /// Whether clients call it by this authority.
    fn is_called(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => authority,
        };
        self.hosts.iter().any(|known| known == host)
    }
}

/// How many of how many.
fn scheme(threshold: u8, parties: u8) -> Result<Scheme, Refusal> {
    Scheme::new(threshold, parties).map_err(|error| Refusal::new(Code::BadRequest, error.to_string()))
}

/// A session's name for a wallet's key.
fn key_name(tenant: &Tenant, wallet: &WalletId) -> String {
    format!("{tenant}/{wallet}")
}

/// A party's part of a session's nonce.
fn fresh_nonce() -> Result<Digest, Refusal> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Refusal::new(Code::Internal, "no randomness"))?;
    Ok(Digest::from_bytes(bytes))
}

/// The nonce of all.
fn joint_nonce(nonces: &BTreeMap<PartyId, Digest>) -> [u8; 32] {
    let mut text = b"chancery mpc nonce v1\n".to_vec();
    for (party, nonce) in nonces {
        text.push(party.get());
        text.extend(nonce.as_bytes());
    }
    *Digest::of(&text).as_bytes()
}

/// A party of a configuration, for its link.
pub struct LinkPeer {
    /// Its number.
    pub party: u8,
    /// Where it listens.
    pub url: String,
    /// The key of its node.
    pub node_key: [u8; 32],
}

impl Enclave {
    fn parties(&self) -> Result<&Arc<Parties>, Refusal> {
        let none =
            || Refusal::new(Code::NotFound, "this appliance is no party: its configuration has no `[mpc]`");
        self.house().parties.as_ref().ok_or_else(none)
    }

    /// The other parties, for the link.
    ///
    /// # Errors
    /// [`Code::NotFound`] where this appliance is no party.
    pub fn link_peers(&self) -> Result<Vec<LinkPeer>, Refusal> {
        let peer = |(party, peer): (&PartyId, &Peer)| LinkPeer {
            party: party.get(),
            url: peer.url.clone(),
            node_key: peer.node_key,
        };
        Ok(self.parties()?.peers.iter().map(peer).collect())
    }

    /// A fresh certificate for the link, by the node's key.
    ///
    /// # Errors
    /// What the HSM answers.
    pub async fn link_key(&self) -> Result<LinkKey, Refusal> {
        let now: UnixMillis = self.house().clock.now()?;
        self.parties()?.node.link(now).await
    }

    /// Opens the link: before, nobody is asked anything.
    ///
    /// # Errors
    /// [`Code::NotFound`] where this appliance is no party.
    pub fn connect(&self, link: Arc<dyn Link>) -> Result<(), Refusal> {
        drop(self.parties()?.link.set(link));
        Ok(())
    }

    /// Answers another party, whose node the link has proved.
    pub async fn hear(&self, from: u8, call: Call, body: Vec<u8>) -> Vec<u8> {
        let heard = async {
            let parties = Arc::clone(self.parties()?);
            let from = PartyId::try_from(from).map_err(|_| Refusal::new(Code::Forbidden, "no such party"))?;
            parties.peer(from)?;
            match call {
                Call::Message(session) => Ok(parties.tables.take(from, &session, &body).to_vec()),
                Call::Ask => yes(&self.asked(&parties, from, read(&body)?).await?),
                Call::Propose => yes(&make::proposed(self, &parties, from, read(&body)?).await?),
                Call::Begin => yes(&parties.waiting.begin(from, read(&body)?)?),
                Call::Cancel => yes(&parties.waiting.cancel(from, &read(&body)?)),
                Call::Finish => {
                    let (house, finish) = (Arc::clone(self.house()), read(&body)?);
                    let entering = async move { make::enter(&house, &parties, from, finish).await };
                    yes(&self.run(entering).await?)
                }
                Call::Certificate => yes(&make::certificate(self.house(), &read(&body)?)?),
                Call::Standing => yes(&()),
            }
        };
        heard.await.unwrap_or_else(|refusal: Refusal| {
            tracing::info!(party = from, ?call, %refusal, "refused another party");
            serde_json::to_vec(&Reply::<()>::No(refusal.into())).unwrap_or_default()
        })
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::new(Code::BadRequest, error.to_string()))
}

fn yes<T: Serialize>(answer: &T) -> Result<Vec<u8>, Refusal> {
    kept::write(&Reply::Yes(answer))
}

/// LIMIT: how long a yes waits for its session, in milliseconds.
const CONSENT_MS: u64 = limit::PARTY_SIGN_MS;
