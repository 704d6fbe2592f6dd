//! Secrets that a person types, or a script hands over by a file or descriptor: never on the command line, never in the
//! environment, not shown while they are typed, and held in secret memory. Ctrl-C ends the typing, not the terminal.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chancery_core::causes;
use chancery_core::config::SecretSource;
use chancery_secret::{PIN_BYTES, Pin, PinError};
use clap::Args;

use crate::Error;

/// Where the password is read.
#[derive(Args, Clone, Debug)]
pub struct PasswordFrom {
    /// Read the password from a file that only you may read; typed without
    #[arg(long, value_name = "FILE", conflicts_with = "password_fd")]
    password_file: Option<PathBuf>,
    /// Read the password from a descriptor that the caller opened
    #[arg(long, value_name = "FD")]
    password_fd: Option<i32>,
}

impl PasswordFrom {
    /// Reads the password; at a terminal twice where `again` says so.
    ///
    /// # Errors
    /// [`Error::Content`], [`Error::Unread`], [`Error::Failed`]; no message holds any of it.
    pub fn read(&self, again: bool) -> Result<Pin, Error> {
        let source = match (&self.password_file, self.password_fd) {
            (Some(path), _) => SecretSource::File(path.clone()),
            (None, Some(fd)) => SecretSource::Fd(fd),
            (None, None) => {
                let password = typed("password")?;
                if again && typed("password again")? != password {
                    return Err(Error::Failed("the two passwords differ".to_owned()));
                }
                return Ok(password);
            }
        };
        Pin::read(&source).map_err(|error| unread("password", &error))
    }
}

/// A code: from a file that only its owner may read, or typed.
///
/// # Errors
/// As [`PasswordFrom::read`].
pub fn code(what: &str, file: Option<&Path>) -> Result<Pin, Error> {
    match file {
        Some(path) => Pin::read(&SecretSource::File(path.to_owned())).map_err(|error| unread(what, &error)),
        None => typed(what),
    }
}

fn unread(what: &str, error: &PinError) -> Error {
    match error {
        PinError::Exposed { path } => {
            Error::content(path, "must be a regular file that only you may read (`chmod 600`)")
        }
        other => Error::Unread { what: what.to_owned(), why: causes(other) },
    }
}

/// Asks at the terminal, which shows nothing of the answer.
fn typed(what: &str) -> Result<Pin, Error> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|_| Error::Usage {
        detail: format!("the {what} cannot be typed: there is no terminal"),
        hint: "scripts hand it over by a file: `--help` says by which flag",
    })?;
    let ask = || -> io::Result<Result<Pin, PinError>> {
        let line = chancery_secret::typed(&terminal, PIN_BYTES, || {
            (&terminal).write_all(format!("{what}: ").as_bytes())
        });
        (&terminal).write_all(b"\n")?;
        Ok(Pin::new(line?))
    };
    match ask() {
        Ok(Ok(secret)) => Ok(secret),
        Ok(Err(error)) => Err(unread(what, &error)),
        Err(error) => Err(Error::Failed(format!("no {what}: {}", causes(&error)))),
    }
}
