//! What must happen besides the rule's own condition: approvals, factors, waiting, no veto. Written as annotations on a
//! permit, compiled into a condition of the policy itself, so that what is explained is also what is evaluated.
//! If the condition said less than the annotations, a request would pass without its approvals.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::span;

/// The annotations a policy may carry.
pub(crate) const ANNOTATIONS: &[&str] =
    &["id", "description", "quorum", "factor", "delay", "veto", "expires"];

/// Attributes of `context` that only obligations read.
pub(crate) const OWN_ATTRIBUTES: &[&str] = &["approvals", "factors", "vetoes", "waited_s"];

/// LIMIT: approvals that one quorum can ask for.
pub const QUORUM: u32 = 64;

/// What was done for a request so far. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Met {
    /// Approvals by distinct people, for each approver group.
    pub approvals: BTreeMap<String, u32>,
    /// Factors proved, such as `face`.
    pub factors: BTreeSet<String>,
    /// Time since the request was first decided, in milliseconds.
    pub waited_ms: i64,
    /// Approver groups that vetoed.
    pub vetoes: BTreeSet<String>,
    /// Whether the client signed the request itself (RFC 9421).
    pub request_signed: bool,
    /// Whether the signature of a cold wallet was brought.
    pub cold_signed: bool,
}

/// One thing a request still needs under one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "need", rename_all = "lowercase")]
pub enum Need {
    /// Approvals of a group.
    Quorum {
        /// The approver group.
        group: String,
        /// How many it takes.
        needed: u32,
        /// How many there are.
        have: u32,
    },
    /// A factor.
    Factor {
        /// Its name.
        factor: String,
    },
    /// Time.
    Delay {
        /// How much longer, in milliseconds.
        wait_ms: i64,
    },
    /// The signature of the cold wallet; told once nothing else is missing.
    Signature,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quorum { group, needed, have } => write!(f, "{have} of {needed} approvals by `{group}`"),
            Self::Factor { factor } => write!(f, "the factor `{factor}`"),
            Self::Delay { wait_ms } => write!(f, "{} s more of waiting", wait_ms.saturating_add(999) / 1_000),
            Self::Signature => f.write_str("the signature of the cold wallet"),
        }
    }
}

/// The obligations of one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Obligations {
    /// One stage after the other: a group of a later one is asked once the earlier ones are met.
    quorum: Vec<Vec<(String, u32)>>,
    factors: Vec<String>,
    delay_ms: Option<i64>,
    vetoes: Vec<String>,
    pub expires_ms: Option<i64>,
}

/// What the manifest declares that obligations can name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    pub approvers: Vec<String>,
    pub factors: Vec<String>,
}

impl Declared {
    fn approver(&self, name: &str) -> Result<String, String> {
        if self.approvers.iter().any(|known| known == name) {
            Ok(name.to_owned())
        } else {
            Err(format!("`{name}` is not among the `approvers` of bundle.toml"))
        }
    }

    fn factor(&self, name: &str) -> Result<String, String> {
        if self.factors.iter().any(|known| known == name) {
            Ok(name.to_owned())
        } else {
            Err(format!("`{name}` is not among the `factors` of bundle.toml"))
        }
    }
}

impl Obligations {
    /// Reads one annotation into `self`. Other annotations than obligations are left alone.
    pub fn read(&mut self, annotation: &str, value: &str, declared: &Declared) -> Result<(), String> {
        match annotation {
            "quorum" => {
                let stages = value.split(" then ").enumerate();
                for (stage, part) in stages.flat_map(|(at, text)| text.split(';').map(move |part| (at, part)))
                {
                    let form = "written as `@quorum(\"group, 2\")`, `@quorum(\"group, 2; other, 1\")` or `@quorum(\"group, 2 then other, 1\")`";
                    let (group, count) = part.split_once(',').ok_or(form)?;
                    let group = declared.approver(group.trim())?;
                    let count = count.trim();
                    let digits = count.len() <= 2 && count.bytes().all(|b| b.is_ascii_digit());
                    let needed = count.parse().ok().filter(|needed| digits && (1..=QUORUM).contains(needed));
                    let needed =
                        needed.ok_or_else(|| format!("`{count}` is not a number from 1 to {QUORUM}"))?;
                    if self.quorum().any(|(known, _)| *known == group) {
                        return Err(format!("`{group}` is named twice"));
                    }
                    self.quorum.resize(stage.saturating_add(1), Vec::new());
                    if let Some(stage) = self.quorum.get_mut(stage) {
                        stage.push((group, needed));
                    }
                }
            }
            "factor" => {
                for part in value.split(',') {
                    self.factors.push(declared.factor(part.trim())?);
                }
            }
            "veto" => {
                for part in value.split(',') {
                    self.vetoes.push(declared.approver(part.trim())?);
                }
            }
            "delay" => self.delay_ms = Some(span::parse_ms(value).ok_or(span::FORM)?),
            "expires" => self.expires_ms = Some(span::parse_ms(value).ok_or(span::FORM)?),
            _ => {}
        }
        Ok(())
    }

    /// True when the rule asks for nothing more than its condition.
    pub fn is_empty(&self) -> bool {
        self.quorum.is_empty() && self.factors.is_empty() && self.delay_ms.is_none() && self.vetoes.is_empty()
    }

    /// The approver groups whose approvals it asks for, and how many.
    pub fn quorum(&self) -> impl Iterator<Item = &(String, u32)> {
        self.quorum.iter().flatten()
    }

