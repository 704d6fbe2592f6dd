//! `chancery cold backup` and `chancery cold restore`.

use std::path::PathBuf;

use chancery_ceremony::{ColdSeed, Custodian};
use clap::Args;
use serde_json::json;

use super::harden;
use crate::cold::{PUBLIC, Public};
use crate::command::ceremony::{console, plan::pair};
use crate::typed::PasswordFrom;
use crate::{Error, Exit, Output, file};

/// `chancery cold backup`.
#[derive(Args, Debug)]
#[command(
    after_help = "Custodians make their identities with `chancery ceremony custodian` and hand over the line it prints. No share is shown: \
    each is in a file that its custodian alone opens.\n\n\
    Examples:\n  chancery cold backup --key cold --dir backup --threshold 2 --custodian cy=age1... --custodian di=age1... --custodian eli=age1..."
)]
pub struct Backup {
    /// The cold wallet's folder
    #[arg(long, value_name = "DIR")]
    key: PathBuf,
    /// A new folder for the shares
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// How many custodians must come together
    #[arg(long, value_name = "COUNT")]
    threshold: u8,
    /// Somebody who shall hold a share, with an age recipient
    #[arg(long, value_name = "NAME=RECIPIENT", value_parser = pair, required = true)]
    custodian: Vec<(String, String)>,
    #[command(flatten)]
    password: PasswordFrom,
}

impl Backup {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let public = Public::read(&self.key.join(PUBLIC))?;
        harden()?;
        let seed = ColdSeed::open(&self.key, &self.password.read(false)?)?;
        if !public.again(&seed) {
            return Err(Error::Failed(
                "seed and public file of the folder are of different wallets".to_owned(),
            ));
        }
        let custodians: Vec<_> = self
            .custodian
            .iter()
            .map(|(name, recipient)| Custodian { name: name.clone(), recipient: recipient.clone() })
            .collect();
        seed.back_up(&self.dir, self.threshold, &custodians)?;
        file::write_new(&self.dir.join(PUBLIC), public.text().as_bytes(), file::PUBLIC)?;
        let names: Vec<_> = custodians.iter().map(|custodian| &custodian.name).collect();
        if output.is_json() {
            output.document(&json!({ "dir": self.dir, "threshold": self.threshold, "custodians": names }))?;
        } else {
            output.say(&format!(
                "{} of {} shares in `{}` give the seed back",
                self.threshold,
                names.len(),
                self.dir.display()
            ));
        }
        Ok(Exit::Ok)
    }
}

/// `chancery cold restore`.
#[derive(Args, Debug)]
#[command(
    after_help = "Custodians type their identities one after the other; nothing is shown. The new folder's password is asked for first.\n\n\
    Examples:\n  chancery cold restore --shares backup --dir cold"
)]
pub struct Restore {
    /// The folder with the shares
    #[arg(long, value_name = "DIR")]
    shares: PathBuf,
    /// A new folder
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    password: PasswordFrom,
    /// Read identities, a line each, from this inherited descriptor instead of the terminal
    #[arg(long, value_name = "FD")]
    answers: Option<i32>,
}

impl Restore {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let public = Public::read(&self.shares.join(PUBLIC))?;
        harden()?;
        let password = super::init::new_password(&self.password)?;
        let (seed, came) = ColdSeed::restore(&self.shares, &mut console(self.answers)?)?;
        if !public.again(&seed) {
            return Err(Error::Failed(
                "the shares are of another wallet than the public file beside them".to_owned(),
            ));
        }
        seed.keep(&self.dir, &password)?;
        file::write_new(&self.dir.join(PUBLIC), public.text().as_bytes(), file::PUBLIC)?;
        if output.is_json() {
            output.document(&json!({ "dir": self.dir, "public": public, "came": came }))?;
        } else {
            output.say(&format!(
                "the wallet is in `{}`, by the shares of {}",
                self.dir.display(),
                came.join(", ")
            ));
        }
        Ok(Exit::Ok)
    }
}
