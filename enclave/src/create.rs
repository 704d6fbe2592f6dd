//! Wallets are made: keys first, then the log's entry and the registry's row in one transaction. A crash between the two
//! leaves a key or a seed that no wallet names and nothing can use. Where the policy in force governs changes, a wallet is
//! asked for, and made with the release of that request.

use std::collections::BTreeMap;
use std::sync::Arc;

use chancery_audit::{self as audit, V1};
use chancery_core::{Change, Code, IdempotencyKey, KeyId, RequestId, Tenant, UnixMillis, WalletId};
use chancery_hsm::{Algorithm, Hsm, KeyRef};
use chancery_identity::Operator;
use chancery_intent::change::SEAL;
use chancery_store::{RequestFilter, RequestState, Tx, WalletRow};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;

use crate::answer::{Answer, Pending};
use crate::asker::Asker;
use crate::house::House;
use crate::kept;
use crate::keys::{Derived, GAP, Keys, new_account, new_seed};
use crate::manage::{ask, governed};
use crate::parties::make_key;
use crate::refusal::Refusal;
use crate::start::Enclave;
use crate::wallet::{Design, Wallet};

pub(crate) use crate::wallet::Source;

/// What came of asking for a wallet.
#[derive(Debug)]
pub enum Made {
    /// It is there.
    Wallet(Arc<Wallet>),
    /// It is asked for, and waits for those who must agree.
    Pending(Pending),
}

impl Enclave {
    /// Makes a wallet around fresh keys; where the policy in force governs changes, asks for it under `key`.
    ///
    /// # Errors
    /// [`Code::BadRequest`] for its chains or its descriptor, [`Code::AlreadyExists`] for its name, [`Code::GapLimit`], what
    /// denies the change, and what the HSM or store answer.
    pub async fn create_wallet(
        &self,
        operator: Operator,
        key: Option<IdempotencyKey>,
        id: WalletId,
        design: Design,
        source: Source,
    ) -> Result<Made, Refusal> {
        let house = Arc::clone(self.house());
        self.run(async move {
            let tenant = operator.tenant();
            if !governed(&house, tenant) {
                return create_wallet(&house, &operator, id, design, source).await.map(Made::Wallet);
            }
            let before = |key| house.store.read(|rows| rows.request_by_key(tenant, operator.id(), key));
            // Asked once more under its key, a wallet that was made is no name that is taken.
            if key.as_ref().map(before).transpose()?.flatten().is_none() {
                check(&house, tenant, &id, &design, &source)?;
            }
            let change = Change::Wallet { wallet: id.clone(), design: written(&design, &source)? };
            match ask(&house, &operator, key, change).await? {
                Answer::Pending(pending) => Ok(Made::Pending(pending)),
                Answer::Released(_) => house.wallets.find(tenant, &id).map(Made::Wallet),
            }
        })
        .await
    }
}

pub(crate) async fn create_wallet(
    house: &Arc<House>,
    operator: &Operator,
    id: WalletId,
    design: Design,
    source: Source,
) -> Result<Arc<Wallet>, Refusal> {
    house.disk.admit()?;
    let (request, by, tenant) = (RequestId::fresh(), operator.into(), operator.tenant().clone());
    Making::begin(house, request, &by, tenant, id, design, source).await?.enter(house).await
}

/// The member of a design that names a key which a ceremony made.
const KEY: &str = "key";
/// The one that says which account of a fresh seed its keys are.
const ACCOUNT: &str = "seed_account";
/// The one that says beside which wallet its address is.
const BESIDE: &str = "beside";
/// The one that says that its keys are apart, beside those that say which.
const COLD: &str = "cold";
/// The one that says how many of how many parties sign for it.
const PARTIES: &str = "mpc";

