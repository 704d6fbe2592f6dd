//! An officer of a stage who has enrolled and logged in by the command line, as a person does, and what that person alone
//! should know.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use totp_rs::{Builder, Secret};
use xtask::Stop;
use xtask::run::Cmd;

use crate::Error;
use crate::stage::{PARTY, Stage};

const NAME: &str = "ann";
const PASSWORD: &str = "a-password-3d71c05fe2849ab6-typed-by-ann";

/// What an officer knows.
pub struct Officer {
    /// The password.
    pub password: &'static str,
    /// The secret of the one-time codes, as it is shown.
    pub codes: String,
    /// The same in bytes.
    pub codes_bytes: Vec<u8>,
    folder: PathBuf,
}

impl Officer {
    /// Puts an officer into the stage's bundle, who enrols and logs in. What only a person has is kept in `folder`.
    ///
    /// # Errors
    /// [`Error::Drive`] with what the programs said.
    pub fn enrol(stage: &Stage, folder: &Path) -> Result<Self, Error> {
        let at = |name: &str| folder.join(name);
        stage.appliance.issue(NAME, "officer")?;
        keep(&at("password"), PASSWORD)?;
        let own = || stage.appliance.chancery(None).args(["--json", "officer"]);
        let passkey =
            own().args(["passkey", NAME, "--rp-id", PARTY, "--origin", &format!("https://{PARTY}")]);
        let passkey = document(passkey.arg("--out").arg(at("passkey")))?;
        let invited = document(own().args(["invite", NAME, "--out"]).arg(at("code")))?;

        let entry = format!(
            "\n[[officer]]\nid = \"{NAME}\"\nroles = [\"custodian\"]\nenrolment = {{ code_sha256 = {}, until = {} }}\n\n\
             [[officer.credential]]\nid = {}\nkey = {}\nheld = \"software\"\n",
            member(&invited, "/code_sha256"),
            member(&invited, "/until"),
            member(&passkey, "/id"),
            member(&passkey, "/key"),
        );
        into_bundle(stage, &entry)?;

        let enrolled =
            stage.appliance.chancery(Some(NAME)).args(["--json", "officer", "enrol", "--code-file"]);
        let enrolled = document(enrolled.arg(at("code")).arg("--password-file").arg(at("password")))?;
        let codes = enrolled.pointer("/totp/secret").and_then(Value::as_str).unwrap_or_default().to_owned();
        let secret = Secret::try_from_base32(&codes).map_err(|_| Stop::answer("a secret", &codes))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let totp = Builder::new().with_secret(secret.clone()).build();
        let totp = totp.map_err(|_| Stop::answer("a secret", &codes))?;
        keep(&at("totp"), &totp.generate(now).to_string())?;
        let officer = Self {
            password: PASSWORD,
            codes,
            codes_bytes: secret.as_ref().to_vec(),
            folder: folder.to_owned(),
        };
        officer.log_in(stage)?;
        Ok(officer)
    }

    /// Logs in once more.
    ///
    /// # Errors
    /// [`Error::Drive`] with what the program said.
    pub fn log_in(&self, stage: &Stage) -> Result<(), Error> {
        let at = |name: &str| self.folder.join(name);
        let login = stage.appliance.chancery(Some(NAME)).args(["officer", "login", "--password-file"]);
        let login = login.arg(at("password")).arg("--passkey").arg(at("passkey"));
        Ok(login.arg("--code-file").arg(at("totp")).quiet()?)
    }
}

/// Adds officers to the stage's bundle, and puts it in force.
///
/// # Errors
/// [`Error::File`], [`Error::Drive`].
pub fn into_bundle(stage: &Stage, entries: &str) -> Result<(), Error> {
    let bundle = stage.appliance.dir.join("bundle");
    let path = bundle.join("bundle.toml");
    let manifest = fs::read_to_string(&path).map_err(Error::file(&path))?;
    fs::write(&path, manifest + entries).map_err(Error::file(&path))?;
    Ok(stage.appliance.apply(&bundle)?)
}

/// A text member, as JSON and TOML both write it.
fn member(document: &Value, pointer: &str) -> String {
    document.pointer(pointer).cloned().unwrap_or_default().to_string()
}

fn document(command: Cmd) -> Result<Value, Error> {
    let text = command.asked()?;
    Ok(serde_json::from_str(&text).map_err(|error| Stop::answer("a document", error))?)
}

fn keep(path: &Path, text: &str) -> Result<(), Error> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::file(path))?;
    file.write_all(text.as_bytes()).map_err(Error::file(path))
}
