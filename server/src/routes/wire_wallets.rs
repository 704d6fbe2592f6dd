//! Wallets and their addresses in the JSON that crosses the wire; the rest of it is in `wire`.

use chancery_core::{Code, KeyId, Tenant, Tier, UnixMillis, WalletId};
use chancery_enclave::{self as enclave, Cluster, Network};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;

/// A wallet to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "chain", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum NewWallet {
    /// One address on Ethereum and its kin.
    Ethereum {
        /// Its name.
        #[schema(value_type = String, example = "treasury")]
        id: WalletId,
        /// The EIP-155 chain ids it may sign for, 1 to 16.
        chain_ids: Vec<u64>,
        /// Where its key comes from.
        #[serde(default)]
        key: NewKey,
    },
    /// The scripts of an output descriptor.
    Bitcoin {
        /// Its name.
        #[schema(value_type = String, example = "vault")]
        id: WalletId,
        /// `mainnet`, `testnet4`, `signet` or `regtest`.
        #[schema(value_type = String)]
        network: Network,
        /// `pkh`, `sh(wpkh)`, `wpkh`, `wsh` or `tr` (BIP-380), with `@0` for the wallet's own key; `@0/<0;1>/*` where keys
        /// are derived.
        #[schema(value_type = String, example = "wpkh(@0)")]
        descriptor: String,
        /// Where its keys come from.
        #[serde(default)]
        key: NewKey,
    },
    /// One address on a cluster of Solana.
    Solana {
        /// Its name.
        #[schema(value_type = String, example = "payouts")]
        id: WalletId,
        /// `mainnet`, `testnet` or `devnet`.
        #[schema(value_type = String)]
        cluster: Cluster,
        /// Where its key comes from: `hsm`, `seed`, `beside` or `parties`.
        #[serde(default)]
        key: NewKey,
    },
}

/// Where the keys of a new wallet come from.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(tag = "from", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum NewKey {
    /// One key that the HSM makes and never lets go.
    #[default]
    Hsm,
    /// A seed that is made inside and kept encrypted by the HSM.
    Seed {
        /// The account (BIP-44); a Solana wallet is the one address of its own.
        #[serde(default)]
        account: u32,
    },
    /// A key that a ceremony made for it.
    Ceremony {
        /// The key.
        #[schema(value_type = String)]
        id: KeyId,
    },
    /// The next address of the account of an Ethereum wallet, or the next account of the seed of a Solana wallet.
    Beside {
        /// That wallet.
        #[schema(value_type = String)]
        wallet: WalletId,
    },
    /// Keys that never are in the appliance: those of an account (`account`, and `index` for Ethereum), or one (`public_key`).
    Cold {
        /// `[fingerprint/path]xpub...` (BIP-380).
        #[serde(default)]
        account: Option<String>,
        /// Which address of the account an Ethereum wallet is; 0 without.
        #[serde(default)]
        index: Option<u32>,
        /// Compressed SEC 1, hexadecimal.
        #[serde(default)]
        public_key: Option<String>,
    },
    /// A key that nobody has: every configured party makes a share of it, and so many sign. Its requests are signed by their
    /// clients (RFC 9421).
    Parties {
        /// How many sign.
        threshold: u8,
        /// How many parties there are.
        parties: u8,
    },
}

impl TryFrom<NewKey> for enclave::Source {
    type Error = Problem;

    fn try_from(key: NewKey) -> Result<Self, Problem> {
        Ok(match key {
            NewKey::Hsm => Self::Token,
            NewKey::Seed { account } => Self::Seed { account },
            NewKey::Ceremony { id } => Self::Made(id),
            NewKey::Beside { wallet } => Self::Beside(wallet),
            NewKey::Cold { account: Some(account), index, public_key: None } => {
                Self::Cold(enclave::Cold::Account { account, index })
            }
            NewKey::Cold { account: None, index: None, public_key: Some(public_key) } => {
                Self::Cold(enclave::Cold::Key { public_key })
            }
            NewKey::Parties { threshold, parties } => Self::Parties { threshold, parties },
            NewKey::Cold { .. } => {
                let detail =
                    "of a cold wallet's keys name `account`, with `index` if you like, or `public_key`";
                return Err(Problem::new(Code::BadRequest).detail(detail));
            }
        })
    }
}

/// A kind of chain.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Chain {
    /// Ethereum and its kin; secp256k1 keys.
    Ethereum,
    /// Bitcoin; secp256k1 keys.
    Bitcoin,
    /// Solana; Ed25519 keys.
    Solana,
    /// Changes of the appliance; the appliance makes this wallet by itself.
    Chancery,
}

