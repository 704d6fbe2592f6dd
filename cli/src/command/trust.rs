//! `chancery trust`: which log keys a verifier believes. What comes over the network is only as good as the
//! connection it came over, so an existing trust file is never replaced.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::connection::Connection;
use crate::http::{Api, Call};
use crate::{Error, Exit, Output, file};

/// `chancery trust`.
#[derive(Subcommand, Debug)]
pub enum Trust {
    /// Fetch the log's name and keys for offline verification
    #[command(after_help = "Compare the file with one that came by another way before you rely on it.\n\n\
        Examples:\n  chancery trust fetch --out trust.json\n  chancery trust fetch")]
    Fetch {
        /// Where to write it; standard output without
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

impl Trust {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let Self::Fetch { out } = self;
        let answer = Api::open(connection, output)?.call(&Call::get(&["trust"]))?;
        let trust = chancery_audit::Trust::parse(&answer.bytes)
            .map_err(|error| answer.unexpected(&format!("is no trust file: {error}")))?;
        let text = trust.to_json();
        match out {
            None => output.bytes(text.as_bytes())?,
            Some(path) => {
                file::write_new(path, text.as_bytes(), file::PUBLIC)?;
                output.say(&format!("the keys of log `{}` are in `{}`", trust.origin(), path.display()));
            }
        }
        Ok(Exit::Ok)
    }
}

/// Reads a trust file.
///
/// # Errors
/// [`Error::File`] and [`Error::Content`].
pub fn read(path: &Path) -> Result<chancery_audit::Trust, Error> {
    chancery_audit::Trust::parse(&file::read(path)?)
        .map_err(|error| Error::content(path, format!("cannot be relied on: {error}")))
}
