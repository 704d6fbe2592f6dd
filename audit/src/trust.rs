//! `trust.json`: which log a stranger believes, `{"v":1,"origin":"...","log_keys":["<vkey>"]}`; in format 2 which witnesses,
//! `"witness_keys":["<vkey>"],"cosignatures":<n>`; in format 3, with or without those, `"ml_dsa_keys":["<vkey>"]`; in format 4,
//! with or without all those, who signs policy bundles, `"policy_keys":["<vkey>"],"policy_signatures":<n>`; in format 6 the logs of
//! the other parties of keys that several hold, by their numbers, `"parties":{"2":{...}}`, each as a trust file of its own.
//! Everything an offline verification proves is proved relative to this file, so it must come by another way than the receipts.

use std::collections::BTreeMap;

use chancery_core::limit;
use serde::{Deserialize, Serialize};

use crate::canonical::refuse_repeated_names;
use crate::endorsement::{EndorsementError, Endorsers};
use crate::note::{CosignerKey, MlDsaKey, NamedKey, NoteError, VerifierKey, is_name};
use crate::rotation::{LogKeys, Retired, Turn};

/// LIMIT: a trust file, in bytes.
pub const TRUST_BYTES: usize = 64 * 1024;
/// LIMIT: the keys of one log and kind, those of past years included.
pub const LOG_KEYS: usize = 16;

