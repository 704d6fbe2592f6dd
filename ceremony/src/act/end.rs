//! The end of keys, with evidence: what they were, and that the token has them no more. What a token keeps of a key that it
//! says it destroyed is its maker's word; a backup keeps them for whoever can open it.

use chancery_core::KeyId;
use chancery_hsm::HsmError;
use serde_json::{Value, json};

use super::keys::shown;
use crate::error::CeremonyError;
use crate::run::Stage;
use crate::script::PlannedKey;

impl Stage {
    /// Destroys the script's keys. Those that an interrupted attempt destroyed are gone already.
    pub(crate) async fn destroy(&mut self, again: bool) -> Result<Value, CeremonyError> {
        let planned = self.script.keys.clone();
        self.end(&planned, again).await
    }

    /// Destroys keys. Where `some` of them may be gone already, those that are there.
    pub(super) async fn end(&mut self, planned: &[PlannedKey], some: bool) -> Result<Value, CeremonyError> {
        let before = self.custody()?.survey().await?;
        let named = |id: &[u8; 16]| planned.iter().any(|key| key.id.as_bytes() == id);
        let found: Vec<_> = before.keys.iter().filter(|found| named(&found.id)).map(shown).collect();
        if found.len() != planned.len() && !some {
            return Err(CeremonyError::Mismatch(
                "the token has not every key that shall be destroyed".to_owned(),
            ));
        }
        let hsm = self.hsm().await?;
        let mut done = Ok(());
        for key in planned {
            done = match hsm.destroy(key.id).await {
                Ok(()) => Ok(()),
                Err(HsmError::KeyNotFound { .. }) if some => Ok(()),
                Err(error) => Err(error),
            };
            if done.is_err() {
                break;
            }
        }
        hsm.stop().await;
        done?;
        let after = self.custody()?.survey().await?;
        if after.keys.iter().any(|found| named(&found.id)) {
            return Err(CeremonyError::Mismatch("the token still shows a key that it destroyed".to_owned()));
        }
        Ok(json!({
            "token": after.token.serial,
            "asked": planned.iter().map(|key| json!({ "id": key.id, "label": key.label })).collect::<Vec<_>>(),
            "found": found,
            "left": after.keys.iter().map(|found| KeyId::from_bytes(found.id)).collect::<Vec<_>>(),
        }))
    }
}
