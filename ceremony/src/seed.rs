//! Shares of a wallet's seed (SLIP-39), each in an age file that only its holder opens, and the public list of who has which.
//! What they join to is known by the account that comes out of it. The words are never shown here, nor on a terminal.
//! If this is wrong, a seed is readable by fewer than agreed, or cannot be had back.

use std::path::Path;

use chancery_audit::{Digest, V1, canonical};
use chancery_core::KeyId;
use chancery_hd::slip39::{self, Plan};
use chancery_hd::{Curve, Key, Path as Steps, scrub_stack};
use chancery_intent::AccountKey;
use chancery_intent::bitcoin::Network;
use chancery_secret::SecretBytes;
use serde::{Deserialize, Serialize};

use crate::console::Console;
use crate::error::CeremonyError;
use crate::script::Custodian;
use crate::share::{Came, Holder, Sealed, put};
use crate::store::{self, SEED};

/// Who holds which share of a wallet's seed. Public.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedShares {
    /// The format: 1.
    pub v: V1,
    /// The ceremony that dealt them.
    pub ceremony: KeyId,
    /// The wallet.
    pub wallet: String,
    /// The account of the seed that the wallet is: origin and extended public key, as descriptors write it.
    pub account: String,
    /// How many join.
    pub threshold: usize,
    /// Who has them.
    pub holders: Vec<Holder>,
}

/// What stands before the words in a file, so that no share is taken for one of another deal or holder.
fn heading(ceremony: KeyId, wallet: &str, name: &str) -> String {
    format!("chancery seed share v1\n{ceremony}\n{wallet}\n{name}\n")
}

/// Whose words were joined, and whose were bad.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The wallet.
    pub wallet: String,
    /// The account that came out, as it should.
    pub account: String,
    /// Who brought a good share.
    pub came: Vec<String>,
    /// Whose share was bad.
    pub bad: Vec<String>,
}

impl SeedShares {
    /// Deals a seed: writes each share to an age file, and then the list, once the shares were seen to join.
    pub(crate) fn deal(
        folder: &Path,
        ceremony: KeyId,
        (wallet, account): (String, String),
        seed: &SecretBytes,
        threshold: usize,
        custodians: &[Custodian],
    ) -> Result<Self, CeremonyError> {
        leads_to(seed, &account)?;
        let number = |count| u8::try_from(count).map_err(|_| sharing("there are too many custodians"));
        let plan = Plan::any(number(threshold)?, number(custodians.len())?);
        let dealt = slip39::split(seed, &none()?, &plan).map_err(|error| sharing(&error))?;
        let words = dealt.into_iter().next().unwrap_or_default();
        let some = words.get(..threshold).unwrap_or_default();
        if slip39::combine(some, &none()?).map_err(|error| sharing(&error))? != *seed {
            return Err(sharing("the shares join to something else"));
        }
        let mut holders = Vec::new();
        for (custodian, share) in custodians.iter().zip(&words) {
            let heading = heading(ceremony, &wallet, &custodian.name);
            holders.push(put(folder, custodian, &heading, share)?);
        }
        scrub_stack();
        let list = Self { v: V1, ceremony, wallet, account, threshold, holders };
        store::write(&folder.join(SEED), &list.bytes()?)?;
        Ok(list)
    }

    /// Reads the list of a folder.
    ///
    /// # Errors
    /// [`CeremonyError::Content`] for what is none.
    pub fn read(folder: &Path) -> Result<Self, CeremonyError> {
        let path = folder.join(SEED);
        let bytes = store::read(&path)?;
        let list: Option<Self> = serde_json::from_slice(&bytes).ok();
        let sound = |list: &Self| {
            list.bytes().is_ok_and(|canonical| canonical == bytes)
                && (2..=list.holders.len()).contains(&list.threshold)
                && list.account.parse::<AccountKey>().is_ok()
        };
        let what = || "is no list of a seed's shares".to_owned();
        list.filter(sound).ok_or_else(|| CeremonyError::Content { path: path.clone(), what: what() })
    }

    /// The list's hash.
    ///
    /// # Errors
    /// [`CeremonyError::Sharing`] where it does not encode.
    pub fn hash(&self) -> Result<Digest, CeremonyError> {
        Ok(Digest::of(&self.bytes()?))
    }

    fn bytes(&self) -> Result<Vec<u8>, CeremonyError> {
        let value = serde_json::to_value(self).map_err(|error| sharing(&error))?;
        canonical(&value).map_err(|error| sharing(&error))
    }

