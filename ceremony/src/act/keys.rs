//! The token's keys: made, wrapped for a backup, and shown by what everybody may see of them.

use chancery_audit::V1;
use chancery_core::KeyId;
use chancery_hsm::{Found, Hsm, HsmError, KeyRef, Use};
use chancery_secret::SecretBytes;
use serde_json::{Value, json};

use crate::backup::{Backup, Kept};
use crate::error::CeremonyError;
use crate::run::Stage;
use crate::script::PlannedKey;

/// A key as it is shown: signing keys by their public key, others by PKCS#11's check value.
pub(super) fn shown(found: &Found) -> Value {
    let mut value =
        json!({ "id": KeyId::from_bytes(found.id), "label": found.label, "uses": uses(found.uses) });
    let seen = match found.uses {
        Use::Sign(_) => ("public", hex::encode(&found.public)),
        Use::Encrypt | Use::BackUp => ("check_value", hex::encode(&found.check_value)),
    };
    if let Some(members) = value.as_object_mut()
        && !seen.1.is_empty()
    {
        members.insert(seen.0.to_owned(), seen.1.into());
    }
    value
}

fn uses(uses: Use) -> &'static str {
    match uses {
        Use::Sign(algorithm) => algorithm.as_str(),
        Use::Encrypt => "kek",
        Use::BackUp => "backup-key",
    }
}

impl Stage {
    /// Makes the script's keys. Those that are there already stay, where this step made them before it was interrupted.
    pub(crate) async fn keys(&mut self, again: bool) -> Result<Value, CeremonyError> {
        let hsm = self.hsm().await?;
        let planned = self.script.keys.clone();
        let made = make(&hsm, &planned, again).await;
        hsm.stop().await;
        made?;
        let survey = self.custody()?.survey().await?;
        let ours =
            survey.keys.iter().filter(|found| planned.iter().any(|key| key.id.as_bytes() == &found.id));
        let ours: Vec<_> = ours.collect();
        if ours.len() != planned.len() || !ours.iter().all(|found| found.recoverable) {
            return Err(CeremonyError::Mismatch(
                "the token does not show every key, or not as it was asked for".to_owned(),
            ));
        }
        Ok(json!({ "keys": ours.into_iter().map(shown).collect::<Vec<_>>() }))
    }

    /// Wraps every key that may leave the token, and names those that cannot. Done again, it is another backup in place of the one before.
    pub(crate) async fn back_up(&mut self) -> Result<Value, CeremonyError> {
        let under = self.backup_key()?;
        let custody = self.custody()?;
        let survey = custody.survey().await?;
        let keys: Vec<_> = survey.keys.iter().filter(|found| found.uses != Use::BackUp).collect();
        let leaving = keys.iter().filter(|found| found.recoverable);
        let ids: Vec<_> = leaving.map(|found| KeyId::from_bytes(found.id)).collect();
        let wrapped = custody.back_up(under, &ids).await?;
        let (kept, lost): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|found| wrapped.iter().any(|key| key.id == found.id));
        let backup = Backup {
            v: V1,
            ceremony: self.script.ceremony,
            made_ms: (self.room.now)(),
            serial: survey.token.serial,
            backup_key: under,
            keys: wrapped.into_iter().map(Kept::of).collect(),
            left_out: lost.iter().map(|found| found.label.clone()).collect(),
        };
        backup.write(&self.room.folder)?;
        Ok(json!({
            "backup": backup.hash()?,
            "made_ms": backup.made_ms,
            "keys": kept.into_iter().map(shown).collect::<Vec<_>>(),
            "left_out": backup.left_out,
        }))
    }

    pub(super) fn backup_key(&self) -> Result<KeyId, CeremonyError> {
        self.script.backup_key.ok_or_else(|| CeremonyError::Script("names no backup key".to_owned()))
    }
}

async fn make(hsm: &Hsm, planned: &[PlannedKey], again: bool) -> Result<(), CeremonyError> {
    for key in planned {
        match make_one(hsm, key).await {
            Err(CeremonyError::Hsm(HsmError::KeyExists { .. })) if again => {
                if !is_whole(hsm, key).await? {
                    // A token writes a key in parts; what a crash left of this one is nobody's, because this step has no end.
                    hsm.destroy(key.id).await?;
                    make_one(hsm, key).await?;
                }
            }
            Err(CeremonyError::Hsm(HsmError::KeyExists { key })) => {
                return Err(CeremonyError::Occupied(format!("the token has a key `{key}`")));
            }
            made => made?,
        }
    }
    Ok(())
}

async fn make_one(hsm: &Hsm, PlannedKey { id, label, uses }: &PlannedKey) -> Result<(), CeremonyError> {
    match uses {
        Some(Use::Sign(algorithm)) => drop(hsm.generate(*id, label, *algorithm).await?),
        Some(Use::Encrypt) => hsm.generate_kek(*id, label).await?,
        Some(Use::BackUp) | None => {
            return Err(CeremonyError::Script(format!("does not say what key `{id}` is for")));
        }
    }
    Ok(())
}

/// Whether a key that is there does what it is for.
async fn is_whole(hsm: &Hsm, PlannedKey { id, uses, .. }: &PlannedKey) -> Result<bool, CeremonyError> {
    let does = match uses {
        Some(Use::Sign(_)) => match hsm.find(*id).await {
            Ok(None) => return Ok(false),
            Ok(Some(public)) => prove(hsm, KeyRef { id: *id, public }).await,
            Err(error) => Err(error.into()),
        },
        _ => encrypts(hsm, *id).await,
    };
    match does {
        Ok(()) => Ok(true),
        Err(CeremonyError::Hsm(HsmError::KeyNotFound { .. } | HsmError::Refused { .. })) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn encrypts(hsm: &Hsm, id: KeyId) -> Result<(), CeremonyError> {
    const CONTEXT: &[u8] = b"chancery ceremony proof v1";
    let proof = SecretBytes::random(32)?;
    let wrapped = hsm.wrap(id, CONTEXT, &proof).await?;
    if hsm.unwrap(id, CONTEXT, &wrapped).await? == proof {
        return Ok(());
    }
    Err(HsmError::Refused { reason: "what it encrypts opens as something else".to_owned() }.into())
}

/// Has a key sign, and verifies it under the public key that it should have.
pub(crate) async fn prove(hsm: &Hsm, key: KeyRef) -> Result<(), CeremonyError> {
    let message = key.proof();
    hsm.sign(&key, message).await?;
    Ok(())
}
