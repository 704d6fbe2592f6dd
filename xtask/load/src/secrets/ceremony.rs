//! The same search while a ceremony waits for an answer, and in what it leaves in its folder: for both PINs and for the
//! custodians' identities.

use std::fs;
use std::path::Path;

use xtask::appliance::{Appliance, Programs};
use xtask::ceremony::{self, Question, Reply};
use xtask::figures::row::Promise;
use xtask::run::Cmd;
use xtask::talk;

use super::{Seen, Wanted, each_file, memory, of_memory, row};
use crate::Error;

const SIGNERS: [&str; 2] = ["operator", "witness"];
const CUSTODIANS: [&str; 3] = ["cy", "di", "ed"];
const TOKEN: &str = "vault-of-the-search";
const WHAT: &str = "PINs and identities";

/// Holds two ceremonies in `folder`, keys made and restored, and answers one row a place.
///
/// # Errors
/// [`Error`] when something could not be searched.
pub fn run(programs: &Programs, folder: &Path) -> Result<Vec<Promise>, Error> {
    let appliance = Appliance::init(programs, folder)?;
    appliance.set("token = ", &format!("\"{TOKEN}\""))?;
    appliance.set("recoverable = ", "true")?;
    let mut people = People { appliance, secrets: Vec::new(), moments: Vec::new() };
    let signers =
        SIGNERS.map(|name| people.chancery(&["policy", "keygen", name, "--out", &format!("{name}.key")]));
    let signers = [signers[0].asked()?, signers[1].asked()?];
    let mut plan = vec!["--threshold".to_owned(), "2".to_owned()];
    for name in CUSTODIANS {
        let made = people.chancery(&["ceremony", "custodian", name, "--out", &format!("{name}.identity")]);
        plan.extend(["--custodian".to_owned(), made.asked()?.trim().to_owned()]);
    }
    for name in ["hsm/pin", "hsm/so-pin", "cy.identity", "di.identity", "ed.identity"] {
        people.secrets.push(people.read(name)?);
    }
    people.hold("initialise", &signers, &plan, &[])?;
    let tokens = folder.join("hsm/tokens");
    fs::remove_dir_all(&tokens).and_then(|()| fs::create_dir(&tokens)).map_err(Error::file(&tokens))?;
    let sources = ["--shares", "initialise"].map(str::to_owned);
    people.hold("restore", &signers, &sources, &sources)?;

    let secrets: Vec<&[u8]> = people.secrets.iter().map(String::as_bytes).collect();
    let wanted = Wanted::new(&secrets, TOKEN.as_bytes());
    let mut files = Seen::default();
    each_file(folder, &mut |path| {
        let own = path.extension().is_some_and(|end| end == "identity") || path.ends_with("hsm/pin");
        if !own && !path.ends_with("hsm/so-pin") {
            files.add(wanted.count(&fs::read(path).map_err(Error::file(path))?));
        }
        Ok(())
    })?;
    Ok(vec![
        of_memory(WHAT, "a ceremony's memory", &people.moments),
        row(WHAT, "what a ceremony leaves", 1, files, "the token's label"),
    ])
}

struct People {
    appliance: Appliance,
    secrets: Vec<String>,
    moments: Vec<Option<Seen>>,
}

impl People {
    fn chancery(&self, words: &[&str]) -> Cmd {
        self.appliance.chancery(None).dir(&self.appliance.dir).args(words)
    }

    fn read(&self, name: &str) -> Result<String, Error> {
        let path = self.appliance.dir.join(name);
        Ok(fs::read_to_string(&path).map_err(Error::file(&path))?.trim().to_owned())
    }

    fn hold(
        &mut self,
        kind: &str,
        signers: &[String; 2],
        plan: &[String],
        more: &[String],
    ) -> Result<(), Error> {
        talk::line(&format!("secrets: while a ceremony waits, `{kind}`"));
        let planned =
            self.chancery(&["ceremony", "plan", kind, "--dir", kind, "--operator", signers[0].trim()]);
        let hash = planned.args(["--witness", signers[1].trim()]).args(plan).asked()?;
        let run = self.chancery(&["ceremony", "run", "--dir", kind, "--hash", hash.trim(), "--config"]);
        let run = run
            .arg(self.appliance.config())
            .args(["--key", "operator.key", "--key", "witness.key"])
            .args(more);
        let held = ceremony::hold(run, |question| self.answer(question))?;
        if held.code == Some(0) { Ok(()) } else { Err(held.unexpected("held to its end").into()) }
    }

    fn answer(&mut self, question: Question<'_>) -> Result<Reply, Error> {
        let said = match question.text.split_once(": your age identity") {
            Some((name, _)) => self.read(&format!("{name}.identity"))?,
            None if question.text.contains("security officer") => self.read("hsm/so-pin")?,
            None if question.text.contains("user") => self.read("hsm/pin")?,
            // Everything that was said by now is in the process, or should not be.
            None => {
                self.look(question.pid)?;
                "yes".to_owned()
            }
        };
        Ok(Reply::Say(said))
    }

    /// The worker is there while something is done, and never while something is asked.
    fn look(&mut self, pid: u32) -> Result<(), Error> {
        let secrets: Vec<&[u8]> = self.secrets.iter().map(String::as_bytes).collect();
        self.moments.push(memory(pid, &Wanted::new(&secrets, TOKEN.as_bytes()))?);
        Ok(())
    }
}
