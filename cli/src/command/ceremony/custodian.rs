//! `chancery ceremony custodian`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{Error, Exit, Output, file};

/// `chancery ceremony custodian`.
#[derive(Args, Debug)]
#[command(
    after_help = "The custodian makes it, on a machine and medium of the custodian's own, and hands over the line on standard output alone: it \
    goes into `chancery ceremony plan --custodian`. `age-keygen` makes the same.\n\n\
    Examples:\n  chancery ceremony custodian cy --out cy.identity"
)]
pub struct Custodian {
    /// Who will hold a share
    #[arg(value_name = "NAME")]
    name: String,
    /// The file to make, for its owner only; one that exists is not written over
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Custodian {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let (identity, recipient) = chancery_ceremony::fresh_identity();
        file::write_new(&self.out, identity.as_bytes(), file::SECRET)?;
        if output.is_json() {
            output.document(&json!({ "name": self.name, "recipient": recipient, "file": self.out }))?;
        } else {
            output.say(&format!("identity in `{}`; for the script:", self.out.display()));
            output.line(&format!("{}={recipient}", self.name))?;
        }
        Ok(Exit::Ok)
    }
}
