//! The seed of one wallet, dealt to custodians: opened by the token into this process's secret memory, and gone with the step.

use chancery_audit::HexBytes;
use chancery_core::KeyId;
use chancery_hsm::Wrapped;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::CeremonyError;
use crate::run::Stage;
use crate::seed::SeedShares;

/// An encrypted seed, as the house tells of it.
#[derive(Deserialize)]
struct Told {
    account: String,
    kek: KeyId,
    context: HexBytes,
    wrapped: Wrapped,
}

impl Stage {
    /// Deals the seed. Shares that an interrupted attempt wrote are written over: nobody has them yet.
    pub(crate) async fn deal_seed(&mut self) -> Result<Value, CeremonyError> {
        let wanted = || CeremonyError::Script("names no wallet".to_owned());
        let wallet = self.script.wallet.clone().ok_or_else(wanted)?;
        let told = self.house(&["seed", "--wallet", &wallet].map(str::to_owned)).await?;
        let Told { account, kek, context, wrapped } = serde_json::from_value(told)
            .map_err(|error| CeremonyError::House(format!("its answer does not parse: {error}")))?;
        let hsm = self.hsm().await?;
        let opened = hsm.unwrap(kek, context.as_bytes(), &wrapped).await;
        hsm.stop().await;
        let (script, folder) = (&self.script, &self.room.folder);
        let list = SeedShares::deal(
            folder,
            script.ceremony,
            (wallet, account),
            &opened?,
            script.threshold,
            &script.custodians,
        )?;
        let holders = list.holders.iter().map(|holder| json!({ "name": holder.name, "file": holder.file }));
        Ok(json!({
            "shares": list.hash()?,
            "wallet": list.wallet,
            "account": list.account,
            "threshold": list.threshold,
            "holders": holders.collect::<Vec<_>>(),
        }))
    }
}
