//! What the custodians are there for: the backup key is dealt to them, joined from their shares, and dealt anew to others.

use std::path::PathBuf;

use chancery_core::KeyId;
use chancery_hsm::{HsmError, KeyRef, PublicKey, Use};
use serde_json::{Value, json};

use super::keys::shown;
use crate::act::keys::prove;
use crate::backup::{Backup, Kept};
use crate::error::CeremonyError;
use crate::run::Stage;
use crate::share::{Gathered, Shares};
use crate::vss;

/// A backup key's label on the token.
const LABEL: &str = "chancery/backup-key";

impl Stage {
    /// Makes a backup key. One that an interrupted attempt left has wrapped nothing yet, and is destroyed.
    pub(crate) async fn split(&mut self, again: bool) -> Result<Value, CeremonyError> {
        let id = self.backup_key()?;
        if again {
            self.forget(id).await?;
        }
        let secret = vss::fresh()?;
        let list = self.deal(id, &secret)?;
        let (so, key) = (self.so_pin()?, vss::backup_key(&secret)?);
        drop(secret);
        // ORDER: after the shares are on the disk. A crash before this leaves shares of a key that nothing has.
        self.custody()?.entrust(&so, id, LABEL, &key).await?;
        told(&list)
    }

    /// Joins shares and deals the same key to the script's custodians.
    pub(crate) fn reshare(&mut self) -> Result<Value, CeremonyError> {
        let (folder, before) = self.before()?;
        let Gathered { secret, came, bad } = before.gather(&folder, &mut self.room.console)?;
        let list = self.deal(before.backup_key, &secret)?;
        if list.commitments.first() != before.commitments.first() {
            return Err(CeremonyError::Mismatch(
                "the shares are of another backup key than before".to_owned(),
            ));
        }
        let mut facts = told(&list)?;
        note(
            &mut facts,
            &[("came", json!(came)), ("bad", json!(bad)), ("dealt_before_by", json!(before.ceremony))],
        );
        Ok(facts)
    }

    /// Joins shares, unwraps the backup, has every signing key prove itself, and makes the token one that can be backed up.
    /// Done again, it keeps what it finds whole.
    pub(crate) async fn restore(&mut self) -> Result<Value, CeremonyError> {
        let (folder, shares) = self.before()?;
        let backup = Backup::read(self.room.backup.as_ref().unwrap_or(&folder))?;
        let asked = self.script.from.as_ref().and_then(|from| from.backup);
        if asked != Some(backup.hash()?) || backup.backup_key != shares.backup_key {
            return Err(CeremonyError::Mismatch(
                "the backup is not the one that the script names".to_owned(),
            ));
        }
        let Gathered { secret, came, bad } = shares.gather(&folder, &mut self.room.console)?;
        let key = vss::backup_key(&secret)?;
        drop(secret);
        let wrapped: Vec<_> = backup.keys.iter().map(Kept::to_wrapped).collect();
        self.custody()?.restore(&key, &wrapped).await?;
        let hsm = self.hsm().await?;
        let mut proved = Ok(());
        for key in &wrapped {
            if let Use::Sign(algorithm) = key.uses {
                proved = match PublicKey::parse(algorithm, &key.public) {
                    Ok(public) => prove(&hsm, KeyRef { id: KeyId::from_bytes(key.id), public }).await,
                    Err(error) => Err(CeremonyError::Mismatch(error.to_string())),
                };
            }
            if proved.is_err() {
                break;
            }
        }
        hsm.stop().await;
        proved?;
        self.forget(backup.backup_key).await?;
        let so = self.so_pin()?;
        self.custody()?.entrust(&so, backup.backup_key, LABEL, &key).await?;
        let survey = self.custody()?.survey().await?;
        Ok(json!({
            "backup": backup.hash()?,
            "backup_made_ms": backup.made_ms,
            "came": came,
            "bad": bad,
            "keys": survey.keys.iter().map(shown).collect::<Vec<_>>(),
            "lost": backup.left_out,
        }))
    }

    fn deal(&mut self, id: KeyId, secret: &chancery_secret::SecretBytes) -> Result<Shares, CeremonyError> {
        let Self { script, room, .. } = self;
        Shares::deal(&room.folder, script.ceremony, id, secret, script.threshold, &script.custodians)
    }

    /// The shares that the script names, and the folder they are in.
    fn before(&self) -> Result<(PathBuf, Shares), CeremonyError> {
        let wanted = || CeremonyError::Mismatch("the folder with the shares is needed".to_owned());
        let folder = self.room.shares.clone().ok_or_else(wanted)?;
        let shares = Shares::read(&folder)?;
        if self.script.from.as_ref().map(|from| from.shares) != Some(shares.hash()?) {
            return Err(CeremonyError::Mismatch(
                "the list of shares is not the one that the script names".to_owned(),
            ));
        }
        Ok((folder, shares))
    }

    /// Destroys a backup key of the token, if it has it.
    async fn forget(&mut self, id: KeyId) -> Result<(), CeremonyError> {
        let hsm = self.hsm().await?;
        let gone = hsm.destroy(id).await;
        hsm.stop().await;
        match gone {
            Ok(()) | Err(HsmError::KeyNotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn told(list: &Shares) -> Result<Value, CeremonyError> {
    let holders = list.holders.iter().map(|holder| json!({ "name": holder.name, "file": holder.file }));
    Ok(json!({
        "shares": list.hash()?,
        "backup_key": list.backup_key,
        "threshold": list.threshold,
        "commitments": list.commitments,
        "holders": holders.collect::<Vec<_>>(),
    }))
}

fn note(facts: &mut Value, members: &[(&str, Value)]) {
    if let Some(facts) = facts.as_object_mut() {
        facts.extend(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    }
}
