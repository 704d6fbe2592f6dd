//! Beside the waiting of a request: what a cold wallet is asked to sign, and what it signed, verified before it counts. Trusts nobody
//! who carries it. If this is wrong, a signature over something else, or by somebody else, is released.

use chancery_audit::{ColdSigned, ColdSigning, Digest};
use chancery_core::{Code, Tier};
use chancery_hsm::Sealed;

use super::{Understood, Waiting};
use crate::house::Books;
use crate::refusal::Refusal;

/// Signatures of a cold wallet that hold: the only way to have them released.
pub struct Brought {
    pub(super) signatures: Vec<Sealed>,
    /// What the review says of them.
    pub(super) sha256: Digest,
}

impl Waiting {
    /// What its cold wallet is asked to sign, and with which keys.
    ///
    /// # Errors
    /// [`Code::ColdNotReady`] for a wallet that is none, [`Code::SchnorrUnavailable`].
    pub fn signings(&self) -> Result<Vec<ColdSigning>, Refusal> {
        let Understood { wallet, intent, .. } = &self.understood;
        if wallet.tier() != Tier::Cold {
            let detail = format!("wallet `{}` is not cold: the appliance signs for it", wallet.id);
            return Err(Refusal::new(Code::ColdNotReady, detail).of(self.row.id));
        }
        intent.signings().iter().map(|signing| wallet.keys.apart(signing)).collect()
    }

    /// Verifies what a cold wallet signed: each signature under the pinned key over its own digest.
    ///
    /// # Errors
    /// [`Code::ColdSignatureInvalid`]; [`Code::ApprovalStale`] for what was signed under another bundle than the one in force;
    /// [`Code::ColdNotReady`] where something else is missing, or the wallet is none.
    pub fn take(&self, signed: &ColdSigned, books: &Books) -> Result<Brought, Refusal> {
        let id = self.row.id;
        let refuse = |code, detail: String| Refusal::new(code, detail).of(id);
        let invalid = |detail: String| refuse(Code::ColdSignatureInvalid, detail);
        let asked = self.signings()?;
        if signed.request_id != id || signed.tenant != self.row.tenant || signed.wallet != self.row.wallet {
            return Err(invalid("it is for another request".to_owned()));
        }
        let ready = books.store.read(|rows| rows.ready(id))?;
        let in_force = *self.bundle().as_bytes();
        let Some((bundle, _)) = ready.iter().find(|(_, leaf)| *leaf == signed.decision_leaf) else {
            return Err(match ready.is_empty() {
                true => refuse(Code::ColdNotReady, "others have to agree first".to_owned()),
                false => invalid("it names no decision about this request".to_owned()),
            });
        };
        if *bundle != in_force {
            let detail = "another bundle came into force since it was exported: export it again";
            return Err(refuse(Code::ApprovalStale, detail.to_owned()));
        }
        if signed.signatures.len() != asked.len() {
            let detail =
                format!("it holds {} signatures, and {} are asked for", signed.signatures.len(), asked.len());
            return Err(invalid(detail));
        }
        let wallet = &self.understood.wallet;
        let signings = self.understood.intent.signings().iter().zip(&signed.signatures);
        let signatures = signings.enumerate().map(|(place, (signing, raw))| {
            wallet.keys.brought(signing, raw.as_bytes())?.map_err(|error| {
                tracing::warn!(request = %id, wallet = %wallet.id, place, %error, "a cold signature was refused");
                invalid(format!("signature {place} is not the wallet's over its digest: {error}"))
            })
        });
        let signatures = signatures.collect::<Result<Vec<_>, Refusal>>()?;
        let bytes: Vec<u8> = signed.signatures.iter().flat_map(|raw| raw.as_bytes()).copied().collect();
        Ok(Brought { signatures, sha256: Digest::of(&bytes) })
    }
}