    /// Joins as many shares as are needed, in secret memory, and sees that the wallet's account comes out. Nothing is kept.
    ///
    /// # Errors
    /// [`CeremonyError::TooFew`]; [`CeremonyError::Mismatch`] where another account comes out.
    pub fn join(&self, folder: &Path, console: &mut Console) -> Result<Joined, CeremonyError> {
        let Came { shares, came, bad } =
            crate::share::gather(&self.holders, self.threshold, console, |holder, _, identity| {
                let heading = heading(self.ceremony, &self.wallet, &holder.name);
                Sealed { folder, holder }.open(identity, &heading)
            })?;
        let words: Vec<_> = shares.into_iter().map(|(_, words)| words).collect();
        let seed = slip39::combine(&words, &none()?).map_err(|error| sharing(&error))?;
        leads_to(&seed, &self.account)?;
        Ok(Joined { wallet: self.wallet.clone(), account: self.account.clone(), came, bad })
    }
}

/// Whether this account is the seed's.
fn leads_to(seed: &SecretBytes, account: &str) -> Result<(), CeremonyError> {
    let wanted: AccountKey =
        account.parse().map_err(|_| CeremonyError::Mismatch(format!("`{account}` is no account")))?;
    let derived = (|| {
        let root = Key::extended(Curve::Secp256k1, seed, &Steps::default())?;
        let path = Steps::new(wanted.path().to_vec())?;
        Ok((root, Key::extended(Curve::Secp256k1, seed, &path)?))
    })();
    scrub_stack();
    let (root, known) = derived.map_err(|error: chancery_hd::HdError| sharing(&error))?;
    let network = if wanted.is_of(Network::Mainnet) { Network::Mainnet } else { Network::Signet };
    let found =
        AccountKey::new(network, &root.public, wanted.path(), &known.parent, &known.public, known.chain_code);
    match found {
        Ok(found) if found == wanted => Ok(()),
        _ => Err(CeremonyError::Mismatch("another account comes out of the seed".to_owned())),
    }
}

/// No passphrase: whoever has the threshold has the seed, and nothing more can be forgotten.
fn none() -> Result<SecretBytes, CeremonyError> {
    Ok(SecretBytes::take(&mut [])?)
}

fn sharing(error: impl std::fmt::Display) -> CeremonyError {
    CeremonyError::Sharing(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::fresh_identity;

    fn account_of(seed: &SecretBytes) -> String {
        let path = Steps::account(84, 0, 0);
        let root = Key::extended(Curve::Secp256k1, seed, &Steps::default()).unwrap();
        let known = Key::extended(Curve::Secp256k1, seed, &path).unwrap();
        let (public, parent) = (&known.public, &known.parent);
        let account =
            AccountKey::new(Network::Mainnet, &root.public, path.steps(), parent, public, known.chain_code);
        account.unwrap().to_string()
    }

    /// Would catch words that a holder cannot open, that any two do not join, or that stand anywhere in clear.
    #[test]
    fn a_holder_opens_their_own_words_and_any_two_are_the_seed() {
        let folder = tempfile::tempdir().unwrap();
        let seed = SecretBytes::random(chancery_hd::SEED_BYTES).unwrap();
        let people: Vec<_> = ["cy", "di", "ed"].map(|name| (name, fresh_identity())).into();
        let custodian = |(name, (_, recipient)): &(&str, (_, String))| Custodian {
            name: (*name).to_owned(),
            recipient: recipient.clone(),
        };
        let custodians: Vec<_> = people.iter().map(custodian).collect();
        let deal = |account: String| {
            let wallet = "deposits".to_owned();
            SeedShares::deal(folder.path(), KeyId::fresh(), (wallet, account), &seed, 2, &custodians)
        };
        let other = account_of(&SecretBytes::random(chancery_hd::SEED_BYTES).unwrap());
        assert!(matches!(deal(other), Err(CeremonyError::Mismatch(_))), "a seed of another wallet");
        let list = deal(account_of(&seed)).unwrap();
        assert_eq!(SeedShares::read(folder.path()).unwrap(), list);

        let opened = |at: usize, by: usize| {
            let mut identity = people[by].1.0.as_bytes().to_vec();
            let identity = SecretBytes::take(&mut identity).unwrap();
            let holder = &list.holders[at];
            let heading = heading(list.ceremony, &list.wallet, &holder.name);
            Sealed { folder: folder.path(), holder }.open(&identity, &heading)
        };
        let words: Vec<_> = (0..3).map(|at| opened(at, at).unwrap()).collect();
        assert!(opened(0, 1).is_err(), "another's identity");
        for pair in [[0, 1], [1, 2], [2, 0]] {
            let pair = pair.map(|at| SecretBytes::read_exact(words[at].expose(), words[at].len()).unwrap());
            assert!(slip39::combine(&pair, &none().unwrap()).unwrap() == seed);
            assert!(slip39::combine(&pair[..1], &none().unwrap()).is_err());
        }
        for entry in std::fs::read_dir(folder.path().join("shares")).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(words.iter().all(|words| !bytes.windows(20).any(|part| part == &words.expose()[..20])));
        }
    }
}
