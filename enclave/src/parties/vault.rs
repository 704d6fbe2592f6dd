//! Shares on the disk: AES-256-GCM, each under a key of its own by HKDF (RFC 5869) from a data key that the HSM keeps encrypted, and
//! bound to party, wallet, epoch and session. Opened in secret memory for one session. If this is wrong, whoever reads the disk
//! has a share, or a share of one key is used as another's.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use chancery_audit::V1;
use chancery_core::{Code, KeyId, Tenant};
use chancery_hsm::{Hsm, Wrapped};
use chancery_secret::{SecretBytes, SecretError};
use chancery_store::Store;
use serde::{Deserialize, Serialize};

use crate::kek::Purpose;
use crate::kept;
use crate::refusal::Refusal;

const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// The data key.
pub(super) struct Vault(SecretBytes);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    v: V1,
    kek: KeyId,
    wrapped: Wrapped,
}

impl Vault {
    /// Opens the tenant's data key, or makes it.
    pub async fn open(hsm: &Hsm, store: &Store, tenant: &Tenant) -> Result<Self, Refusal> {
        let name = format!("mpc/data key/{tenant}");
        let context = format!("chancery share data key v1\n{tenant}").into_bytes();
        if let Some(bytes) = store.read(|rows| rows.wrapped(&name))? {
            let Record { kek, wrapped, .. } = kept::read("data key", &bytes)?;
            return Ok(Self(hsm.unwrap(kek, &context, &wrapped).await?));
        }
        let purpose = Purpose::shares(tenant);
        let kek = store.read(|rows| purpose.in_force(rows))?;
        purpose.have(hsm, kek).await?;
        let key = SecretBytes::random(KEY_BYTES)?;
        let wrapped = hsm.wrap(kek, &context, &key).await?;
        // ORDER: kept only once the token was seen to open it.
        let opened = hsm.unwrap(kek, &context, &wrapped).await?;
        let bytes = kept::write(&Record { v: V1, kek, wrapped })?;
        store.write(move |tx| tx.keep_wrapped(&name, &bytes)).await?;
        Ok(Self(opened))
    }

    /// Seals a share: nonce, ciphertext, tag.
    pub fn seal(&self, context: &str, share: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| broken("no randomness"))?;
        let mut sealed = vec![0; NONCE_LEN + share.len() + TAG_BYTES];
        let (head, rest) = sealed.split_at_mut(NONCE_LEN);
        head.copy_from_slice(&nonce);
        let (text, tag) = rest.split_at_mut(share.len());
        text.copy_from_slice(share);
        let made = self
            .key(context)?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), text)
            .map_err(|_| broken("a share cannot be sealed"))?;
        tag.copy_from_slice(made.as_ref());
        Ok(sealed)
    }

    /// Opens it in secret memory.
    pub fn unseal(&self, context: &str, sealed: &[u8]) -> Result<SecretBytes, Refusal> {
        let changed = || broken("a share does not open: it was changed, or is another's");
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(changed)?;
        let length = rest.len().checked_sub(TAG_BYTES).ok_or_else(changed)?;
        let (text, tag) = rest.split_at(length);
        let key = self.key(context)?;
        SecretBytes::filled(length, |out| {
            key.open_separate_gather(Nonce::assume_unique_for_key(*nonce), Aad::from(context), text, tag, out)
                .map_err(|_| changed())
        })
    }

    fn key(&self, context: &str) -> Result<LessSafeKey, Refusal> {
        let extracted = Salt::new(HKDF_SHA256, b"chancery share v1").extract(self.0.expose());
        let info = [context.as_bytes()];
        let key = extracted.expand(&info, &AES_256_GCM).map_err(|_| broken("a key cannot be derived"))?;
        Ok(LessSafeKey::new(UnboundKey::from(key)))
    }
}

fn broken(what: &str) -> Refusal {
    tracing::error!(what, "a share cannot be used");
    Refusal::new(Code::StoreUnavailable, what)
}

impl From<SecretError> for Refusal {
    fn from(error: SecretError) -> Self {
        Self::fault(Code::Internal, &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a share that opens after it was changed, or as that of another wallet or epoch.
    #[test]
    fn a_share_opens_whole_and_for_what_it_was_sealed() {
        let vault = Vault(SecretBytes::random(KEY_BYTES).unwrap());
        let sealed = vault.seal("1 w 0", b"a share").unwrap();
        assert_eq!(vault.unseal("1 w 0", &sealed).unwrap().expose(), b"a share");
        assert_ne!(sealed, vault.seal("1 w 0", b"a share").unwrap(), "no nonce twice");
        assert!(vault.unseal("1 w 1", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.unseal("1 w 0", &changed).is_err(), "byte {at}");
        }
        assert!(vault.unseal("1 w 0", &sealed[..20]).is_err());
    }
}
