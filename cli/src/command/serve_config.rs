//! `chancery serve-config`: what a server would trip over, found before it starts. Reads every file the configuration
//! names, opens no token, and reports every problem, not the first.

use std::path::{Path, PathBuf};

use chancery_audit::{CosignerKey, EVENTS, Endorsers, PartyIdentity, TimestampRoots};
use chancery_core::causes;
use chancery_core::config::{Config, Rule, SecretSource};
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{Error, Exit, Output, file, pki, when};

/// A certificate that ends within this time is warned about, in milliseconds.
const SOON_MS: i64 = 30 * 86_400_000;

/// `chancery serve-config`.
#[derive(Subcommand, Debug)]
pub enum ServeConfig {
    /// Check a configuration and the files it names: presence, modes, certificates and their dates
    #[command(after_help = "Examples:\n  chancery serve-config check state/chancery.toml\n  \
        chancery serve-config check /etc/chancery/chancery.toml --json")]
    Check {
        /// The configuration
        file: PathBuf,
    },
}

impl ServeConfig {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let Self::Check { file } = self;
        let findings = check(file)?;
        let errors = findings.iter().filter(|finding| finding.level == Level::Error).count();
        if output.is_json() {
            output.document(&json!({ "ok": errors == 0, "findings": findings }))?;
        } else {
            for finding in &findings {
                output.line(&format!("{}: {}: {}", finding.level.as_str(), finding.key, finding.message))?;
            }
            if errors == 0 {
                output.say(&format!("`{}` can be served", file.display()));
            }
        }
        if errors == 0 {
            return Ok(Exit::Ok);
        }
        Err(Error::Failed(format!("{errors} problems in `{}`", file.display())))
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// The server would not start, or not be safe.
    Error,
    /// Look at it.
    Warning,
    /// Cannot be checked here.
    Note,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    level: Level,
    key: &'static str,
    message: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, key: &'static str, message: impl Into<String>) {
        self.0.push(Finding { level, key, message: message.into() });
    }

    /// Notes an error and goes on.
    fn take<T>(&mut self, key: &'static str, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.add(Level::Error, key, error.chain())).ok()
    }

    fn owner_only(&mut self, key: &'static str, path: &Path) {
        if let Some(bits) = self.take(key, file::open_to_others(path))
            && bits != 0
        {
            let message =
                format!("others may use `{}` (mode bits {bits:03o}); `chmod go-rwx` it", path.display());
            self.add(Level::Error, key, message);
        }
    }
}

/// Everything there is to say about a configuration.
///
/// # Errors
/// [`Error::File`] when the configuration itself cannot be read.
fn check(path: &Path) -> Result<Vec<Finding>, Error> {
    let mut findings = Findings::default();
    let text = file::read_text(path)?;
    let base = path.parent().unwrap_or(Path::new(""));
    match Config::examine(&text, base) {
        Err(error) => findings.add(Level::Error, "chancery.toml", error.to_string().trim_end()),
        Ok((config, broken)) => {
            for Rule { key, rule } in broken.iter() {
                findings.add(Level::Error, key, rule);
            }
            listen(&config, &mut findings);
            tls(&config, &mut findings);
            folders(&config, &mut findings);
            witnesses(&config, &mut findings);
            timestamps(&config, &mut findings);
            webhooks(&config, &mut findings);
            policy(&config, &mut findings);
            hsm(&config, &mut findings);
            mpc(&config, &mut findings);
        }
    }
    Ok(findings.0)
}

fn listen(config: &Config, findings: &mut Findings) {
    if config.listen.api == config.listen.ops {
        findings.add(Level::Error, "listen", "`api` and `ops` are the same address");
    }
    if !config.listen.ops.ip().is_loopback() {
        findings.add(Level::Warning, "listen.ops", "health and metrics are open beyond this machine");
    }
    if !config.mode.is_production() {
        findings.add(Level::Warning, "mode", "`development` allows what must not guard real keys");
    }
}

fn tls(config: &Config, findings: &mut Findings) {
    let tls = &config.tls;
    let chain = certificates("tls.certificate", &tls.certificate, findings);
    if let Some(server) = chain.first() {
        if !server.for_servers {
            findings.add(Level::Error, "tls.certificate", "is not made for servers (extended key usage)");
        }
        if server.hosts.is_empty() {
            findings.add(Level::Error, "tls.certificate", "names no host, so no client would accept it");
        }
    }
    findings.owner_only("tls.key", &tls.key);
    if let Some(pem) = findings.take("tls.key", file::read_text(&tls.key).map(Zeroizing::new)) {
        match rcgen::KeyPair::from_pem(&pem) {
            Err(_) => findings.add(Level::Error, "tls.key", "holds no private key in PKCS #8 PEM"),
            Ok(key) => {
                let public = rcgen::PublicKeyData::subject_public_key_info(&key);
                if chain.first().is_some_and(|server| server.public_key != public) {
                    findings.add(Level::Error, "tls.key", "is not the key of `tls.certificate`");
                }
            }
        }
    }
    let Some(client_ca) = &tls.client_ca else {
        let message = "is not set: only clients of the appliance's own authority are admitted";
        return findings.add(Level::Note, "tls.client_ca", message);
    };
    let authorities = certificates("tls.client_ca", client_ca, findings);
    if authorities.iter().any(|authority| !authority.is_authority) {
        findings.add(Level::Error, "tls.client_ca", "holds a certificate that is no authority");
    }
    revocation(config, client_ca, findings);
    let beside = client_ca.with_file_name("ca-key.pem");
    if beside.exists() {
        findings.owner_only("tls.client_ca", &beside);
        let level = if config.mode.is_production() { Level::Warning } else { Level::Note };
        findings.add(
            level,
            "tls.client_ca",
            format!("the authority's key lies here: move `{}` offline", beside.display()),
        );
    }
}

