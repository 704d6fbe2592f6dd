//! Goals: what a bundle must keep for every request there could be. Written in the bundle, so they are hashed, reviewed and
//! proved with it. Read strictly: a goal that cannot be understood, or could never be broken, is a finding.

use std::collections::BTreeSet;

use cedar_policy::{Policy, PolicyId, Schema};
use chancery_intent::model::Kind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use toml::Spanned;

use crate::bundle::Bundle;
use crate::depth;
use crate::error::{FindingCode, Findings, Text};
use crate::manifest;
use crate::name::{NAME_FORM, is_name};
use crate::obligation::{Declared, Obligations};
use crate::proof::condition;
use crate::rule::{self, Found, Vocabulary};

/// LIMIT: goals of one bundle.
pub const GOALS: usize = 256;

const SCOPE: &str = "permit (principal, action, resource) when { ";
const FORMS: &str = "a goal says one of `allowed = \"never\"`, `allowed_only = \"<condition>\"`, or what it takes: `quorum`, `factor`, \
     `delay`, `veto`, written as on a policy";

/// A goal, for listings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GoalSummary {
    /// Its name.
    pub name: String,
    /// What it is for, in words.
    pub description: String,
    /// Its file in the bundle.
    pub file: String,
    /// Its line there.
    pub line: u32,
    /// What it claims, in one sentence.
    pub claim: String,
}

/// A goal ready to be proved.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    pub summary: GoalSummary,
    /// The kinds of effect it is about.
    pub kinds: BTreeSet<Kind>,
    /// Holds of an allowed effect that breaks the goal, in Cedar's JSON.
    pub broken: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "goal")]
    goals: Vec<Spanned<Entry>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Allowed {
    Never,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    description: String,
    #[serde(default)]
    actions: Vec<Kind>,
    when: Option<Spanned<String>>,
    allowed: Option<Allowed>,
    allowed_only: Option<Spanned<String>>,
    quorum: Option<String>,
    factor: Option<String>,
    delay: Option<String>,
    veto: Option<String>,
}

/// What goals are read with.
pub(crate) struct Reader<'a> {
    pub schema: &'a Schema,
    pub declared: &'a Declared,
    pub vocabulary: &'a Vocabulary<'a>,
}

type Refusal = (usize, FindingCode, String, String);

