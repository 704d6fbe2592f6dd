//! What a ceremony does to a house that nobody serves from: the log's keys and the keys that encrypt are replaced by those that
//! the ceremony made on the token, and a wallet's seed is found for it. What was done is told again to whoever asks again.
//! Nothing is destroyed here: the answer names the keys that nothing needs any more.
//! If this is wrong, a secret is lost with its old key, or the log goes on under a key that nobody vouched for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chancery_audit::{
    self as audit, CheckpointSigner as _, Digest, Feed, HexBytes, LOG_KEYS, Log, LogKeys, LogOptions, Record,
    Rotation, V1, VerifierKey, Vouched,
};
use chancery_core::config::Config;
use chancery_core::{Clock, Code, KeyId, Tenant, WalletId, limit};
use chancery_hsm::{Hsm, Settings, Wrapped};
use chancery_secret::Pin;
use chancery_store::{Store, StoreError};
use serde_json::{Value, json};

use crate::kek::{self, Purpose};
use crate::keys::{self, Keys};
use crate::login::setup;
use crate::refusal::Refusal;
use crate::seed;
use crate::signer::{LogSigner, Next, Signers};
use crate::start::StartError;
use crate::wallet::Wallet;

/// How often the store is asked for again while a process that was killed lets it go.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// A house without its door, opened for one step of a ceremony.
pub struct Quiet {
    origin: String,
    directory: PathBuf,
    tenant: Tenant,
    store: Store,
    feed: Feed,
    hsm: Hsm,
    clock: Arc<dyn Clock>,
}

impl Quiet {
    /// Opens the store, which no daemon may have, and the token. `worker` is the executable that runs the HSM worker.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a daemon serves; else what store and token answer.
    pub async fn open(
        config: &Config,
        pin: Pin,
        worker: PathBuf,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let mut tries = 0;
        let (store, feed) = loop {
            let (observer, feed) = audit::feed();
            match Store::open(&config.store.directory, Box::new(observer)) {
                Err(StoreError::InUse { .. }) if tries < TRIES => tokio::time::sleep(PAUSE).await,
                opened => break (opened?, feed),
            }
            tries += 1;
        };
        clock.seen(store.read(|rows| rows.newest_time())?);
        let settings = Settings { worker: Arc::new(worker), hsm: config.hsm.clone(), mode: config.mode };
        let hsm = Hsm::start(settings, pin).await?;
        let (origin, directory) = (config.log.origin.clone(), config.log.directory.clone());
        Ok(Self { origin, directory, tenant: config.tenant(), store, feed, hsm, clock })
    }

    /// Lets store and token go.
    pub async fn close(self) {
        self.store.close().await;
        self.hsm.stop().await;
    }

    /// Puts the Ed25519 key `key` of the token, and a fresh ML-DSA key, in the place of the log's keys: they are named in the
    /// log, the keys before vouch for them, and the entry that says so puts them in force.
    ///
    /// # Errors
    /// [`StartError`]; what an interrupted call did counts, and the next one goes on from there.
    pub async fn log_keys(&self, key: KeyId, script: Digest) -> Result<Value, StartError> {
        let Self { origin, store, hsm, clock, .. } = self;
        let turns = store.read(|rows| Next::all(rows, &Next::in_force(origin)))?;
        // First, whatever is asked: nobody shall be told of keys to destroy while those in force do not open.
        let Signers { id, signer, ml_dsa, retired } = Signers::open(hsm, store, origin, clock, true).await?;
        if let Some(done) = turns.iter().find(|turn| turn.key == key) {
            return Ok(self.told(done));
        }
        if turns.len() + 1 >= LOG_KEYS {
            let detail =
                format!("a trust file holds {LOG_KEYS} keys, and this log has had as many: begin another");
            return Err(Refusal::new(Code::BadRequest, detail).into());
        }
        let named = store.read(|rows| Next::all(rows, &Next::named(origin)))?;
        let options = LogOptions {
            origin: origin.clone(),
            directory: self.directory.clone(),
            ml_dsa,
            retired,
            witnesses: Vec::new(),
            quorum: 0,
        };
        let log = Log::open(Arc::new(store.clone()), &self.feed, options, signer)?;
        let next = match named.last().filter(|named| named.key == key) {
            Some(named) => named.clone(),
            None => self.name(id, log.keys(), key, script).await?,
        };
        let signer = LogSigner::find(hsm, key).await?;
        let ml_dsa = Arc::new(next.open_seed(hsm, store, origin, clock).await?);
        let checkpoint = log.vouch(next.named, &*signer, Some(&ml_dsa)).await?;
        let vouched = Vouched { named: next.named, checkpoint };
        let done = self.record(next, Some(vouched), script).await?;
        Ok(self.told(&done))
    }

