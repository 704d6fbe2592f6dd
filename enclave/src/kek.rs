//! The keys of the token that encrypt what must live outside it: one for each purpose, under an id that follows from the
//! purpose until a ceremony replaces it. The store says which key is in force, and holds what was encrypted anew under it.
//! If this is wrong, a secret is asked of a key that cannot open it, or a replaced key is used again.

use chancery_audit::{V1, kek_id, key_id};
use chancery_core::{KeyId, Tenant, WalletId};
use chancery_hsm::{Hsm, HsmError, Wrapped};
use chancery_store::{Reader, StoreError};
use serde::{Deserialize, Serialize};

/// What a key encrypts.
#[derive(Clone, Debug)]
pub(crate) struct Purpose {
    first: KeyId,
    label: String,
    name: String,
}

impl Purpose {
    /// The seeds of the log's ML-DSA keys.
    pub fn log(origin: &str) -> Self {
        let label = format!("chancery/log/kek/{origin}");
        Self { first: kek_id(origin), label, name: format!("kek/log/{origin}") }
    }

    /// The secret of logins.
    pub fn login(origin: &str) -> Self {
        let label = format!("chancery/login/kek/{origin}");
        Self { first: key_id("chancery login kek v1", origin), label, name: format!("kek/login/{origin}") }
    }

    /// The seeds of a tenant's wallets.
    pub fn seeds(tenant: &Tenant) -> Self {
        let first = key_id("chancery wallet kek v1", tenant.as_str());
        Self { first, label: format!("chancery/{tenant}/wallet seeds"), name: format!("kek/seeds/{tenant}") }
    }

    /// The shares of keys that several parties hold.
    pub fn shares(tenant: &Tenant) -> Self {
        let first = key_id("chancery share kek v1", tenant.as_str());
        Self { first, label: format!("chancery/{tenant}/shares"), name: format!("kek/shares/{tenant}") }
    }

    /// How the store names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's label on the token.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The key in force.
    pub fn in_force(&self, rows: &Reader<'_>) -> Result<KeyId, StoreError> {
        Ok(self.in_turn(rows)?.last().copied().unwrap_or(self.first))
    }

    /// The keys that were in force before `key`.
    pub fn before(&self, rows: &Reader<'_>, key: KeyId) -> Result<Vec<KeyId>, StoreError> {
        let turns = std::iter::once(self.first).chain(self.in_turn(rows)?);
        Ok(turns.take_while(|turn| *turn != key).collect())
    }

    fn in_turn(&self, rows: &Reader<'_>) -> Result<Vec<KeyId>, StoreError> {
        let parse = |record: Vec<u8>| {
            let id = record.try_into().map_err(|_| StoreError::Corrupt { what: "a key that encrypts" })?;
            Ok(KeyId::from_bytes(id))
        };
        rows.renewals(&self.name)?.into_iter().map(parse).collect()
    }

    /// Sees to it that `key`, which is in force, is on the token. The first one is made where it is missing; one that a ceremony
    /// made must be there. True where it was there.
    pub async fn have(&self, hsm: &Hsm, key: KeyId) -> Result<bool, HsmError> {
        if key != self.first {
            return Ok(true);
        }
        match hsm.generate_kek(key, &self.label).await {
            Ok(()) => Ok(false),
            Err(HsmError::KeyExists { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// A secret that was encrypted anew.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Anew {
    v: V1,
    kek: KeyId,
    wrapped: Wrapped,
}

/// The record of a secret that was encrypted anew.
pub(crate) fn anew(kek: KeyId, wrapped: Wrapped) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Anew { v: V1, kek, wrapped })
}

/// The secret of this name as it was encrypted last, and under which key, where that was after it was made.
pub(crate) fn renewed(rows: &Reader<'_>, name: &str) -> Result<Option<(KeyId, Wrapped)>, StoreError> {
    let read = |record: Vec<u8>| {
        let Anew { kek, wrapped, .. } = serde_json::from_slice(&record)
            .map_err(|_| StoreError::Corrupt { what: "a secret encrypted anew" })?;
        Ok((kek, wrapped))
    };
    rows.renewed(name)?.map(read).transpose()
}

/// How the store names the seed that was made for a wallet.
pub(crate) fn seed_name(tenant: &Tenant, of: &WalletId) -> String {
    format!("seed/{tenant}/{of}")
}
