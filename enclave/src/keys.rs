//! Where a wallet's keys are: one in the token, those of an account, whose seed the token keeps encrypted, or somewhere apart,
//! on the machine of a cold wallet. Public keys are pinned here: what signs is named by one, and believed when it verifies.
//! If this is wrong, a signature is asked of, or believed from, another key.

use chancery_audit::ColdSigning;
use chancery_core::{Code, KeyId, Tenant, Tier, WalletId};
use chancery_hsm::{
    Algorithm, HARDENED, Hsm, KeyRef, Message, Path, PublicKey, Sealed, Seed, Wrapped, WrongAnswer,
};
use chancery_intent::bitcoin::Network;
use chancery_intent::{AccountKey, Intent, Scheme, Signing};
use chancery_store::Store;
use serde::{Deserialize, Serialize};

use crate::kek::{self, Purpose};
use crate::parties::Shared;
use crate::refusal::Refusal;

/// LIMIT: addresses in a row of which none is known to be used (BIP-44, "Address gap limit").
pub const GAP: u32 = 20;

/// Where a wallet's keys are.
#[derive(Clone, Debug)]
pub(crate) enum Keys {
    /// One in the token.
    Token(KeyRef),
    /// Those of an account, derived from its seed.
    Seed(Box<Derived>),
    /// Nowhere in the appliance.
    Cold(Box<Apart>),
    /// Nowhere at all: this party has a share of it.
    Shared(Box<Shared>),
}

/// What is known of keys that are on a machine apart.
#[derive(Clone, Debug)]
pub(crate) struct Apart {
    /// The account that they are derived from, where they are.
    pub account: Option<AccountKey>,
    /// The one address of the account that the wallet is; of a wallet with all of them, nothing.
    pub index: Option<u32>,
    /// The key at that address, else the account's own, or the only one.
    pub public: PublicKey,
}

/// What a cold wallet is made around, as whoever asks for it says; also as a change carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Cold {
    /// An account: `[fingerprint/path]xpub...`.
    Account {
        /// The account.
        account: String,
        /// Which address of it an Ethereum wallet is.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        index: Option<u32>,
    },
    /// One key.
    Key {
        /// Compressed SEC 1, hexadecimal.
        public_key: String,
    },
}

impl Apart {
    /// The keys that were named, for a wallet of one address or of all.
    ///
    /// # Errors
    /// [`Code::BadRequest`] for what names none.
    pub fn of(cold: &Cold, network: Network, one_address: bool) -> Result<Self, Refusal> {
        let bad = |detail: &str| Refusal::new(Code::BadRequest, detail);
        match cold {
            Cold::Account { index: Some(_), .. } if !one_address => {
                Err(bad("a Bitcoin wallet has all addresses of its account: it takes no index"))
            }
            Cold::Account { account, index } => {
                let account: AccountKey = account.parse()?;
                if !account.is_of(network) {
                    return Err(bad("the account is spelled for another kind of network"));
                }
                let index = one_address.then(|| index.unwrap_or(0));
                if index.is_some_and(|index| index >= HARDENED) {
                    return Err(bad("an index is a number below 2^31"));
                }
                let public = public_key(&account, index)?;
                Ok(Self { account: Some(account), index, public })
            }
            Cold::Key { public_key } => {
                let none = "`public_key` must be a secp256k1 point: compressed SEC 1, 66 lower-case hexadecimal digits";
                let public = hex::decode(public_key)
                    .ok()
                    .and_then(|bytes| PublicKey::parse(Algorithm::Secp256k1, &bytes).ok())
                    .filter(|public| hex::encode(public.bytes()) == *public_key);
                Ok(Self { account: None, index: None, public: public.ok_or_else(|| bad(none))? })
            }
        }
    }
}

/// The keys of an account, or one of them.
#[derive(Clone, Debug)]
pub(crate) struct Derived {
    /// None of an Ed25519 key: nothing can be known of keys that hardened steps lead to (SLIP-10).
    pub account: Option<AccountKey>,
    /// The one address of the account that the wallet is; of a wallet with all of them, nothing. Of an Ed25519 key the number
    /// of its account.
    pub index: Option<u32>,
    /// The key at that address, else the account's own.
    pub public: PublicKey,
    pub seed: OwnSeed,
}

/// An encrypted seed, and the wallet that it was made for: others may be addresses of the same account.
#[derive(Clone, Debug)]
pub(crate) struct OwnSeed {
    pub of: WalletId,
    pub seed: Seed,
}

impl OwnSeed {
    /// As it was encrypted last, where that was after the wallet's row was written.
    pub fn renew(&mut self, store: &Store, tenant: &Tenant) -> Result<(), Refusal> {
        let name = kek::seed_name(tenant, &self.of);
        if let Some((kek, wrapped)) = store.read(|rows| kek::renewed(rows, &name))? {
            (self.seed.kek, self.seed.wrapped) = (kek, wrapped);
        }
        Ok(())
    }
}

