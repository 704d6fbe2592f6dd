//! The token's keys: made, wrapped for a backup, and shown by what everybody may see of them.

use chancery_audit::V1;
use chancery_core::KeyId;
use chancery_hsm::{Found, Hsm, HsmError, KeyRef, Use};
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
    for PlannedKey { id, label, uses } in planned {
        let taken = || CeremonyError::Occupied(format!("the token has a key `{id}`"));
        match uses {
            Some(Use::Sign(algorithm)) => match hsm.generate(*id, label, *algorithm).await {
                Ok(_) => {}
                Err(HsmError::KeyExists { .. }) if again => {
                    let public = hsm.find(*id).await?.ok_or_else(taken)?;
                    prove(hsm, KeyRef { id: *id, public }).await?;
                }
                Err(HsmError::KeyExists { .. }) => return Err(taken()),
                Err(error) => return Err(error.into()),
            },
            Some(Use::Encrypt) => match hsm.generate_kek(*id, label).await {
                Ok(()) => {}
                Err(HsmError::KeyExists { .. }) if again => {}
                Err(HsmError::KeyExists { .. }) => return Err(taken()),
                Err(error) => return Err(error.into()),
            },
            Some(Use::BackUp) | None => {
                return Err(CeremonyError::Script(format!("does not say what key `{id}` is for")));
            }
        }
    }
    Ok(())
}

/// Has a key sign, and verifies it under the public key that it should have.
pub(crate) async fn prove(hsm: &Hsm, key: KeyRef) -> Result<(), CeremonyError> {
    let message = key.proof();
    hsm.sign(&key, message).await?;
    Ok(())
}
