//! The authority of a tenant's clients: its key in the HSM, its certificate in the store, and the revocation list that the
//! door is told of. The list follows from the store's rows alone, so it is signed at the start, with every certificate
//! that is taken back, and anew before it ends. If this is wrong, a revoked client comes in, or nobody does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chancery_audit::{self as audit, V1};
use chancery_core::{Code, KeyId, RequestId, Serial, Tenant, UnixMillis, limit};
use chancery_hsm::{Algorithm, Hsm, KeyRef, Message, PublicKey};
use chancery_identity::issue::{self, Draft, Issuer};
use chancery_store::AuthorityRow;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, watch};

use crate::asker::Asker;
use crate::create::Unnamed;
use crate::house::House;
use crate::kept;
use crate::refusal::Refusal;

/// Between two looks at how old the lists are.
const LOOK: Duration = Duration::from_secs(5);

/// What the door knows a tenant's clients by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The tenant, whose clients alone the authority may name.
    pub tenant: Tenant,
    /// The authority's certificate, in DER.
    pub authority: Vec<u8>,
    /// Its revocation list, in DER.
    pub list: Vec<u8>,
    made_ms: UnixMillis,
}

/// The authorities of this appliance.
pub(crate) struct Offices {
    /// What is issued or taken back goes one after the other: a list must not miss what another writes meanwhile.
    turn: Arc<AsyncMutex<()>>,
    open: Mutex<HashMap<Tenant, Arc<Office>>>,
    told: watch::Sender<Arc<Vec<Issued>>>,
}

/// Held by whoever issues or takes back.
pub(crate) struct Turn {
    _guard: OwnedMutexGuard<()>,
}

/// The authority of one tenant.
pub(crate) struct Office {
    pub issuer: Issuer,
    key: KeyRef,
}

/// The `record` column of an authority.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptAuthority {
    v: V1,
    key: KeyId,
    public_key: audit::HexBytes,
    certificate: audit::HexBytes,
}

impl Default for Offices {
    fn default() -> Self {
        Self { turn: Arc::default(), open: Mutex::default(), told: watch::Sender::new(Arc::default()) }
    }
}

impl Offices {
    pub async fn turn(&self) -> Turn {
        Turn { _guard: Arc::clone(&self.turn).lock_owned().await }
    }

    /// What there is now, and each time that it is another.
    pub fn told(&self) -> watch::Receiver<Arc<Vec<Issued>>> {
        self.told.subscribe()
    }

    /// The door hears of it.
    pub fn tell(&self, issued: Issued) {
        self.told.send_modify(|all| {
            let others: Vec<_> = all.iter().filter(|other| other.tenant != issued.tenant).cloned().collect();
            *all = Arc::new(others.into_iter().chain([issued]).collect());
        });
    }

    /// The authority of a tenant, where it has one.
    pub fn find(&self, house: &House, tenant: &Tenant) -> Result<Option<Arc<Office>>, Refusal> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(office) = open.get(tenant) {
            return Ok(Some(Arc::clone(office)));
        }
        let Some(row) = house.store.read(|rows| rows.authority(tenant))? else { return Ok(None) };
        let office = Arc::new(Office::of(row)?);
        open.insert(tenant.clone(), Arc::clone(&office));
        Ok(Some(office))
    }

    /// The same; the first time, its key and certificate are made and put on record for the request that needs them.
    pub async fn find_or_make(
        &self,
        house: &House,
        _turn: &Turn,
        tenant: &Tenant,
        request: RequestId,
        by: &Asker,
    ) -> Result<Arc<Office>, Refusal> {
        if let Some(office) = self.find(house, tenant)? {
            return Ok(office);
        }
        let internal = || Refusal::new(Code::Internal, "the authority's key cannot stand in a certificate");
        // ORDER: the key first. A crash before the row is durable leaves a key that nothing names.
        let id = KeyId::fresh();
        let label = format!("chancery/clients of {tenant}");
        let key = KeyRef { id, public: house.hsm.generate(id, &label, Algorithm::P256).await? };
        let unnamed = Unnamed::new(&house.hsm, id);
        let now = house.clock.now()?;
        let public_key = key.public.subject_public_key_info().ok_or_else(internal)?;
        let draft = issue::authority(tenant, &public_key, now)?;
        let certificate = sign(&house.hsm, &key, &draft).await?;
        let record = audit::Record::Authority(audit::ClientAuthority {
            v: V1,
            tenant: tenant.clone(),
            request_id: request,
            time_ms: now,
            client: by.id.clone(),
            certificate: by.certificate,
            authority: certificate.as_slice().into(),
        });
        let kept = KeptAuthority {
            v: V1,
            key: id,
            public_key: key.public.bytes().into(),
            certificate: certificate.into(),
        };
        let mut row =
            AuthorityRow { tenant: tenant.clone(), created_ms: now, leaf: 0, record: kept::write(&kept)? };
        let written = house.store.write(move |tx| {
            row.leaf = audit::append(tx, &record)?.index();
            tx.insert_authority(&row)?;
            Ok::<_, Refusal>(unnamed)
        });
        written.await?.into_inner().named();
        let office = self.find(house, tenant)?.ok_or_else(internal)?;
        self.tell(office.list(house, &[]).await?);
        Ok(office)
    }

    /// Signs the list of a tenant's authority, where it has one, unless the door has one that is young enough.
    pub async fn renew(&self, house: &House, tenant: &Tenant) -> Result<(), Refusal> {
        let Some(office) = self.find(house, tenant)? else { return Ok(()) };
        let _turn = self.turn().await;
        let now = house.clock.now()?;
        let young = |issued: &Issued| issued.tenant == *tenant && !is_due(issued.made_ms, now);
        if !self.told.borrow().iter().any(young) {
            self.tell(office.list(house, &[]).await?);
        }
        Ok(())
    }
}