impl Keys {
    pub fn tier(&self) -> Tier {
        match self {
            Self::Token(_) => Tier::Hsm,
            Self::Seed(_) => Tier::Hd,
            Self::Cold(_) => Tier::Cold,
            Self::Shared(_) => Tier::Mpc,
        }
    }

    pub fn public(&self) -> &PublicKey {
        match self {
            Self::Token(key) => &key.public,
            Self::Seed(derived) => &derived.public,
            Self::Cold(apart) => &apart.public,
            Self::Shared(shared) => &shared.public,
        }
    }

    /// This party's part of a key that several hold.
    pub fn shared(&self) -> Option<&Shared> {
        match self {
            Self::Shared(shared) => Some(shared),
            Self::Token(_) | Self::Seed(_) | Self::Cold(_) => None,
        }
    }

    /// The account that they are derived from.
    pub fn account(&self) -> Option<&AccountKey> {
        match self {
            Self::Token(_) | Self::Shared(_) => None,
            Self::Seed(derived) => derived.account.as_ref(),
            Self::Cold(apart) => apart.account.as_ref(),
        }
    }

    /// Which address of its account a wallet is, where it is one.
    pub fn index(&self) -> Option<u32> {
        match self {
            Self::Token(_) | Self::Shared(_) => None,
            Self::Seed(derived) => derived.index,
            Self::Cold(apart) => apart.index,
        }
    }

    /// Whether whoever has them makes signatures of this kind: no token makes those of Schnorr.
    pub fn make(&self, scheme: Scheme) -> bool {
        !matches!((self, scheme), (Self::Token(_), Scheme::Schnorr(_)))
    }

    /// The public key that a signature must verify under; of Schnorr the one before taproot's tweak.
    fn signer(&self, signing: &Signing) -> Result<PublicKey, Refusal> {
        match &signing.key {
            None => Ok(self.public().clone()),
            Some(derived) => PublicKey::parse(Algorithm::Secp256k1, &derived.public)
                .map_err(|_| Refusal::new(Code::Internal, "a derived key is none")),
        }
    }

    /// The steps of a signature's key below the account.
    fn steps(&self, signing: &Signing) -> Result<[u32; 2], Refusal> {
        match (&signing.key, self.index()) {
            (Some(key), None) => Ok(key.steps),
            (None, Some(index)) => Ok([0, index]),
            _ => {
                let detail = "the payload names another key than the wallet has";
                Err(Refusal::new(Code::Internal, detail))
            }
        }
    }

    /// What the machine of a cold wallet is asked to sign.
    ///
    /// # Errors
    /// [`Code::SchnorrUnavailable`], which nobody here could verify.
    pub fn apart(&self, signing: &Signing) -> Result<ColdSigning, Refusal> {
        if matches!(signing.scheme, Scheme::Schnorr(_)) {
            let detail =
                "the payload needs Schnorr signatures (taproot), which are not taken from a cold wallet";
            return Err(Refusal::new(Code::SchnorrUnavailable, detail));
        }
        let path = self.account().map(|account| below(account, self.steps(signing)?)).transpose()?;
        Ok(ColdSigning {
            digest: chancery_audit::Digest::from_bytes(signing.digest),
            path: path.map(|path| path.to_string()),
            public_key: self.signer(signing)?.bytes().into(),
        })
    }

    /// A signature that was brought, verified under its key.
    pub fn brought(&self, signing: &Signing, raw: &[u8]) -> Result<Result<Sealed, WrongAnswer>, Refusal> {
        Ok(Sealed::brought(&self.signer(signing)?, &Message::Digest(signing.digest), raw))
    }

    /// Has the HSM make one of the signatures that an intent needs.
    pub async fn sign(&self, hsm: &Hsm, intent: &Intent, signing: &Signing) -> Result<Sealed, Refusal> {
        let message = message(intent, signing);
        let derived = match self {
            Self::Token(key) => return Ok(hsm.sign(key, message).await?),
            Self::Seed(derived) => derived,
            // INVARIANT: without what was brought nothing of a cold wallet is permitted, so this is never asked.
            Self::Cold(_) => return Err(Refusal::new(Code::Internal, "a cold wallet signs apart")),
            Self::Shared(_) => return Err(Refusal::new(Code::Internal, "no token has this key")),
        };
        let path = match (&derived.account, derived.index) {
            (Some(account), _) => below(account, self.steps(signing)?)?,
            (None, index) => ed25519_path(index.unwrap_or_default())?,
        };
        Ok(hsm.sign_derived(&derived.seed.seed, &path, &self.signer(signing)?, message).await?)
    }
}

impl Derived {
    /// An account, or its address at an index.
    pub fn new(account: AccountKey, index: Option<u32>, seed: OwnSeed) -> Result<Self, Refusal> {
        let public = public_key(&account, index)?;
        Ok(Self { account: Some(account), index, public, seed })
    }

