//! `chancery.toml`: what an operator sets. Parsed strictly: an unknown key is an error, not a silence.
//! Relative paths are relative to the file's own folder.

mod mpc;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{ClientId, Mode, Tenant, limit};

pub use mpc::{Mpc, MpcPeer};

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file's format: 1.
    pub version: u32,
    /// `production` or `development`.
    pub mode: Mode,
    /// Where the door listens.
    pub listen: Listen,
    /// The door's certificate and whom it admits.
    pub tls: Tls,
    /// Where decisions are kept.
    pub store: Store,
    /// The transparency log.
    pub log: Log,
    /// The PKCS#11 token.
    pub hsm: Hsm,
    /// How policy bundles are taken in.
    #[serde(default)]
    pub policy: Policy,
    /// What may be asked for.
    #[serde(default)]
    pub rate: Rates,
    /// How officers log in.
    #[serde(default)]
    pub officers: Officers,
    /// Who is told what happens.
    #[serde(default)]
    pub webhook: Vec<Webhook>,
    /// Which party it is of keys that several hold, and who the others are.
    #[serde(default)]
    pub mpc: Option<Mpc>,
}

/// Listening addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The API over mutual TLS.
    pub api: SocketAddr,
    /// Health and metrics in plain HTTP, for this machine's own monitoring: keep it on loopback.
    pub ops: SocketAddr,
}

/// The door's TLS files, in PEM. They may be replaced while it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The server's certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities outside the appliance that issue client certificates. Without it, only the appliance's own does.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Their revocation lists, in PEM or DER. Where there is one, every authority needs one; without any, nothing is
    /// ever revoked.
    #[serde(default)]
    pub crl: Vec<PathBuf>,
}

/// The store's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The folder of the SQLite database.
    pub directory: PathBuf,
    /// Below this much room on its disk or the log's, in MiB, nothing new is decided.
    #[serde(default = "default_reserve_mib")]
    pub reserve_mib: u32,
}

/// The transparency log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// The log's name, in its checkpoints (C2SP tlog-checkpoint `origin`): a schema-less URL.
    pub origin: String,
    /// The folder of static tiles.
    pub directory: PathBuf,
    /// How many witnesses must have cosigned a checkpoint before a receipt under it is released.
    #[serde(default)]
    pub cosignatures: usize,
    /// Who is asked to cosign every checkpoint.
    #[serde(default)]
    pub witness: Vec<Witness>,
    /// Who is asked now and then at what time a checkpoint was there.
    #[serde(default)]
    pub timestamp: Vec<Timestamp>,
}

/// A witness (C2SP tlog-witness).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// Where `/add-checkpoint` is found. What comes back is verified under `key`, so plain HTTP is no danger to it.
    pub url: String,
    /// Its verifier key, `name+hash+base64`, got from the witness by another way.
    pub key: String,
}

/// A time-stamping authority (RFC 3161).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timestamp {
    /// Where its answers are asked for. They are verified under `ca`, so plain HTTP is no danger to them.
    pub url: String,
    /// The roots of its certificate, in PEM, got from the authority by another way.
    pub ca: PathBuf,
    /// How often it is asked at most, in seconds.
    #[serde(default = "default_every_s")]
    pub every_s: u64,
}

/// The PKCS#11 module and token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hsm {
    /// The vendor's shared object.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// Where the user PIN is read.
    pub pin: SecretSource,
    /// Sessions that sign at once.
    #[serde(default = "default_sessions")]
    pub sessions: usize,
    /// Calls that may wait.
    #[serde(default = "default_queue")]
    pub queue: usize,
    /// A call's time, in milliseconds.
    #[serde(default = "default_call_ms")]
    pub call_ms: u64,
    /// What the module reads from its environment, such as `SOFTHSM2_CONF`. Never a secret.
    #[serde(default)]
    pub environment: std::collections::BTreeMap<String, String>,
    /// The reserved argument of `C_Initialize` (NSS softokn wants one).
    #[serde(default)]
    pub init_argument: Option<String>,
    /// Keys made from now on can leave the token, wrapped under a trusted key alone: a ceremony can back them up. Without
    /// it they never leave it, and are lost with it.
    #[serde(default)]
    pub recoverable: bool,
}

