//! `chancery init`: the folder of a new appliance. Everything secret is made here and stays in it, for its owner only.
//! Nothing that exists is written over. The token itself is made by `chanceryd`, the only program that may open one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chancery_audit::Endorsers;
use chancery_core::config::Config;
use chancery_core::{ClientId, Mode, Role, Subject, Tenant};
use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::client;
use crate::daemon::chanceryd;
use crate::pki::Authority;
use crate::{Error, Exit, Output, file, when};

/// Where distributions put SoftHSM2.
const SOFTHSM_MODULES: &[&str] = &[
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];
/// The label of a token made here.
const SOFTHSM_TOKEN: &str = "chancery";
/// The systemd credential that carries a production PIN, as `packaging/chanceryd.service` loads it.
const PIN_CREDENTIAL: &str = "hsm-pin";
/// The clients made at once, in days.
const CLIENT_DAYS: u32 = 90;

/// `chancery init`.
#[derive(Args, Debug)]
#[command(
    after_help = "SoftHSM keeps keys in files that anybody with the folder and the PIN can copy: it is for \
    development only.\n\nExamples:\n  chancery init --dir state --softhsm\n  \
    chancery init --dir state --host signer.example.com --module /usr/lib/vendor/pkcs11.so --token signing --production \
        --policy-key ann+7c082556+AQLP0+CwVdnzLYhDvf09riEP4+0HRK1p7hwuaDUJqOXl"
)]
pub struct Init {
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// A name or address of the server, for its certificate; give it again for more
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    host: Vec<String>,
    /// The log's name in checkpoints and receipts; `HOST/chancery` without
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// Where the API listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Where health and metrics listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9443")]
    ops: SocketAddr,
    /// Make a SoftHSM2 token in the folder. FOR DEVELOPMENT ONLY
    #[arg(long, conflicts_with_all = ["token", "production"], required_unless_present = "module")]
    softhsm: bool,
    /// The vendor's PKCS#11 module; with `--softhsm`, where SoftHSM2 is
    #[arg(long, value_name = "PATH")]
    module: Option<PathBuf>,
    /// The label of the vendor's token
    #[arg(long, value_name = "LABEL", requires = "module", required_unless_present = "softhsm")]
    token: Option<String>,
    /// Refuse what is for development only
    #[arg(long)]
    production: bool,
    /// A key that may sign policy bundles, as `chancery policy keygen` prints it; give it again for more
    #[arg(long, value_name = "KEY", required_if_eq("production", "true"))]
    policy_key: Vec<String>,
    /// How many of these must have signed a bundle; all without
    #[arg(long, value_name = "N", requires = "policy_key")]
    policy_signatures: Option<usize>,
    /// The `chanceryd` that makes the token; the one beside this program without
    #[arg(long, value_name = "PATH", requires = "softhsm")]
    chanceryd: Option<PathBuf>,
}

impl Init {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let config_path = self.dir.join("chancery.toml");
        if config_path.exists() {
            return Err(Error::content(&config_path, "exists already: nothing was changed"));
        }
        // Everything that can be known to fail is looked at before the first file is made.
        let module = self.module()?;
        let chanceryd =
            if self.softhsm { Some(chanceryd(self.chanceryd.as_deref(), "makes the token")?) } else { None };
        let host = self.host.first().map_or("localhost", String::as_str);
        let origin = self.origin.clone().unwrap_or_else(|| format!("{host}/chancery"));

        file::make_directory(&self.dir)?;
        let dir = self.dir.canonicalize().map_err(Error::file("find", &self.dir))?;
        let text = self.config(&dir, &module, &origin);
        let refused = |error: &dyn std::fmt::Display| Error::Usage {
            detail: format!("the configuration would be refused: {error}"),
            hint: "look at the flags; nothing but the folder was made",
        };
        let config = Config::parse(&text, &dir).map_err(|error| refused(&error))?;
        Endorsers::new(&config.policy.keys, config.policy.signatures).map_err(|error| refused(&error))?;

