//! A folder to work in: the caller's, which stays, or one of our own, which goes.

use std::path::{Path, PathBuf};

use crate::Error;

/// The folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    ours: bool,
}

impl Folder {
    /// `given`, or a new one below the system's temporary folder.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be made.
    pub fn new(given: Option<&Path>) -> Result<Self, Error> {
        let ours = given.is_none();
        let path = given.map_or_else(
            || std::env::temp_dir().join(format!("chancery-{}", std::process::id())),
            std::path::Path::to_path_buf,
        );
        std::fs::create_dir_all(&path).map_err(Error::file(&path))?;
        Ok(Self { path, ours })
    }

    /// Leaves it to be looked at, and answers where it is.
    pub fn keep(&mut self) -> &Path {
        self.ours = false;
        &self.path
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.ours {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
