//! A cold wallet from its making to its restore, with the real programs: while each of them works, for its seed, its shares in words
//! and its password; and in what is left on the machine apart. The appliance that asked for the signature is searched with the rest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use xtask::ceremony::{self, Reply};
use xtask::figures::row::Promise;
use xtask::run::Cmd;
use xtask::talk;

use super::search::{Seen, Wanted, cores_in, each_file, may_dump, memory, parts};
use super::{PROMISE, frozen, of_memory, row, sealed};
use crate::Error;
use crate::door::unexpected;
use crate::stage::{self, Stage};

const WALLET: &str = "cold";
const PASSWORD: &str = "a-password-90f2d7c35be1486a-of-the-machine-apart";
const CUSTODIANS: [&str; 3] = ["cy", "di", "ed"];
const WHAT: &str = "a cold wallet's seed, shares and password";

/// What a machine apart showed, and what must be nowhere else either.
pub struct Apart {
    /// One a place.
    pub rows: Vec<Promise>,
    /// The secrets in parts.
    pub secrets: Vec<Vec<u8>>,
}

struct Machine<'a> {
    stage: &'a Stage,
    dir: PathBuf,
    secrets: Vec<Vec<u8>>,
    moments: Vec<Option<Seen>>,
    dumps: u64,
}

/// Makes a cold wallet in `dir`, has it sign for the stage, backs it up and restores it.
///
/// # Errors
/// [`Error`] when something could not be done or searched.
pub fn run(stage: &Stage, dir: &Path) -> Result<Apart, Error> {
    fs::create_dir_all(dir).map_err(Error::file(dir))?;
    let password = dir.join("password");
    fs::write(&password, PASSWORD).map_err(Error::file(&password))?;
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).map_err(Error::file(&password))?;
    let secrets = parts(PASSWORD.as_bytes());
    let mut machine = Machine { stage, dir: dir.into(), secrets, moments: Vec::new(), dumps: 0 };
    machine.make()?;
    machine.sign()?;
    machine.give_back()?;
    machine.rows()
}