/// The revocation lists: each in date and signed, each authority with one.
fn revocation(config: &Config, client_ca: &Path, findings: &mut Findings) {
    const KEY: &str = "tls.crl";
    if config.tls.crl.is_empty() {
        findings.add(Level::Warning, KEY, "is not set: no certificate can be revoked");
        return;
    }
    let now = when::now();
    let mut all = Vec::new();
    for path in &config.tls.crl {
        let read = file::read(path).and_then(|bytes| pki::read_lists(path, &bytes));
        all.extend(findings.take(KEY, read).unwrap_or_default());
    }
    for list in &all {
        let (from, until) = (when::show(list.from), when::show(list.until));
        let (level, what) = if list.until <= now {
            (Level::Error, "has ended, so nobody is admitted")
        } else if list.from > now {
            (Level::Error, "has not begun")
        } else if list.until <= now.plus_ms(SOON_MS) {
            (Level::Warning, "ends soon; then nobody is admitted")
        } else {
            (Level::Note, "is in date")
        };
        let count = list.revoked.len();
        let message = format!("the list of `{}`, {from} to {until}, {count} revoked, {what}", list.issuer);
        findings.add(level, KEY, message);
    }
    let Ok(pem) = file::read(client_ca) else { return };
    for (authority, seen) in pki::split(&pem).iter().zip(pki::read_all(client_ca, &pem).unwrap_or_default()) {
        let named: Vec<_> = all.iter().filter(|list| list.issuer == seen.subject).collect();
        if seen.not_after > now && !named.iter().any(|list| list.is_of(authority)) {
            let message = format!("there is no list signed by `{}`", seen.subject);
            findings.add(Level::Error, KEY, message);
        }
    }
}

/// The certificates of a file, their dates looked at.
fn certificates(key: &'static str, path: &Path, findings: &mut Findings) -> Vec<pki::Seen> {
    let read = file::read(path).and_then(|pem| pki::read_all(path, &pem));
    let all = findings.take(key, read).unwrap_or_default();
    let now = when::now();
    for seen in &all {
        let until = when::show(seen.not_after);
        if seen.not_after <= now {
            findings.add(Level::Error, key, format!("`{}` ended on {until}", seen.subject));
        } else if seen.not_before > now {
            let from = when::show(seen.not_before);
            findings.add(Level::Error, key, format!("`{}` is not valid before {from}", seen.subject));
        } else if seen.not_after <= now.plus_ms(SOON_MS) {
            findings.add(Level::Warning, key, format!("`{}` ends on {until}", seen.subject));
        }
    }
    all
}

fn folders(config: &Config, findings: &mut Findings) {
    if config.store.directory == config.log.directory {
        findings.add(
            Level::Error,
            "log.directory",
            "is the store's folder; tiles may be public, the store never",
        );
    }
    for (key, path) in
        [("store.directory", &config.store.directory), ("log.directory", &config.log.directory)]
    {
        if path.is_dir() {
            if key == "store.directory" {
                findings.owner_only(key, path);
            }
        } else if path.exists() {
            findings.add(Level::Error, key, format!("`{}` is no folder", path.display()));
        } else if path.parent().is_some_and(Path::is_dir) {
            findings.add(Level::Note, key, format!("`{}` will be made at the first start", path.display()));
        } else {
            findings.add(
                Level::Error,
                key,
                format!("`{}` cannot be made: its parent is missing", path.display()),
            );
        }
    }
}

fn witnesses(config: &Config, findings: &mut Findings) {
    let log = &config.log;
    let mut keys: Vec<CosignerKey> = Vec::new();
    for witness in &log.witness {
        match witness.key.parse::<CosignerKey>() {
            Err(error) => findings.add(Level::Error, "log.witness", format!("`{}`: {error}", witness.url)),
            Ok(key) if keys.iter().any(|other| other.key() == key.key() || other.name() == key.name()) => {
                findings.add(Level::Error, "log.witness", format!("`{}` is there twice", key.name()));
            }
            Ok(key) => keys.push(key),
        }
    }
    if log.cosignatures > 0 && log.cosignatures == log.witness.len() {
        let message = "every witness is needed: one that is away stops every receipt";
        findings.add(Level::Warning, "log.cosignatures", message);
    }
}

