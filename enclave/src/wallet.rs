//! Wallets: keys, pinned by their public halves, and the chains they may be used on. Read from the store at start and
//! kept in memory; the store's row is what counts. A wrong public key here would let a foreign signature pass.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use chancery_audit::KeyShare;
use chancery_core::{Code, KeyId, Tenant, Tier, UnixMillis, WalletId};
use chancery_hsm::{Algorithm, KeyRef, Path, PublicKey};
use chancery_intent::bitcoin::{self, Network};
use chancery_intent::change::Seal;
use chancery_intent::solana::{self, Cluster};
use chancery_intent::{Account, AccountKey, Address, address_of, ethereum};
use chancery_store::{Store, WalletRow};
use serde::{Deserialize, Serialize};

use crate::keys::{Apart, Cold, Derived, KeptSeed, Keys, account_path};
use crate::parties::{KeptShared, Shared};
use crate::refusal::Refusal;

/// LIMIT: chains of one wallet.
pub const CHAINS: usize = 16;

/// A wallet: its keys and what they may be used on.
#[derive(Clone, Debug)]
pub struct Wallet {
    /// Its tenant.
    pub tenant: Tenant,
    /// Its name.
    pub id: WalletId,
    /// When it was made.
    pub created_ms: UnixMillis,
    /// The log index of its making.
    pub leaf: u64,
    /// What its key controls.
    pub holding: Holding,
    pub(crate) keys: Keys,
}

/// What a wallet's key controls, and where.
#[derive(Clone, Debug)]
pub enum Holding {
    /// One address.
    Ethereum {
        /// The address.
        address: Address,
        /// The EIP-155 chain ids it may sign for.
        chain_ids: Vec<u64>,
    },
    /// The scripts of a descriptor.
    Bitcoin(Box<bitcoin::Wallet>),
    /// One address on one cluster.
    Solana(solana::Account),
    /// The tenant's word about its own changes.
    Seal,
}

/// What a wallet shall be, before it has a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Design {
    /// One address, for these EIP-155 chain ids: 1 to [`CHAINS`].
    Ethereum {
        /// The chains.
        chain_ids: Vec<u64>,
    },
    /// The scripts of a descriptor in which `@0` stands for the wallet's key, or for the account that its keys are
    /// derived from, with a branch and `/*` behind it.
    Bitcoin {
        /// The network.
        network: Network,
        /// The descriptor.
        descriptor: String,
    },
    /// One address on a cluster of Solana.
    Solana {
        /// The cluster.
        cluster: Cluster,
    },
    /// The tenant's seal; the appliance makes it by itself.
    #[serde(skip)]
    Seal,
}

/// Where the keys of a new wallet come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// One that the token makes.
    Token,
    /// One that is in the token already: a ceremony made it.
    Made(KeyId),
    /// A seed that the HSM's worker makes: this account of it.
    Seed {
        /// The account (BIP-44), from 0; of a Solana wallet its one address.
        account: u32,
    },
    /// The next address of the account that an Ethereum wallet is an address of, or the next account of a Solana wallet's seed.
    Beside(WalletId),
    /// Nowhere in the appliance: only this is known of them.
    Cold(Cold),
    /// Nowhere at all: all parties make shares, and so many of them sign.
    Parties {
        /// How many.
        threshold: u8,
        /// All of them.
        parties: u8,
    },
}

impl Design {
    /// Around a key, or an account and its key.
    fn with(self, public_key: &[u8], account: Option<&AccountKey>) -> Result<Holding, Refusal> {
        Ok(match self {
            Self::Ethereum { chain_ids } => {
                let address = address_of(public_key)
                    .map_err(|_| Refusal::new(Code::Internal, "the key has no Ethereum address"))?;
                Holding::Ethereum { address, chain_ids }
            }
            Self::Bitcoin { network, descriptor } => {
                let descriptor = match account {
                    Some(account) => descriptor.replace(bitcoin::OWN_KEY, &account.to_string()),
                    None => descriptor,
                };
                Holding::Bitcoin(Box::new(bitcoin::Wallet::parse(network, &descriptor, public_key)?))
            }
            Self::Solana { cluster } => {
                Holding::Solana(solana::Account { address: solana::address_of(public_key)?, cluster })
            }
            Self::Seal => Holding::Seal,
        })
    }