/// A wallet's design, and where its keys come from, as a change carries them.
pub(crate) fn written(design: &Design, source: &Source) -> Result<BTreeMap<String, Value>, Refusal> {
    let mut written: BTreeMap<String, Value> = kept::parse("design", kept::value(design)?)?;
    match source {
        Source::Token => None,
        Source::Made(key) => written.insert(KEY.to_owned(), json!(key)),
        Source::Seed { account } => written.insert(ACCOUNT.to_owned(), json!(account)),
        Source::Beside(of) => written.insert(BESIDE.to_owned(), json!(of)),
        Source::Parties { threshold, parties } => {
            written.insert(PARTIES.to_owned(), json!(format!("{threshold}-of-{parties}")))
        }
        Source::Cold(cold) => {
            // Flat, as a change is: officers see the account or the public key itself.
            let keys: BTreeMap<String, Value> = kept::parse("keys", kept::value(cold)?)?;
            written.extend(keys);
            written.insert(COLD.to_owned(), json!(true))
        }
    };
    Ok(written)
}

/// The same, read back.
pub(crate) fn read(mut written: BTreeMap<String, Value>) -> Result<(Design, Source), Refusal> {
    let source = match [KEY, ACCOUNT, BESIDE, COLD, PARTIES].map(|member| written.remove(member)) {
        [None, None, None, None, None] => Source::Token,
        [Some(key), None, None, None, None] => Source::Made(kept::parse("key", key)?),
        [None, Some(account), None, None, None] => Source::Seed { account: kept::parse("account", account)? },
        [None, None, Some(of), None, None] => Source::Beside(kept::parse("wallet", of)?),
        [None, None, None, None, Some(Value::String(scheme))] => {
            let parts = scheme.split_once("-of-").and_then(|(t, n)| Some((t.parse().ok()?, n.parse().ok()?)));
            let none = || Refusal::new(Code::BadRequest, "`mpc` says how many of how many, such as `2-of-3`");
            let (threshold, parties) = parts.ok_or_else(none)?;
            Source::Parties { threshold, parties }
        }
        [None, None, None, Some(Value::Bool(true)), None] => {
            let named = ["account", "index", "public_key"].map(|member| written.remove_entry(member));
            Source::Cold(kept::parse("keys", named.into_iter().flatten().collect())?)
        }
        _ => return Err(Refusal::new(Code::BadRequest, "keys come from one place")),
    };
    Ok((kept::parse("design", Value::from_iter(written))?, source))
}

/// Whether a wallet can be made so.
fn check(
    house: &House,
    tenant: &Tenant,
    id: &WalletId,
    design: &Design,
    source: &Source,
) -> Result<(), Refusal> {
    design.check(source)?;
    if id.as_str() == SEAL && !matches!(design, Design::Seal) {
        let detail = format!("`{SEAL}` is kept for the key that signs changes: choose another name");
        return Err(Refusal::new(Code::BadRequest, detail));
    }
    name_is_free(house, tenant, id)?;
    // Two wallets of one key would be two limits of it.
    if let Source::Cold(cold) = source
        && let Some(other) = house.wallets.of_key(tenant, &design.apart(cold)?.public)
    {
        return Err(Refusal::new(Code::AlreadyExists, format!("wallet `{}` has this key already", other.id)));
    }
    Ok(())
}

/// Whether no wallet has this name.
pub(crate) fn name_is_free(house: &House, tenant: &Tenant, id: &WalletId) -> Result<(), Refusal> {
    match house.store.read(|rows| rows.wallet(tenant, id))? {
        None => Ok(()),
        Some(_) => Err(taken(id)),
    }
}

fn taken(id: &WalletId) -> Refusal {
    Refusal::new(Code::AlreadyExists, format!("a wallet `{id}` exists already"))
}

/// A wallet whose keys are made, and which no row names yet.
pub(crate) struct Making {
    wallet: Wallet,
    record: audit::Record,
    row: Vec<u8>,
    created_ms: UnixMillis,
    unnamed: Option<Unnamed>,
    /// Two that take the next address of one account must not take the same, nor two one key.
    _one_at_a_time: OwnedMutexGuard<()>,
}

/// A key of the token that no row names: dropped so, it leaves the token again. What fails in a transaction is dropped on the
/// store's writer, which is no thread of the runtime.
pub(crate) struct Unnamed(Option<(Handle, Hsm, KeyId)>);

impl Unnamed {
    /// Must be called within the runtime.
    pub fn new(hsm: &Hsm, key: KeyId) -> Self {
        Self(Some((Handle::current(), hsm.clone(), key)))
    }

