//! The script: what shall be done, by whom, with which keys. Canonical JSON, so that it has one hash, which people agree to
//! before the day and say aloud on it. If this is wrong, something else is done than was agreed.

use std::collections::BTreeSet;

use chancery_audit::{Digest, V1, VerifierKey, canonical};
use chancery_core::{KeyId, UnixMillis};
use chancery_hsm::{Algorithm, Use};
use serde::{Deserialize, Serialize};

use crate::error::CeremonyError;
use crate::kind::{Act, Kind};

/// LIMIT: a script, in bytes.
pub(crate) const SCRIPT_BYTES: usize = 256 * 1024;
/// LIMIT: people who sign.
const SIGNERS: usize = 16;
/// LIMIT: custodians.
const CUSTODIANS: usize = 32;
/// LIMIT: keys of one script.
const KEYS: usize = 256;

/// What somebody who signs is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Acts.
    Operator,
    /// Looks on.
    Witness,
}

impl Role {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Witness => "witness",
        }
    }
}

/// Somebody who signs every entry of the transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// What for.
    pub role: Role,
    /// The public key with its name, as `chancery policy keygen` prints it.
    pub key: String,
}

/// Somebody who shall hold a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custodian {
    /// Who.
    pub name: String,
    /// The age recipient that the share is encrypted to, `age1...`.
    pub recipient: String,
}

/// A key that the script names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedKey {
    /// `CKA_ID`.
    pub id: KeyId,
    /// `CKA_LABEL`.
    pub label: String,
    /// What it does, for a key that is made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uses: Option<Use>,
}

/// What an earlier ceremony left, by its hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Of the list of shares.
    pub shares: Digest,
    /// Of the backup, where its keys are asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backup: Option<Digest>,
}

/// What a script is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What for.
    pub kind: Kind,
    /// When it is planned.
    pub now: UnixMillis,
    /// The appliance, by its log's name.
    pub origin: String,
    /// The token's label.
    pub token: String,
    /// Who signs.
    pub signers: Vec<Person>,
    /// How many custodians must come together.
    pub threshold: usize,
    /// Who holds the shares.
    pub custodians: Vec<Custodian>,
    /// Wallets to make keys for, or the one whose seed is dealt.
    pub wallets: Vec<String>,
    /// Keys to destroy.
    pub destroy: Vec<PlannedKey>,
    /// The backup key that there is.
    pub backup_key: Option<KeyId>,
    /// What an earlier ceremony left.
    pub from: Option<Source>,
}

/// A script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The format: 1.
    pub v: V1,
    /// This ceremony, once and never again.
    pub ceremony: KeyId,
    /// What for.
    pub kind: Kind,
    /// When it was planned.
    pub planned_ms: UnixMillis,
    /// The appliance, by its log's name.
    pub origin: String,
    /// The token's label.
    pub token: String,
    /// Who signs.
    pub signers: Vec<Person>,
    /// How many custodians must come together; 0 where no shares are dealt.
    pub threshold: usize,
    /// Who holds the shares.
    pub custodians: Vec<Custodian>,
    /// The keys that are made, or destroyed.
    pub keys: Vec<PlannedKey>,
    /// The backup key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backup_key: Option<KeyId>,
    /// What an earlier ceremony left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<Source>,
    /// The wallet whose seed is dealt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wallet: Option<String>,
    /// What is done, in this order.
    pub steps: Vec<Act>,
}

fn wrong<T>(what: impl Into<String>) -> Result<T, CeremonyError> {
    Err(CeremonyError::Script(what.into()))
}

