//! `chancery ceremony drill`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::daemon::chanceryd;
use crate::{Error, Exit, Output, when};

/// Where Debian installs SoftHSM2.
const SOFTHSM2: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// `chancery ceremony drill`.
#[derive(Args, Debug)]
#[command(
    after_help = "The keys come into a SoftHSM2 token whose PINs nobody knows, sign once each, and are destroyed with it. Hold it on a \
    machine that you would trust with a restore.\n\n\
    Examples:\n  chancery ceremony drill --shares ceremonies/1\n  chancery ceremony drill --shares ceremonies/4 --backup ceremonies/9 --json"
)]
pub struct Drill {
    /// The folder of the ceremony that dealt the shares
    #[arg(long, value_name = "DIR")]
    shares: PathBuf,
    /// The folder with the backup; the one with the shares without
    #[arg(long, value_name = "DIR")]
    backup: Option<PathBuf>,
    /// SoftHSM2's module
    #[arg(long, value_name = "FILE", default_value = SOFTHSM2)]
    module: PathBuf,
    /// Read answers, a line each, from this inherited descriptor instead of the terminal
    #[arg(long, value_name = "FD")]
    answers: Option<i32>,
    /// The `chanceryd` whose worker reaches the token; the one beside this program without
    #[arg(long, value_name = "PATH")]
    chanceryd: Option<PathBuf>,
}

impl Drill {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let scratch = tempfile::tempdir().map_err(Error::file("make", Path::new("a scratch folder")))?;
        let drill = chancery_ceremony::Drill {
            shares: self.shares.clone(),
            backup: self.backup.clone().unwrap_or_else(|| self.shares.clone()),
            module: self.module.clone(),
            worker: chanceryd(self.chanceryd.as_deref(), "reaches the token by its worker")?,
            scratch: scratch.path().to_owned(),
        };
        let mut console = super::console(self.answers)?;
        let drilled = super::wait(drill.run(&mut console, when::now()))?;
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        if output.is_json() {
            output.document(&json!({
                "keys": drilled.keys, "proved": drilled.proved, "left_out": drilled.left_out,
                "came": drilled.came, "bad": drilled.bad,
                "recovery_time_ms": ms(drilled.took), "of_it_waiting_for_shares_ms": ms(drilled.waited),
                "recovery_point_ms": ms(drilled.age),
            }))?;
            return Ok(Exit::Ok);
        }
        output
            .line(&format!("{} keys came back, {} of them signed as before", drilled.keys, drilled.proved))?;
        output.line(&format!("shares: {}", drilled.came.join(", ")))?;
        if !drilled.bad.is_empty() {
            output.line(&format!("BAD shares: {}", drilled.bad.join(", ")))?;
        }
        if !drilled.left_out.is_empty() {
            output.line(&format!("NOT in the backup: {}", drilled.left_out.join(", ")))?;
        }
        output.line(&format!(
            "recovery time (RTO): {} ms, of it {} ms waiting for the custodians",
            ms(drilled.took),
            ms(drilled.waited)
        ))?;
        output.line(&format!("recovery point (RPO): the backup is {} s old", drilled.age.as_secs()))?;
        Ok(Exit::Ok)
    }
}
