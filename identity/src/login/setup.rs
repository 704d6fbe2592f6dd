//! The appliance's side of OPAQUE, and the secrets of one-time codes. All come from one secret, which is kept encrypted under
//! a key of the HSM and opened into secret memory; what a step needs of it is made for that step and wiped after it.
//! If this is wrong, passwords can be guessed without asking the appliance.

use std::io::Read;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use chancery_secret::SecretBytes;
use opaque_ke::{
    CredentialFinalization, CredentialRequest, RegistrationRequest, RegistrationUpload, ServerLogin,
    ServerLoginParameters, ServerRegistration, ServerSetup,
};
use rand_core::OsRng;
use zeroize::Zeroizing;

use super::keys::Agreed;
use super::opaque::{CONTEXT, LoginError, Suite};
use super::totp::{TOTP_BYTES, TotpSecret};

/// The seed of OPAQUE's OPRF (64), its key pair's private key (32) and the public key of nobody (32), as `opaque-ke` writes them.
const OPAQUE_BYTES: usize = 128;
/// What everything else is derived from.
const ROOT_BYTES: usize = 32;
/// The whole secret, in bytes.
const SETUP_BYTES: usize = OPAQUE_BYTES + ROOT_BYTES;

/// The appliance's secret.
#[derive(Debug)]
pub struct Setup(SecretBytes);

impl Setup {
    /// A fresh one: whoever enrolled under another is not known to it.
    ///
    /// # Errors
    /// [`LoginError::Memory`].
    pub fn fresh() -> Result<SecretBytes, LoginError> {
        let opaque = Zeroizing::new(ServerSetup::<Suite>::new(&mut OsRng).serialize());
        let root = SecretBytes::random(ROOT_BYTES)?;
        Ok(SecretBytes::read_exact(opaque.as_slice().chain(root.expose()), SETUP_BYTES)?)
    }

    /// Takes the secret.
    ///
    /// # Errors
    /// [`LoginError::Message`] where it is no such secret.
    pub fn new(secret: SecretBytes) -> Result<Self, LoginError> {
        let setup = Self(secret);
        let whole = setup.0.len() == SETUP_BYTES;
        setup.opaque().and(if whole { Ok(setup) } else { Err(LoginError::Message) })
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        self.0.expose().split_at_checked(OPAQUE_BYTES).unwrap_or_default()
    }

    fn opaque(&self) -> Result<ServerSetup<Suite>, LoginError> {
        Ok(ServerSetup::deserialize(self.parts().0)?)
    }

    /// Answers the first message of an enrolment. `who` names officer and enrolment: no other pair ever has the same.
    ///
    /// # Errors
    /// [`LoginError::Message`].
    pub fn register(&self, who: &[u8], request: &[u8]) -> Result<Vec<u8>, LoginError> {
        let request = RegistrationRequest::deserialize(request)?;
        let start = ServerRegistration::<Suite>::start(&self.opaque()?, request, who)?;
        Ok(start.message.serialize().to_vec())
    }

    /// What is kept of the second message of an enrolment.
    ///
    /// # Errors
    /// [`LoginError::Message`].
    pub fn registered(record: &[u8]) -> Result<Vec<u8>, LoginError> {
        let upload = RegistrationUpload::<Suite>::deserialize(record)?;
        Ok(ServerRegistration::finish(upload).serialize().to_vec())
    }

    /// Answers the first message of a login (KE1 with KE2). Without a `file` the answer is to nobody, and cannot be told from
    /// any other (RFC 9807, section 6.3.2.2).
    ///
    /// # Errors
    /// [`LoginError::Message`].
    pub fn begin(
        &self,
        who: &[u8],
        file: Option<&[u8]>,
        ke1: &[u8],
    ) -> Result<(Started, Vec<u8>), LoginError> {
        let file = file.map(ServerRegistration::deserialize).transpose()?;
        let request = CredentialRequest::deserialize(ke1)?;
        let start = ServerLogin::start(&mut OsRng, &self.opaque()?, file, request, who, parameters())?;
        Ok((Started(start.state), start.message.serialize().to_vec()))
    }

    /// The secret of the one-time codes of `who`, never stored: it is derived when it is needed.
    ///
    /// # Errors
    /// [`LoginError::Unable`].
    pub fn totp_secret(&self, who: &[u8]) -> Result<TotpSecret, LoginError> {
        TotpSecret::new(self.derive(b"chancery totp v1\n", who, TOTP_BYTES)?)
    }

    /// Names a network without saying which: equal ones have equal marks, and nobody without this secret can try them all.
    pub(super) fn mark(&self, what: &[u8]) -> Result<Vec<u8>, LoginError> {
        Ok(self.derive(b"chancery network mark v1\n", what, 16)?.to_vec())
    }

    /// By AWS-LC, which wipes what it needed on the way.
    fn derive(&self, label: &[u8], what: &[u8], bytes: usize) -> Result<Zeroizing<Vec<u8>>, LoginError> {
        let mut derived = Zeroizing::new(vec![0; bytes]);
        Salt::new(HKDF_SHA256, &[])
            .extract(self.parts().1)
            .expand(&[label, what], Long(bytes))
            .and_then(|okm| okm.fill(&mut derived))
            .map_err(|_| LoginError::Unable("HKDF"))?;
        Ok(derived)
    }
}

/// So many bytes.
struct Long(usize);

impl KeyType for Long {
    fn len(&self) -> usize {
        self.0
    }
}

/// A login that was answered and not finished; wiped when it is dropped.
pub struct Started(ServerLogin<Suite>);

impl Started {
    /// Takes the client's last message (KE3): it is right only where the password was.
    ///
    /// # Errors
    /// [`LoginError::Refused`], [`LoginError::Message`].
    pub fn finish(self, ke3: &[u8]) -> Result<Agreed, LoginError> {
        let last = CredentialFinalization::deserialize(ke3)?;
        let finished = self.0.finish(last, parameters())?;
        Ok(Agreed::new(Zeroizing::new(finished.session_key)))
    }
}

fn parameters() -> ServerLoginParameters<'static, 'static> {
    ServerLoginParameters { context: Some(CONTEXT), ..ServerLoginParameters::default() }
}
