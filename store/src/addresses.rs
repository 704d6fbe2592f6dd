//! The addresses that wallets with many have handed out. Wrong here: an address that nobody looks for gets coins, or one is
//! handed out twice.

use chancery_core::{Tenant, WalletId};

use crate::StoreError;
use crate::reader::Reader;
use crate::tx::Tx;

pub(crate) mod sql {
    pub(crate) const ADDRESSES: &str =
        "SELECT given, used FROM address WHERE tenant = ?1 AND wallet = ?2 AND branch = ?3";
    pub(crate) const PUT_ADDRESSES: &str = "INSERT INTO address (tenant, wallet, branch, given, used) \
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (tenant, wallet, branch) DO UPDATE SET given = ?4, used = ?5";
}

/// Addresses of a branch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// How many were handed out: those below this index.
    pub given: u32,
    /// Above the highest that is known to be used.
    pub used: u32,
}

impl Reader<'_> {
    /// The addresses of a wallet's branch.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn addresses(
        &self,
        tenant: &Tenant,
        wallet: &WalletId,
        branch: u32,
    ) -> Result<Addresses, StoreError> {
        let found = self.link.one(sql::ADDRESSES, (tenant.as_str(), wallet.as_str(), branch), |row| {
            Ok(Addresses { given: row.get(0)?, used: row.get(1)? })
        })?;
        Ok(found.unwrap_or_default())
    }
}

impl Tx<'_> {
    /// Hands out the next address of a branch, or none where `gap` in a row are not known to be used.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be written.
    pub fn next_address(
        &mut self,
        tenant: &Tenant,
        wallet: &WalletId,
        branch: u32,
        gap: u32,
    ) -> Result<Option<u32>, StoreError> {
        let Addresses { given, used } = self.rows().addresses(tenant, wallet, branch)?;
        if given.saturating_sub(used) >= gap {
            return Ok(None);
        }
        self.put_addresses(tenant, wallet, branch, Addresses { given: given.saturating_add(1), used })?;
        Ok(Some(given))
    }

    /// Notes that an address is used: by a payment to it, or from it. False, and nothing is noted, where it is `gap` or more
    /// beyond those that were handed out: the next ones would be where nobody looks.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be written.
    pub fn used_address(
        &mut self,
        tenant: &Tenant,
        wallet: &WalletId,
        branch: u32,
        index: u32,
        gap: u32,
    ) -> Result<bool, StoreError> {
        let before = self.rows().addresses(tenant, wallet, branch)?;
        if index >= before.given.saturating_add(gap) {
            return Ok(false);
        }
        let used = before.used.max(index.saturating_add(1));
        let now = Addresses { given: before.given.max(used), used };
        if now != before {
            self.put_addresses(tenant, wallet, branch, now)?;
        }
        Ok(true)
    }

    fn put_addresses(
        &mut self,
        tenant: &Tenant,
        wallet: &WalletId,
        branch: u32,
        Addresses { given, used }: Addresses,
    ) -> Result<(), StoreError> {
        let row = (tenant.as_str(), wallet.as_str(), branch, given, used);
        self.link.run(sql::PUT_ADDRESSES, row).map(drop)
    }
}
