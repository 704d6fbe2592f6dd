//! What a stranger can check of a ceremony with its folder alone: the script, the transcript's chain and signatures, and that
//! the list of shares, the shares and the backup are those that were seen.

use std::path::Path;

use chancery_audit::Digest;
use serde_json::Value;

use crate::backup::Backup;
use crate::error::CeremonyError;
use crate::kind::Act;
use crate::script::Script;
use crate::seed::SeedShares;
use crate::share::{self, Shares};
use crate::store::{self, SCRIPT, TRANSCRIPT};
use crate::transcript::{Event, Transcript};

/// What was verified.
pub struct Verified {
    /// The script.
    pub script: Script,
    /// The entries.
    pub transcript: Transcript,
    /// Whether the ceremony was brought to its end.
    pub closed: bool,
    /// The files that are what the transcript says.
    pub files: Vec<&'static str>,
}

impl Verified {
    /// The hash that a log's entry names.
    #[must_use]
    pub fn head(&self) -> Option<Digest> {
        self.transcript.head()
    }
}

/// Verifies a ceremony's folder, offline. `agreed` is the script's hash as somebody else knows it.
///
/// # Errors
/// [`CeremonyError`] with the first thing that does not hold.
pub fn verify(folder: &Path, agreed: Option<&str>) -> Result<Verified, CeremonyError> {
    let script = Script::parse(&store::read(&folder.join(SCRIPT))?)?;
    let found = script.hash()?.to_string();
    if let Some(agreed) = agreed
        && agreed != found
    {
        return Err(CeremonyError::OtherScript { found, agreed: agreed.to_owned() });
    }
    let transcript = Transcript::read(&script, &store::read(&folder.join(TRANSCRIPT))?)?;
    let closed = transcript.entries().last().is_some_and(|last| last.event == Event::Closed);
    let mut files = Vec::new();
    let told = |act: Act, name: &str| transcript.facts(act).and_then(|facts| facts.get(name)).cloned();
    if let Some(wanted) = told(Act::Split, "shares").or_else(|| told(Act::Reshare, "shares")) {
        let list = Shares::read(folder)?;
        same("the list of shares", &wanted, list.hash()?)?;
        share::files(&list.holders, folder)?;
        files.push("shares");
    }
    if let Some(wanted) = told(Act::DealSeed, "shares") {
        let list = SeedShares::read(folder)?;
        same("the list of the seed's shares", &wanted, list.hash()?)?;
        share::files(&list.holders, folder)?;
        files.push("seed");
    }
    if let Some(wanted) = told(Act::BackUp, "backup") {
        same("the backup", &wanted, Backup::read(folder)?.hash()?)?;
        files.push("backup");
    }
    Ok(Verified { script, transcript, closed, files })
}

fn same(what: &str, wanted: &Value, found: Digest) -> Result<(), CeremonyError> {
    if wanted.as_str() == Some(found.to_string().as_str()) {
        return Ok(());
    }
    Err(CeremonyError::Mismatch(format!("{what} is not the one that the transcript tells of")))
}