/// Why a trust file is refused.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Longer than [`TRUST_BYTES`].
    #[error("the trust file is longer than {TRUST_BYTES} bytes")]
    TooLong,
    /// Not the JSON it must be.
    #[error("the trust file does not parse: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Well-formed, but not allowed.
    #[error("the trust file {0}")]
    Rule(&'static str),
    /// A key that is none.
    #[error("`log_keys` holds a text that is {0}")]
    Key(#[source] NoteError),
    /// An ML-DSA key that is none.
    #[error("`ml_dsa_keys` holds a text that is {0}")]
    MlDsa(#[source] NoteError),
    /// A witness's key that is none.
    #[error("`witness_keys` holds a text that is {0}")]
    Witness(#[source] NoteError),
    /// Policy keys that are none, or break a rule.
    #[error("the trust file's policy keys are refused: {0}")]
    Policy(#[source] EndorsementError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    v: u8,
    origin: String,
    log_keys: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ml_dsa_keys: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    witness_keys: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    cosignatures: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    policy_keys: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    policy_signatures: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    retired: Option<Vec<RetiredKey>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    parties: Option<BTreeMap<u8, File>>,
}

/// A key of the log, by its text, that signed no checkpoint of more entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetiredKey {
    key: String,
    size: u64,
}

/// A log's name, the keys that sign its checkpoints, and the witnesses of whom some must have cosigned. Where it has keys of
/// both kinds, one of each must have signed. Who signs policy bundles is asked of the log's policy entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    origin: String,
    log_keys: Vec<VerifierKey>,
    ml_dsa_keys: Vec<MlDsaKey>,
    witness_keys: Vec<CosignerKey>,
    quorum: usize,
    endorsers: Endorsers,
    retired: Vec<RetiredKey>,
    parties: BTreeMap<u8, Trust>,
}

impl Trust {
    /// Trust in one key. Its name must be the log's origin.
    ///
    /// # Errors
    /// [`NoteError::Key`] where `origin` cannot name a key.
    pub fn in_key(origin: &str, public_key: [u8; 32]) -> Result<Self, NoteError> {
        let log_keys = vec![VerifierKey::new(origin, public_key)?];
        Ok(Self::plain(origin.to_owned(), log_keys))
    }

    fn plain(origin: String, log_keys: Vec<VerifierKey>) -> Self {
        Self {
            origin,
            log_keys,
            ml_dsa_keys: Vec::new(),
            witness_keys: Vec::new(),
            quorum: 0,
            endorsers: Endorsers::default(),
            retired: Vec::new(),
            parties: BTreeMap::new(),
        }
    }

    /// The same log, whose keys other parties hold too: the log of each of those, by its number.
    ///
    /// # Errors
    /// [`TrustError::Rule`] for a number that no party has, and for one party's log that is another's or names parties itself.
    pub fn with_parties(self, parties: BTreeMap<u8, Self>) -> Result<Self, TrustError> {
        let rule = |holds: bool, rule| if holds { Ok(()) } else { Err(TrustError::Rule(rule)) };
        rule(
            parties.keys().all(|party| (1..=limit::PARTIES).contains(party)),
            "numbers a party otherwise than 1 to 16",
        )?;
        rule(parties.values().all(|log| log.parties.is_empty()), "names parties of a party")?;
        let logs: Vec<_> = parties.values().chain([&self]).collect();
        for (at, log) in logs.iter().enumerate() {
            let of_another = |key: &VerifierKey| {
                logs.iter().take(at).any(|other| other.log_keys.iter().any(|known| known.key() == key.key()))
            };
            // One log would count for two parties.
            rule(!log.log_keys.iter().any(of_another), "has one log for two parties")?;
        }
        Ok(Self { parties, ..self })
    }

    /// The log of another party.
    #[must_use]
    pub fn party(&self, number: u8) -> Option<&Self> {
        self.parties.get(&number)
    }

    /// The same log, believed only where one of these keys has signed too; none asks for no such signature.
    ///
    /// # Errors
    /// [`TrustError::Rule`] for too many keys, or one of another name than the log's.
    pub fn with_ml_dsa(self, ml_dsa_keys: Vec<MlDsaKey>) -> Result<Self, TrustError> {
        if ml_dsa_keys.len() > LOG_KEYS {
            return Err(TrustError::Rule("must hold at most 16 ML-DSA keys"));
        }
        if ml_dsa_keys.iter().any(|key| key.name() != self.origin) {
            return Err(TrustError::Rule("holds a key of another name than the origin"));
        }
        Ok(Self { ml_dsa_keys, ..self })
    }

    /// The same log, believed only where `quorum` of these witnesses have cosigned.
    ///
    /// # Errors
    /// [`TrustError::Rule`]: one key under two names would count twice, the log's own key is no witness, and a quorum of
    /// more than all can never be met.
    pub fn with_witnesses(self, witness_keys: Vec<CosignerKey>, quorum: usize) -> Result<Self, TrustError> {
        let rule = |holds: bool, rule| if holds { Ok(()) } else { Err(TrustError::Rule(rule)) };
        rule(witness_keys.len() <= limit::WITNESSES, "must hold at most 16 witnesses")?;
        rule(quorum <= witness_keys.len(), "asks for more cosignatures than it has witnesses")?;
        for (at, key) in witness_keys.iter().enumerate() {
            let others = || witness_keys.iter().take(at);
            rule(others().all(|other| other.key() != key.key()), "holds one witness's key twice")?;
            rule(others().all(|other| other.name() != key.name()), "holds two witnesses of one name")?;
            rule(
                self.log_keys.iter().all(|log| log.key() != key.key()),
                "holds the log's own key as a witness",
            )?;
        }
        Ok(Self { witness_keys, quorum, ..self })
    }

    /// The same log, believed only where each policy bundle is signed by as many of these as they say.
    #[must_use]
    pub fn with_endorsers(self, endorsers: Endorsers) -> Self {
        Self { endorsers, ..self }
    }

    /// The same log, whose checkpoints of up to so many entries these keys signed before they were rotated.
    ///
    /// # Errors
    /// As [`Self::with_ml_dsa`].
    pub fn with_retired(mut self, retired: &[Retired]) -> Result<Self, TrustError> {
        for Retired { keys, size } in retired.iter().rev() {
            let texts =
                std::iter::once(keys.key.to_string()).chain(keys.ml_dsa.iter().map(ToString::to_string));
            let texts: Vec<_> = texts.collect();
            self.retired.retain(|known| !texts.contains(&known.key));
            self.retired.extend(texts.into_iter().map(|key| RetiredKey { key, size: *size }));
            if !self.log_keys.contains(&keys.key) {
                self.log_keys.insert(0, keys.key.clone());
            }
            if let Some(key) = keys.ml_dsa.as_ref().filter(|key| !self.ml_dsa_keys.contains(key)) {
                self.ml_dsa_keys.insert(0, key.clone());
            }
        }
        self.retired.sort_by(|one, other| (one.size, &one.key).cmp(&(other.size, &other.key)));
        self.whole()
    }

    /// The same log after rotations that its trusted keys vouched for.
    ///
    /// # Errors
    /// As [`Self::with_ml_dsa`].
    pub(crate) fn after(mut self, turns: &[Turn]) -> Result<Self, TrustError> {
        for LogKeys { key, ml_dsa } in turns.iter().flat_map(|turn| [&turn.before, &turn.after]) {
            if !self.log_keys.contains(key) {
                self.log_keys.push(key.clone());
            }
            if let Some(key) = ml_dsa.as_ref().filter(|key| !self.ml_dsa_keys.contains(key)) {
                self.ml_dsa_keys.push(key.clone());
            }
        }
        let retired = |turn: &Turn| Retired { keys: turn.before.clone(), size: turn.leaf };
        self.with_retired(&turns.iter().map(retired).collect::<Vec<_>>())
    }

    /// Whether keys and retirements go together.
    fn whole(self) -> Result<Self, TrustError> {
        let rule = |holds: bool, rule| if holds { Ok(()) } else { Err(TrustError::Rule(rule)) };
        let texts: Vec<_> = self.log_keys.iter().map(ToString::to_string).collect();
        let others = self.ml_dsa_keys.iter().map(ToString::to_string);
        let known: Vec<_> = texts.iter().cloned().chain(others).collect();
        let count = |key: &str| self.retired.iter().filter(|retired| retired.key == key).count();
        rule(
            texts.len() <= LOG_KEYS && self.ml_dsa_keys.len() <= LOG_KEYS,
            "must hold at most 16 keys of a kind",
        )?;
        rule(
            self.retired.iter().all(|retired| known.contains(&retired.key)),
            "retires a key that it does not hold",
        )?;
        rule(known.iter().all(|key| count(key) <= 1), "retires a key twice")?;
        rule(texts.iter().any(|key| count(key) == 0), "retires every log key")?;
        Ok(self)
    }

    /// Whether a key may have signed a checkpoint of so many entries: it was not retired before.
    pub(crate) fn may_sign<const TYPE: u8, const LEN: usize>(
        &self,
        key: &NamedKey<TYPE, LEN>,
        size: u64,
    ) -> bool {
        if self.retired.is_empty() {
            return true;
        }
        let text = key.to_string();
        self.retired.iter().all(|retired| retired.key != text || size <= retired.size)
    }

    /// The same log and witnesses, without asking for any cosignature.
    #[must_use]
    pub fn without_quorum(&self) -> Self {
        Self { quorum: 0, ..self.clone() }
    }

    /// What the log itself asks of a head it remembers: its Ed25519 signature.
    pub(crate) fn in_own_word(&self) -> Self {
        Self { ml_dsa_keys: Vec::new(), quorum: 0, ..self.clone() }
    }

    /// Reads `trust.json`, of format 1 to 6.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        if bytes.len() > TRUST_BYTES {
            return Err(TrustError::TooLong);
        }
        refuse_repeated_names(bytes)?;
        Self::read(serde_json::from_slice(bytes)?)
    }

    fn read(file: File) -> Result<Self, TrustError> {
        let parties = match (file.v, file.parties) {
            (1..=5, None) => BTreeMap::new(),
            (6, Some(parties)) if !parties.is_empty() => parties
                .into_iter()
                .map(|(number, file)| match &file.parties {
                    None => Ok((number, Self::read(file)?)),
                    Some(_) => Err(TrustError::Rule("names parties of a party")),
                })
                .collect::<Result<_, TrustError>>()?,
            _ => return Err(TrustError::Rule("has `parties` in format 6, and only there")),
        };
        let (witness_keys, quorum) = match (file.v, file.witness_keys, file.cosignatures) {
            (1 | 3..=6, None, None) => (Vec::new(), 0),
            (2..=6, Some(keys), Some(quorum)) => (keys, quorum),
            (1..=6, ..) => {
                return Err(TrustError::Rule(
                    "has `witness_keys` and `cosignatures` together, from format 2 on, and in 2 always",
                ));
            }
            _ => return Err(TrustError::Rule("is of a format that this program does not read")),
        };
        let ml_dsa_keys = match (file.v, file.ml_dsa_keys) {
            (1 | 2 | 4..=6, None) => Vec::new(),
            (3..=6, Some(keys)) if !keys.is_empty() => keys,
            _ => return Err(TrustError::Rule("has `ml_dsa_keys` in format 3, and may have them from 4 on")),
        };
        let endorsers = match (file.v, file.policy_keys, file.policy_signatures) {
            (1..=3 | 5 | 6, None, None) => Endorsers::default(),
            (4..=6, Some(keys), Some(needed)) if !keys.is_empty() => {
                Endorsers::new(&keys, needed).map_err(TrustError::Policy)?
            }
            _ => {
                return Err(TrustError::Rule(
                    "has `policy_keys` and `policy_signatures` together, in format 4 and perhaps later",
                ));
            }
        };
        let retired = match (file.v, file.retired) {
            (1..=4 | 6, None) => Vec::new(),
            (5 | 6, Some(retired)) if !retired.is_empty() => retired,
            _ => return Err(TrustError::Rule("has `retired` keys in format 5, and perhaps in 6")),
        };
        if !is_name(&file.origin) {
            return Err(TrustError::Rule("names an origin that is empty or holds spaces or `+`"));
        }
        if !(1..=LOG_KEYS).contains(&file.log_keys.len()) {
            return Err(TrustError::Rule("must hold 1 to 16 log keys"));
        }
        let log_keys = file
            .log_keys
            .iter()
            .map(|text| text.parse().map_err(TrustError::Key))
            .collect::<Result<Vec<VerifierKey>, _>>()?;
        if log_keys.iter().any(|key| key.name() != file.origin) {
            return Err(TrustError::Rule("holds a key of another name than the origin"));
        }
        let ml_dsa_keys = ml_dsa_keys
            .iter()
            .map(|text| text.parse().map_err(TrustError::MlDsa))
            .collect::<Result<Vec<MlDsaKey>, _>>()?;
        let witness_keys = witness_keys
            .iter()
            .map(|text| text.parse().map_err(TrustError::Witness))
            .collect::<Result<Vec<CosignerKey>, _>>()?;
        let trust = Self::plain(file.origin, log_keys)
            .with_endorsers(endorsers)
            .with_ml_dsa(ml_dsa_keys)?
            .with_witnesses(witness_keys, quorum)?;
        Self { retired, ..trust }.whole()?.with_parties(parties)
    }

    /// The file's text, in the lowest format that can say it.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Fields of plain text and numbers always encode.
        serde_json::to_string_pretty(&self.file()).unwrap_or_default() + "\n"
    }

    fn file(&self) -> File {
        let witnessed = !self.witness_keys.is_empty();
        let doubly = !self.ml_dsa_keys.is_empty();
        let endorsed = !self.endorsers.keys().is_empty();
        File {
            v: match (endorsed, doubly, witnessed) {
                _ if !self.parties.is_empty() => 6,
                _ if !self.retired.is_empty() => 5,
                (true, ..) => 4,
                (false, true, _) => 3,
                (false, false, true) => 2,
                (false, false, false) => 1,
            },
            origin: self.origin.clone(),
            log_keys: self.log_keys.iter().map(ToString::to_string).collect(),
            ml_dsa_keys: doubly.then(|| self.ml_dsa_keys.iter().map(ToString::to_string).collect()),
            witness_keys: witnessed.then(|| self.witness_keys.iter().map(ToString::to_string).collect()),
            cosignatures: witnessed.then_some(self.quorum),
            policy_keys: endorsed.then(|| self.endorsers.keys().iter().map(ToString::to_string).collect()),
            policy_signatures: endorsed.then_some(self.endorsers.needed()),
            retired: (!self.retired.is_empty()).then(|| self.retired.clone()),
            parties: (!self.parties.is_empty())
                .then(|| self.parties.iter().map(|(party, log)| (*party, log.file())).collect()),
        }
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The Ed25519 keys that sign its checkpoints.
    #[must_use]
    pub fn log_keys(&self) -> &[VerifierKey] {
        &self.log_keys
    }

    /// The ML-DSA-44 keys that sign them too.
    #[must_use]
    pub fn ml_dsa_keys(&self) -> &[MlDsaKey] {
        &self.ml_dsa_keys
    }

    /// The witnesses that are believed.
    #[must_use]
    pub fn witness_keys(&self) -> &[CosignerKey] {
        &self.witness_keys
    }

    /// How many of them must have cosigned a checkpoint.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.quorum
    }

    /// Who must have signed the bundles of the log's policy entries.
    #[must_use]
    pub fn endorsers(&self) -> &Endorsers {
        &self.endorsers
    }
}