    /// The kind of key that such a wallet has.
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ethereum { .. } | Self::Bitcoin { .. } | Self::Seal => Algorithm::Secp256k1,
            Self::Solana { .. } => Algorithm::Ed25519,
        }
    }

    /// The network that an account is spelled for.
    pub(crate) fn network(&self) -> Network {
        match self {
            Self::Ethereum { .. } | Self::Solana { .. } | Self::Seal => Network::Mainnet,
            Self::Bitcoin { network, .. } => *network,
        }
    }

    /// The path of an account as every wallet looks for it: BIP-44, 48, 49, 84 and 86, by what is made of its keys.
    pub(crate) fn account_path(&self, account: u32) -> Result<Path, Refusal> {
        let Self::Bitcoin { network, descriptor } = self else { return account_path(44, 60, account) };
        let purposes = [("pkh(", 44), ("sh(wpkh(", 49), ("wpkh(", 84), ("tr(", 86)];
        let purpose = purposes
            .iter()
            .find(|(form, _)| descriptor.starts_with(form))
            .map_or(48, |(_, purpose)| *purpose);
        account_path(purpose, u32::from(*network != Network::Mainnet), account)
    }

    /// The index of the account that a wallet of one address is.
    pub(crate) fn first_index(&self) -> Option<u32> {
        matches!(self, Self::Ethereum { .. }).then_some(0)
    }

    /// The keys that such a wallet has apart.
    ///
    /// # Errors
    /// As [`Apart::of`].
    pub(crate) fn apart(&self, cold: &Cold) -> Result<Apart, Refusal> {
        Apart::of(cold, self.network(), self.first_index().is_some())
    }

    /// Whether a wallet can be made so, asked before there is a key for it.
    ///
    /// # Errors
    /// [`Code::BadRequest`] says what it may not be.
    pub(crate) fn check(&self, source: &Source) -> Result<(), Refusal> {
        match self {
            Self::Ethereum { chain_ids } => {
                let mut distinct = chain_ids.clone();
                distinct.sort_unstable();
                distinct.dedup();
                let good = (1..=CHAINS).contains(&chain_ids.len())
                    && distinct.len() == chain_ids.len()
                    && !chain_ids.contains(&0);
                let detail =
                    || format!("`chain_ids` must be 1 to {CHAINS} distinct EIP-155 chain ids above zero");
                if good { Ok(()) } else { Err(Refusal::new(Code::BadRequest, detail())) }
            }
            Self::Bitcoin { descriptor, .. } if !descriptor.contains(bitcoin::OWN_KEY) => {
                let detail = "write `@0` in the descriptor where the wallet's own key stands";
                Err(Refusal::new(Code::BadRequest, detail))
            }
            Self::Bitcoin { network, .. } => {
                // Any key: what a descriptor may be does not depend on it.
                let account = match source {
                    Source::Cold(cold) => {
                        let apart = self.apart(cold)?;
                        return self.clone().with(apart.public.bytes(), apart.account.as_ref()).map(|_| ());
                    }
                    Source::Token | Source::Made(_) | Source::Parties { .. } => None,
                    Source::Seed { .. } => {
                        Some(AccountKey::new(*network, &ANY_KEY, &[0], &ANY_KEY, &ANY_KEY, [0; 32])?)
                    }
                    Source::Beside(_) => {
                        let detail = "a Bitcoin wallet has all addresses of its account";
                        return Err(Refusal::new(Code::BadRequest, detail));
                    }
                };
                self.clone().with(&ANY_KEY, account.as_ref()).map(|_| ())
            }
            Self::Solana { .. } if matches!(source, Source::Made(_) | Source::Cold(_)) => {
                let detail = "a Solana wallet's key is made by the HSM, or derived from a seed";
                Err(Refusal::new(Code::BadRequest, detail))
            }
            Self::Solana { .. } | Self::Seal => Ok(()),
        }
    }
}

/// The generator of secp256k1.
const ANY_KEY: [u8; 33] = [
    0x02, 0x79, 0xbe, 0x66, 0x7e, 0xf9, 0xdc, 0xbb, 0xac, 0x55, 0xa0, 0x62, 0x95, 0xce, 0x87, 0x0b, 0x07,
    0x02, 0x9b, 0xfc, 0xdb, 0x2d, 0xce, 0x28, 0xd9, 0x59, 0xf2, 0x81, 0x5b, 0x16, 0xf8, 0x17, 0x98,
];

/// The `record` column of a wallet: format 1 is Ethereum's, format 2 Bitcoin's, of a key in the token; format 3 is of
/// either, of an account; format 4 is the seal's; format 5 is of either, of keys that are apart; format 6 is of a key that several
/// parties hold; format 7 is Solana's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    v: u8,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    key: Option<KeyId>,
    algorithm: Algorithm,
    public_key: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    seed: Option<KeptSeed>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    shared: Option<KeptShared>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    chain_ids: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    network: Option<Network>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    descriptor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    cluster: Option<Cluster>,
}