    /// Names the keys that shall follow. A crash after it leaves the keys before in force.
    async fn name(
        &self,
        key_before: KeyId,
        before: LogKeys,
        key: KeyId,
        script: Digest,
    ) -> Result<Next, StartError> {
        let Self { origin, store, hsm, clock, .. } = self;
        let public = LogSigner::find(hsm, key).await?.public_key();
        let named = VerifierKey::new(origin, public);
        let named = named.map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
        let (ml_dsa, seed) = seed::make(hsm, store, origin, clock).await?;
        let keys = LogKeys { key: named, ml_dsa: Some(ml_dsa.key().clone()) };
        let next = Next { v: V1, key, key_before, keys, before, seed, named: 0, leaf: None };
        self.record(next, None, script).await
    }

    /// The entry, and the store's own record of it, in one transaction.
    async fn record(&self, next: Next, vouched: Option<Vouched>, script: Digest) -> Result<Next, StartError> {
        let named = vouched.is_none();
        let record = Record::Rotation(Box::new(Rotation {
            v: V1,
            tenant: self.tenant.clone(),
            time_ms: self.clock.now().map_err(Refusal::from)?,
            script,
            before: next.before.clone(),
            after: next.keys.clone(),
            vouched,
        }));
        let name = if named { Next::named(&self.origin) } else { Next::in_force(&self.origin) };
        let written = self.store.write(move |tx| {
            let leaf = audit::append(tx, &record)?.index();
            let next = match named {
                true => Next { named: leaf, ..next },
                false => Next { leaf: Some(leaf), ..next },
            };
            tx.renew(&name, &crate::kept::write(&next)?)?;
            Ok::<_, Refusal>(next)
        });
        Ok(written.await?.into_inner())
    }

    fn told(&self, next: &Next) -> Value {
        let ml_dsa = |keys: &LogKeys| keys.ml_dsa.as_ref().map(|key| format!("{key:?}"));
        json!({
            "before": { "key": next.before.key, "ml_dsa": ml_dsa(&next.before) },
            "after": { "key": next.keys.key, "ml_dsa": ml_dsa(&next.keys) },
            "named_in_entry": next.named,
            "in_force_from_entry": next.leaf,
            "retired": [{ "id": next.key_before, "label": format!("chancery/log/{}", self.origin) }],
        })
    }

    /// Encrypts every secret of the store anew under these keys of the token, for the log, for logins and for wallets' seeds. Done
    /// already, it sees that all of them open.
    ///
    /// # Errors
    /// [`StartError`]; nothing is changed then.
    pub async fn encrypting_keys(&self, next: [KeyId; 3]) -> Result<Value, StartError> {
        let Self { origin, tenant, store, hsm, .. } = self;
        let purposes = [Purpose::log(origin), Purpose::login(origin), Purpose::seeds(tenant)];
        let turned: Vec<_> = purposes.iter().zip(next).collect();
        let done = store.read(|rows| {
            turned
                .iter()
                .map(|(purpose, next)| Ok(purpose.in_force(rows)? == *next))
                .collect::<Result<Vec<_>, StoreError>>()
        })?;
        let secrets = self.secrets()?;
        let mut anew = Vec::new();
        for (name, Secret { purpose, context, kek, wrapped }) in &secrets {
            let to = next.get(*purpose).copied().unwrap_or(*kek);
            let wrapped = hsm.rewrap(context, (*kek, wrapped), to).await?;
            let record =
                kek::anew(to, wrapped).map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
            anew.push((name.clone(), record));
        }
        if done.contains(&false) {
            // INVARIANT: the three turn together, so none of them is done without the others.
            let names: Vec<_> =
                turned.iter().map(|(purpose, next)| (purpose.name().to_owned(), *next)).collect();
            let write = store.write(move |tx| {
                for (name, record) in &anew {
                    tx.renew(name, record)?;
                }
                for (name, next) in &names {
                    tx.renew(name, next.as_bytes())?;
                }
                Ok::<_, StoreError>(())
            });
            write.await?;
        }
        let mut retired = Vec::new();
        for (purpose, next) in turned {
            let before = store.read(|rows| purpose.before(rows, next))?;
            retired.extend(before.iter().map(|id| json!({ "id": id, "label": purpose.label() })));
        }
        Ok(json!({ "secrets": secrets.len(), "retired": retired }))
    }