    /// A row names it now: it stays.
    pub fn named(mut self) {
        self.0 = None;
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        let Some((runtime, hsm, key)) = self.0.take() else { return };
        runtime.spawn(async move {
            if let Err(error) = hsm.destroy(key).await {
                tracing::warn!(%key, %error, "a key that nothing names stays in the token");
            }
        });
    }
}

impl Making {
    /// Makes the keys.
    pub async fn begin(
        house: &Arc<House>,
        request: RequestId,
        by: &Asker,
        tenant: Tenant,
        id: WalletId,
        design: Design,
        source: Source,
    ) -> Result<Self, Refusal> {
        let one_at_a_time = Arc::clone(&house.wallets.making).lock_owned().await;
        check(house, &tenant, &id, &design, &source)?;
        // ORDER: the keys first. A crash before the row is durable leaves keys that no wallet names and nothing can use.
        // What a ceremony made is not ours to destroy.
        let ours = matches!(source, Source::Token);
        let keys = make_keys(house, &tenant, &id, &design, source).await?;
        let unnamed = match &keys {
            Keys::Token(key) if ours => Some(Unnamed::new(&house.hsm, key.id)),
            Keys::Token(_) | Keys::Seed(_) | Keys::Cold(_) | Keys::Shared(_) => None,
        };
        let making = Self::of(house, request, by, (tenant, id), design, keys, one_at_a_time)?;
        Ok(Self { unnamed, ..making })
    }

    /// Around keys that other parties share.
    pub async fn around(
        house: &House,
        request: RequestId,
        by: &Asker,
        (tenant, id): (Tenant, WalletId),
        design: Design,
        keys: Keys,
    ) -> Result<Self, Refusal> {
        let one_at_a_time = Arc::clone(&house.wallets.making).lock_owned().await;
        name_is_free(house, &tenant, &id)?;
        Self::of(house, request, by, (tenant, id), design, keys, one_at_a_time)
    }

    fn of(
        house: &House,
        request: RequestId,
        by: &Asker,
        (tenant, id): (Tenant, WalletId),
        design: Design,
        keys: Keys,
        one_at_a_time: OwnedMutexGuard<()>,
    ) -> Result<Self, Refusal> {
        let now = house.clock.now()?;
        let wallet = Wallet::around(keys, tenant.clone(), id.clone(), design, now)?;
        let record = audit::Record::Wallet(audit::Wallet {
            v: V1,
            tenant,
            request_id: request,
            time_ms: now,
            client: by.id.clone(),
            certificate: by.certificate,
            wallet: id,
            tier: wallet.tier(),
            algorithm: match wallet.algorithm() {
                Algorithm::Ed25519 => audit::Algorithm::Ed25519,
                Algorithm::Secp256k1 | Algorithm::P256 => audit::Algorithm::Secp256k1,
            },
            public_key: wallet.public_key().into(),
            account: wallet.account_key().map(ToString::to_string),
            index: wallet.index(),
            chains: wallet.chains(),
            descriptor: wallet.descriptor(),
        });
        let row = wallet.record()?;
        Ok(Self { wallet, record, row, created_ms: now, unnamed: None, _one_at_a_time: one_at_a_time })
    }

    /// Its transaction by itself, and its effect.
    pub async fn enter(self, house: &House) -> Result<Arc<Wallet>, Refusal> {
        let made = house.store.write(move |tx| Ok::<_, Refusal>((self.write(tx)?, self))).await?;
        let (leaf, making) = made.into_inner();
        Ok(making.take_effect(house, leaf))
    }

    /// Its transaction; it runs on the store's writer. The log index of its making.
    pub fn write(&self, tx: &mut Tx<'_>) -> Result<u64, Refusal> {
        let Wallet { tenant, id, .. } = &self.wallet;
        let leaf = audit::append(tx, &self.record)?.index();
        let row = WalletRow {
            tenant: tenant.clone(),
            id: id.clone(),
            created_ms: self.created_ms,
            leaf,
            record: self.row.clone(),
        };
        tx.insert_wallet(&row).map_err(|error| {
            let refusal = Refusal::from(error);
            if refusal.code == Code::AlreadyExists { taken(id) } else { refusal }
        })?;
        Ok(leaf)
    }

