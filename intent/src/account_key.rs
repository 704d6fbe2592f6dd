//! An account of an HD wallet (BIP-32, BIP-44) as far as it may be known: an extended public key and where it comes from.
//! Addresses are derived from it here, without the seed. If this is wrong, coins go to keys that nobody has.

use std::fmt;
use std::str::FromStr;

use bitcoin::bip32::{ChildNumber, DerivationPath, Fingerprint, Xpub};
use bitcoin::hashes::{Hash as _, hash160};
use bitcoin::secp256k1::PublicKey;

use crate::IntentError;
use crate::bitcoin::{Network, SECP};

/// An extended public key with its origin, in the text of descriptors (BIP-380): `[73c5da0a/84'/0'/0']xpub6C...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountKey {
    master: Fingerprint,
    path: Vec<u32>,
    xpub: Xpub,
}

impl AccountKey {
    /// Of the account at `path` below the seed whose root has the public key `master`. `parent` is the public key one step
    /// above the account. Keys are compressed SEC 1; the network decides how the account is spelled.
    ///
    /// # Errors
    /// [`IntentError::Account`].
    pub fn new(
        network: Network,
        master: &[u8],
        path: &[u32],
        parent: &[u8],
        public: &[u8],
        chain_code: [u8; 32],
    ) -> Result<Self, IntentError> {
        let wrong = || IntentError::Account("it is no key of a path");
        let fingerprint = |key: &[u8]| {
            let [a, b, c, d, ..] = hash160::Hash::hash(key).to_byte_array();
            Fingerprint::from([a, b, c, d])
        };
        let xpub = Xpub {
            network: network.kind(),
            depth: u8::try_from(path.len()).map_err(|_| wrong())?,
            parent_fingerprint: fingerprint(parent),
            child_number: ChildNumber::from(*path.last().ok_or_else(wrong)?),
            public_key: PublicKey::from_slice(public).map_err(|_| wrong())?,
            chain_code: chain_code.into(),
        };
        Ok(Self { master: fingerprint(master), path: path.to_vec(), xpub })
    }

    /// The fingerprint of the master key (BIP-32).
    #[must_use]
    pub fn master(&self) -> u32 {
        u32::from_be_bytes(self.master.to_bytes())
    }

    /// The steps from the seed to the account.
    #[must_use]
    pub fn path(&self) -> &[u32] {
        &self.path
    }

    /// The account's own public key, compressed SEC 1.
    #[must_use]
    pub fn public(&self) -> [u8; 33] {
        self.xpub.public_key.serialize()
    }

    /// The extended public key alone: `xpub...`, `tpub...` of a test network.
    #[must_use]
    pub fn xpub(&self) -> String {
        self.xpub.to_string()
    }

    /// Whether it is spelled for this network.
    #[must_use]
    pub fn is_of(&self, network: Network) -> bool {
        self.xpub.network == network.kind()
    }

    /// The public key below it.
    ///
    /// # Errors
    /// [`IntentError::Account`] for a hardened step.
    pub fn derive(&self, steps: [u32; 2]) -> Result<[u8; 33], IntentError> {
        let path = steps.map(ChildNumber::from);
        let below = self.xpub.derive_pub(&*SECP, &path);
        below
            .map(|key| key.public_key.serialize())
            .map_err(|_| IntentError::Account("no public key is derived so"))
    }
}

impl fmt::Display for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = DerivationPath::from(self.path.iter().copied().map(ChildNumber::from).collect::<Vec<_>>());
        write!(f, "[{}/{path}]{}", self.master, self.xpub)
    }
}

impl FromStr for AccountKey {
    type Err = IntentError;

    /// Reads what [`Display`](fmt::Display) writes, and no other spelling.
    fn from_str(text: &str) -> Result<Self, IntentError> {
        let wrong = || IntentError::Account("write it as `[fingerprint/path]xpub...`");
        let (origin, xpub) =
            text.strip_prefix('[').and_then(|text| text.split_once(']')).ok_or_else(wrong)?;
        let (master, path) = origin.split_once('/').ok_or_else(wrong)?;
        let account = Self {
            master: master.parse().map_err(|_| wrong())?,
            path: path.parse::<DerivationPath>().map_err(|_| wrong())?.to_u32_vec(),
            xpub: xpub.parse().map_err(|_| wrong())?,
        };
        let deep = usize::from(account.xpub.depth) == account.path.len();
        let last =
            account.path.last().is_some_and(|step| ChildNumber::from(*step) == account.xpub.child_number);
        if deep && last && account.to_string() == text { Ok(account) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The account of the phrase `abandon ... about` (BIP-84, Test vectors).
    const BIP84: &str = "[73c5da0a/84'/0'/0']xpub6CatWdiZiodmUeTDp8LT5or8nmbKNcuyvz7WyksVFkKB4RHwCD3XyuvPEbvqAQY3rAPshWcMLoP2fMFMKHPJ4ZeZXYVUhLv1VMrjPC7PW6V";

    #[test]
    fn an_account_has_one_spelling_and_the_keys_of_the_bip() {
        let account: AccountKey = BIP84.parse().unwrap();
        assert_eq!(account.to_string(), BIP84);
        assert!(account.is_of(Network::Mainnet) && !account.is_of(Network::Signet));
        for (steps, key) in [
            ([0, 0], "0330d54fd0dd420a6e5f8d3624f5f3482cae350f79d5f0753bf5beef9c2d91af3c"),
            ([0, 1], "03e775fd51f0dfb8cd865d9ff1cca2a158cf651fe997fdc9fee9c1d3b5e995ea77"),
            ([1, 0], "03025324888e429ab8e3dbaf1f7802648b9cd01e9b418485c5fa4c1b9b5700e1a6"),
        ] {
            assert_eq!(hex::encode(account.derive(steps).unwrap()), key);
        }
        assert!(account.derive([1 << 31, 0]).is_err(), "a hardened step needs the private key");
        for bad in [
            BIP84.replace("84'", "84h"),
            BIP84.replace("/0']", "/1']"),
            BIP84.replace("/0'/0']", "/0']"),
            BIP84.replace("73c5", "73C5"),
            BIP84.replace("PW6V", "PW6W"),
            BIP84.split_once(']').unwrap().1.to_owned(),
            format!("{BIP84}/0"),
        ] {
            assert!(bad.parse::<AccountKey>().is_err(), "{bad}");
        }
    }
}