impl Office {
    fn of(row: AuthorityRow) -> Result<Self, Refusal> {
        let damaged = || Refusal::new(Code::StoreUnavailable, "the stored authority cannot be read");
        let kept: KeptAuthority = kept::read("authority", &row.record)?;
        let public = PublicKey::parse(Algorithm::P256, kept.public_key.as_bytes()).map_err(|_| damaged())?;
        let issuer = Issuer::open(row.tenant, kept.certificate.as_bytes().to_vec())?;
        if public.subject_public_key_info().as_deref() != Some(issuer.public_key()) {
            return Err(damaged());
        }
        Ok(Self { issuer, key: KeyRef { id: kept.key, public } })
    }

    pub async fn sign(&self, hsm: &Hsm, draft: &Draft) -> Result<Vec<u8>, Refusal> {
        sign(hsm, &self.key, draft).await
    }

    /// A list of what was taken back, and of `also`.
    pub async fn list(&self, house: &House, also: &[(Serial, UnixMillis)]) -> Result<Issued, Refusal> {
        let now = house.clock.now()?;
        let mut revoked = house.store.read(|rows| rows.revoked(self.issuer.tenant(), now))?;
        revoked.extend_from_slice(also);
        let list = self.sign(&house.hsm, &self.issuer.list(&revoked, now)?).await?;
        let authority = self.issuer.certificate().to_vec();
        Ok(Issued { tenant: self.issuer.tenant().clone(), authority, list, made_ms: now })
    }
}

async fn sign(hsm: &Hsm, key: &KeyRef, draft: &Draft) -> Result<Vec<u8>, Refusal> {
    let sealed = hsm.sign(key, Message::Digest(draft.digest())).await?;
    Ok(draft.signed(&sealed.open().bytes))
}

/// Whether a list of then should be signed anew; also when the clock was set back before it.
fn is_due(made_ms: UnixMillis, now: UnixMillis) -> bool {
    !(0..limit::REVOCATION_LIST_AGE_MS).contains(&now.0.saturating_sub(made_ms.0))
}

/// Keeps the list of the tenant's authority in date for as long as the house is open.
pub(crate) async fn renew_for_ever(house: Arc<House>, tenant: Tenant) {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Err(refusal) = house.offices.renew(&house, &tenant).await {
            tracing::warn!(%refusal, "the revocation list of the appliance's own authority could not be signed anew");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_signed_anew_long_before_it_ends() {
        let made = UnixMillis(1_800_000_000_000);
        assert!(!is_due(made, made) && !is_due(made, made.plus_ms(limit::REVOCATION_LIST_AGE_MS - 1)));
        assert!(is_due(made, made.plus_ms(limit::REVOCATION_LIST_AGE_MS)) && is_due(made, made.plus_ms(-1)));
    }
}
