//! `chancery.toml`: what an operator sets. Parsed strictly: an unknown key is an error, not a silence.
//! Relative paths are relative to the file's own folder.

mod mpc;
mod rules;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{ClientId, Mode, Tenant, limit};

pub use mpc::{Mpc, MpcPeer};
pub use rules::{Broken, Rule};

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
    /// Folders that the module writes to, such as the one with SoftHSM2's tokens. It can write nowhere else, devices apart.
    #[serde(default)]
    pub writable: Vec<PathBuf>,
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

impl SecretSource {
    fn path(&mut self) -> Option<&mut PathBuf> {
        if let Self::File(path) = self { Some(path) } else { None }
    }
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
    #[error("{0}")]
    Rules(Broken),
}

impl Config {
    /// Parses the file's text; relative paths are taken from `base`.
    ///
    /// # Errors
    /// [`ConfigError`] names each key whose rule is broken.
    pub fn parse(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let (config, broken) = Self::examine(text, base)?;
        if broken.is_empty() { Ok(config) } else { Err(ConfigError::Rules(broken)) }
    }

    /// Parses as [`Self::parse`] does, and hands out what breaks the rules beside what they leave to look at.
    ///
    /// # Errors
    /// Where the text is no configuration at all.
    pub fn examine(text: &str, base: &Path) -> Result<(Self, Broken), toml::de::Error> {
        let mut config: Self = toml::from_str(text)?;
        let broken = rules::broken_by(&config);
        config.rebase(base);
        Ok((config, broken))
    }

    /// Takes relative paths from `base`.
    fn rebase(&mut self, base: &Path) {
        let settle = |path: &mut PathBuf| *path = base.join(&*path);
        settle(&mut self.tls.certificate);
        settle(&mut self.tls.key);
        self.tls.client_ca.iter_mut().chain(&mut self.tls.crl).for_each(settle);
        settle(&mut self.store.directory);
        settle(&mut self.log.directory);
        self.log.timestamp.iter_mut().map(|authority| &mut authority.ca).for_each(settle);
        self.hsm.pin.path().into_iter().chain(&mut self.hsm.writable).for_each(settle);
        self.policy.solver.iter_mut().for_each(settle);
        for webhook in &mut self.webhook {
            webhook.ca.iter_mut().chain(webhook.secret.path()).for_each(settle);
        }
        self.mpc.iter_mut().flat_map(|mpc| &mut mpc.peer).map(|peer| &mut peer.identity).for_each(settle);
    }

    /// The tenant of an appliance that serves one.
    #[must_use]
    pub fn tenant(&self) -> Tenant {
        Tenant::default()
    }
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
mod tests;