/// A wallet.
#[derive(Serialize, ToSchema)]
pub(crate) struct Wallet {
    /// Its tenant.
    #[schema(value_type = String)]
    pub tenant: Tenant,
    /// Its name.
    #[schema(value_type = String)]
    pub id: WalletId,
    /// The kind of chain.
    pub chain: Chain,
    /// Where its keys live: `hsm`, `hd`, `cold` or `mpc`.
    #[schema(value_type = String)]
    pub tier: Tier,
    /// The kind of key: `secp256k1` or `ed25519`.
    pub algorithm: &'static str,
    /// The public key, hexadecimal: compressed SEC 1, or 32 bytes of Ed25519; of a wallet with all addresses of an account, the account's.
    pub public_key: String,
    /// The account that its keys are derived from: `[fingerprint/path]xpub...` (BIP-380).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Which address of its account it is, where it is one; of a Solana wallet which account of its seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// The account it controls: EIP-55 text, the first address of a Bitcoin wallet, or base58.
    pub address: String,
    /// The EIP-155 chain ids it may sign for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain_ids: Vec<u64>,
    /// The Bitcoin network, or the cluster of Solana.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<&'static str>,
    /// The descriptor with the wallet's key in it and its checksum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<String>,
    /// Each branch's descriptor by itself, as watching wallets import them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub branch_descriptors: Vec<String>,
    /// Where several parties hold its key: how many sign of how many, such as `2-of-3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// When it was made.
    #[schema(value_type = i64)]
    pub created_ms: UnixMillis,
    /// The log index of its making.
    pub leaf: u64,
}

impl From<&enclave::Wallet> for Wallet {
    fn from(wallet: &enclave::Wallet) -> Self {
        let (chain, address, chain_ids, network) = match &wallet.holding {
            enclave::Holding::Ethereum { address, chain_ids } => {
                (Chain::Ethereum, address.to_string(), chain_ids.clone(), None)
            }
            enclave::Holding::Bitcoin(held) => {
                let address = held.address().unwrap_or_default();
                (Chain::Bitcoin, address, Vec::new(), Some(held.network().as_str()))
            }
            enclave::Holding::Solana(account) => {
                let cluster = account.cluster.as_str();
                (Chain::Solana, account.address.to_string(), Vec::new(), Some(cluster))
            }
            enclave::Holding::Seal => (Chain::Chancery, wallet.id.to_string(), Vec::new(), None),
        };
        Self {
            tenant: wallet.tenant.clone(),
            id: wallet.id.clone(),
            chain,
            tier: wallet.tier(),
            algorithm: wallet.algorithm().as_str(),
            public_key: hex::encode(wallet.public_key()),
            account: wallet.account_key().map(ToString::to_string),
            index: wallet.index(),
            address,
            chain_ids,
            network,
            descriptor: wallet.descriptor(),
            branch_descriptors: match &wallet.holding {
                enclave::Holding::Bitcoin(held) if wallet.account_key().is_some() => {
                    held.branch_descriptors()
                }
                _ => Vec::new(),
            },
            share: wallet.share().map(|share| format!("{}-of-{}", share.threshold, share.parties)),
            created_ms: wallet.created_ms,
            leaf: wallet.leaf,
        }
    }
}

/// Which addresses.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Range {
    /// 0 receives, 1 takes change, mostly.
    #[serde(default)]
    pub branch: u32,
    /// The first index.
    #[serde(default)]
    pub from: u32,
    /// How many: 1 to 100.
    #[serde(default = "gap")]
    pub count: u32,
}

fn gap() -> u32 {
    enclave::GAP
}

/// Which branch's next address is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskAddress {
    /// 0 receives, 1 takes change, mostly.
    #[serde(default)]
    pub branch: u32,
    /// An index of the branch at which the client has seen coins.
    #[serde(default)]
    pub used: Option<u32>,
}

/// One address of a wallet with many.
#[derive(Serialize, ToSchema)]
pub(crate) struct Address {
    /// The branch.
    pub branch: u32,
    /// The index.
    pub index: u32,
    /// The address.
    pub address: String,
}

impl From<enclave::Address> for Address {
    fn from(enclave::Address { branch, index, address }: enclave::Address) -> Self {
        Self { branch, index, address }
    }
}

/// Addresses of a branch.
#[derive(Serialize, ToSchema)]
pub(crate) struct Addresses {
    /// The addresses, by index.
    pub addresses: Vec<Address>,
    /// How many of the branch were handed out.
    pub given: u32,
    /// Above the highest index that is known to be used.
    pub used: u32,
}

/// One page of wallets, by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct Wallets {
    /// The wallets.
    pub wallets: Vec<Wallet>,
    /// Pass it as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
