//! Wallets are made: keys first, then the log's entry and the registry's row in one transaction. A crash between the two
//! leaves a key or a seed that no wallet names and nothing can use.

use std::sync::Arc;

use chancery_audit::{self as audit, Digest, V1};
use chancery_core::{Code, KeyId, RequestId, Tenant, WalletId};
use chancery_hsm::{Algorithm, KeyRef};
use chancery_identity::Operator;
use chancery_store::{RequestFilter, RequestState, WalletRow};

use crate::house::House;
use crate::keys::{Derived, GAP, Keys, new_account};
use crate::refusal::Refusal;
use crate::start::Enclave;
use crate::wallet::{Design, Source, Wallet};

impl Enclave {
    /// Makes a wallet around fresh keys.
    ///
    /// # Errors
    /// [`Code::BadRequest`] for its chains or its descriptor, [`Code::AlreadyExists`] for its name,
    /// [`Code::GapLimit`], and what the HSM or store answer.
    pub async fn create_wallet(
        &self,
        operator: Operator,
        id: WalletId,
        design: Design,
        source: Source,
    ) -> Result<Arc<Wallet>, Refusal> {
        let house = Arc::clone(self.house());
        self.run(async move { create_wallet(&house, &operator, id, design, source).await }).await
    }
}

async fn create_wallet(
    house: &Arc<House>,
    operator: &Operator,
    id: WalletId,
    design: Design,
    source: Source,
) -> Result<Arc<Wallet>, Refusal> {
    design.check(&source)?;
    house.disk.admit()?;
    let tenant = operator.tenant().clone();
    let taken = || Refusal::new(Code::AlreadyExists, format!("a wallet `{id}` exists already"));
    if house.store.read(|rows| rows.wallet(&tenant, &id))?.is_some() {
        return Err(taken());
    }
    // Two that take the next address of one account must not take the same.
    let _one_at_a_time = house.wallets.making.lock().await;

    // ORDER: the keys first. A crash before the row is durable leaves keys that no wallet names and nothing can use.
    let keys = make_keys(house, &tenant, &id, &design, source).await?;
    let now = house.clock.now()?;
    let wallet = Wallet::around(keys, tenant.clone(), id.clone(), design, now)?;
    let record = audit::Record::Wallet(audit::Wallet {
        v: V1,
        tenant: tenant.clone(),
        request_id: RequestId::fresh(),
        time_ms: now,
        client: operator.id().clone(),
        certificate: Digest::from_bytes(*operator.fingerprint().as_bytes()),
        wallet: id.clone(),
        tier: wallet.tier(),
        algorithm: audit::Algorithm::Secp256k1,
        public_key: wallet.public_key().into(),
        account: wallet.account_key().map(ToString::to_string),
        index: wallet.index(),
        chains: wallet.chains(),
        descriptor: wallet.descriptor(),
    });
    let (row_id, bytes) = (id.clone(), wallet.record()?);
    let written = house
        .store
        .write(move |tx| {
            let leaf = audit::append(tx, &record)?.index();
            tx.insert_wallet(&WalletRow { tenant, id: row_id, created_ms: now, leaf, record: bytes })?;
            Ok::<_, Refusal>(leaf)
        })
        .await;
    match written {
        Ok(leaf) => Ok(house.wallets.add(wallet.recorded_at(leaf.into_inner()))),
        Err(refusal) => {
            if let Keys::Token(KeyRef { id: key, .. }) = wallet.keys
                && let Err(error) = house.hsm.destroy(key).await
            {
                tracing::warn!(%key, %error, "a key that no wallet names stays in the token");
            }
            Err(if refusal.code == Code::AlreadyExists { taken() } else { refusal })
        }
    }
}

async fn make_keys(
    house: &House,
    tenant: &Tenant,
    id: &WalletId,
    design: &Design,
    source: Source,
) -> Result<Keys, Refusal> {
    let derived = match source {
        Source::Token => {
            let key = KeyId::fresh();
            let label = format!("chancery/{tenant}/{id}");
            let public = house.hsm.generate(key, &label, Algorithm::Secp256k1).await?;
            return Ok(Keys::Token(KeyRef { id: key, public }));
        }
        Source::Seed { account } => {
            let path = design.account_path(account)?;
            let (account, seed) = new_account(&house.hsm, tenant, id, design.network(), &path).await?;
            Derived::new(account, design.first_index(), seed)?
        }
        Source::Beside(of) => next_address(house, tenant, &of)?,
    };
    Ok(Keys::Seed(Box::new(derived)))
}

/// The next address of an account. Wallets that recover from the seed look no further than [`GAP`] unused ones in a row.
fn next_address(house: &House, tenant: &Tenant, of: &WalletId) -> Result<Derived, Refusal> {
    let wallet = house.wallets.find(tenant, of)?;
    let Some(known) = wallet.keys.derived().filter(|known| known.index.is_some()) else {
        let detail = format!("wallet `{of}` is no address of an account");
        return Err(Refusal::new(Code::BadRequest, detail));
    };
    let mut unused = 0;
    let mut next = 0;
    for sibling in house.wallets.of_account(tenant, &known.account) {
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
    Derived::new(known.account.clone(), Some(next), known.seed.clone())
}
