//! The token: made once, never over another, and not trusted before it was seen to be honest.

use chancery_hsm::{Finding, HsmError, NewToken, init_token};
use serde_json::{Value, json};

use crate::error::CeremonyError;
use crate::run::{Stage, copy};

impl Stage {
    /// Makes the token. One that this step made before it was interrupted is taken as it is, if it is still empty.
    pub(crate) async fn token(&mut self, again: bool) -> Result<Value, CeremonyError> {
        let label = self.script.token.clone();
        self.pins.so = Some(self.room.console.new_pin("a new PIN for the security officer")?);
        self.pins.user =
            Some(self.room.console.new_pin("a new PIN for the user, which the daemon will have")?);
        let (so, user) = (self.so_pin()?, self.user_pin()?);
        let new = NewToken { worker: self.room.worker.clone(), hsm: self.settings.hsm.clone() };
        match init_token(&new, &so, &user).await {
            Ok(_) => {}
            Err(HsmError::Refused { .. }) if again => {}
            Err(HsmError::Refused { reason }) => return Err(CeremonyError::Occupied(reason)),
            Err(error) => return Err(error.into()),
        }
        let survey = self.custody()?.survey().await?;
        if !survey.keys.is_empty() || survey.others > 0 {
            let count = survey.keys.len() + survey.others;
            return Err(CeremonyError::Occupied(format!("token `{label}` has {count} keys")));
        }
        let token = survey.token;
        Ok(json!({
            "label": token.label,
            "serial": token.serial,
            "manufacturer": token.manufacturer,
            "model": token.model,
            "firmware": token.firmware,
            "library": token.library,
            "probe": survey.findings.iter().map(Finding::to_string).collect::<Vec<_>>(),
        }))
    }

    /// Starts what makes keys and signs with them. To be stopped.
    pub(crate) async fn hsm(&mut self) -> Result<chancery_hsm::Hsm, CeremonyError> {
        let pin = self.user_pin()?;
        Ok(chancery_hsm::Hsm::start(self.settings.clone(), copy(&pin)?).await?)
    }
}
