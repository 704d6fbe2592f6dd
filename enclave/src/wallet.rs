//! Wallets: a key in the HSM, pinned by its public key, and the chains it may be used on. Read from the store at start and
//! kept in memory; the store's row is what counts. A wrong public key here would let a foreign signature pass.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use chancery_core::{Code, KeyId, Tenant, UnixMillis, WalletId};
use chancery_hsm::{Algorithm, KeyRef, PublicKey};
use chancery_intent::bitcoin::{self, Network};
use chancery_intent::{Account, Address, address_of, ethereum};
use chancery_store::WalletRow;
use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// LIMIT: chains of one wallet.
pub const CHAINS: usize = 16;

/// A wallet: one key and what it may be used on.
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
    pub(crate) key: KeyRef,
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
}

/// What a wallet shall be, before it has a key.
#[derive(Clone, Debug)]
pub enum Design {
    /// One address, for these EIP-155 chain ids: 1 to [`CHAINS`].
    Ethereum {
        /// The chains.
        chain_ids: Vec<u64>,
    },
    /// The scripts of a descriptor in which `@0` stands for the wallet's key.
    Bitcoin {
        /// The network.
        network: Network,
        /// The descriptor.
        descriptor: String,
    },
}

impl Design {
    /// Around a key.
    fn with(self, public_key: &[u8]) -> Result<Holding, Refusal> {
        Ok(match self {
            Self::Ethereum { chain_ids } => {
                let address = address_of(public_key)
                    .map_err(|_| Refusal::new(Code::Internal, "the key has no Ethereum address"))?;
                Holding::Ethereum { address, chain_ids }
            }
            Self::Bitcoin { network, descriptor } => {
                Holding::Bitcoin(Box::new(bitcoin::Wallet::parse(network, &descriptor, public_key)?))
            }
        })
    }

    /// Whether a wallet can be made so, asked before there is a key for it.
    ///
    /// # Errors
    /// [`Code::BadRequest`] says what it may not be.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
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
            // Any key: what a descriptor may be does not depend on it.
            Self::Bitcoin { .. } => self.clone().with(&ANY_KEY).map(|_| ()),
        }
    }
}

/// The generator of secp256k1.
const ANY_KEY: [u8; 33] = [
    0x02, 0x79, 0xbe, 0x66, 0x7e, 0xf9, 0xdc, 0xbb, 0xac, 0x55, 0xa0, 0x62, 0x95, 0xce, 0x87, 0x0b, 0x07,
    0x02, 0x9b, 0xfc, 0xdb, 0x2d, 0xce, 0x28, 0xd9, 0x59, 0xf2, 0x81, 0x5b, 0x16, 0xf8, 0x17, 0x98,
];

/// The `record` column of a wallet: format 1 is Ethereum's, format 2 Bitcoin's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    v: u8,
    key: KeyId,
    algorithm: Algorithm,
    public_key: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    chain_ids: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    network: Option<Network>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    descriptor: Option<String>,
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
        }
    }

    /// The public key, compressed SEC 1.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.key.public.bytes()
    }

    /// The chains in CAIP-2 text.
    #[must_use]
    pub fn chains(&self) -> Vec<String> {
        match &self.holding {
            Holding::Ethereum { chain_ids, .. } => {
                chain_ids.iter().map(|id| format!("eip155:{id}")).collect()
            }
            Holding::Bitcoin(wallet) => vec![wallet.network().chain().to_owned()],
        }
    }

    /// Its descriptor, where it has one.
    #[must_use]
    pub fn descriptor(&self) -> Option<String> {
        match &self.holding {
            Holding::Ethereum { .. } => None,
            Holding::Bitcoin(wallet) => Some(wallet.descriptor()),
        }
    }

    pub(crate) fn record(&self) -> Result<Vec<u8>, Refusal> {
        let (v, chain_ids, network) = match &self.holding {
            Holding::Ethereum { chain_ids, .. } => (1, Some(chain_ids.clone()), None),
            Holding::Bitcoin(wallet) => (2, None, Some(wallet.network())),
        };
        crate::kept::write(&Kept {
            v,
            key: self.key.id,
            algorithm: self.key.public.algorithm(),
            public_key: hex::encode(self.public_key()),
            chain_ids,
            network,
            descriptor: self.descriptor(),
        })
    }

    /// A wallet around a fresh key.
    pub(crate) fn around(
        key: KeyRef,
        tenant: Tenant,
        id: WalletId,
        design: Design,
        created_ms: UnixMillis,
    ) -> Result<Self, Refusal> {
        let holding = design.with(key.public.bytes())?;
        Ok(Self { tenant, id, created_ms, leaf: 0, holding, key })
    }

    /// The same, recorded at a log index.
    pub(crate) fn recorded_at(mut self, leaf: u64) -> Self {
        self.leaf = leaf;
        self
    }

    fn from_row(row: WalletRow) -> Result<Self, Refusal> {
        let unreadable =
            |_| Refusal::new(Code::StoreUnavailable, format!("wallet `{}` cannot be read", row.id));
        let kept: Kept = crate::kept::read("wallet", &row.record)?;
        let bytes = hex::decode(&kept.public_key).map_err(|_| unreadable(()))?;
        let public = PublicKey::parse(kept.algorithm, &bytes).map_err(|_| unreadable(()))?;
        let key = KeyRef { id: kept.key, public };
        let design = match (kept.v, kept.chain_ids, kept.network, kept.descriptor) {
            (1, Some(chain_ids), None, None) => Design::Ethereum { chain_ids },
            (2, None, Some(network), Some(descriptor)) => Design::Bitcoin { network, descriptor },
            _ => return Err(unreadable(())),
        };
        let wallet = Self::around(key, row.tenant, row.id.clone(), design, row.created_ms)?;
        Ok(wallet.recorded_at(row.leaf))
    }
}

/// Every wallet, by tenant and name.
#[derive(Default)]
pub(crate) struct Wallets {
    all: RwLock<HashMap<(Tenant, WalletId), Arc<Wallet>>>,
    /// Held by whoever takes a key that is in the HSM already, from the look whether another wallet has it.
    pub adopting: tokio::sync::Mutex<()>,
}

impl Wallets {
    pub fn load(&self, row: WalletRow) -> Result<(), Refusal> {
        self.add(Wallet::from_row(row)?);
        Ok(())
    }

    pub fn find(&self, tenant: &Tenant, id: &WalletId) -> Result<Arc<Wallet>, Refusal> {
        let wallets = self.all.read().unwrap_or_else(PoisonError::into_inner);
        wallets
            .get(&(tenant.clone(), id.clone()))
            .cloned()
            .ok_or_else(|| Refusal::new(Code::NotFound, format!("no wallet `{id}`")))
    }

    pub fn has_key(&self, id: KeyId) -> bool {
        let wallets = self.all.read().unwrap_or_else(PoisonError::into_inner);
        wallets.values().any(|wallet| wallet.key.id == id)
    }

    pub fn add(&self, wallet: Wallet) -> Arc<Wallet> {
        let wallet = Arc::new(wallet);
        let mut wallets = self.all.write().unwrap_or_else(PoisonError::into_inner);
        wallets.insert((wallet.tenant.clone(), wallet.id.clone()), Arc::clone(&wallet));
        wallet
    }
}
