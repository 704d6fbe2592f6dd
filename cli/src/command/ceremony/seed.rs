//! `chancery ceremony seed`.

use std::path::PathBuf;

use chancery_ceremony::SeedShares;
use clap::Args;
use serde_json::json;

use crate::{Error, Exit, Output};

/// `chancery ceremony seed`.
#[derive(Args, Debug)]
#[command(
    after_help = "Joined in secret memory, compared and forgotten: no word is printed. A custodian reads their own words with `age -d -i IDENTITY \
    shares/NAME.age`, on a machine of their own.\n\n\
    Examples:\n  chancery ceremony seed ceremonies/8\n  chancery ceremony seed ceremonies/8 --json"
)]
pub struct Seed {
    /// The folder of the ceremony that dealt the seed
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Read answers, a line each, from this inherited descriptor instead of the terminal
    #[arg(long, value_name = "FD")]
    answers: Option<i32>,
}

impl Seed {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let shares = SeedShares::read(&self.dir)?;
        let joined = shares.join(&self.dir, &mut super::console(self.answers)?)?;
        if output.is_json() {
            output.document(&json!({
                "wallet": joined.wallet, "account": joined.account, "came": joined.came, "bad": joined.bad,
            }))?;
            return Ok(Exit::Ok);
        }
        output.line(&format!("the account of wallet `{}` came out: {}", joined.wallet, joined.account))?;
        output.line(&format!("shares: {}", joined.came.join(", ")))?;
        if !joined.bad.is_empty() {
            output.line(&format!("BAD shares: {}", joined.bad.join(", ")))?;
        }
        Ok(Exit::Ok)
    }
}
