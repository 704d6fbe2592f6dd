//! The session of a client directory: written by `chancery officer login`, sent with every call while it lasts. The file holds
//! its token, so it is its owner's alone.

use std::path::Path;

use chancery_core::{RequestId, UnixMillis};
use chancery_identity::login::Token;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Error, file, when};

/// The file in a client directory.
const SESSION_FILE: &str = "session.json";

/// A session as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    v: u8,
    session: RequestId,
    expires_ms: UnixMillis,
    token: Zeroizing<String>,
}

impl Session {
    /// Keeps a session in a client directory, in place of any before it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn keep(
        directory: &Path,
        session: RequestId,
        expires_ms: UnixMillis,
        token: &Token,
    ) -> Result<(), Error> {
        let kept = Self { v: 1, session, expires_ms, token: token.text() };
        let text = Zeroizing::new(serde_json::to_vec_pretty(&kept).unwrap_or_default());
        file::replace(&directory.join(SESSION_FILE), &text, file::SECRET)
    }

    /// The session of a client directory, where there is one whose time is not over.
    ///
    /// # Errors
    /// [`Error::File`], or [`Error::Content`] for another file than [`Self::keep`] writes.
    pub fn read(directory: &Path) -> Result<Option<Self>, Error> {
        let path = directory.join(SESSION_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = Zeroizing::new(file::read(&path)?);
        let kept: Option<Self> = serde_json::from_slice(&text).ok().filter(|kept: &Self| kept.v == 1);
        let kept = kept.ok_or_else(|| Error::content(&path, "is no session; remove it and log in"))?;
        Ok(Some(kept).filter(|kept| kept.expires_ms > when::now()))
    }

    /// Forgets the session of a client directory.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn forget(directory: &Path) -> Result<(), Error> {
        let path = directory.join(SESSION_FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.session
    }

    /// What shows it.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}
