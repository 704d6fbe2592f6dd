//! A Bitcoin wallet: a network and an output descriptor (BIP-380) in which the wallet's key stands. Whether a script is the
//! wallet's is computed here from the descriptor, and never taken from what a PSBT says.
//! If this called a foreign script ours, a payment would pass as change.

use std::collections::HashMap;
use std::fmt;

use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::{Secp256k1, VerifyOnly};
use bitcoin::{Address, NetworkKind, PublicKey, Script, ScriptBuf, WScriptHash};
use chancery_core::limit;
use miniscript::Descriptor;
use miniscript::descriptor::{
    DescriptorPublicKey, DescriptorType, SinglePub, SinglePubKey, Wildcard, XKeyNetwork,
};
use serde::{Deserialize, Serialize};

use crate::IntentError;
use crate::signing::{Derived, Scheme, Signing};

/// Starts the spelling of a script without an address, in letters that CAIP-10 allows.
const SCRIPT: &str = "script-";

/// How a descriptor that is given for a wallet names the wallet's own key (as BIP-388 numbers keys).
pub const OWN_KEY: &str = "@0";

pub(crate) static SECP: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

/// A Bitcoin network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The one with the money.
    Mainnet,
    /// The public test network (BIP-94).
    Testnet4,
    /// The test network whose blocks are signed (BIP-325).
    Signet,
    /// One's own.
    Regtest,
}

