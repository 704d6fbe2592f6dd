//! `chancery ceremony verify`.

use std::path::PathBuf;

use chancery_ceremony::{Event, Verified, verify};
use clap::Args;
use serde_json::{Value, json};

use crate::{Error, Exit, Output, when};

/// `chancery ceremony verify`.
#[derive(Args, Debug)]
#[command(
    after_help = "Needs no network, no token and no share. Whose keys the script names is yours to know, and its hash is yours to \
    compare.\n\n\
    Examples:\n  chancery ceremony verify ceremonies/1 --hash 4f1c...\n  chancery ceremony verify ceremonies/1 --json"
)]
pub struct Verify {
    /// The ceremony's folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The script's hash, as it was agreed
    #[arg(long, value_name = "HASH")]
    hash: Option<String>,
}

impl Verify {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let verified = verify(&self.dir, self.hash.as_deref())?;
        let head = verified.head().map(|head| head.to_string()).unwrap_or_default();
        if output.is_json() {
            output.document(&json!({
                "script": verified.script.hash()?,
                "kind": verified.script.kind,
                "signers": verified.script.signers,
                "closed": verified.closed,
                "transcript": head,
                "files": verified.files,
                "entries": verified.transcript.entries(),
            }))?;
        } else {
            told(&verified, &head, output)?;
        }
        if verified.closed {
            return Ok(Exit::Ok);
        }
        Err(Error::Failed("the ceremony was not brought to its end".to_owned()))
    }
}

fn told(verified: &Verified, head: &str, output: &Output) -> Result<(), Error> {
    let script = &verified.script;
    output.line(&format!(
        "ceremony `{}` for {}, token `{}`",
        script.kind.as_str(),
        script.origin,
        script.token
    ))?;
    output.line(&format!("script     {}", script.hash()?))?;
    output.line(&format!("transcript {head}"))?;
    for (person, key) in script.signers.iter().zip(script.signer_keys()?) {
        output.line(&format!("signed by  {key} ({})", person.role.as_str()))?;
    }
    for entry in verified.transcript.entries() {
        let what = match (entry.event, entry.act) {
            (Event::Agreed, _) => "everybody agrees with the script".to_owned(),
            (Event::Closed, _) => "closed".to_owned(),
            (Event::Begun, Some(act)) => format!("begun: {}", act.says()),
            (_, Some(act)) => format!("done:  {}", act.says()),
            _ => String::new(),
        };
        output.line(&format!("{:>3}  {}  {what}", entry.n, when::show(entry.time_ms)))?;
        for (name, value) in entry.facts.as_object().into_iter().flatten() {
            output.line(&format!("       {name}: {}", fact(value)))?;
        }
    }
    for file in &verified.files {
        output.say(&format!("the {file} in the folder: as the transcript says"));
    }
    Ok(())
}

fn fact(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(fact).collect::<Vec<_>>().join("; "),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{name} {}", fact(value)));
            members.collect::<Vec<_>>().join(", ")
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