impl Script {
    /// Makes a script with fresh ids.
    ///
    /// # Errors
    /// [`CeremonyError::Script`] says what cannot be so.
    pub fn plan(plan: Plan) -> Result<Self, CeremonyError> {
        let Plan {
            kind,
            now,
            origin,
            token,
            signers,
            threshold,
            custodians,
            wallets,
            destroy,
            backup_key,
            from,
        } = plan;
        if !destroy.is_empty() && kind != Kind::Destroy {
            return wrong("destroys nothing but the backup key before it");
        }
        let mut keys = destroy;
        if kind == Kind::Initialise {
            let named = |id, label: String, uses| PlannedKey { id, label, uses: Some(uses) };
            keys.push(named(
                chancery_audit::kek_id(&origin),
                format!("chancery/log/kek/{origin}"),
                Use::Encrypt,
            ));
            let log = Use::Sign(Algorithm::Ed25519);
            keys.push(named(chancery_audit::log_key_id(&origin), format!("chancery/log/{origin}"), log));
            for wallet in &wallets {
                let label = format!("chancery/{}/{wallet}", chancery_core::Tenant::default());
                keys.push(named(KeyId::fresh(), label, Use::Sign(Algorithm::Secp256k1)));
            }
        } else if !wallets.is_empty() && kind != Kind::SeedShares {
            return wrong("makes wallets' keys on a new token alone");
        }
        let fresh = |label, uses| PlannedKey { id: KeyId::fresh(), label, uses: Some(uses) };
        match kind {
            Kind::RotateLogKey => {
                keys.push(fresh(format!("chancery/log/{origin}"), Use::Sign(Algorithm::Ed25519)));
            }
            Kind::RotateKek => {
                let seeds = format!("chancery/{}/wallet seeds", chancery_core::Tenant::default());
                let labels =
                    [format!("chancery/log/kek/{origin}"), format!("chancery/login/kek/{origin}"), seeds];
                keys.extend(labels.map(|label| fresh(label, Use::Encrypt)));
            }
            _ => {}
        }
        let backup_key = match kind {
            Kind::Initialise => Some(KeyId::fresh()),
            Kind::RotateBackupKey => {
                let Some(id) = backup_key else { return wrong("needs the backup key that there is") };
                let label = "the backup key before".to_owned();
                keys.push(PlannedKey { id, label, uses: None });
                Some(KeyId::fresh())
            }
            _ => backup_key,
        };
        let wallet = match (kind, &wallets[..]) {
            (Kind::SeedShares, [one]) => Some(one.clone()),
            (Kind::SeedShares, _) => return wrong("deals the seed of one wallet"),
            _ => None,
        };
        let script = Self {
            v: V1,
            ceremony: KeyId::fresh(),
            kind,
            planned_ms: now,
            origin,
            token,
            signers,
            threshold,
            custodians,
            keys,
            backup_key,
            from,
            wallet,
            steps: kind.acts().to_vec(),
        };
        script.check()?;
        Ok(script)
    }

    /// Reads a script.
    ///
    /// # Errors
    /// [`CeremonyError::Script`] for what is not one, is not in its one form, or cannot be carried out.
    pub fn parse(bytes: &[u8]) -> Result<Self, CeremonyError> {
        if bytes.len() > SCRIPT_BYTES {
            return wrong(format!("is longer than {SCRIPT_BYTES} bytes"));
        }
        let script: Self = serde_json::from_slice(bytes)
            .map_err(|error| CeremonyError::Script(format!("does not parse: {error}")))?;
        if script.bytes()? != bytes {
            return wrong("is not in canonical form");
        }
        script.check()?;
        Ok(script)
    }

    /// The file's bytes: canonical JSON.
    ///
    /// # Errors
    /// [`CeremonyError::Script`] for a number that canonical JSON would round.
    pub fn bytes(&self) -> Result<Vec<u8>, CeremonyError> {
        let value = serde_json::to_value(self).map_err(|error| CeremonyError::Script(error.to_string()))?;
        canonical(&value).map_err(|error| CeremonyError::Script(error.to_string()))
    }