        let url = client::url(host, self.listen.port());
        self.certificates(&dir, &origin, &url, output)?;
        if self.softhsm {
            self.softhsm_files(&dir)?;
        } else if !self.production {
            // Where the operator will put the PIN.
            file::make_directory(&dir.join("hsm"))?;
        }
        // ORDER: the configuration is written when everything it names is there, so a broken-off `init` has none.
        file::write_new(&dir.join("chancery.toml"), text.as_bytes(), file::PUBLIC)?;
        output.say("configuration: chancery.toml");
        if let Some(chanceryd) = &chanceryd {
            make_token(chanceryd, &dir, output)?;
        }
        self.tell(&dir, &url, &origin, output)?;
        Ok(Exit::Ok)
    }

    fn module(&self) -> Result<PathBuf, Error> {
        let found = match &self.module {
            Some(path) => path.canonicalize().map_err(Error::file("find the module", path))?,
            None => {
                SOFTHSM_MODULES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
                    Error::Usage {
                        detail: "SoftHSM2 is not installed where distributions put it".to_owned(),
                        hint: "on Debian: `apt install softhsm2`; or name it with `--module PATH`",
                    }
                })?
            }
        };
        Ok(found)
    }

    fn certificates(&self, dir: &Path, origin: &str, url: &str, output: &Output) -> Result<(), Error> {
        let pki = dir.join("pki");
        file::make_directory(&pki)?;
        let authority = Authority::create(&pki, &format!("Chancery CA {origin}"), when::now())?;
        // It lasts as long as the authority: a list that ended before would shut everybody out.
        authority.revoke(&pki.join("ca.crl"), &[], None, when::now())?;
        let server = authority.issue_server(&self.host, when::now())?;
        file::write_new(&pki.join("server-key.pem"), server.key.as_bytes(), file::SECRET)?;
        file::write_new(&pki.join("server.pem"), server.certificate.as_bytes(), file::PUBLIC)?;
        output.say(&format!("authority and server certificate for {}: pki/", self.host.join(", ")));
        for role in [Role::Operator, Role::Auditor] {
            let name: ClientId = role.to_string().parse()?;
            let subject = Subject { tenant: Tenant::default(), role, name };
            let out = dir.join("clients").join(role.to_string());
            client::write(&authority, &subject, CLIENT_DAYS, url, &out)?;
            output.say(&format!("client `{subject}`: clients/{role}/"));
        }
        Ok(())
    }

    fn softhsm_files(&self, dir: &Path) -> Result<(), Error> {
        let hsm = dir.join("hsm");
        let tokens = hsm.join("tokens");
        file::make_directory(&tokens)?;
        let conf = format!(
            "# SoftHSM2 keeps this token's keys in files: for development only.\n\
             objectstore.backend = file\ndirectories.tokendir = {}\nslots.removable = false\nlog.level = ERROR\n",
            tokens.display()
        );
        file::write_new(&hsm.join("softhsm2.conf"), conf.as_bytes(), file::SECRET)?;
        for name in ["pin", "so-pin"] {
            file::write_new(&hsm.join(name), random_pin()?.as_bytes(), file::SECRET)?;
        }
        Ok(())
    }

    fn config(&self, dir: &Path, module: &Path, origin: &str) -> String {
        let mode = if self.production { Mode::Production } else { Mode::Development };
        let token = self.token.as_deref().unwrap_or(SOFTHSM_TOKEN);
        let pin = if self.production {
            format!("{{ credential = {} }}", quoted(PIN_CREDENTIAL))
        } else {
            "{ file = \"hsm/pin\" }".to_owned()
        };
        let environment = if self.softhsm {
            let conf = dir.join("hsm").join("softhsm2.conf");
            format!("{{ SOFTHSM2_CONF = {} }}", quoted(&conf.to_string_lossy()))
        } else {
            "{}".to_owned()
        };
        let writable = if self.softhsm { "[\"hsm/tokens\"]" } else { "[]" };
        let solver = chancery_prove::Solver::find().ok();
        let solver = solver.map_or_else(
            || "# solver = \"/usr/bin/cvc5\"".to_owned(),
            |solver| format!("solver = {}", quoted(&solver.path().to_string_lossy())),
        );
        let defaults = chancery_core::config::Rate::default();
        format!(
            include_str!("chancery.toml.txt"),
            mode = quoted(if mode.is_production() { "production" } else { "development" }),
            api = quoted(&self.listen.to_string()),
            ops = quoted(&self.ops.to_string()),
            origin = quoted(origin),
            module = quoted(&module.to_string_lossy()),
            token = quoted(token),
            pin = pin,
            queue = chancery_core::limit::HSM_QUEUE,
            call_ms = chancery_core::limit::HSM_CALL_MS,
            environment = environment,
            writable = writable,
            solver = solver,
            proof_ms = chancery_core::limit::PROOF_MS,
            keys = toml::Value::from(self.policy_key.clone()),
            signatures = self.policy_signatures.unwrap_or(self.policy_key.len()),
            per_second = defaults.per_second,
            burst = defaults.burst,
            reserve_mib = chancery_core::limit::RESERVE_MIB,
        )
    }

    fn tell(&self, dir: &Path, url: &str, origin: &str, output: &Output) -> Result<(), Error> {
        let config = dir.join("chancery.toml");
        let operator = dir.join("clients").join("operator");
        if output.is_json() {
            return output.document(&json!({
                "directory": dir,
                "config": config,
                "url": url,
                "origin": origin,
                "clients": [operator, dir.join("clients").join("auditor")],
                "development_token": self.softhsm,
            }));
        }
        if self.softhsm {
            output.say("");
            output.say(
                "WARNING: SoftHSM keeps keys in files. FOR DEVELOPMENT ONLY: never put real funds under it.",
            );
        }
        output.say("");
        output.say("Next:");
        if !self.softhsm && self.production {
            output.say(&format!(
                "  give the token's user PIN to chanceryd as the systemd credential `{PIN_CREDENTIAL}`"
            ));
        } else if !self.softhsm {
            output.say(&format!(
                "  write the token's user PIN to {} (mode 0600)",
                dir.join("hsm/pin").display()
            ));
        }
        output.say(&format!("  chancery serve-config check {}", config.display()));
        output.say(&format!("  chanceryd serve --config {}", config.display()));
        output.say(&format!("  chancery client issue backend --role client --dir {}", dir.display()));
        for rest in ["wallet create treasury --chain-id 1", "policy apply BUNDLE"] {
            output.say(&format!("  chancery --client {} {rest}", operator.display()));
        }
        output.say(&format!("  move {} to a place that is offline", dir.join("pki/ca-key.pem").display()));
        Ok(())
    }
}