impl Network {
    /// Every network.
    pub const ALL: &[Self] = &[Self::Mainnet, Self::Testnet4, Self::Signet, Self::Regtest];

    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Testnet4 => "testnet4",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }

    /// The CAIP-2 chain: `bip122:` and the first 32 digits of the first block's hash.
    #[must_use]
    pub fn chain(self) -> &'static str {
        static CHAINS: LazyLock<[String; 4]> = LazyLock::new(|| {
            [Network::Mainnet, Network::Testnet4, Network::Signet, Network::Regtest].map(|network| {
                let hash = genesis_block(network.rules()).block_hash().to_string();
                format!("bip122:{}", hash.get(..32).unwrap_or(&hash))
            })
        });
        let [mainnet, testnet4, signet, regtest] = &*CHAINS;
        match self {
            Self::Mainnet => mainnet,
            Self::Testnet4 => testnet4,
            Self::Signet => signet,
            Self::Regtest => regtest,
        }
    }

    /// The network of a CAIP-2 chain.
    #[must_use]
    pub fn of_chain(chain: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|network| network.chain() == chain)
    }

    /// The network's coin in CAIP-19 text. SLIP-44 has one type for all test coins; the chain tells them apart.
    #[must_use]
    pub fn coin(self) -> String {
        format!("{}/slip44:0", self.chain())
    }

    /// Whether `text` is a destination on this network in the one spelling that intents use: an address, or
    /// `script-` and the hexadecimal digits of a script that has none.
    #[must_use]
    pub fn has_destination(self, text: &str) -> bool {
        let script = match text.strip_prefix(SCRIPT) {
            Some(digits) => hex::decode(digits).ok().map(ScriptBuf::from_bytes),
            None => Address::from_str(text)
                .ok()
                .and_then(|address| address.require_network(self.rules()).ok())
                .map(|address| address.script_pubkey()),
        };
        script.is_some_and(|script| self.spelled(&script) == text)
    }

    /// An address of nobody: of the witness script whose hash is 32 times this byte.
    #[must_use]
    pub fn nobody(self, byte: u8) -> String {
        self.spelled(&ScriptBuf::new_p2wsh(&WScriptHash::from_byte_array([byte; 32])))
    }

    pub(super) fn spelled(self, script: &Script) -> String {
        Address::from_script(script, self.rules()).map_or_else(
            |_| format!("{SCRIPT}{}", hex::encode(script.as_bytes())),
            |address| address.to_string(),
        )
    }

    pub(super) fn rules(self) -> bitcoin::Network {
        match self {
            Self::Mainnet => bitcoin::Network::Bitcoin,
            Self::Testnet4 => bitcoin::Network::Testnet4,
            Self::Signet => bitcoin::Network::Signet,
            Self::Regtest => bitcoin::Network::Regtest,
        }
    }

    pub(crate) fn kind(self) -> NetworkKind {
        NetworkKind::from(self.rules())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A wallet's key, and every script that is the wallet's.
#[derive(Clone, Debug)]
pub struct Wallet {
    network: Network,
    /// The wallet's key as it stands in the descriptor: itself, or the account that its keys are derived from.
    own: DescriptorPublicKey,
    descriptor: Descriptor<DescriptorPublicKey>,
    /// The descriptor's paths apart (BIP-389): payments and change, mostly.
    branches: Vec<Descriptor<DescriptorPublicKey>>,
}

impl Wallet {
    /// Reads a descriptor: `pkh`, `sh(wpkh)`, `wpkh`, `wsh` of a sane miniscript, or `tr`. The wallet's key stands in it as
    /// `@0` or in hexadecimal, or as an [`AccountKey`](crate::AccountKey) with a branch and `/*`. The other keys may be extended, with one `/*`.
    ///
    /// # Errors
    /// [`IntentError::Descriptor`] says what such a descriptor is not; [`IntentError::PublicKey`].
    pub fn parse(network: Network, descriptor: &str, public_key_sec1: &[u8]) -> Result<Self, IntentError> {
        let wrong = |reason: &'static str| IntentError::Descriptor(reason.into());
        let point = secp256k1::PublicKey::from_slice(public_key_sec1).map_err(IntentError::PublicKey)?;
        let key = PublicKey::new(point);
        if descriptor.len() > limit::DESCRIPTOR_BYTES {
            return Err(wrong("too long"));
        }
        let own = if descriptor.starts_with("tr(") {
            point.x_only_public_key().0.to_string()
        } else {
            key.to_string()
        };
        let descriptor: Descriptor<DescriptorPublicKey> = descriptor
            .replace(OWN_KEY, &own)
            .parse()
            .map_err(|error: miniscript::Error| IntentError::Descriptor(error.to_string().into()))?;
        descriptor.sanity_check().map_err(|error| IntentError::Descriptor(error.to_string().into()))?;

        use DescriptorType::{Pkh, ShWpkh, Tr, Wpkh, Wsh, WshSortedMulti};
        if !matches!(descriptor.desc_type(), Pkh | ShWpkh | Wpkh | Wsh | WshSortedMulti | Tr) {
            return Err(wrong("it is none of `pkh`, `sh(wpkh)`, `wpkh`, `wsh`, `tr`"));
        }
        let mut own = descriptor.iter_pk().filter(|other| is(other, &key));
        let own = match (own.next(), own.next()) {
            (Some(own), None) => own,
            (Some(own @ DescriptorPublicKey::Single(_)), Some(_)) => own,
            (None, _) => return Err(wrong("the wallet's key does not stand in it; write `@0` for it")),
            (Some(_), Some(_)) => return Err(wrong("the wallet's account stands in it twice")),
        };
        if !own.clone().into_single_keys().iter().all(has_branch) {
            return Err(wrong(
                "the wallet's account needs one branch and `/*` behind it, as in `@0/<0;1>/*`",
            ));
        }
        let hardened =
            |key: DescriptorPublicKey| key.wildcard() == Some(Wildcard::Hardened) || key.has_hardened_step();
        if descriptor.iter_pk().any(hardened) {
            return Err(wrong("a hardened step cannot be derived from a public key"));
        }
        let at_home = match descriptor.xkey_network() {
            XKeyNetwork::NoXKeys => true,
            XKeyNetwork::Single(kind) => kind == network.kind(),
            XKeyNetwork::Mixed => false,
        };
        if !at_home {
            return Err(wrong("an extended key is of another network"));
        }
        let branches = descriptor
            .clone()
            .into_single_descriptors()
            .map_err(|error| IntentError::Descriptor(error.to_string().into()))?;
        let wallet = Self { network, own, descriptor, branches };
        // Derivable at all: the deepest path is 255 steps.
        wallet.derive(0)?;
        Ok(wallet)
    }

    /// Its network.
    #[must_use]
    pub fn network(&self) -> Network {
        self.network
    }

    /// Its descriptor with the key in it and its checksum.
    #[must_use]
    pub fn descriptor(&self) -> String {
        self.descriptor.to_string()
    }

    /// Its address; of a wallet with many, the first of the first branch.
    ///
    /// # Errors
    /// None for a wallet that was read.
    pub fn address(&self) -> Result<String, IntentError> {
        Ok(self.network.spelled(&self.first()?.script()))
    }

    /// Addresses of a branch (0 receives, 1 takes change, mostly) at `count` indexes from `first`. None of a branch that
    /// the descriptor does not have; of a descriptor without `/*` its one address.
    ///
    /// # Errors
    /// [`IntentError::Descriptor`] for indexes at or above 2^31.
    pub fn addresses(
        &self,
        branch: usize,
        first: u32,
        count: u32,
    ) -> Result<Vec<(u32, String)>, IntentError> {
        let Some(descriptor) = self.branches.get(branch) else { return Ok(Vec::new()) };
        let past =
            if descriptor.has_wildcard() { first.saturating_add(count) } else { first.saturating_add(1) };
        let address = |index| {
            let own = self.derive(index)?.into_iter().nth(branch);
            let own = own.ok_or_else(|| IntentError::Descriptor("it derives nothing".into()))?;
            Ok((index, self.network.spelled(&own.script())))
        };
        (first..past).map(address).collect()
    }

    /// Each branch's descriptor by itself, with its checksum, as watching wallets import them.
    #[must_use]
    pub fn branch_descriptors(&self) -> Vec<String> {
        self.branches.iter().map(ToString::to_string).collect()
    }

    pub(super) fn first(&self) -> Result<Own, IntentError> {
        let nothing = || IntentError::Descriptor("it derives nothing".into());
        self.derive(0)?.into_iter().next().ok_or_else(nothing)
    }

    /// What the wallet owns at an index, of each branch.
    fn derive(&self, index: u32) -> Result<Vec<Own>, IntentError> {
        let derive = |(branch, descriptor): (usize, &Descriptor<DescriptorPublicKey>)| {
            let index = descriptor.has_wildcard().then_some(index);
            let derived = descriptor
                .derived_descriptor(&SECP, index.unwrap_or(0))
                .map_err(|error| IntentError::Descriptor(error.to_string().into()))?;
            let (key, steps) = self.own_at(branch, index.unwrap_or(0))?;
            Ok(Own { descriptor: derived, branch, index, key, steps })
        };
        self.branches.iter().enumerate().map(derive).collect()
    }
}

impl Wallet {
    /// The wallet's key at an index of a branch, and the steps to it where it is derived.
    fn own_at(&self, branch: usize, index: u32) -> Result<(PublicKey, Option<[u32; 2]>), IntentError> {
        let nothing = || IntentError::Descriptor("its key cannot be derived".into());
        let mut branches = self.own.clone().into_single_keys();
        let own = if branches.len() > branch {
            branches.swap_remove(branch)
        } else {
            branches.pop().ok_or_else(nothing)?
        };
        let steps = match &own {
            DescriptorPublicKey::XPub(account) => {
                let branch = account.derivation_path.to_u32_vec().first().copied().ok_or_else(nothing)?;
                Some([branch, index])
            }
            _ => None,
        };
        let definite = own.at_derivation_index(index).map_err(|_| nothing())?;
        Ok((definite.derive_public_key(&*SECP), steps))
    }
}

/// Whether an account, of which keys are derived, has exactly a branch and an index below it.
fn has_branch(own: &DescriptorPublicKey) -> bool {
    match own {
        DescriptorPublicKey::XPub(account) => {
            account.derivation_path.len() == 1 && account.wildcard == Wildcard::Unhardened
        }
        _ => true,
    }
}

fn is(other: &DescriptorPublicKey, key: &PublicKey) -> bool {
    match other {
        DescriptorPublicKey::Single(SinglePub { key: SinglePubKey::FullKey(full), .. }) => full == key,
        DescriptorPublicKey::Single(SinglePub { key: SinglePubKey::XOnly(x), .. }) => {
            *x == key.inner.x_only_public_key().0
        }
        DescriptorPublicKey::XPub(account) => account.xkey.public_key == key.inner,
        DescriptorPublicKey::MultiXPub(account) => account.xkey.public_key == key.inner,
    }
}

/// One script of the wallet.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub descriptor: Descriptor<PublicKey>,
    pub branch: usize,
    /// Where the wallet has many.
    pub index: Option<u32>,
    /// The wallet's own key in it.
    pub key: PublicKey,
    /// The steps to that key from the account, where it is derived.
    pub steps: Option<[u32; 2]>,
}

