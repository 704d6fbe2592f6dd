//! A cold wallet on the machine apart: what may be known of its keys, and a request as this machine reads it. Of a request nothing
//! is believed but the log's keys: the receipt is verified, the payload decoded anew, and what is signed is computed from that.
//! If this is wrong, somebody signs something else than was on the screen.

use std::path::Path as File;

use chancery_audit::{ColdRequest, Digest, Trust, V1, Verified};
use chancery_ceremony::{ColdSeed, HARDENED, Path};
use chancery_core::{UnixMillis, WalletId, causes};
use chancery_intent::bitcoin::{Network, OWN_KEY, Wallet};
use chancery_intent::model::Description;
use chancery_intent::{AccountKey, Signing};
use chancery_policy::{Bundle, Source};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::recheck::{is_bitcoin, recheck, stated_wallet};
use crate::{Error, Output, file, when};

/// The descriptor of a Bitcoin wallet with many addresses, where none is named.
pub const DERIVED: &str = "wpkh(@0/<0;1>/*)";
/// The public file, in a cold wallet's folder and a backup's.
pub const PUBLIC: &str = "public.json";
/// LIMIT: that file, in bytes.
const PUBLIC_BYTES: u64 = 16 * 1024;

/// What may be known of a cold wallet's keys; what `public.json` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Public {
    v: V1,
    kind: Kind,
    #[serde(rename = "for")]
    of: Of,
    /// `[fingerprint/path]xpub...`.
    account: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    #[serde(rename = "chancery.cold.public")]
    Is,
}

/// What the keys are for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "chain", rename_all = "lowercase", deny_unknown_fields)]
pub enum Of {
    /// Addresses of an account, each a wallet.
    Ethereum,
    /// A wallet with all addresses of its account.
    Bitcoin {
        /// The network.
        network: Network,
        /// With `@0` for the account.
        descriptor: String,
    },
}

impl Of {
    /// The account's path: BIP-44, 48, 49 and 84, by what is made of its keys.
    ///
    /// # Errors
    /// [`Error::Usage`] for a descriptor that no cold wallet can have.
    pub fn path(&self, account: u32) -> Result<Path, Error> {
        let usage = |detail: &str| Error::Usage {
            detail: detail.to_owned(),
            hint: "such as `wpkh(@0/<0;1>/*)`; `@0` stands for the account",
        };
        if account >= HARDENED {
            return Err(usage("an account is a number below 2^31"));
        }
        let Self::Bitcoin { network, descriptor } = self else { return Ok(Path::account(44, 60, account)) };
        if !descriptor.contains(OWN_KEY) || descriptor.starts_with("tr(") {
            return Err(usage(
                "the descriptor has no `@0`, or is of taproot, whose signatures are not taken",
            ));
        }
        let purposes = [("pkh(", 44), ("sh(wpkh(", 49), ("wpkh(", 84)];
        let known = purposes.iter().find(|(form, _)| descriptor.starts_with(form));
        let coin = u32::from(*network != Network::Mainnet);
        match known {
            Some((_, purpose)) => Ok(Path::account(*purpose, coin, account)),
            // BIP-48: script type 2 is `wsh`.
            None => Path::account(48, coin, account)
                .then(&[2 | HARDENED])
                .map_err(|error| usage(&error.to_string())),
        }
    }

    fn network(&self) -> Network {
        match self {
            Self::Ethereum => Network::Mainnet,
            Self::Bitcoin { network, .. } => *network,
        }
    }
}

impl Public {
    /// What may be known of the account of `seed` at `path`.
    ///
    /// # Errors
    /// [`Error::Ceremony`] for a seed without such a key; [`Error::Failed`] for a descriptor that is none.
    pub fn of(of: Of, seed: &ColdSeed, path: &Path) -> Result<Self, Error> {
        let (root, known) = seed.account(path)?;
        let account = AccountKey::new(
            of.network(),
            &root,
            path.steps(),
            &known.parent,
            &known.public,
            known.chain_code,
        )
        .map_err(|error| Error::Failed(error.to_string()))?;
        let public = Self { v: V1, kind: Kind::Is, of, account: account.to_string() };
        public.wallet()?;
        Ok(public)
    }