    /// The Cedar condition that holds when, and only when, every obligation is met. It cannot fail to evaluate: the schema
    /// makes each attribute it reads a required one.
    pub fn condition(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.quorum().map(|(group, needed)| format!("context.approvals.{group} >= {needed}")));
        parts.extend(self.factors.iter().map(|factor| format!("context.factors.contains(\"{factor}\")")));
        parts.extend(
            self.delay_ms
                .map(|delay_ms| format!("context.waited_s >= {}", delay_ms.saturating_add(999) / 1_000)),
        );
        parts.extend(self.vetoes.iter().map(|group| format!("!context.vetoes.contains(\"{group}\")")));
        parts.join(" && ")
    }

    /// Whether people must agree.
    pub fn asks_people(&self) -> bool {
        !self.quorum.is_empty()
    }

    /// The group whose veto ends this rule, if one did.
    pub fn vetoed_by(&self, met: &Met) -> Option<&str> {
        self.vetoes.iter().find(|group| met.vetoes.contains(*group)).map(String::as_str)
    }

    /// Whether a veto of this group ends the rule.
    pub fn heeds(&self, group: &str) -> bool {
        self.vetoes.iter().any(|known| known == group)
    }

    /// What is not met yet, vetoes apart: of a quorum in stages, the first that is not.
    pub fn missing(&self, met: &Met) -> Vec<Need> {
        let unmet = |(group, needed): &(String, u32)| {
            let have = met.approvals.get(group).copied().unwrap_or(0);
            (have < *needed).then(|| Need::Quorum { group: group.clone(), needed: *needed, have })
        };
        let stages = self.quorum.iter().map(|stage| stage.iter().filter_map(unmet).collect::<Vec<_>>());
        let mut needs = stages.into_iter().find(|stage| !stage.is_empty()).unwrap_or_default();
        for factor in self.factors.iter().filter(|factor| !met.factors.contains(*factor)) {
            needs.push(Need::Factor { factor: factor.clone() });
        }
        if let Some(delay_ms) = self.delay_ms
            && waited_s(met) < delay_ms.saturating_add(999) / 1_000
        {
            needs.push(Need::Delay { wait_ms: delay_ms.saturating_sub(met.waited_ms.max(0)) });
        }
        needs
    }
}

/// Whole seconds waited, as the context says them.
pub(crate) fn waited_s(met: &Met) -> i64 {
    met.waited_ms.max(0) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> Declared {
        Declared {
            approvers: vec!["treasury".into(), "risk".into()],
            factors: vec!["face".into(), "totp".into()],
        }
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Obligations, String> {
        let mut obligations = Obligations::default();
        for (annotation, value) in pairs {
            obligations.read(annotation, value, &declared())?;
        }
        Ok(obligations)
    }

    #[test]
    fn every_obligation_becomes_a_conjunct() {
        let all =
            [("quorum", "treasury, 2; risk,1"), ("factor", "face, totp"), ("delay", "24h"), ("veto", "risk")];
        assert_eq!(
            read(&all).unwrap().condition(),
            "context.approvals.treasury >= 2 && context.approvals.risk >= 1 && context.factors.contains(\"face\") && \
             context.factors.contains(\"totp\") && context.waited_s >= 86400 && !context.vetoes.contains(\"risk\")"
        );
    }

    /// Would catch a later group that is asked too early, and one that is not asked at all.
    #[test]
    fn stages_of_a_quorum_are_asked_one_after_the_other() {
        let obligations = read(&[("quorum", "treasury, 2 then risk, 1")]).unwrap();
        assert_eq!(obligations.condition(), "context.approvals.treasury >= 2 && context.approvals.risk >= 1");
        let missing = |treasury: u32, risk: u32| {
            let approvals = [("treasury".to_owned(), treasury), ("risk".to_owned(), risk)].into();
            obligations.missing(&Met { approvals, ..Met::default() })
        };
        let need = |group: &str, needed, have| vec![Need::Quorum { group: group.to_owned(), needed, have }];
        assert_eq!(missing(0, 0), need("treasury", 2, 0));
        assert_eq!(missing(1, 1), need("treasury", 2, 1));
        assert_eq!(missing(2, 0), need("risk", 1, 0));
        assert_eq!(missing(2, 1), []);
    }

    #[test]
    fn malformed_obligations_are_refused() {
        for (annotation, value) in [
            ("quorum", ""),
            ("quorum", "treasury"),
            ("quorum", "treasury, 0"),
            ("quorum", "treasury, 65"),
            ("quorum", "treasury, +2"),
            ("quorum", "treasury, -1"),
            ("quorum", "treasury, 2; treasury, 1"),
            ("quorum", "nobody, 2"),
            ("quorum", "treasury, 2;"),
            ("quorum", "treasury, 2 then"),
            ("quorum", "treasury, 2 then treasury, 1"),
            ("factor", ""),
            ("factor", "faec"),
            ("veto", "nobody"),
            ("veto", ""),
            ("delay", ""),
            ("delay", "24"),
            ("expires", "soon"),
        ] {
            assert!(read(&[(annotation, value)]).is_err(), "@{annotation}({value:?})");
        }
    }

    #[test]
    fn what_is_missing_is_told_until_it_is_met() {
        let obligations =
            read(&[("quorum", "treasury, 2"), ("factor", "face"), ("delay", "10s"), ("veto", "risk")])
                .unwrap();
        let mut met = Met::default();
        assert_eq!(obligations.missing(&met).len(), 3);
        met.approvals.insert("treasury".into(), 2);
        met.factors.insert("face".into());
        met.waited_ms = 9_999;
        assert_eq!(obligations.missing(&met), [Need::Delay { wait_ms: 1 }]);
        met.waited_ms = 10_000;
        assert_eq!(obligations.missing(&met), []);
        assert_eq!(obligations.vetoed_by(&met), None);
        met.vetoes.insert("risk".into());
        assert_eq!(obligations.vetoed_by(&met), Some("risk"));
    }
}