impl Machine<'_> {
    fn chancery(&self, words: &[&str]) -> Cmd {
        self.stage.appliance.chancery(None).dir(&self.dir).args(words)
    }

    /// Runs a program of the machine apart, and looks at it whenever it stands still.
    fn watched<T: Send>(
        &mut self,
        name: &str,
        program: Cmd,
        work: impl FnOnce(Cmd) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        talk::line(&format!("secrets: within `cold {name}`"));
        let log = self.dir.join(format!("{name}.strace"));
        let program = frozen::under(program, &log);
        frozen::watched(&log, || work(program), |pid| self.look(pid))
    }

    fn look(&mut self, pid: u32) -> Result<(), Error> {
        let seed = self.dir.join(WALLET).join("seed.age");
        if self.secrets.len() == parts(PASSWORD.as_bytes()).len() && seed.exists() {
            self.secrets.extend(parts(&sealed::seed(&seed, PASSWORD)?));
        }
        self.dumps += u64::from(may_dump(pid)?);
        // Its own arguments name the folder.
        let canary = self.dir.to_string_lossy().into_owned();
        let secrets: Vec<&[u8]> = self.secrets.iter().map(Vec::as_slice).collect();
        self.moments.push(memory(pid, &Wanted::new(&secrets, canary.as_bytes()))?);
        Ok(())
    }

    fn at(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    fn make(&mut self) -> Result<(), Error> {
        let init = self.chancery(&["cold", "init", "--ethereum", "--dir", &self.at(WALLET)]);
        let init = init.args(["--password-file", "password"]);
        self.watched("init", init, |program| Ok(program.quiet()?))?;
        let chain = stage::CHAIN_ID.to_string();
        let create = self.stage.appliance.chancery(Some("operator"));
        let create =
            create.args(["wallet", "create", WALLET, "--chain-id", &chain, "--index", "0", "--cold"]);
        Ok(create.arg(self.dir.join(WALLET).join("public.json")).quiet()?)
    }

    fn sign(&mut self) -> Result<(), Error> {
        let body = stage::sign_body(WALLET, 0);
        let answer = self.stage.client.call("POST", "/v1/sign", Some("cold"), Some(&body))?;
        let id = answer.json().get("request_id").and_then(Value::as_str).map(str::to_owned);
        let id = id.filter(|_| answer.status == 202).ok_or_else(|| unexpected("POST /v1/sign", &answer))?;
        let client = || self.stage.appliance.chancery(Some(stage::NAME)).dir(&self.dir);
        client().args(["cold", "export", &id, "--out", "request.json"]).quiet()?;
        let sign = self.chancery(&["cold", "sign", &self.at("request.json"), "--key", WALLET, "--yes"]);
        let sign = sign.args(["--password-file", "password", "--out", "signed.json", "--trust"]);
        let sign = sign.arg(&self.stage.trust);
        self.watched("sign", sign, |program| Ok(program.quiet()?))?;
        let client = self.stage.appliance.chancery(Some(stage::NAME)).dir(&self.dir);
        Ok(client.args(["cold", "submit", "signed.json"]).quiet()?)
    }

    fn give_back(&mut self) -> Result<(), Error> {
        let backup = self.chancery(&["cold", "backup", "--threshold", "2", "--key", WALLET, "--dir"]);
        let mut backup = backup.args([&self.at("backup"), "--password-file", "password"]);
        let mut identities = Vec::new();
        for name in CUSTODIANS {
            let path = format!("{name}.identity");
            let made = self.chancery(&["ceremony", "custodian", name, "--out", &path]).asked()?;
            backup = backup.args(["--custodian", made.trim()]);
            let identity = fs::read_to_string(self.dir.join(&path)).map_err(Error::file(&path))?;
            identities.push((name, identity.trim().to_owned()));
        }
        self.watched("backup", backup, |program| Ok(program.quiet()?))?;
        for (name, identity) in &identities {
            let share = self.dir.join(format!("backup/shares/{name}.age"));
            self.secrets.extend(parts(sealed::words(&share, identity)?.as_bytes()));
            self.secrets.push(identity.clone().into_bytes());
        }
        let restore = self.chancery(&["cold", "restore", "--shares", "backup", "--dir", &self.at("again")]);
        let restore = restore.args(["--password-file", "password"]);
        let held = self.watched("restore", restore, |program| {
            ceremony::hold(program, |question| {
                let asked = question.text.split(':').next().unwrap_or_default();
                let identity = identities.iter().find(|(name, _)| *name == asked);
                Ok(Reply::Say(identity.map(|(_, identity)| identity.clone()).unwrap_or_default()))
            })
        })?;
        if held.code == Some(0) { Ok(()) } else { Err(held.unexpected("held to its end").into()) }
    }

    fn rows(self) -> Result<Apart, Error> {
        let secrets: Vec<&[u8]> = self.secrets.iter().map(Vec::as_slice).collect();
        // The public file names the account, and what is signed names the wallet.
        let wanted = Wanted::new(&secrets, b"chancery.cold.public");
        let mut files = Seen::default();
        each_file(&self.dir, &mut |path| {
            let own = path.extension().is_some_and(|end| end == "identity") || path.ends_with("password");
            if !own {
                files.add(wanted.count(&fs::read(path).map_err(Error::file(path))?));
            }
            Ok(())
        })?;
        let left = cores_in(&self.dir)?;
        let rows = vec![
            of_memory(WHAT, "the memory of its programs", &self.moments),
            row(WHAT, "the files of the machine apart", 1, files, "the public file"),
            Promise {
                promise: PROMISE.into(),
                test: "core dumps of a cold wallet's programs".into(),
                runs: self.moments.len() as u64,
                failures: self.dumps + left,
                figure: format!("{left} cores; {} of the moments may leave one", self.dumps),
                goal: "0".into(),
                met: self.dumps + left == 0,
            },
        ];
        Ok(Apart { rows, secrets: self.secrets })
    }
}
