//! Addresses of a wallet with many: shown, and handed out one after the other, no further than a wallet that recovers from
//! the seed would look. What is used is known from what was signed, and from clients that watch the chain.

use chancery_core::{Code, Tenant, WalletId};
use chancery_store::Addresses;

use crate::keys::GAP;
use crate::refusal::Refusal;
use crate::start::Enclave;
use crate::wallet::{Holding, Wallet};

/// LIMIT: addresses of one answer.
pub const ADDRESSES: u32 = 100;

/// One address of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// 0 receives, 1 takes change, mostly.
    pub branch: u32,
    /// Its index.
    pub index: u32,
    /// The address.
    pub address: String,
}

impl Enclave {
    /// `count` addresses of a branch, from `first`; also how many were handed out, and above which none is known used.
    ///
    /// # Errors
    /// [`Code::NotFound`] for the wallet; [`Code::BadRequest`] where it has one address, no such branch, or so many are
    /// asked for.
    pub fn addresses(
        &self,
        tenant: &Tenant,
        wallet: &WalletId,
        branch: u32,
        first: u32,
        count: u32,
    ) -> Result<(Vec<Address>, Addresses), Refusal> {
        if !(1..=ADDRESSES).contains(&count) {
            return Err(Refusal::new(Code::BadRequest, format!("`count` must be 1 to {ADDRESSES}")));
        }
        let house = self.house();
        let wallet = house.wallets.find(tenant, wallet)?;
        let known = house.store.read(|rows| rows.addresses(tenant, &wallet.id, branch))?;
        Ok((derived(&wallet, branch, first, count)?, known))
    }

    /// Hands out the next address of a branch. `used` is an index that the caller has seen coins at.
    ///
    /// # Errors
    /// [`Code::GapLimit`]; else as [`Enclave::addresses`].
    pub async fn next_address(
        &self,
        tenant: &Tenant,
        wallet: &WalletId,
        branch: u32,
        used: Option<u32>,
    ) -> Result<Address, Refusal> {
        let house = self.house();
        let wallet = house.wallets.find(tenant, wallet)?;
        derived(&wallet, branch, used.unwrap_or(0), 1)?;
        house.disk.admit()?;
        let (tenant, id) = (tenant.clone(), wallet.id.clone());
        let next = house
            .store
            .write(move |tx| {
                if let Some(used) = used
                    && !tx.used_address(&tenant, &id, branch, used, GAP)?
                {
                    let detail = format!("`used` is {GAP} or more beyond the addresses that were handed out");
                    return Err(Refusal::new(Code::BadRequest, detail));
                }
                Ok::<_, Refusal>(tx.next_address(&tenant, &id, branch, GAP)?)
            })
            .await?
            .into_inner();
        let index = next.ok_or_else(|| {
            let detail = format!(
                "the last {GAP} addresses of this branch are not known to be used: a wallet that recovers from the seed \
                 would not find another; say `used` once one is"
            );
            Refusal::new(Code::GapLimit, detail)
        })?;
        let found = derived(&wallet, branch, index, 1)?.pop();
        found.ok_or_else(|| Refusal::new(Code::Internal, "no address at its index"))
    }
}

fn derived(wallet: &Wallet, branch: u32, first: u32, count: u32) -> Result<Vec<Address>, Refusal> {
    let bad = |detail: String| Refusal::new(Code::BadRequest, detail);
    let Holding::Bitcoin(held) = &wallet.holding else {
        return Err(bad(format!("wallet `{}` is one address; make another beside it", wallet.id)));
    };
    if wallet.account_key().is_none() {
        return Err(bad(format!("wallet `{}` has one key", wallet.id)));
    }
    let place = usize::try_from(branch).unwrap_or(usize::MAX);
    let addresses = held.addresses(place, first, count)?;
    if addresses.is_empty() {
        return Err(bad(format!("wallet `{}` has no branch {branch}", wallet.id)));
    }
    Ok(addresses.into_iter().map(|(index, address)| Address { branch, index, address }).collect())
}