/// Where a secret comes from: never the command line, never the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SecretSource {
    /// A systemd credential of this name (`LoadCredential=`), in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// An inherited file descriptor, read to its end.
    Fd(i32),
    /// A file that only its owner may read. Development only.
    File(PathBuf),
}

/// How policy bundles are taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The program that proves goals, a `cvc5`. Without it a bundle that has goals is refused.
    #[serde(default)]
    pub solver: Option<PathBuf>,
    /// How long it may take over one question, in milliseconds.
    #[serde(default = "default_proof_ms")]
    pub proof_ms: u64,
    /// Who may sign bundles: verifier keys as `chancery policy keygen` prints them.
    #[serde(default)]
    pub keys: Vec<String>,
    /// How many of them must have signed a bundle before it comes into force.
    #[serde(default)]
    pub signatures: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { solver: None, proof_ms: default_proof_ms(), keys: Vec::new(), signatures: 0 }
    }
}

/// How officers log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Officers {
    /// Which certificates are worth nothing without a session.
    pub require_session: Vec<Sessioned>,
    /// How long a session lasts, in seconds.
    pub session_s: u32,
}

/// Whose certificates may be worth nothing without a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sessioned {
    /// Those of officers.
    Officer,
    /// Those of auditors.
    Auditor,
}

impl Default for Officers {
    fn default() -> Self {
        Self { require_session: Vec::new(), session_s: limit::SESSION_S }
    }
}