impl Kept {
    /// The keys of the row, or nothing where it names none.
    fn keys(&mut self, tenant: &Tenant) -> Option<Keys> {
        let bytes = hex::decode(&self.public_key).ok()?;
        let public = PublicKey::parse(self.algorithm, &bytes).ok()?;
        let seed = self.seed.take().map(|seed| seed.open(tenant));
        if let Some(KeptShared { share, session }) = self.shared.take() {
            let session = *session.as_bytes();
            let alone = (self.v, self.key, &self.account, seed.is_none()) == (6, None, &None, true);
            return alone.then(|| Keys::Shared(Box::new(Shared { public, share, session })));
        }
        match (self.v, self.key, &self.account, seed) {
            (1 | 2 | 4 | 7, Some(id), None, None) => Some(Keys::Token(KeyRef { id, public })),
            (5, None, account, None) => {
                let account = account.as_ref().map(|account| account.parse()).transpose().ok()?;
                Some(Keys::Cold(Box::new(Apart { account, index: self.index, public })))
            }
            (3, None, Some(account), Some(seed)) => {
                let derived = Derived::new(account.parse().ok()?, self.index, seed).ok()?;
                (derived.public == public).then(|| Keys::Seed(Box::new(derived)))
            }
            // Which key the seed leads to is not known here: every signature is verified under this one.
            (7, None, None, Some(seed)) => {
                let index = Some(self.index?);
                Some(Keys::Seed(Box::new(Derived { account: None, index, public, seed })))
            }
            _ => None,
        }
    }
}

impl Wallet {
    /// The account and chains that a payload is decoded for.
    #[must_use]
    pub fn account(&self) -> Account<'_> {
        match &self.holding {
            Holding::Ethereum { address, chain_ids } => {
                Account::Ethereum(ethereum::Account { address: *address, chain_ids })
            }
            Holding::Bitcoin(wallet) => Account::Bitcoin(wallet),
            Holding::Solana(account) => Account::Solana(*account),
            Holding::Seal => Account::Seal(self.seal()),
        }
    }

    /// Whether it signs the tenant's changes, and nothing else.
    pub(crate) fn is_seal(&self) -> bool {
        matches!(self.holding, Holding::Seal)
    }

    fn seal(&self) -> Seal<'_> {
        Seal { tenant: self.tenant.as_str(), wallet: self.id.as_str() }
    }

    /// The kind of its keys.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.keys.public().algorithm()
    }

    /// The public key, compressed SEC 1 or the 32 bytes of Ed25519: of a wallet with all addresses of an account, the account's.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.keys.public().bytes()
    }

    /// Where its keys live.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.keys.tier()
    }

    /// Which share of its key this party holds, where several do.
    #[must_use]
    pub fn share(&self) -> Option<KeyShare> {
        self.keys.shared().map(|shared| shared.share)
    }

    /// The account that its keys are derived from.
    #[must_use]
    pub fn account_key(&self) -> Option<&AccountKey> {
        self.keys.account()
    }

    /// Which address of its account it is, where it is one.
    #[must_use]
    pub fn index(&self) -> Option<u32> {
        self.keys.index()
    }

    /// The chains in CAIP-2 text.
    #[must_use]
    pub fn chains(&self) -> Vec<String> {
        match &self.holding {
            Holding::Ethereum { chain_ids, .. } => {
                chain_ids.iter().map(|id| format!("eip155:{id}")).collect()
            }
            Holding::Bitcoin(wallet) => vec![wallet.network().chain().to_owned()],
            Holding::Solana(account) => vec![account.cluster.chain().to_owned()],
            Holding::Seal => vec![self.seal().chain()],
        }
    }

    /// Its descriptor, where it has one.
    #[must_use]
    pub fn descriptor(&self) -> Option<String> {
        match &self.holding {
            Holding::Ethereum { .. } | Holding::Solana(_) | Holding::Seal => None,
            Holding::Bitcoin(wallet) => Some(wallet.descriptor()),
        }
    }

    pub(crate) fn record(&self) -> Result<Vec<u8>, Refusal> {
        let (v, chain_ids, network, cluster) = match &self.holding {
            Holding::Ethereum { chain_ids, .. } => (1, Some(chain_ids.clone()), None, None),
            Holding::Bitcoin(wallet) => (2, None, Some(wallet.network()), None),
            Holding::Solana(account) => (7, None, None, Some(account.cluster)),
            Holding::Seal => (4, None, None, None),
        };
        let (v, key, seed) = match &self.keys {
            Keys::Token(key) => (v, Some(key.id), None),
            Keys::Seed(derived) if cluster.is_some() => (v, None, Some(&derived.seed)),
            Keys::Seed(derived) => (3, None, Some(&derived.seed)),
            Keys::Cold(_) => (5, None, None),
            Keys::Shared(_) => (6, None, None),
        };
        crate::kept::write(&Kept {
            v,
            key,
            algorithm: self.algorithm(),
            public_key: hex::encode(self.public_key()),
            account: self.account_key().map(ToString::to_string),
            index: self.index(),
            seed: seed.map(KeptSeed::from),
            shared: self.keys.shared().map(KeptShared::from),
            chain_ids,
            network,
            descriptor: self.descriptor(),
            cluster,
        })
    }

    /// A wallet around fresh keys.
    pub(crate) fn around(
        keys: Keys,
        tenant: Tenant,
        id: WalletId,
        design: Design,
        created_ms: UnixMillis,
    ) -> Result<Self, Refusal> {
        let holding = design.with(keys.public().bytes(), keys.account())?;
        Ok(Self { tenant, id, created_ms, leaf: 0, holding, keys })
    }

    /// The same, recorded at a log index.
    pub(crate) fn recorded_at(mut self, leaf: u64) -> Self {
        self.leaf = leaf;
        self
    }

    pub(crate) fn from_row(row: WalletRow) -> Result<Self, Refusal> {
        let unreadable =
            || Refusal::new(Code::StoreUnavailable, format!("wallet `{}` cannot be read", row.id));
        let mut kept: Kept = crate::kept::read("wallet", &row.record)?;
        let keys = kept.keys(&row.tenant).ok_or_else(unreadable)?;
        let design = match (kept.v, kept.chain_ids, kept.network, kept.descriptor, kept.cluster) {
            (1 | 3 | 5 | 6, Some(chain_ids), None, None, None) => Design::Ethereum { chain_ids },
            (2 | 3 | 5 | 6, None, Some(network), Some(descriptor), None) => {
                Design::Bitcoin { network, descriptor }
            }
            (4, None, None, None, None) => Design::Seal,
            (6 | 7, None, None, None, Some(cluster)) => Design::Solana { cluster },
            _ => return Err(unreadable()),
        };
        let wallet = Self::around(keys, row.tenant, row.id.clone(), design, row.created_ms)?;
        Ok(wallet.recorded_at(row.leaf))
    }
}

