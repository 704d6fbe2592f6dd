//! The same search while a ceremony waits for an answer, and in what it leaves in its folder: for both PINs and for the
//! custodians' identities; and within a ceremony that deals a wallet's seed, in each process that takes part, for the seed and
//! its shares in words.

use std::fs;
use std::path::Path;

use xtask::appliance::{Appliance, Programs};
use xtask::ceremony::{self, Question, Reply};
use xtask::figures::row::Promise;
use xtask::run::Cmd;
use xtask::talk;

use super::search::{Seen, Wanted, cores_in, each_file, may_dump, memory, parts};
use super::{PROMISE, frozen, of_memory, row, sealed};
use crate::Error;

const SIGNERS: [&str; 2] = ["operator", "witness"];
const CUSTODIANS: [&str; 3] = ["cy", "di", "ed"];
const TOKEN: &str = "vault-of-the-search";
const WHAT: &str = "PINs and identities";
const SEED: &str = "a seed and its shares in words";
const WALLET: &str = "deposits";

/// Holds two ceremonies in `folder`, keys made and restored, and answers one row a place.
///
/// # Errors
/// [`Error`] when something could not be searched.
pub fn run(programs: &Programs, folder: &Path) -> Result<Vec<Promise>, Error> {
    let appliance = Appliance::init(programs, folder)?;
    appliance.set("token = ", &format!("\"{TOKEN}\""))?;
    appliance.set("recoverable = ", "true")?;
    let mut people = People { appliance, secrets: Vec::new(), moments: Vec::new(), talk: String::new() };
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
    plan.extend(["--wallet".to_owned(), WALLET.to_owned()]);
    let dealt = people.deal(&signers, &plan)?;
    let tokens = folder.join("hsm/tokens");
    fs::remove_dir_all(&tokens).and_then(|()| fs::create_dir(&tokens)).map_err(Error::file(&tokens))?;
    let sources = ["--shares", "initialise"].map(str::to_owned);
    people.hold("restore", &signers, &sources, &sources)?;

    let secrets = people.secrets.iter().map(String::as_bytes).chain(dealt.secrets.iter().map(Vec::as_slice));
    let secrets: Vec<&[u8]> = secrets.collect();
    let wanted = Wanted::new(&secrets, TOKEN.as_bytes());
    let mut files = wanted.count(people.talk.as_bytes());
    each_file(folder, &mut |path| {
        let own = path.extension().is_some_and(|end| end == "identity") || path.ends_with("hsm/pin");
        if !own && !path.ends_with("hsm/so-pin") {
            files.add(wanted.count(&fs::read(path).map_err(Error::file(path))?));
        }
        Ok(())
    })?;
    let left = cores_in(folder)?;
    Ok(vec![
        of_memory(WHAT, "a ceremony's memory", &people.moments),
        of_memory(SEED, "the memory of those who deal them", &dealt.moments),
        row("all of these", "what ceremonies leave and say", 1, files, "the token's label"),
        Promise {
            promise: PROMISE.into(),
            test: "core dumps of those who deal a seed".into(),
            runs: dealt.moments.len() as u64,
            failures: dealt.dumps + left,
            figure: format!("{left} cores; at {} moments a process may leave one", dealt.dumps),
            goal: "0".into(),
            met: dealt.dumps + left == 0,
        },
    ])
}

/// What was seen while a seed was dealt.
#[derive(Default)]
struct Dealt {
    /// In parts.
    secrets: Vec<Vec<u8>>,
    moments: Vec<Option<Seen>>,
    dumps: u64,
}

struct People {
    appliance: Appliance,
    secrets: Vec<String>,
    moments: Vec<Option<Seen>>,
    /// What the ceremonies said.
    talk: String,
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
        let run = self.planned(kind, kind, signers, plan)?.args(more);
        let held = ceremony::hold(run, |question| self.answer(question))?;
        self.talk += &held.talk;
        if held.code == Some(0) { Ok(()) } else { Err(held.unexpected("held to its end").into()) }
    }

    /// A ceremony in `dir`, ready to be run.
    fn planned(&self, kind: &str, dir: &str, signers: &[String; 2], plan: &[String]) -> Result<Cmd, Error> {
        let planned =
            self.chancery(&["ceremony", "plan", kind, "--dir", dir, "--operator", signers[0].trim()]);
        let hash = planned.args(["--witness", signers[1].trim()]).args(plan).asked()?;
        let run = self.chancery(&["ceremony", "run", "--dir", dir, "--hash", hash.trim(), "--config"]);
        let run = run.arg(self.appliance.config());
        Ok(run.args(["--key", "operator.key", "--key", "witness.key"]))
    }

    /// Deals the seed of a wallet twice: once to know it, and then under everybody's eyes.
    fn deal(&mut self, signers: &[String; 2], plan: &[String]) -> Result<Dealt, Error> {
        self.appliance.start()?;
        let create = self.appliance.chancery(Some("operator"));
        create.args(["wallet", "create", WALLET, "--bitcoin", "regtest", "--hd"]).quiet()?;
        self.appliance.stop()?;
        self.talk += &self.held_dealing(self.planned("seed-shares", "known", signers, plan)?)?;
        let words = self.words("known")?;
        let mut dealt = Dealt::default();
        dealt.secrets.extend(parts(&sealed::joined(words.get(..2).unwrap_or_default())?));
        dealt.secrets.extend(words.iter().flat_map(|words| parts(words.as_bytes())));

        talk::line("secrets: within `seed-shares`");
        let log = self.appliance.dir.join("seed-shares.strace");
        let run = frozen::under(self.planned("seed-shares", "seen", signers, plan)?, &log);
        // Each of them has it in its arguments, or in what it was told of the token.
        let canary = self.appliance.dir.to_string_lossy().into_owned();
        let known = dealt.secrets.clone();
        let people = &*self;
        let held = frozen::watched(
            &log,
            || people.held_dealing(run),
            |pid| {
                let now = people.words("seen")?;
                dealt.secrets = known.clone();
                dealt.secrets.extend(now.iter().flat_map(|words| parts(words.as_bytes())));
                let secrets: Vec<&[u8]> = dealt.secrets.iter().map(Vec::as_slice).collect();
                dealt.moments.push(memory(pid, &Wanted::new(&secrets, canary.as_bytes()))?);
                dealt.dumps += u64::from(may_dump(pid)?);
                Ok(())
            },
        )?;
        self.talk += &held;
        Ok(dealt)
    }

    /// What was said in it.
    fn held_dealing(&self, run: Cmd) -> Result<String, Error> {
        let held = ceremony::hold(run, |question| {
            let pin = question.text.contains("user");
            Ok::<_, Error>(Reply::Say(if pin { self.read("hsm/pin")? } else { "yes".to_owned() }))
        })?;
        if held.code == Some(0) { Ok(held.talk) } else { Err(held.unexpected("held to its end").into()) }
    }

    /// The words of the shares that are there by now.
    fn words(&self, dir: &str) -> Result<Vec<String>, Error> {
        let share = |name: &&str| {
            let path = self.appliance.dir.join(dir).join("shares").join(format!("{name}.age"));
            let open = || sealed::words(&path, &self.read(&format!("{name}.identity"))?);
            path.exists().then(open)
        };
        CUSTODIANS.iter().filter_map(share).collect()
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