    /// It can be asked for signatures from here on.
    pub fn take_effect(self, house: &House, leaf: u64) -> Arc<Wallet> {
        if let Some(unnamed) = self.unnamed {
            unnamed.named();
        }
        house.wallets.add(self.wallet.recorded_at(leaf))
    }
}

async fn make_keys(
    house: &Arc<House>,
    tenant: &Tenant,
    id: &WalletId,
    design: &Design,
    source: Source,
) -> Result<Keys, Refusal> {
    let derived = match source {
        Source::Token => {
            let key = KeyId::fresh();
            let label = format!("chancery/{tenant}/{id}");
            let public = house.hsm.generate(key, &label, design.algorithm()).await?;
            return Ok(Keys::Token(KeyRef { id: key, public }));
        }
        Source::Made(id) => return adopt(house, id).await.map(Keys::Token),
        Source::Seed { account } if design.algorithm() == Algorithm::Ed25519 => {
            let seed = new_seed(&house.hsm, &house.store, tenant, id).await?;
            Derived::ed25519(&house.hsm, account, seed).await?
        }
        Source::Seed { account } => {
            let path = design.account_path(account)?;
            let (account, seed) =
                new_account(&house.hsm, &house.store, tenant, id, design.network(), &path).await?;
            Derived::new(account, design.first_index(), seed)?
        }
        Source::Beside(of) => next_address(house, tenant, &of, design.algorithm()).await?,
        Source::Cold(cold) => {
            return Ok(Keys::Cold(Box::new(design.apart(&cold)?)));
        }
        Source::Parties { threshold, parties } => {
            let key = make_key(house, (tenant, id), design, (threshold, parties)).await?;
            return Ok(Keys::Shared(Box::new(key)));
        }
    };
    Ok(Keys::Seed(Box::new(derived)))
}

/// A key that is in the HSM already, once it has proved itself and no wallet has it.
async fn adopt(house: &House, id: KeyId) -> Result<KeyRef, Refusal> {
    if house.wallets.has_key(id) {
        return Err(Refusal::new(Code::AlreadyExists, format!("a wallet has the key `{id}` already")));
    }
    let absent = || Refusal::new(Code::NotFound, format!("the HSM has no key `{id}`"));
    let public = house.hsm.find(id).await?.ok_or_else(absent)?;
    if public.algorithm() != Algorithm::Secp256k1 {
        return Err(Refusal::new(
            Code::BadRequest,
            format!("the key `{id}` is of another kind than wallets have"),
        ));
    }
    let key = KeyRef { id, public };
    house.hsm.sign(&key, key.proof()).await?;
    Ok(key)
}

/// The next address of an account. Wallets that recover from the seed look no further than [`GAP`] unused ones in a row.
async fn next_address(
    house: &House,
    tenant: &Tenant,
    of: &WalletId,
    algorithm: Algorithm,
) -> Result<Derived, Refusal> {
    let wallet = house.wallets.find(tenant, of)?;
    let known = match &wallet.keys {
        Keys::Seed(known) if known.index.is_some() && known.public.algorithm() == algorithm => Some(known),
        _ => None,
    };
    let Some(known) = known else {
        let detail = format!("wallet `{of}` is no address of this kind of chain whose seed is here");
        return Err(Refusal::new(Code::BadRequest, detail));
    };
    let mut unused = 0;
    let mut next = 0;
    for sibling in house.wallets.of_seed(tenant, &known.seed.of) {
        let filter = RequestFilter {
            wallet: Some(sibling.id.clone()),
            state: Some(RequestState::Released),
            limit: 1,
            ..RequestFilter::all(tenant.clone())
        };
        let used = !house.store.read(|rows| rows.requests(&filter))?.is_empty();
        unused = if used { 0 } else { unused + 1 };
        next = sibling.index().map_or(next, |index| index + 1);
    }
    if unused >= GAP {
        let detail = format!(
            "the last {GAP} addresses of this account have signed nothing: a wallet that recovers from the seed would not \
             find another"
        );
        return Err(Refusal::new(Code::GapLimit, detail));
    }
    match &known.account {
        Some(account) => Derived::new(account.clone(), Some(next), known.seed.clone()),
        None => Derived::ed25519(&house.hsm, next, known.seed.clone()).await,
    }
}
