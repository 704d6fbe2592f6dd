//! What goes to the machine of a cold wallet and comes back from it. The walk decides as for any request; here is the paper that
//! is carried across. What is carried is proved by the log, and what comes back proves itself, so neither way need be trusted.

use std::sync::Arc;

use chancery_audit::{ColdRequest, ColdSigned, RequestKind, V1};
use chancery_core::{Code, RequestId, Tenant};

use crate::answer::{Answer, Released};
use crate::house::House;
use crate::receipts;
use crate::refusal::Refusal;
use crate::start::Enclave;
use crate::walk::{self, Done, Waiting};

impl Enclave {
    /// What a cold wallet is asked to sign, with the log's proof that nothing else is missing. Where another bundle came into
    /// force since that was recorded, it is decided again first.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::RequestNotPending`], [`Code::RequestExpired`]; [`Code::ColdNotReady`] where others have to
    /// agree first, or the wallet is not cold; [`Code::SchnorrUnavailable`]; what denies it now.
    pub async fn cold_request(&self, tenant: &Tenant, id: RequestId) -> Result<ColdRequest, Refusal> {
        let row = self.row(tenant, id)?;
        let house = Arc::clone(self.house());
        self.run(async move {
            let waiting = Waiting::of(row.clone(), &house.books)?;
            let (signings, bundle) = (waiting.signings()?, *waiting.bundle().as_bytes());
            let ready = |house: &House| {
                let ready = house.store.read(|rows| rows.ready(id))?;
                Ok::<_, Refusal>(ready.into_iter().find(|(under, _)| *under == bundle).map(|(_, leaf)| leaf))
            };
            let leaf = match ready(&house)? {
                Some(leaf) => leaf,
                None => {
                    // What is not pending now was refused, with its reason.
                    walk::resume(&house, waiting, Done::Nothing).await?;
                    ready(&house)?.ok_or_else(|| {
                        let detail =
                            "others have to agree before the cold wallet signs: see what is `missing`";
                        Refusal::new(Code::ColdNotReady, detail).of(id)
                    })?
                }
            };
            let receipt = receipts::receipt_at(&house, &row, leaf).await?;
            Ok(ColdRequest { v: V1, kind: RequestKind::Is, receipt, signings })
        })
        .await
    }

    /// Takes what a cold wallet signed: verified under the pinned keys, decided again, recorded and released.
    ///
    /// # Errors
    /// Those of [`Waiting::take`] and [`Waiting::decide`]; what denies it now.
    pub async fn cold_signed(
        &self,
        tenant: &Tenant,
        id: RequestId,
        signed: ColdSigned,
    ) -> Result<Box<Released>, Refusal> {
        let row = self.row(tenant, id)?;
        let house = Arc::clone(self.house());
        self.run(async move {
            let waiting = Waiting::of(row, &house.books)?;
            let brought = waiting.take(&signed, &house.books)?;
            match walk::resume(&house, waiting, Done::Brought(brought)).await? {
                Answer::Released(released) => Ok(released),
                Answer::Pending(_) => Err(Refusal::new(Code::Internal, "it still waits").of(id)),
            }
        })
        .await
    }
}
