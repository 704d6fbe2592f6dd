//! Wallets: a key in the HSM, pinned by its public key, and the chains it may be used on. Read from the store at start and
//! kept in memory; the store's row is what counts. A wrong public key here would let a foreign signature pass.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use chancery_core::{Code, KeyId, Tenant, UnixMillis, WalletId};
use chancery_hsm::{Algorithm, KeyRef, PublicKey};
use chancery_intent::{Account, Address, address_of};
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
    /// The account it controls.
    pub address: Address,
    /// The EIP-155 chain ids it may sign for.
    pub chain_ids: Vec<u64>,
    pub(crate) key: KeyRef,
}

/// The `record` column of a wallet. Format 1.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    v: u8,
    key: KeyId,
    algorithm: Algorithm,
    public_key: String,
    chain_ids: Vec<u64>,
}

impl Wallet {
    /// The account and chains that a payload is decoded for.
    #[must_use]
    pub fn account(&self) -> Account<'_> {
        Account { address: self.address, chain_ids: &self.chain_ids }
    }

    /// The public key, compressed SEC 1.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.key.public.bytes()
    }

    /// The chains in CAIP-2 text.
    #[must_use]
    pub fn chains(&self) -> Vec<String> {
        self.chain_ids.iter().map(|id| format!("eip155:{id}")).collect()
    }

    pub(crate) fn record(&self) -> Result<Vec<u8>, Refusal> {
        crate::kept::write(&Kept {
            v: 1,
            key: self.key.id,
            algorithm: self.key.public.algorithm(),
            public_key: hex::encode(self.public_key()),
            chain_ids: self.chain_ids.clone(),
        })
    }

    /// A wallet around a fresh key.
    pub(crate) fn around(
        key: KeyRef,
        tenant: Tenant,
        id: WalletId,
        chain_ids: Vec<u64>,
        created_ms: UnixMillis,
    ) -> Result<Self, Refusal> {
        let address = address_of(key.public.bytes())
            .map_err(|_| Refusal::new(Code::Internal, "the key has no Ethereum address"))?;
        Ok(Self { tenant, id, created_ms, leaf: 0, address, chain_ids, key })
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
        let wallet = Self::around(key, row.tenant, row.id.clone(), kept.chain_ids, row.created_ms)?;
        Ok(wallet.recorded_at(row.leaf))
    }
}

/// Every wallet, by tenant and name.
#[derive(Default)]
pub(crate) struct Wallets(RwLock<HashMap<(Tenant, WalletId), Arc<Wallet>>>);

impl Wallets {
    pub fn load(&self, row: WalletRow) -> Result<(), Refusal> {
        self.add(Wallet::from_row(row)?);
        Ok(())
    }

    pub fn find(&self, tenant: &Tenant, id: &WalletId) -> Result<Arc<Wallet>, Refusal> {
        let wallets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        wallets
            .get(&(tenant.clone(), id.clone()))
            .cloned()
            .ok_or_else(|| Refusal::new(Code::NotFound, format!("no wallet `{id}`")))
    }

    pub fn add(&self, wallet: Wallet) -> Arc<Wallet> {
        let wallet = Arc::new(wallet);
        let mut wallets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        wallets.insert((wallet.tenant.clone(), wallet.id.clone()), Arc::clone(&wallet));
        wallet
    }
}