    /// The Ed25519 key of an account of a seed, once it has signed.
    pub async fn ed25519(hsm: &Hsm, account: u32, seed: OwnSeed) -> Result<Self, Refusal> {
        let path = ed25519_path(account)?;
        let public = hsm.derive(&seed.seed, Algorithm::Ed25519, &path).await?.public;
        let proof = KeyRef { id: seed.seed.kek, public: public.clone() }.proof();
        hsm.sign_derived(&seed.seed, &path, &public, proof).await?;
        Ok(Self { account: None, index: Some(account), public, seed })
    }
}

/// What one of the signatures that an intent needs is made over, by whoever has the key.
pub(crate) fn message(intent: &Intent, signing: &Signing) -> Message {
    match signing.scheme {
        Scheme::Ed25519 => Message::Bytes(intent.signed(signing).to_vec()),
        Scheme::Schnorr(taproot) => Message::Schnorr(signing.digest, taproot),
        Scheme::Ecdsa => Message::Digest(signing.digest),
    }
}

/// Where wallets of Solana look for a key: `m/44'/501'/account'`.
fn ed25519_path(account: u32) -> Result<Path, Refusal> {
    account_path(44, 501, account)
}

fn public_key(account: &AccountKey, index: Option<u32>) -> Result<PublicKey, Refusal> {
    let public = index.map_or_else(|| Ok(account.public()), |index| account.derive([0, index]))?;
    PublicKey::parse(Algorithm::Secp256k1, &public)
        .map_err(|_| Refusal::new(Code::Internal, "an account's key is none"))
}

/// The path of a key below an account.
fn below(account: &AccountKey, steps: [u32; 2]) -> Result<Path, Refusal> {
    Path::new([account.path(), &steps].concat())
        .map_err(|error| Refusal::new(Code::BadRequest, error.to_string()))
}

/// Makes a seed and the account at `path` of it, and has the account's first key sign: what cannot sign shall have no
/// address.
pub(crate) async fn new_account(
    hsm: &Hsm,
    store: &Store,
    tenant: &Tenant,
    of: &WalletId,
    network: Network,
    path: &Path,
) -> Result<(AccountKey, OwnSeed), Refusal> {
    let OwnSeed { seed, .. } = new_seed(hsm, store, tenant, of).await?;
    let root = hsm.derive(&seed, Algorithm::Secp256k1, &Path::default()).await?;
    let known = hsm.derive(&seed, Algorithm::Secp256k1, path).await?;
    let (master, parent) = (root.public.bytes(), &known.parent);
    let account =
        AccountKey::new(network, master, path.steps(), parent, known.public.bytes(), known.chain_code)?;
    let first = public_key(&account, Some(0))?;
    let proof = KeyRef { id: seed.kek, public: first.clone() }.proof();
    hsm.sign_derived(&seed, &below(&account, [0, 0])?, &first, proof).await?;
    Ok((account, OwnSeed { of: of.clone(), seed }))
}

/// Makes a seed.
pub(crate) async fn new_seed(
    hsm: &Hsm,
    store: &Store,
    tenant: &Tenant,
    of: &WalletId,
) -> Result<OwnSeed, Refusal> {
    let purpose = Purpose::seeds(tenant);
    let kek = store.read(|rows| purpose.in_force(rows))?;
    purpose.have(hsm, kek).await?;
    Ok(OwnSeed { of: of.clone(), seed: hsm.new_seed(kek, &context(tenant, of)).await? })
}

/// The account of a purpose (BIP-43): three hardened steps, and of BIP-48 a fourth.
pub(crate) fn account_path(purpose: u32, coin: u32, account: u32) -> Result<Path, Refusal> {
    if account >= HARDENED {
        return Err(Refusal::new(Code::BadRequest, "an account is a number below 2^31"));
    }
    let path = Path::account(purpose, coin, account);
    // BIP-48: script type 2 is `wsh`.
    let path = if purpose == 48 { path.then(&[2 | HARDENED]) } else { Ok(path) };
    path.map_err(|error| Refusal::new(Code::Internal, error.to_string()))
}

/// What a seed is bound to: it opens as this wallet's and no other's.
pub(crate) fn context(tenant: &Tenant, of: &WalletId) -> Vec<u8> {
    format!("chancery wallet seed v1\n{tenant}\n{of}").into_bytes()
}

/// How the registry's row writes a seed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptSeed {
    of: WalletId,
    kek: KeyId,
    wrapped: Wrapped,
}

impl From<&OwnSeed> for KeptSeed {
    fn from(OwnSeed { of, seed }: &OwnSeed) -> Self {
        Self { of: of.clone(), kek: seed.kek, wrapped: seed.wrapped.clone() }
    }
}

impl KeptSeed {
    pub fn open(self, tenant: &Tenant) -> OwnSeed {
        let Self { of, kek, wrapped } = self;
        let context = context(tenant, &of);
        OwnSeed { of, seed: Seed { kek, context, wrapped } }
    }
}
