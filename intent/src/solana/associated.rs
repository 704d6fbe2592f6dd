//! Associated token accounts: the address is derived from owner, token program and mint, so whoever names these three proves
//! whose account it was made as, and for which token. A claim that does not prove itself counts nothing here.

use chancery_core::{TokenAccount, limit};
use serde_json::{Value, json};

use super::program::{ASSOCIATED, TOKEN, TOKEN_2022};
use super::{Account, Pubkey, address};
use crate::IntentError;

/// The address of the token account of `owner` for `mint`.
pub(super) fn associated(owner: &Pubkey, program: &Pubkey, mint: &Pubkey) -> Option<Pubkey> {
    let seeds = [owner.as_ref(), program.as_ref(), mint.as_ref()];
    Pubkey::try_find_program_address(&seeds, &ASSOCIATED).map(|(address, _)| address)
}

/// A token account, and of whom and what it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proved {
    account: Pubkey,
    program: Pubkey,
    pub owner: Pubkey,
    pub mint: Pubkey,
    /// Which of the request's claims it is of.
    claim: Option<usize>,
    used: bool,
}

/// The token accounts whose owners are proved.
pub(super) struct Known {
    wallet: Pubkey,
    proved: Vec<Proved>,
    claims: usize,
}

impl Known {
    /// What a request claims.
    pub fn of(claims: &[TokenAccount], account: &Account) -> Result<Self, IntentError> {
        let most = limit::SOLANA_TOKEN_ACCOUNTS;
        if claims.len() > most {
            return Err(IntentError::TooComplex { what: "token accounts", limit: most });
        }
        let mut known = Self { wallet: account.address, proved: Vec::new(), claims: claims.len() };
        for (claim, stated) in claims.iter().enumerate() {
            let (owner, mint) = (address(&stated.owner)?, address(&stated.mint)?);
            for program in [TOKEN, TOKEN_2022] {
                known.add(owner, mint, program, Some(claim));
            }
        }
        Ok(known)
    }

    /// Takes up one that the message itself makes; whether it is the one that it says.
    pub fn made(&mut self, account: &Pubkey, owner: Pubkey, mint: Pubkey, program: Pubkey) -> bool {
        self.add(owner, mint, program, None) == Some(*account)
    }

    fn add(&mut self, owner: Pubkey, mint: Pubkey, program: Pubkey, claim: Option<usize>) -> Option<Pubkey> {
        let account = associated(&owner, &program, &mint)?;
        self.proved.push(Proved { account, program, owner, mint, claim, used: false });
        Some(account)
    }

    /// Of whom and what a token account of this program is, where it is proved.
    pub fn find(&mut self, account: &Pubkey, program: &Pubkey) -> Option<Proved> {
        let found =
            self.proved.iter_mut().find(|proved| proved.account == *account && proved.program == *program)?;
        found.used = true;
        Some(*found)
    }

    /// Whose token account for this mint it is, where it is proved.
    pub fn owner(&mut self, account: &Pubkey, program: &Pubkey, mint: &Pubkey) -> Option<Pubkey> {
        match self.find(account, program).filter(|proved| proved.mint == *mint) {
            Some(proved) => Some(proved.owner),
            None => (associated(&self.wallet, program, mint) == Some(*account)).then_some(self.wallet),
        }
    }

    /// The claims that proved something.
    ///
    /// # Errors
    /// [`IntentError::Malformed`] where one proved nothing: it would be on record, and mean nothing.
    pub fn told(&self) -> Result<Vec<Value>, IntentError> {
        let used = || self.proved.iter().filter(|proved| proved.used);
        if (0..self.claims).any(|claim| !used().any(|proved| proved.claim == Some(claim))) {
            let reason = "one of `token_accounts` is none that tokens come from or go to";
            return Err(IntentError::malformed(reason));
        }
        let told = used().filter(|proved| proved.claim.is_some()).map(|proved| {
            json!({
                "account": proved.account.to_string(),
                "owner": proved.owner.to_string(),
                "mint": proved.mint.to_string(),
            })
        });
        Ok(told.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solana::Cluster;

    /// Would catch seeds in another order, or another program's: tokens would go to an address that nobody has.
    #[test]
    fn the_address_is_the_one_that_the_program_makes() {
        // Made on mainnet by `spl-token create-account`; transaction 3vZ67C... in `tests/vectors/solana.json` sends from it.
        let parse = |text: &str| address(text).unwrap();
        let owner = parse("B1iGmDJdvmxyUiYM8UEo2Uw2D58EmUrw4KyLYMmrhf8V");
        let mint = parse("SRMuApVNdxXokk5GT7XD5cUUgXMBCoAz2LHeuAoKWRt");
        let account = parse("EDNd1ycsydWYwVmrYZvqYazFqwk1QjBgAUKFjBoz1jKP");
        assert_eq!(associated(&owner, &TOKEN, &mint), Some(account));
        assert_ne!(associated(&owner, &TOKEN_2022, &mint), Some(account));
        let wallet = Account { address: owner, cluster: Cluster::Mainnet };
        let claims = [TokenAccount { owner: owner.to_string(), mint: mint.to_string() }];
        let mut known = Known::of(&claims, &wallet).unwrap();
        assert!(known.told().is_err(), "a claim of nothing in the message");
        assert_eq!(known.find(&account, &TOKEN).map(|proved| proved.mint), Some(mint));
        assert_eq!(known.told().unwrap().len(), 1);
    }
}