impl Own {
    pub fn script(&self) -> ScriptBuf {
        self.descriptor.script_pubkey()
    }

    /// The digest that the wallet's key signs for it.
    pub fn signing(&self, scheme: Scheme, digest: [u8; 32]) -> Signing {
        let key = self.steps.map(|steps| Derived { steps, public: self.key.inner.serialize() });
        Signing { scheme, digest, key }
    }
}

/// Finds the wallet's scripts. An index that a PSBT states is only where to look.
pub(super) struct Finder<'a> {
    wallet: &'a Wallet,
    derived: HashMap<u32, Vec<(ScriptBuf, Arc<Own>)>>,
}

impl<'a> Finder<'a> {
    pub fn of(wallet: &'a Wallet) -> Self {
        Self { wallet, derived: HashMap::new() }
    }

    /// What the wallet owns under this script, if it does at one of the stated indexes.
    pub fn find(&mut self, script: &Script, stated: &[u32]) -> Result<Option<Arc<Own>>, IntentError> {
        let ranged = self.wallet.branches.iter().any(Descriptor::has_wildcard);
        let indexes = if ranged { stated } else { &[0] };
        for &index in indexes {
            if !self.derived.contains_key(&index) {
                let owned = self.wallet.derive(index)?;
                let owned = owned.into_iter().map(|own| (own.script(), Arc::new(own))).collect();
                self.derived.insert(index, owned);
            }
            let owned = self.derived.get(&index).into_iter().flatten();
            if let Some((_, own)) = owned.into_iter().find(|(ours, _)| ours.as_script() == script) {
                return Ok(Some(Arc::clone(own)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator of secp256k1 (key 1) and its double.
    const ONE: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    const TWO: &str = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";
    /// BIP-32's second vector, at its root.
    const XPUB: &str = "xpub661MyMwAqRbcFW31YEwpkMuc5THy2PSt5bDMsktWQcFF8syAmRUapSCGu8ED9W6oDMSgv6Zz8idoc4a6mr8BDzTJY47LJhkJ8UB7WEGuduB";

    fn wallet(descriptor: &str) -> Result<Wallet, IntentError> {
        Wallet::parse(Network::Mainnet, descriptor, &hex::decode(ONE).unwrap())
    }

    #[test]
    fn chains_are_named_by_their_first_block() {
        // CAIP-2 and the genesis blocks of Bitcoin Core.
        let chains = [
            (Network::Mainnet, "bip122:000000000019d6689c085ae165831e93"),
            (Network::Testnet4, "bip122:00000000da84f2bafbbc53dee25a72ae"),
            (Network::Signet, "bip122:00000008819873e925422c1ff0f99f7c"),
            (Network::Regtest, "bip122:0f9188f13cb7b2c71f2a335e3a4fc328"),
        ];
        for (network, chain) in chains {
            assert_eq!(network.chain(), chain);
            assert_eq!(Network::of_chain(chain), Some(network));
        }
        assert_eq!(Network::Mainnet.coin(), "bip122:000000000019d6689c085ae165831e93/slip44:0");
    }

    #[test]
    fn a_key_has_the_addresses_that_everybody_knows() {
        // The addresses of private key 1.
        for (descriptor, address) in [
            ("pkh(@0)", "1BgGZ9tcN4rm9KBzDn7KprQz87SZ26SAMH"),
            ("sh(wpkh(@0))", "3JvL6Ymt8MVWiCNHC7oWU6nLeHNJKLZGLN"),
            ("wpkh(@0)", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
            ("tr(@0)", "bc1pmfr3p9j00pfxjh0zmgp99y8zftmd3s5pmedqhyptwy6lm87hf5sspknck9"),
        ] {
            let wallet = wallet(descriptor).unwrap();
            assert_eq!(wallet.address().unwrap(), address, "{descriptor}");
            assert!(Network::Mainnet.has_destination(address) && !Network::Signet.has_destination(address));
            let again = self::wallet(&wallet.descriptor()).unwrap();
            assert_eq!(again.descriptor(), wallet.descriptor(), "the written form is read again");
        }
    }

    #[test]
    fn addresses_have_one_spelling() {
        let address = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
        assert!(Network::Mainnet.has_destination("script-6a026869"));
        // The script of that address, a script in capitals, and none.
        for bad in [
            "script-0014751e76e8199196d454941c45d1b3a323f1433bd6",
            "script-6A026869",
            "script-6",
            "script:51",
        ] {
            assert!(!Network::Mainnet.has_destination(bad), "{bad}");
        }
        assert!(!Network::Mainnet.has_destination(&address.to_uppercase()));
        for network in Network::ALL {
            assert!(network.has_destination(&network.nobody(0xe1)), "{network}");
        }
        for bad in [
            "",
            "bc1",
            &address[1..],
            &format!("{address}q"),
            "bitcoin:bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        ] {
            assert!(!Network::Mainnet.has_destination(bad), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_a_wallet_is_refused() {
        let private = "L3VFeEujGtevx9w18HD1fhRbCH67Az2dpCymeRE1SoPK6XQtaN2k";
        for bad in [
            "",
            "wpkh(",
            "wpkh(@1)",
            &format!("wpkh({TWO})"),
            &format!("wpkh({XPUB}/*)"),
            "sh(pk(@0))",
            "pk(@0)",
            "sh(wsh(pk(@0)))",
            "wsh(multi(2,@0,@0))",
            &format!("wsh(multi(2,@0,{XPUB}/*'))"),
            &format!("wsh(multi(2,@0,{XPUB}/1'/*))"),
            &format!("wsh(multi(2,@0,{private}))"),
            "wsh(or_i(pk(@0),1))",
            "wpkh(@0)#00000000",
        ] {
            assert!(matches!(wallet(bad), Err(IntentError::Descriptor(_))), "{bad}");
        }
        let of_mainnet = format!("wsh(multi(2,@0,{XPUB}/*))");
        assert!(wallet(&of_mainnet).is_ok());
        assert!(Wallet::parse(Network::Signet, &of_mainnet, &hex::decode(ONE).unwrap()).is_err());
    }

    #[test]
    fn a_script_is_ours_only_where_it_is_derived() {
        let many = wallet(&format!("wsh(sortedmulti(1,@0,{XPUB}/<0;1>/*))")).unwrap();
        let change = many.derive(7).unwrap().pop().unwrap();
        let mut finder = Finder::of(&many);
        let script = change.script();
        let found = finder.find(&script, &[3, 7]).unwrap().unwrap();
        assert_eq!((found.branch, found.index), (1, Some(7)));
        assert!(finder.find(&script, &[6, 8]).unwrap().is_none(), "stated at another index");
        assert!(finder.find(&script, &[]).unwrap().is_none(), "not stated at all");
        let one = wallet("wpkh(@0)").unwrap();
        let script = one.first().unwrap().script();
        assert!(Finder::of(&one).find(&script, &[]).unwrap().is_some(), "one script needs no index");
        assert!(finder.find(&script, &[0, 1, 2]).unwrap().is_none());
    }
}