    /// The encrypted seed of a wallet, and the account that it must lead to.
    ///
    /// # Errors
    /// [`Code::NotFound`] for a wallet that has none.
    pub fn seed(&self, wallet: &WalletId) -> Result<Value, StartError> {
        let Self { tenant, store, .. } = self;
        let row = store.read(|rows| rows.wallet(tenant, wallet))?;
        let Some(Keys::Seed(mut derived)) = row.map(Wallet::from_row).transpose()?.map(|wallet| wallet.keys)
        else {
            let detail = format!("there is no wallet `{wallet}` whose keys are derived from a seed");
            return Err(Refusal::new(Code::NotFound, detail).into());
        };
        derived.seed.renew(store, tenant)?;
        let seed = derived.seed.seed;
        let account = derived.account.ok_or_else(|| {
            let detail =
                format!("the seed of `{wallet}` is not dealt yet: no account says what it must lead to");
            Refusal::new(Code::BadRequest, detail)
        })?;
        Ok(json!({
            "account": account.to_string(),
            "kek": seed.kek,
            "context": HexBytes::from(seed.context),
            "wrapped": seed.wrapped,
        }))
    }

    /// Every secret that is in use, by its name in the store. The seed of a log key that was replaced is not, and so is lost
    /// with the key that encrypts it.
    fn secrets(&self) -> Result<BTreeMap<String, Secret>, StartError> {
        let Self { origin, tenant, store, .. } = self;
        let mut found = BTreeMap::new();
        let turns = store.read(|rows| Next::all(rows, &Next::in_force(origin)))?;
        let named = store.read(|rows| Next::all(rows, &Next::named(origin)))?;
        let waiting = named.last().filter(|named| turns.iter().all(|turn| turn.key != named.key));
        let first = store.read(|rows| rows.wrapped(&seed::name(origin)))?.filter(|_| turns.is_empty());
        let mut records = Vec::new();
        if let Some(first) = first {
            let record = serde_json::from_slice(&first).map_err(seed::SeedError::from)?;
            records.push((seed::name(origin), record));
        }
        let others = turns.last().into_iter().chain(waiting);
        records.extend(others.map(|turn| (Next::seed_name(origin, turn.key), turn.seed.clone())));
        for (name, record) in records {
            let (kek, seed::Record { key, wrapped, .. }) = seed::at(store, &name, origin, record)?;
            found.insert(name, Secret { purpose: 0, context: seed::context(&key), kek, wrapped });
        }
        let name = setup::name(origin);
        let login = store.read(|rows| {
            let purpose = Purpose::login(origin);
            Ok((rows.wrapped(&name)?, kek::renewed(rows, &name)?, purpose.in_force(rows)?))
        })?;
        if let (Some(bytes), anew, kek) = login {
            let setup::Record { wrapped, .. } = crate::kept::read("wrapped", &bytes)?;
            let (kek, wrapped) = anew.unwrap_or((kek, wrapped));
            found.insert(name, Secret { purpose: 1, context: setup::context(origin), kek, wrapped });
        }
        let mut after = None;
        loop {
            let page = store.read(|rows| rows.wallets(tenant, after.as_ref(), limit::PAGE_ROWS))?;
            let Some(last) = page.last() else { return Ok(found) };
            after = Some(last.id.clone());
            for row in page {
                let Keys::Seed(mut derived) = Wallet::from_row(row)?.keys else { continue };
                derived.seed.renew(store, tenant)?;
                let keys::OwnSeed { of, seed } = derived.seed;
                let secret =
                    Secret { purpose: 2, context: seed.context, kek: seed.kek, wrapped: seed.wrapped };
                found.insert(kek::seed_name(tenant, &of), secret);
            }
        }
    }
}

/// An encrypted secret as it stands.
struct Secret {
    /// Which of the three.
    purpose: usize,
    context: Vec<u8>,
    kek: KeyId,
    wrapped: Wrapped,
}