impl Reader<'_> {
    /// Reads every goal file.
    pub fn read<'a>(&self, files: impl Iterator<Item = Text<'a>>, findings: &mut Findings) -> Vec<Goal> {
        let (mut goals, mut taken) = (Vec::new(), BTreeSet::new());
        for at in files {
            let Some(file) = manifest::parse::<File>(at, findings) else { continue };
            if goals.len().saturating_add(file.goals.len()) > GOALS {
                findings.add(at, None, FindingCode::Size, format!("more than {GOALS} goals"), "");
                return goals;
            }
            for entry in file.goals {
                let offset = entry.span().start;
                let entry = entry.into_inner();
                if !taken.insert(entry.name.clone()) {
                    let message = format!("`{}` names two goals", entry.name);
                    findings.add(at, Some(offset), FindingCode::Duplicate, message, "");
                }
                match self.goal(at, offset, &entry, findings) {
                    Ok(goal) => goals.push(goal),
                    Err((offset, code, message, hint)) => {
                        findings.add(at, Some(offset), code, message, &hint);
                    }
                }
            }
        }
        goals
    }

    fn goal(
        &self,
        at: Text<'_>,
        offset: usize,
        entry: &Entry,
        findings: &mut Findings,
    ) -> Result<Goal, Refusal> {
        let refuse = |message: String, hint: &str| (offset, FindingCode::Value, message, hint.to_owned());
        if !is_name(&entry.name) {
            return Err(refuse(format!("`{}` cannot name a goal", entry.name), NAME_FORM));
        }
        let kinds: BTreeSet<Kind> = match entry.actions.as_slice() {
            [] => Kind::ALL.iter().copied().filter(|kind| kind.is_signing()).collect(),
            named => named.iter().copied().collect(),
        };
        let mut broken = Vec::new();
        let mut claim = String::new();
        if let Some(when) = &entry.when {
            broken.push(self.condition(at, when, &kinds, findings)?);
            claim = format!("when {}: ", one_line(when.get_ref()));
        }
        let obligations = self.obligations(entry).map_err(|hint| {
            let message = format!("goal `{}`: an obligation that cannot be read", entry.name);
            (offset, FindingCode::ObligationMalformed, message, hint)
        })?;
        match (entry.allowed, &entry.allowed_only, obligations.is_empty()) {
            (Some(Allowed::Never), None, true) => claim += "never allowed",
            (None, Some(only), true) => {
                broken.push(condition::not(self.condition(at, only, &kinds, findings)?));
                claim += &format!("allowed only if {}", one_line(only.get_ref()));
            }
            (None, None, false) => {
                let needed = obligations.condition();
                let parsed = condition::parse(&needed)
                    .map_err(|reason| refuse(reason, "the obligations do not compile"))?;
                broken.push(condition::not(parsed));
                claim += &format!("allowed only if {needed}");
            }
            _ => return Err(refuse(format!("goal `{}` does not say one thing", entry.name), FORMS)),
        }
        let (line, _) = at.place(offset);
        let summary = GoalSummary {
            name: entry.name.clone(),
            description: entry.description.clone(),
            file: at.file.to_owned(),
            line,
            claim,
        };
        Ok(Goal { summary, kinds, broken: condition::all(broken) })
    }

    fn obligations(&self, entry: &Entry) -> Result<Obligations, String> {
        let mut obligations = Obligations::default();
        for (annotation, value) in [
            ("quorum", &entry.quorum),
            ("factor", &entry.factor),
            ("delay", &entry.delay),
            ("veto", &entry.veto),
        ] {
            if let Some(value) = value {
                obligations.read(annotation, value, self.declared)?;
            }
        }
        Ok(obligations)
    }

    /// Checks a condition as strictly as a policy's. Its own findings are added; a refusal is only for what is no Cedar.
    fn condition(
        &self,
        at: Text<'_>,
        written: &Spanned<String>,
        kinds: &BTreeSet<Kind>,
        findings: &mut Findings,
    ) -> Result<Value, Refusal> {
        let offset = written.span().start;
        let refuse = |message| (offset, FindingCode::Syntax, message, String::new());
        let mut deep = Findings::default();
        if !depth::check(Text { file: at.file, text: written.get_ref() }, &mut deep) {
            let message = format!(
                "the condition nests deeper than {} brackets or {} operators",
                depth::BRACKETS,
                depth::OPERATORS
            );
            return Err((offset, FindingCode::Size, message, String::new()));
        }
        let condition = condition::parse(written.get_ref())
            .map_err(|reason| refuse(format!("the condition is not Cedar: {reason}")))?;
        let actions: Vec<_> = kinds.iter().map(|kind| format!("Action::\"{}\"", kind.as_str())).collect();
        let scope = SCOPE.replace("action", &format!("action in [{}]", actions.join(", ")));
        let policy = Policy::parse(Some(PolicyId::new("goal")), format!("{scope}{}\n}};", written.get_ref()));
        let policy = policy.map_err(|error| refuse(error.to_string()))?;
        let (line, _) = at.place(offset);
        let found = [Found { at, offset, line, policy }];
        // Places inside the condition are not places of the file: all are told at the condition's beginning.
        let mut own = Findings::default();
        rule::validate(&found, self.schema, &mut own);
        for finding in own.into_error().findings {
            findings.add(
                at,
                Some(offset),
                finding.code,
                finding.message,
                finding.hint.as_deref().unwrap_or(""),
            );
        }
        for found in &found {
            rule::check_literals(found, self.vocabulary, findings);
        }
        Ok(condition)
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Bundle {
    /// Its goals, in the order of its files.
    pub fn goals(&self) -> impl Iterator<Item = &GoalSummary> {
        self.goals.iter().map(|goal| &goal.summary)
    }
}
