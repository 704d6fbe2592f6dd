//! The secret of logins: made once in secret memory, kept in the store encrypted under an AES key of the HSM, opened when the
//! first officer comes. If it is lost, everybody enrols again.

use chancery_audit::V1;
use chancery_core::KeyId;
use chancery_hsm::{Hsm, HsmError, Wrapped};
use chancery_identity::login::Setup;
use chancery_secret::SecretBytes;
use serde::{Deserialize, Serialize};

use super::Logins;
use crate::house::House;
use crate::kek::{self, Purpose};
use crate::kept;
use crate::refusal::Refusal;

/// The record in the store.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    v: V1,
    pub wrapped: Wrapped,
}

/// How the store names it.
pub(crate) fn name(origin: &str) -> String {
    format!("login/{origin}")
}

/// What it is bound to.
pub(crate) fn context(origin: &str) -> Vec<u8> {
    format!("chancery login secret v1\n{origin}").into_bytes()
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
        let (hsm, name, purpose) = (&house.hsm, name(&self.origin), Purpose::login(&self.origin));
        let found = house
            .store
            .read(|rows| Ok((rows.wrapped(&name)?, kek::renewed(rows, &name)?, purpose.in_force(rows)?)))?;
        let kek = match found {
            (Some(_), Some((kek, wrapped)), _) => {
                return Ok(Setup::new(self.open(hsm, kek, &Record { v: V1, wrapped }).await?)?);
            }
            (Some(bytes), None, kek) => {
                return Ok(Setup::new(self.open(hsm, kek, &kept::read("wrapped", &bytes)?).await?)?);
            }
            (None, _, kek) => kek,
        };
        purpose.have(hsm, kek).await?;
        let secret = Setup::fresh()?;
        let record = Record { v: V1, wrapped: hsm.wrap(kek, &context(&self.origin), &secret).await? };
        // ORDER: it is kept only once the token was seen to open it. A crash before this leaves a key that opens nothing.
        if self.open(hsm, kek, &record).await? != secret {
            return Err(HsmError::MessageForm.into());
        }
        let bytes = kept::write(&record)?;
        house.store.write(move |tx| tx.keep_wrapped(&name, &bytes)).await?;
        tracing::info!("officers can enrol from now on");
        Ok(Setup::new(secret)?)
    }

    async fn open(&self, hsm: &Hsm, kek: KeyId, record: &Record) -> Result<SecretBytes, HsmError> {
        hsm.unwrap(kek, &context(&self.origin), &record.wrapped).await
    }
}
