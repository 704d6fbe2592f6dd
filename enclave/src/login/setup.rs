//! The secret of logins: made once in secret memory, kept in the store encrypted under an AES key of the HSM, opened when the
//! first officer comes. If it is lost, everybody enrols again.

use chancery_audit::{V1, key_id};
use chancery_core::KeyId;
use chancery_hsm::{Hsm, HsmError, Wrapped};
use chancery_identity::login::Setup;
use chancery_secret::SecretBytes;
use serde::{Deserialize, Serialize};

use super::Logins;
use crate::house::House;
use crate::kept;
use crate::refusal::Refusal;

/// The record in the store.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    v: V1,
    wrapped: Wrapped,
}

impl Logins {
    /// The secret, opened.
    ///
    /// # Errors
    /// [`Code::HsmUnavailable`](chancery_core::Code::HsmUnavailable), and whatever keeps the store from keeping it.
    pub(super) async fn setup(&self, house: &House) -> Result<&Setup, Refusal> {
        self.setup.get_or_try_init(|| self.find_or_make(house)).await
    }

    async fn find_or_make(&self, house: &House) -> Result<Setup, Refusal> {
        let (hsm, name) = (&house.hsm, format!("login/{}", self.origin));
        if let Some(bytes) = house.store.read(|rows| rows.wrapped(&name))? {
            return Ok(Setup::new(self.open(hsm, &kept::read("wrapped", &bytes)?).await?)?);
        }
        match hsm.generate_kek(self.kek(), &format!("chancery/login/kek/{}", self.origin)).await {
            // Made before a crash that left no record.
            Ok(()) | Err(HsmError::KeyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let secret = Setup::fresh()?;
        let record = Record { v: V1, wrapped: hsm.wrap(self.kek(), &self.context(), &secret).await? };
        // ORDER: it is kept only once the token was seen to open it. A crash before this leaves a key that opens nothing.
        if self.open(hsm, &record).await? != secret {
            return Err(HsmError::MessageForm.into());
        }
        let bytes = kept::write(&record)?;
        house.store.write(move |tx| tx.keep_wrapped(&name, &bytes)).await?;
        tracing::info!("officers can enrol from now on");
        Ok(Setup::new(secret)?)
    }

    async fn open(&self, hsm: &Hsm, record: &Record) -> Result<SecretBytes, HsmError> {
        hsm.unwrap(self.kek(), &self.context(), &record.wrapped).await
    }

    fn context(&self) -> Vec<u8> {
        format!("chancery login secret v1\n{}", self.origin).into_bytes()
    }

    fn kek(&self) -> KeyId {
        key_id("chancery login kek v1", &self.origin)
    }
}