/// Somebody who is told what happens, event after event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its name, under which is remembered what it was told. Another name begins anew.
    pub name: String,
    /// Where events are posted.
    pub url: String,
    /// Where the secret is read that deliveries are signed with: `whsec_` and base64 of 24 to 64 bytes (Standard Webhooks).
    pub secret: SecretSource,
    /// The client whose requests it is told of; without one, everything.
    #[serde(default)]
    pub client: Option<ClientId>,
    /// The events it is told, such as `request.released`; without any, all.
    #[serde(default)]
    pub events: Vec<String>,
    /// The roots of its certificate, in PEM; without them, those of Mozilla's list.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// What may be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// By one client, in requests of any kind.
    pub client: Rate,
    /// Of one wallet by all clients together, in sign requests.
    pub wallet: Rate,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// A second, for ever.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { per_second: 500, burst: 1_000 }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// Well-formed, but not allowed.
    #[error("`{key}` {rule}")]
    Rule {
        /// The key.
        key: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

impl Config {
    /// Parses the file's text; relative paths are taken from `base`.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and the rule it breaks.
    pub fn parse(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text)?;
        let rule = |holds: bool, key, rule| if holds { Ok(()) } else { Err(ConfigError::Rule { key, rule }) };
        rule(config.version == 1, "version", "must be 1")?;
        rule(
            config.tls.client_ca.is_some() || config.tls.crl.is_empty(),
            "tls.crl",
            "must be left out with `tls.client_ca`: the appliance signs the list of its own authority itself",
        )?;
        rule((1..=64).contains(&config.hsm.sessions), "hsm.sessions", "must be 1 to 64")?;
        rule((1..=65_536).contains(&config.hsm.queue), "hsm.queue", "must be 1 to 65536")?;
        rule((100..=60_000).contains(&config.hsm.call_ms), "hsm.call_ms", "must be 100 to 60000")?;
        for Rate { per_second, burst } in [config.rate.client, config.rate.wallet] {
            rule(per_second > 0 && burst > 0, "rate", "must be above zero")?;
        }
        rule((1..=86_400).contains(&config.officers.session_s), "officers.session_s", "must be 1 to 86400")?;
        rule(config.store.reserve_mib > 0, "store.reserve_mib", "must be above zero")?;
        rule((1..=600_000).contains(&config.policy.proof_ms), "policy.proof_ms", "must be 1 to 600000")?;
        let policy = &config.policy;
        rule(policy.keys.len() <= limit::POLICY_KEYS, "policy.keys", "must be at most 16")?;
        rule(
            policy.signatures <= policy.keys.len() && (policy.signatures > 0 || policy.keys.is_empty()),
            "policy.signatures",
            "must be 1 to as many as there are `policy.keys`",
        )?;
        rule(
            !config.log.origin.is_empty()
                && config.log.origin.len() <= 255
                && config.log.origin.bytes().all(|b| b.is_ascii_graphic() && b != b'+'),
            "log.origin",
            "must be a schema-less URL: 1 to 255 visible characters without `+`",
        )?;
        let witnesses = &config.log.witness;
        rule(witnesses.len() <= limit::WITNESSES, "log.witness", "must be at most 16")?;
        rule(
            config.log.cosignatures <= witnesses.len(),
            "log.cosignatures",
            "must not be more than there are witnesses",
        )?;
        rule(
            witnesses.iter().all(|witness| is_web(&witness.url)),
            "log.witness.url",
            "must begin with https:// or http://",
        )?;
        let authorities = &config.log.timestamp;
        rule(authorities.len() <= limit::TIMESTAMP_AUTHORITIES, "log.timestamp", "must be at most 4")?;
        rule(
            authorities.iter().all(|authority| is_web(&authority.url) && !authority.url.contains('@')),
            "log.timestamp.url",
            "must begin with https:// or http:// and hold no password",
        )?;
        rule(
            authorities.iter().all(|authority| (1..=604_800).contains(&authority.every_s)),
            "log.timestamp.every_s",
            "must be 1 to 604800",
        )?;
        config.webhooks_are_sound()?;
        if let Some(mpc) = &mut config.mpc {
            mpc.settle(base)?;
        }
        rule(
            config.listen.ops.ip().is_loopback() || !config.mode.is_production(),
            "listen.ops",
            "must be a loopback address in production",
        )?;
        if let SecretSource::File(_) = config.hsm.pin {
            rule(!config.mode.is_production(), "hsm.pin", "must be a `credential` or `fd` in production")?;
        }
        rule(
            config.policy.signatures > 0 || !config.mode.is_production(),
            "policy.keys",
            "must name who signs bundles in production",
        )?;
        for path in [
            &mut config.tls.certificate,
            &mut config.tls.key,
            &mut config.store.directory,
            &mut config.log.directory,
        ] {
            *path = base.join(&*path);
        }
        for path in [&mut config.policy.solver, &mut config.tls.client_ca].into_iter().flatten() {
            *path = base.join(&*path);
        }
        for path in config.tls.crl.iter_mut().chain(config.log.timestamp.iter_mut().map(|one| &mut one.ca)) {
            *path = base.join(&*path);
        }
        for path in config.webhook.iter_mut().filter_map(|webhook| webhook.ca.as_mut()) {
            *path = base.join(&*path);
        }
        let secrets = config.webhook.iter_mut().map(|webhook| &mut webhook.secret);
        for source in secrets.chain([&mut config.hsm.pin]) {
            if let SecretSource::File(path) = source {
                *path = base.join(&*path);
            }
        }
        Ok(config)
    }

    fn webhooks_are_sound(&self) -> Result<(), ConfigError> {
        let production = self.mode.is_production();
        let all = |key, rule, holds: &dyn Fn(&Webhook) -> bool| match self.webhook.iter().all(holds) {
            true => Ok(()),
            false => Err(ConfigError::Rule { key, rule }),
        };
        let named = |webhook: &Webhook| {
            let same = self.webhook.iter().filter(|other| other.name == webhook.name).count();
            same == 1 && webhook.name.parse::<ClientId>().is_ok()
        };
        if self.webhook.len() > limit::WEBHOOKS {
            return Err(ConfigError::Rule { key: "webhook", rule: "must be at most 16" });
        }
        all("webhook.name", "must be a name, and each another", &named)?;
        all("webhook.url", "must begin with https:// or http:// and hold no password", &|webhook| {
            is_web(&webhook.url) && !webhook.url.contains('@')
        })?;
        all("webhook.url", "must begin with https:// in production", &|webhook| {
            webhook.url.starts_with("https://") || !production
        })?;
        all("webhook.secret", "must be a `credential` or `fd` in production", &|webhook| {
            !matches!(webhook.secret, SecretSource::File(_)) || !production
        })
    }

    /// The tenant of an appliance that serves one.
    #[must_use]
    pub fn tenant(&self) -> Tenant {
        Tenant::default()
    }
}

fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

fn default_every_s() -> u64 {
    3_600
}
fn default_sessions() -> usize {
    4
}
fn default_reserve_mib() -> u32 {
    limit::RESERVE_MIB
}
fn default_queue() -> usize {
    limit::HSM_QUEUE
}
fn default_call_ms() -> u64 {
    limit::HSM_CALL_MS
}
fn default_proof_ms() -> u64 {
    limit::PROOF_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        version = 1
        mode = "development"
        listen = { api = "127.0.0.1:8443", ops = "127.0.0.1:9443" }
        tls = { certificate = "pki/server.pem", key = "pki/server-key.pem", client_ca = "pki/ca.pem", crl = ["pki/ca.crl"] }
        store = { directory = "store" }
        log = { origin = "localhost/chancery", directory = "log" }
        [hsm]
        module = "/usr/lib/softhsm/libsofthsm2.so"
        token = "chancery"
        pin = { file = "hsm/pin" }
    "#;

    #[test]
    fn paths_follow_the_file() {
        let config = Config::parse(GOOD, Path::new("/srv/c")).unwrap();
        assert_eq!(config.tls.key, Path::new("/srv/c/pki/server-key.pem"));
        assert_eq!(config.tls.crl, [Path::new("/srv/c/pki/ca.crl")]);
        assert_eq!(config.hsm.pin, SecretSource::File("/srv/c/hsm/pin".into()));
    }

    #[test]
    fn lists_of_no_authority_are_refused() {
        let without = GOOD.replace(", client_ca = \"pki/ca.pem\"", "");
        let error = Config::parse(&without, Path::new("/")).unwrap_err();
        assert!(error.to_string().starts_with("`tls.crl`"), "{error}");
        let neither = without.replace(", crl = [\"pki/ca.crl\"]", "");
        assert_eq!(Config::parse(&neither, Path::new("/")).unwrap().tls.client_ca, None);
    }

    #[test]
    fn production_refuses_what_development_allows() {
        let error = Config::parse(&GOOD.replace("development", "production"), Path::new("/")).unwrap_err();
        assert_eq!(error.to_string(), "`hsm.pin` must be a `credential` or `fd` in production");
        let open = GOOD
            .replace("development", "production")
            .replace("{ file = \"hsm/pin\" }", "{ fd = 3 }")
            .replace("127.0.0.1:9443", "0.0.0.0:9443");
        assert!(Config::parse(&open, Path::new("/")).is_err());
        let alone = open.replace("0.0.0.0", "127.0.0.1");
        let error = Config::parse(&alone, Path::new("/")).unwrap_err();
        assert_eq!(error.to_string(), "`policy.keys` must name who signs bundles in production");
        let signed = format!("{alone}\n[policy]\nkeys = [\"ann\"]\nsignatures = 1\n");
        assert!(Config::parse(&signed, Path::new("/")).is_ok());
    }

    #[test]
    fn signatures_are_as_many_as_there_can_be() {
        for bad in ["signatures = 1", "keys = [\"ann\"]", "keys = [\"ann\"]\nsignatures = 2"] {
            let error = Config::parse(&format!("{GOOD}\n[policy]\n{bad}\n"), Path::new("/")).unwrap_err();
            assert!(error.to_string().starts_with("`policy.signatures`"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_quorum_that_can_never_be_met_is_refused() {
        let with = |log: &str| {
            let inline = "log = { origin = \"localhost/chancery\", directory = \"log\" }";
            let text = GOOD.replace(inline, "") + "[log]\norigin = \"o\"\ndirectory = \"log\"\n" + log;
            Config::parse(&text, Path::new("/"))
        };
        let one = "[[log.witness]]\nurl = \"http://127.0.0.1:1\"\nkey = \"k\"\n";
        assert_eq!(with(&format!("cosignatures = 1\n{one}")).unwrap().log.cosignatures, 1);
        let error = with(&format!("cosignatures = 2\n{one}")).unwrap_err();
        assert_eq!(error.to_string(), "`log.cosignatures` must not be more than there are witnesses");
        assert!(with(&one.replace("http:", "ftp:")).is_err());
    }

    #[test]
    fn an_authority_is_asked_within_bounds_and_without_a_password() {
        let with = |authority: &str| {
            let log = format!("directory = \"log\", timestamp = [{{ {authority} }}] }}");
            Config::parse(&GOOD.replace("directory = \"log\" }", &log), Path::new("/srv/c"))
        };
        let good = "url = \"http://127.0.0.1:1\", ca = \"tsa.pem\"";
        let config = with(good).unwrap();
        assert_eq!(
            (&*config.log.timestamp[0].ca, config.log.timestamp[0].every_s),
            (Path::new("/srv/c/tsa.pem"), 3_600)
        );
        assert!(with(&format!("{good}, every_s = 604800")).is_ok());
        for bad in [
            format!("{good}, every_s = 0"),
            format!("{good}, every_s = 604801"),
            good.replace("http:", "ftp:"),
            good.replace("127", "a:b@127"),
            [good; 5].join(" }, { "),
        ] {
            let error = with(&bad).unwrap_err().to_string();
            assert!(error.starts_with("`log.timestamp"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_webhook_is_named_once_and_in_production_told_over_tls() {
        let hook = |name: &str, url: &str, secret: &str| {
            format!("\n[[webhook]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret = {secret}\n")
        };
        let file = "{ file = \"hook\" }";
        let good = hook("ledger", "http://127.0.0.1:1", file);
        let config = Config::parse(&format!("{GOOD}{good}"), Path::new("/srv/c")).unwrap();
        assert_eq!(config.webhook[0].secret, SecretSource::File("/srv/c/hook".into()));
        for (hooks, key) in [
            (format!("{good}{good}"), "webhook.name"),
            (hook("a b", "http://127.0.0.1:1", file), "webhook.name"),
            (hook("ledger", "ftp://127.0.0.1:1", file), "webhook.url"),
            (hook("ledger", "https://a:b@127.0.0.1:1", file), "webhook.url"),
        ] {
            let error = Config::parse(&format!("{GOOD}{hooks}"), Path::new("/")).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{key}`")), "{hooks}: {error}");
        }
        let production =
            GOOD.replace("development", "production").replace("{ file = \"hsm/pin\" }", "{ fd = 3 }")
                + "[policy]\nkeys = [\"ann\"]\nsignatures = 1\n";
        for (hooks, key) in
            [(good, "webhook.url"), (hook("ledger", "https://127.0.0.1:1", file), "webhook.secret")]
        {
            let error =
                Config::parse(&format!("{production}{hooks}"), Path::new("/")).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{key}`")), "{hooks}: {error}");
        }
        let sound = hook("ledger", "https://127.0.0.1:1", "{ fd = 4 }");
        assert!(Config::parse(&format!("{production}{sound}"), Path::new("/")).is_ok());
    }

    #[test]
    fn unknown_keys_and_versions_are_refused() {
        assert!(Config::parse(&GOOD.replace("token =", "tokn ="), Path::new("/")).is_err());
        assert!(Config::parse(&GOOD.replace("version = 1", "version = 2"), Path::new("/")).is_err());
    }
}