    /// Reads a public file.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`].
    pub fn read(path: &File) -> Result<Self, Error> {
        let wrong =
            |what: String| Error::content(path, format!("is no public file of a cold wallet: {what}"));
        let bytes = file::read_up_to(path, PUBLIC_BYTES)?;
        let public: Self = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        public.account().and_then(|_| public.wallet()).map_err(|error| wrong(error.to_string()))?;
        Ok(public)
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{:#}\n", json!(self))
    }

    /// The descriptor with `@0` in it.
    #[must_use]
    pub fn descriptor(&self) -> Option<&str> {
        match &self.of {
            Of::Ethereum => None,
            Of::Bitcoin { descriptor, .. } => Some(descriptor),
        }
    }

    /// The fingerprint of the master key (BIP-32).
    ///
    /// # Errors
    /// [`Error::Failed`] for an account that is none.
    pub fn master(&self) -> Result<u32, Error> {
        Ok(self.account()?.master())
    }

    /// The account's path.
    ///
    /// # Errors
    /// [`Error::Failed`] for an account that is none.
    pub fn path(&self) -> Result<Path, Error> {
        Path::new(self.account()?.path().to_vec()).map_err(|error| Error::Failed(error.to_string()))
    }

    /// Whether it is of this network, or of Ethereum.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn is_for(&self, bitcoin: Option<&str>) -> Result<(), Error> {
        let own = match &self.of {
            Of::Ethereum => None,
            Of::Bitcoin { network, .. } => Some(network.as_str()),
        };
        if own == bitcoin {
            return Ok(());
        }
        Err(Error::Usage {
            detail: format!("the keys of this file are for {}", own.unwrap_or("Ethereum")),
            hint: "a Bitcoin wallet is made with `--bitcoin NETWORK`, others with `--chain-id`",
        })
    }

    /// The `key` of a wallet to make.
    #[must_use]
    pub fn key(&self, index: Option<u32>) -> Value {
        match index {
            None => json!({ "from": "cold", "account": self.account }),
            Some(index) => json!({ "from": "cold", "account": self.account, "index": index }),
        }
    }

    /// The same keys for the same use.
    #[must_use]
    pub fn again(&self, seed: &ColdSeed) -> bool {
        self.path().and_then(|path| Self::of(self.of.clone(), seed, &path)).is_ok_and(|found| found == *self)
    }

    fn account(&self) -> Result<AccountKey, Error> {
        let account: AccountKey = self.account.parse().map_err(|error| Error::Failed(format!("{error}")))?;
        if account.is_of(self.of.network()) {
            return Ok(account);
        }
        Err(Error::Failed("the account is spelled for another kind of network".to_owned()))
    }

    /// The Bitcoin wallet that it is.
    fn wallet(&self) -> Result<Option<Wallet>, Error> {
        let Of::Bitcoin { network, descriptor } = &self.of else { return Ok(None) };
        let descriptor = descriptor.replace(OWN_KEY, &self.account);
        Wallet::parse(*network, &descriptor, &self.account()?.public())
            .map(Some)
            .map_err(|error| Error::Failed(error.to_string()))
    }
}

/// One signature that is asked of a key of this machine.
pub struct Own {
    /// Where the key is.
    pub path: Path,
    /// Its public key.
    pub public: [u8; 33],
    /// What is signed.
    pub digest: [u8; 32],
}

/// A request as this machine reads it.
pub struct Seen {
    request: ColdRequest,
    sha256: Digest,
    /// What the log proves, and until when it may be signed; nothing where no trust file was given.
    agreed: Option<(Verified, UnixMillis)>,
    description: Description,
    assumed: Vec<String>,
    signings: Vec<Signing>,
    words: Bundle,
}

impl Seen {
    /// Reads a request: verifies the receipt where there is a trust file, and decodes the payload.
    ///
    /// # Errors
    /// [`Error::Failed`] says what does not hold.
    pub fn read(bytes: &[u8], trust: Option<&Trust>, policy: Option<&File>) -> Result<Self, Error> {
        let refuse = |what: String| Error::Failed(format!("nothing is signed: {what}"));
        let request = ColdRequest::parse(bytes).map_err(|error| refuse(causes(&error)))?;
        let agreed = trust.map(|trust| request.agreed(trust)).transpose();
        let agreed = agreed.map_err(|error| refuse(causes(&error)))?;
        let receipt = &request.receipt;
        let decision = &receipt.decision;
        let key = decision.public_key.as_bytes();
        let found = recheck(&receipt.payload, &receipt.intent, decision.signing_digest.as_bytes(), Some(key))
            .map_err(|what| refuse(format!("the payload is not what was agreed to: {what}")))?;
        let stated = request.signings.iter().map(|stated| *stated.digest.as_bytes());
        if !stated.eq(found.signings.iter().map(|signing| signing.digest)) {
            return Err(refuse("the file names other digests than the payload has".to_owned()));
        }
        let description = serde_json::from_value(receipt.intent.clone())
            .map_err(|_| refuse("the intent is of another format".to_owned()))?;
        let source = match policy {
            Some(folder) => {
                Source::from_directory(folder).map_err(|error| Error::content(folder, causes(&error)))?
            }
            None => Source { files: [("bundle.toml".to_owned(), NO_NAMES.to_owned())].into() },
        };
        let words = Bundle::compile(&source)
            .map_err(|error| Error::Failed(format!("the bundle does not compile here: {error}")))?;
        if policy.is_some() && words.hash() != decision.bundle.to_string() {
            return Err(Error::Failed("the bundle is another than it was agreed under".to_owned()));
        }
        let (sha256, assumed, signings) = (Digest::of(bytes), found.assumed, found.signings);
        Ok(Self { request, sha256, agreed, description, assumed, signings, words })
    }