/// The roots of each time-stamping authority.
fn timestamps(config: &Config, findings: &mut Findings) {
    const KEY: &str = "log.timestamp.ca";
    for authority in &config.log.timestamp {
        if certificates(KEY, &authority.ca, findings).is_empty() {
            continue;
        }
        let read = file::read(&authority.ca).and_then(|pem| {
            let none =
                |error| Error::content(&authority.ca, format!("holds no roots of an authority: {error}"));
            TimestampRoots::from_pem(&pem).map_err(none)
        });
        findings.take(KEY, read);
    }
}

fn webhooks(config: &Config, findings: &mut Findings) {
    for webhook in &config.webhook {
        for event in webhook.events.iter().filter(|event| !EVENTS.contains(&event.as_str())) {
            let message = format!("`{event}` is none of {}", EVENTS.join(", "));
            findings.add(Level::Error, "webhook.events", message);
        }
        if let Some(ca) = &webhook.ca {
            certificates("webhook.ca", ca, findings);
        }
        secret("webhook.secret", &webhook.secret, findings);
    }
}

fn policy(config: &Config, findings: &mut Findings) {
    let policy = &config.policy;
    if let Err(error) = Endorsers::new(&policy.keys, policy.signatures) {
        findings.add(Level::Error, "policy.keys", causes(&error));
    }
    match (policy.keys.len(), policy.signatures) {
        (0, _) => {
            findings.add(Level::Warning, "policy.keys", "is not set: one operator alone changes policy")
        }
        (keys, needed) if needed == keys && keys > 1 => {
            let message = "every key is needed: one that is lost stops every change of policy";
            findings.add(Level::Warning, "policy.signatures", message);
        }
        _ => {}
    }
}

fn hsm(config: &Config, findings: &mut Findings) {
    let hsm = &config.hsm;
    if !hsm.module.is_file() {
        findings.add(Level::Error, "hsm.module", format!("there is no module `{}`", hsm.module.display()));
    }
    let soft = hsm.module.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libsofthsm"));
    if soft {
        let level = if config.mode.is_production() { Level::Error } else { Level::Warning };
        findings.add(level, "hsm.module", "SoftHSM keeps keys in files: for development only");
    }
    if let Some(conf) = hsm.environment.get("SOFTHSM2_CONF")
        && !Path::new(conf).is_file()
    {
        findings.add(
            Level::Error,
            "hsm.environment",
            format!("`SOFTHSM2_CONF` names `{conf}`, which is no file"),
        );
    }
    for folder in hsm.writable.iter().filter(|folder| !folder.is_dir()) {
        findings.add(Level::Error, "hsm.writable", format!("there is no folder `{}`", folder.display()));
    }
    if let Some(name) = hsm.environment.keys().find(|name| name.to_ascii_uppercase().contains("PIN")) {
        findings.add(Level::Error, "hsm.environment", format!("`{name}` looks like a secret; use `hsm.pin`"));
    }
    secret("hsm.pin", &hsm.pin, findings);
}

/// The other holders of keys: who they are, and whether each is another.
fn mpc(config: &Config, findings: &mut Findings) {
    const KEY: &str = "mpc.peer.identity";
    let Some(mpc) = &config.mpc else { return };
    if [config.listen.api, config.listen.ops].contains(&mpc.listen) {
        findings.add(Level::Error, "mpc.listen", "is the address of another listener");
    }
    if mpc.peer.is_empty() {
        findings.add(
            Level::Warning,
            "mpc.peer",
            "is not set: this party is alone, and makes and uses no shared key",
        );
    }
    let mut known: Vec<PartyIdentity> = Vec::new();
    for peer in &mpc.peer {
        let read = file::read(&peer.identity).and_then(|bytes| {
            let none = |error| Error::content(&peer.identity, format!("is no identity: {error}"));
            PartyIdentity::parse(&bytes, peer.party).map_err(none)
        });
        let Some((identity, _)) = findings.take(KEY, read) else { continue };
        if known.iter().any(|other| other.node_key == identity.node_key) {
            findings.add(Level::Error, KEY, format!("party {} has the node key of another", peer.party));
        }
        if peer.may_propose {
            let message = format!("party {} makes wallets here that nobody here asked for", peer.party);
            findings.add(Level::Note, "mpc.peer.may_propose", message);
        }
        known.push(identity);
    }
}

/// Whether a secret is where it is to be read, as far as that shows before the start.
fn secret(key: &'static str, source: &SecretSource, findings: &mut Findings) {
    match source {
        SecretSource::Fd(fd) => {
            findings.add(Level::Note, key, format!("descriptor {fd} is opened at the start"));
        }
        SecretSource::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            None => {
                let message = format!("systemd gives the credential `{name}` at the start");
                findings.add(Level::Note, key, message);
            }
            Some(directory) => {
                let path = Path::new(&directory).join(name);
                findings.take(key, path.metadata().map_err(Error::file("read", &path)));
            }
        },
        SecretSource::File(path) => {
            findings.owner_only(key, path);
            if path.metadata().is_ok_and(|meta| meta.len() == 0) {
                findings.add(Level::Error, key, format!("`{}` is empty", path.display()));
            }
        }
    }
}
