//! What a configuration must hold beyond its types. Every rule is looked at: an operator is told of all that is broken.

use std::fmt;

use super::{Config, Rate, SecretSource, Webhook};
use crate::{ClientId, limit};

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The key.
    pub key: &'static str,
    /// What it must be.
    pub rule: &'static str,
}

/// The rules that a configuration breaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broken(Vec<Rule>);

impl Broken {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, in the order of the file's sections.
    pub fn iter(&self) -> impl Iterator<Item = Rule> {
        self.0.iter().copied()
    }

    pub(super) fn unless(&mut self, holds: bool, key: &'static str, rule: &'static str) {
        if !holds {
            self.0.push(Rule { key, rule });
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Rule { key, rule }) in self.iter().enumerate() {
            write!(f, "{}`{key}` {rule}", if at > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

/// What `config` breaks.
pub(super) fn broken_by(config: &Config) -> Broken {
    let mut broken = Broken::default();
    broken.unless(config.version == 1, "version", "must be 1");
    door(config, &mut broken);
    hsm(config, &mut broken);
    policy(config, &mut broken);
    log(config, &mut broken);
    webhooks(config, &mut broken);
    if let Some(mpc) = &config.mpc {
        mpc.rules(&mut broken);
    }
    broken
}

fn door(config: &Config, broken: &mut Broken) {
    broken.unless(
        config.listen.ops.ip().is_loopback() || !config.mode.is_production(),
        "listen.ops",
        "must be a loopback address in production",
    );
    broken.unless(
        config.tls.client_ca.is_some() || config.tls.crl.is_empty(),
        "tls.crl",
        "must be left out without `tls.client_ca`: the appliance signs the list of its own authority itself",
    );
    for (key, Rate { per_second, burst }) in
        [("rate.client", config.rate.client), ("rate.wallet", config.rate.wallet)]
    {
        broken.unless(per_second > 0 && burst > 0, key, "must be above zero");
    }
    broken.unless(
        (1..=86_400).contains(&config.officers.session_s),
        "officers.session_s",
        "must be 1 to 86400",
    );
    broken.unless(config.store.reserve_mib > 0, "store.reserve_mib", "must be above zero");
}

fn hsm(config: &Config, broken: &mut Broken) {
    let hsm = &config.hsm;
    broken.unless((1..=64).contains(&hsm.sessions), "hsm.sessions", "must be 1 to 64");
    broken.unless((1..=65_536).contains(&hsm.queue), "hsm.queue", "must be 1 to 65536");
    broken.unless((100..=60_000).contains(&hsm.call_ms), "hsm.call_ms", "must be 100 to 60000");
    broken.unless(
        !(config.mode.is_production() && matches!(hsm.pin, SecretSource::File(_))),
        "hsm.pin",
        "must be a `credential` or `fd` in production",
    );
}

fn policy(config: &Config, broken: &mut Broken) {
    let policy = &config.policy;
    broken.unless((1..=600_000).contains(&policy.proof_ms), "policy.proof_ms", "must be 1 to 600000");
    broken.unless(policy.keys.len() <= limit::POLICY_KEYS, "policy.keys", "must be at most 16");
    broken.unless(
        policy.signatures <= policy.keys.len() && (policy.signatures > 0 || policy.keys.is_empty()),
        "policy.signatures",
        "must be 1 to as many as there are `policy.keys`",
    );
    broken.unless(
        !policy.keys.is_empty() || !config.mode.is_production(),
        "policy.keys",
        "must name who signs bundles in production",
    );
}

fn log(config: &Config, broken: &mut Broken) {
    let log = &config.log;
    broken.unless(
        (1..=255).contains(&log.origin.len())
            && log.origin.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+'),
        "log.origin",
        "must be a schema-less URL: 1 to 255 visible characters without `+`",
    );
    broken.unless(log.witness.len() <= limit::WITNESSES, "log.witness", "must be at most 16");
    broken.unless(
        log.cosignatures <= log.witness.len(),
        "log.cosignatures",
        "must not be more than there are witnesses",
    );
    broken.unless(
        log.witness.iter().all(|witness| is_web(&witness.url)),
        "log.witness.url",
        "must begin with https:// or http://",
    );
    let authorities = &log.timestamp;
    broken.unless(authorities.len() <= limit::TIMESTAMP_AUTHORITIES, "log.timestamp", "must be at most 4");
    broken.unless(
        authorities.iter().all(|authority| is_web(&authority.url) && !authority.url.contains('@')),
        "log.timestamp.url",
        "must begin with https:// or http:// and hold no password",
    );
    broken.unless(
        authorities.iter().all(|authority| (1..=604_800).contains(&authority.every_s)),
        "log.timestamp.every_s",
        "must be 1 to 604800",
    );
}

fn webhooks(config: &Config, broken: &mut Broken) {
    let (all, production) = (&config.webhook, config.mode.is_production());
    let named = |webhook: &Webhook| {
        let same = all.iter().filter(|other| other.name == webhook.name).count();
        same == 1 && webhook.name.parse::<ClientId>().is_ok()
    };
    let addressed = |webhook: &Webhook| is_web(&webhook.url) && !webhook.url.contains('@');
    broken.unless(all.len() <= limit::WEBHOOKS, "webhook", "must be at most 16");
    broken.unless(all.iter().all(named), "webhook.name", "must be a name, and each another");
    broken.unless(
        all.iter().all(addressed),
        "webhook.url",
        "must begin with https:// or http:// and hold no password",
    );
    broken.unless(
        !production || all.iter().all(|webhook| webhook.url.starts_with("https://")),
        "webhook.url",
        "must begin with https:// in production",
    );
    broken.unless(
        !production || all.iter().all(|webhook| !matches!(webhook.secret, SecretSource::File(_))),
        "webhook.secret",
        "must be a `credential` or `fd` in production",
    );
}

fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}
