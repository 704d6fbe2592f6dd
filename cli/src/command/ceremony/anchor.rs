//! `chancery ceremony anchor`.

use std::path::PathBuf;

use chancery_audit::Trust;
use chancery_ceremony::verify;
use clap::Args;
use serde_json::json;

use crate::connection::Connection;
use crate::http::{Api, Call};
use crate::{Error, Exit, Output};

/// `chancery ceremony anchor`.
#[derive(Args, Debug)]
#[command(
    after_help = "The folder is verified here first. What goes into the log is the kind, the script's hash and the transcript's hash; who has \
    the folder can show that it is the one.\n\n\
    Examples:\n  chancery ceremony anchor ceremonies/1 --client state/clients/operator"
)]
pub struct Anchor {
    /// The ceremony's folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The log that the ceremony was of, where the appliance's own took its place
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
}

impl Anchor {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let verified = verify(&self.dir, None)?;
        let head = verified.head().filter(|_| verified.closed);
        let head = head.ok_or_else(|| Error::Failed("the ceremony was not brought to its end".to_owned()))?;
        let body = json!({
            "kind": verified.script.kind.as_str(),
            "script": verified.script.hash()?,
            "transcript": head,
        });
        let api = Api::open(connection, output)?;
        let answer = api.call(&Call::get(&["trust"]))?;
        let log = Trust::parse(&answer.bytes).map_err(|_| answer.unexpected("is no `trust.json`"))?;
        let (of, named) = (&verified.script.origin, self.origin.as_deref().unwrap_or(log.origin()));
        if of != named {
            return Err(Error::Usage {
                detail: format!("the ceremony is of `{of}`, not of `{named}`: nothing was recorded"),
                hint: "`--origin` names the log before this one, where a restored appliance has begun another",
            });
        }
        let answer = api.call(&Call::post(&["ceremonies"], body))?;
        let document = answer.json()?;
        if output.is_json() {
            output.document(&document)?;
        } else {
            output.line(&format!("log entry {}", document.get("leaf").unwrap_or(&json!(null))))?;
        }
        Ok(Exit::Ok)
    }
}
