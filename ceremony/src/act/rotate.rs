//! Keys that are replaced while no daemon serves: the log's, and those that encrypt. The house is told of the new keys, which
//! are on the token by now; what it needs no more is destroyed in a step of its own.

use chancery_core::KeyId;
use serde::Deserialize;
use serde_json::Value;

use crate::error::CeremonyError;
use crate::kind::Kind;
use crate::run::Stage;
use crate::script::PlannedKey;

#[derive(Deserialize)]
struct Told {
    retired: Vec<Replaced>,
}

#[derive(Deserialize)]
struct Replaced {
    id: KeyId,
    label: String,
}

impl Stage {
    /// Puts the script's keys in force. Done already, it is seen to hold.
    pub(crate) async fn rotate(&mut self) -> Result<Value, CeremonyError> {
        let mut keys = self.script.keys.iter().map(|key| key.id.to_string());
        let words: Vec<String> = match self.script.kind {
            Kind::RotateLogKey => {
                let key = keys.next().unwrap_or_default();
                ["log", "--key", &key, "--script", &self.script.hash()?.to_string()].map(str::to_owned).into()
            }
            _ => ["kek", "--key"].map(str::to_owned).into_iter().chain(keys).collect(),
        };
        self.house(&words).await
    }

    /// Destroys the keys that were replaced, once the house says again that it needs them no more.
    pub(crate) async fn retire(&mut self) -> Result<Value, CeremonyError> {
        let told = self.rotate().await?;
        let Told { retired } = serde_json::from_value(told)
            .map_err(|error| CeremonyError::House(format!("its answer does not parse: {error}")))?;
        let kept = |key: &Replaced| self.script.keys.iter().any(|new| new.id == key.id);
        if retired.iter().any(kept) {
            return Err(CeremonyError::House("it would destroy a key that it needs".to_owned()));
        }
        let planned = |Replaced { id, label }| PlannedKey { id, label, uses: None };
        let planned: Vec<_> = retired.into_iter().map(planned).collect();
        self.end(&planned, true).await
    }
}