/// Has `chanceryd` make the token; the PINs go by files, never by arguments or the environment.
fn make_token(chanceryd: &Path, dir: &Path, output: &Output) -> Result<(), Error> {
    let config = dir.join("chancery.toml");
    let so_pin = dir.join("hsm").join("so-pin");
    let again = || {
        format!(
            "everything else is done; once the reason is mended: `{} hsm-init --config {} --so-pin-file {}`",
            chanceryd.display(),
            config.display(),
            so_pin.display()
        )
    };
    let failed =
        |what: String| Error::Program { program: chanceryd.display().to_string(), what, hint: again() };
    output.say("token: chanceryd hsm-init");
    let done = Command::new(chanceryd)
        .arg("hsm-init")
        .arg("--config")
        .arg(&config)
        .arg("--so-pin-file")
        .arg(&so_pin)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let said = String::from_utf8_lossy(&done.stderr);
    if !said.trim().is_empty() {
        output.say(said.trim_end());
    }
    if done.status.success() { Ok(()) } else { Err(failed(format!("hsm-init ended with {}", done.status))) }
}

/// 128 random bits in hexadecimal.
fn random_pin() -> Result<Zeroizing<String>, Error> {
    let mut bytes = Zeroizing::new([0_u8; 16]);
    getrandom::fill(bytes.as_mut()).map_err(Error::Random)?;
    Ok(Zeroizing::new(hex::encode(bytes.as_slice())))
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
