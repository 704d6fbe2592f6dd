//! The client's side of OPAQUE: runs where the password is typed, and nowhere else. Nothing here needs the rest of the house,
//! so that a browser can run it too.

use opaque_ke::{
    ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters,
    CredentialResponse, Identifiers, RegistrationResponse,
};
use rand_core::OsRng;
use zeroize::Zeroizing;

use super::keys::Agreed;
use super::opaque::{CONTEXT, LoginError, PASSWORD_BYTES, Suite, stretch};

/// A client that enrols; wiped when it is dropped.
pub struct Enrolling(ClientRegistration<Suite>);

impl Enrolling {
    /// Begins: the client, and its message.
    ///
    /// # Errors
    /// [`LoginError::Password`].
    pub fn begin(password: &[u8]) -> Result<(Self, Vec<u8>), LoginError> {
        if !PASSWORD_BYTES.contains(&password.len()) {
            return Err(LoginError::Password);
        }
        let start = ClientRegistration::start(&mut OsRng, password)?;
        Ok((Self(start.state), start.message.serialize().to_vec()))
    }

    /// Makes of the server's answer the record that it keeps.
    ///
    /// # Errors
    /// [`LoginError::Message`].
    pub fn finish(self, password: &[u8], response: &[u8]) -> Result<Vec<u8>, LoginError> {
        let response = RegistrationResponse::deserialize(response)?;
        let stretch = stretch()?;
        let parameters = ClientRegistrationFinishParameters::new(Identifiers::default(), Some(&stretch));
        let finished = self.0.finish(&mut OsRng, password, response, parameters)?;
        Ok(finished.message.serialize().to_vec())
    }
}

/// A client that logs in; wiped when it is dropped.
pub struct Entering(ClientLogin<Suite>);

impl Entering {
    /// Begins: the client, and its message (KE1).
    ///
    /// # Errors
    /// [`LoginError::Unable`].
    pub fn begin(password: &[u8]) -> Result<(Self, Vec<u8>), LoginError> {
        let start = ClientLogin::start(&mut OsRng, password)?;
        Ok((Self(start.state), start.message.serialize().to_vec()))
    }

    /// Makes of the server's answer (KE2) the last message (KE3), and the key of the login.
    ///
    /// # Errors
    /// [`LoginError::Refused`] where the password is another, or nobody of this name has enrolled: that cannot be told apart.
    pub fn finish(self, password: &[u8], ke2: &[u8]) -> Result<(Vec<u8>, Agreed), LoginError> {
        let response = CredentialResponse::deserialize(ke2)?;
        let stretch = stretch()?;
        let parameters =
            ClientLoginFinishParameters::new(Some(CONTEXT), Identifiers::default(), Some(&stretch));
        let finished = self.0.finish(&mut OsRng, password, response, parameters)?;
        Ok((finished.message.serialize().to_vec(), Agreed::new(Zeroizing::new(finished.session_key))))
    }
}
