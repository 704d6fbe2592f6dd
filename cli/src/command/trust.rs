//! `chancery trust`: which log keys a verifier believes. What comes over the network is only as good as the
//! connection it came over, so an existing trust file is never replaced.

use std::path::{Path, PathBuf};

use chancery_audit::{Start, verify_log};
use clap::Subcommand;

use super::verify::Place;
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
    /// Make the trust file of after a rotation of the log's keys from the one of before
    #[command(
        after_help = "Verifies the whole log; each rotation must be vouched for by the keys before it, and the newest checkpoint be \
        signed by the last, and cosigned as the old file asks. Where the old key may be another's, take the new file from its owner \
        instead.\n\n\
        Examples:\n  chancery trust follow --dir state/log --trust old.json --out trust.json\n  \
        chancery trust follow --mirror https://log.example/chancery --trust old.json --out trust.json"
    )]
    Follow {
        #[command(flatten)]
        place: Place,
        /// The trust file of before
        #[arg(long, value_name = "FILE")]
        trust: PathBuf,
        /// Where to write the one of after
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

impl Trust {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let out = match self {
            Self::Fetch { out } => out,
            Self::Follow { place, trust, out } => return follow(place, trust, out, connection, output),
        };
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

fn follow(
    place: &Place,
    trust: &Path,
    out: &Path,
    connection: &Connection,
    output: &Output,
) -> Result<Exit, Error> {
    let (trust, mirror) = (read(trust)?, place.mirror(connection, output)?);
    let report = match verify_log(&*mirror, &trust, Start::Afresh, &mut |_| Ok(())) {
        Ok(report) => report,
        Err(error) => return Err(place.refuse(error, output)?),
    };
    let Some(followed) = report.followed else {
        return Err(Error::Failed("the trust file has the keys in force already".to_owned()));
    };
    file::write_new(out, followed.to_json().as_bytes(), file::PUBLIC)?;
    output.say(&format!(
        "the keys of log `{}` after its rotation are in `{}`",
        trust.origin(),
        out.display()
    ));
    Ok(Exit::Ok)
}

/// Reads a trust file.
///
/// # Errors
/// [`Error::File`] and [`Error::Content`].
pub fn read(path: &Path) -> Result<chancery_audit::Trust, Error> {
    chancery_audit::Trust::parse(&file::read(path)?)
        .map_err(|error| Error::content(path, format!("cannot be relied on: {error}")))
}