    /// The request itself.
    #[must_use]
    pub fn request(&self) -> &ColdRequest {
        &self.request
    }

    /// The chain it is good on, as CAIP-2 has it; `eip155:*` is any.
    #[must_use]
    pub fn chain(&self) -> &str {
        &self.description.chain
    }

    /// SHA-256 of its bytes.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    /// Which wallet is asked.
    #[must_use]
    pub fn wallet(&self) -> &WalletId {
        &self.request.receipt.decision.wallet
    }

    /// The log index of what was agreed to, where it may still be signed.
    ///
    /// # Errors
    /// [`Error::Failed`] for a request whose time is over by this machine's clock, or that was not verified.
    pub fn in_time(&self, now: UnixMillis) -> Result<u64, Error> {
        match &self.agreed {
            Some((verified, until)) if now < *until => Ok(verified.decision_leaf()),
            Some((_, until)) => {
                let detail = format!(
                    "nothing is signed: the request expired at {}; this machine's clock says {}",
                    when::show(*until),
                    when::show(now)
                );
                Err(Error::Failed(detail))
            }
            None => Err(Error::Failed("nothing is signed: the request was not verified".to_owned())),
        }
    }

    /// What is to be signed with which of these keys.
    ///
    /// # Errors
    /// [`Error::Failed`] for the request of another wallet.
    pub fn with(&self, public: &Public) -> Result<Vec<Own>, Error> {
        let refuse = |what: &str| Error::Failed(format!("nothing is signed: {what}"));
        let other = || refuse("the request is of another wallet than this folder's");
        let receipt = &self.request.receipt;
        let key = receipt.decision.public_key.as_bytes();
        let (account, path) = (public.account()?, public.path()?);
        if let Some(own) = public.wallet()? {
            let same = is_bitcoin(&receipt.payload)
                && stated_wallet(&self.description, key)
                    .is_ok_and(|stated| stated.descriptor() == own.descriptor());
            if !same || account.public() != *key {
                return Err(other());
            }
        }
        let one = |(signing, stated): (&Signing, &chancery_audit::ColdSigning)| {
            let (steps, public) = match (signing.key, public.descriptor()) {
                (Some(derived), Some(_)) => (derived.steps, derived.public),
                // One address: which of the account's, the file says, and the key that the log proves confirms.
                (None, None) => {
                    let stated: Path =
                        stated.path.as_deref().and_then(|path| path.parse().ok()).ok_or_else(other)?;
                    let steps = stated.steps().strip_prefix(path.steps()).ok_or_else(other)?;
                    let steps: [u32; 2] = steps.try_into().map_err(|_| other())?;
                    (steps, account.derive(steps).map_err(|_| other())?)
                }
                _ => return Err(other()),
            };
            if account.derive(steps).ok() != Some(public)
                || (public.as_slice() != key && signing.key.is_none())
            {
                return Err(other());
            }
            let path = path.then(&steps).map_err(|error| refuse(&error.to_string()))?;
            Ok(Own { path, public, digest: signing.digest })
        };
        self.signings.iter().zip(&self.request.signings).map(one).collect()
    }

    /// Shows it in plain words.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn show(&self, output: &Output) -> Result<(), Error> {
        let decision = &self.request.receipt.decision;
        let (words, notes) = (self.words.words(&self.description), self.words.notes(&self.description));
        let findings = match &self.agreed {
            Some((verified, _)) => verified.findings(),
            None => vec!["NOT VERIFIED: no trust file was given".to_owned()],
        };
        if output.is_json() {
            return output.document(&json!({
                "request_id": decision.request_id, "client": decision.client, "wallet": decision.wallet,
                "words": words, "notes": notes, "checked": findings, "verified": self.agreed.is_some(),
                "assumed": self.assumed, "bundle": decision.bundle, "expires_ms": decision.expires_ms,
                "intent": self.request.receipt.intent, "signings": self.request.signings, "sha256": self.sha256,
            }));
        }
        output.line(&format!("request   {}", decision.request_id))?;
        output.line(&format!(
            "asked by  client `{}` of wallet `{}` ({})",
            decision.client, decision.wallet, self.description.account
        ))?;
        for (name, lines) in
            [("does", &words), ("mind", &notes), ("checked", &findings), ("rests on", &self.assumed)]
        {
            for line in lines {
                output.line(&format!("{name:<8}  {line}"))?;
            }
        }
        for signing in &self.request.signings {
            output.line(&format!("digest    {}", signing.digest))?;
        }
        output.line(&format!("bundle    {}", decision.bundle))?;
        if let Some(at) = decision.expires_ms {
            output.line(&format!("expires   {}", when::show(at)))?;
        }
        output.line(&format!("file      sha256 {}", self.sha256))
    }
}

/// A bundle that knows no address and no asset by a name.
const NO_NAMES: &str = "version = 1\nname = \"none\"\n";