    /// What people agree to: SHA-256 of the file.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn hash(&self) -> Result<Digest, CeremonyError> {
        Ok(Digest::of(&self.bytes()?))
    }

    /// The signers' keys, in the script's order.
    ///
    /// # Errors
    /// [`CeremonyError::Script`] for a text that is no key.
    pub fn signer_keys(&self) -> Result<Vec<VerifierKey>, CeremonyError> {
        let read = |person: &Person| {
            person
                .key
                .parse()
                .map_err(|error| CeremonyError::Script(format!("names `{}`: {error}", person.key)))
        };
        self.signers.iter().map(read).collect()
    }

    fn check(&self) -> Result<(), CeremonyError> {
        if self.steps != self.kind.acts() {
            return wrong(format!("has other steps than a ceremony `{}` has", self.kind.as_str()));
        }
        let keys = self.signer_keys()?;
        let names: BTreeSet<_> = keys.iter().map(VerifierKey::name).collect();
        let pairs: BTreeSet<_> = keys.iter().map(VerifierKey::key).collect();
        if names.len() != keys.len() || pairs.len() != keys.len() || keys.len() > SIGNERS {
            return wrong(format!(
                "needs at most {SIGNERS} signers, each with a name and a key of their own"
            ));
        }
        for role in [Role::Operator, Role::Witness] {
            if !self.signers.iter().any(|person| person.role == role) {
                return wrong("needs an operator and a witness who sign");
            }
        }
        if self.kind.deals() {
            let names: BTreeSet<_> = self.custodians.iter().map(|one| one.name.as_str()).collect();
            let recipients: BTreeSet<_> = self.custodians.iter().map(|one| &one.recipient).collect();
            let count = self.custodians.len();
            if names.len() != count || recipients.len() != count || count > CUSTODIANS {
                return wrong(format!(
                    "needs at most {CUSTODIANS} custodians, each with a name and a recipient of their own"
                ));
            }
            if !(2..=count).contains(&self.threshold) {
                return wrong("needs a threshold of at least 2 and at most the number of custodians");
            }
            for custodian in &self.custodians {
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
                let bad = |name: &str| {
                    !name.chars().all(plain) || name.starts_with('.') || !(1..=64).contains(&name.len())
                };
                if bad(&custodian.name) {
                    return wrong(format!(
                        "names a custodian `{}`: letters, digits, `-`, `_` and `.`",
                        custodian.name
                    ));
                }
                crate::share::recipient(&custodian.recipient)
                    .map_err(|what| CeremonyError::Script(format!("gives `{}` {what}", custodian.name)))?;
            }
        } else if self.threshold != 0 || !self.custodians.is_empty() {
            return wrong(format!("deals no shares in a ceremony `{}`", self.kind.as_str()));
        }
        let ids: BTreeSet<_> = self.keys.iter().map(|key| *key.id.as_bytes()).collect();
        if ids.len() != self.keys.len() || ids.len() > KEYS {
            return wrong(format!("names at most {KEYS} keys, each once"));
        }
        let asks = |wanted: bool, what: &str| if wanted { Ok(()) } else { wrong(format!("needs {what}")) };
        match self.kind {
            Kind::Initialise => {
                asks(self.backup_key.is_some() && self.from.is_none(), "a backup key, and nothing before it")
            }
            Kind::Backup | Kind::RotateBackupKey => {
                asks(self.backup_key.is_some(), "the backup key that there is")
            }
            Kind::RotateLogKey => {
                let made = Some(Use::Sign(Algorithm::Ed25519));
                asks(
                    self.keys.len() == 1 && self.keys.iter().all(|key| key.uses == made),
                    "one key that signs",
                )
            }
            Kind::RotateKek => {
                let three =
                    self.keys.len() == 3 && self.keys.iter().all(|key| key.uses == Some(Use::Encrypt));
                asks(
                    three && self.backup_key.is_some(),
                    "three keys that encrypt, and the backup key that there is",
                )
            }
            Kind::SeedShares => {
                let few = self.custodians.len() <= chancery_hd::slip39::SHARES;
                asks(
                    self.wallet.is_some() && self.keys.is_empty() && few,
                    "one wallet, and at most 16 custodians",
                )
            }
            Kind::RotateTlsKey => asks(self.keys.is_empty(), "no key of the token"),
            Kind::Restore => {
                asks(self.from.as_ref().is_some_and(|from| from.backup.is_some()), "a backup and its shares")
            }
            Kind::Reshare => asks(self.from.is_some(), "the shares that there are"),
            Kind::Destroy => asks(!self.keys.is_empty(), "keys to destroy"),
        }
    }
}