/// Every wallet, by tenant and name.
#[derive(Default)]
pub(crate) struct Wallets {
    known: RwLock<HashMap<(Tenant, WalletId), Arc<Wallet>>>,
    /// Held by whoever makes one.
    pub making: Arc<tokio::sync::Mutex<()>>,
}

impl Wallets {
    pub fn load(&self, store: &Store, row: WalletRow) -> Result<(), Refusal> {
        let mut wallet = Wallet::from_row(row)?;
        if let Keys::Seed(derived) = &mut wallet.keys {
            derived.seed.renew(store, &wallet.tenant)?;
        }
        self.add(wallet);
        Ok(())
    }

    pub fn find(&self, tenant: &Tenant, id: &WalletId) -> Result<Arc<Wallet>, Refusal> {
        let wallets = self.known.read().unwrap_or_else(PoisonError::into_inner);
        wallets
            .get(&(tenant.clone(), id.clone()))
            .cloned()
            .ok_or_else(|| Refusal::new(Code::NotFound, format!("no wallet `{id}`")))
    }

    /// Whether a wallet is around this key of the token.
    pub fn has_key(&self, id: KeyId) -> bool {
        let wallets = self.known.read().unwrap_or_else(PoisonError::into_inner);
        wallets.values().any(|wallet| matches!(&wallet.keys, Keys::Token(key) if key.id == id))
    }

    /// A wallet of the tenant with this public key.
    pub fn of_key(&self, tenant: &Tenant, public: &PublicKey) -> Option<Arc<Wallet>> {
        let wallets = self.known.read().unwrap_or_else(PoisonError::into_inner);
        wallets.values().find(|wallet| wallet.tenant == *tenant && wallet.keys.public() == public).cloned()
    }

    /// The wallets whose keys several parties hold, by name.
    pub fn shared(&self, tenant: &Tenant) -> Vec<(WalletId, KeyShare)> {
        let wallets = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let of = wallets.values().filter(|wallet| wallet.tenant == *tenant);
        let mut found: Vec<_> = of.filter_map(|wallet| Some((wallet.id.clone(), wallet.share()?))).collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found
    }

    /// The wallets whose keys are derived from the seed that was made for one of them, by index.
    pub fn of_seed(&self, tenant: &Tenant, of: &WalletId) -> Vec<Arc<Wallet>> {
        let wallets = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let of = |wallet: &&Arc<Wallet>| {
            let seed = matches!(&wallet.keys, Keys::Seed(derived) if derived.seed.of == *of);
            wallet.tenant == *tenant && seed
        };
        let mut found: Vec<_> = wallets.values().filter(of).cloned().collect();
        found.sort_by_key(|wallet| wallet.index());
        found
    }

    pub fn add(&self, wallet: Wallet) -> Arc<Wallet> {
        let wallet = Arc::new(wallet);
        let mut wallets = self.known.write().unwrap_or_else(PoisonError::into_inner);
        wallets.insert((wallet.tenant.clone(), wallet.id.clone()), Arc::clone(&wallet));
        wallet
    }
}
