//! Why an answer is what it is: for each effect, what the policies could see and what each of them said. For `simulate`
//! and for people; it evaluates each policy on its own and is slow. Decisions never come from here.

use std::fmt;

use cedar_policy::{Authorizer, Decision, Policy, PolicySet};
use chancery_intent::model::Kind;
use serde::Serialize;
use serde_json::Value;

use crate::bundle::Bundle;
use crate::evaluate::{Evaluation, Outcome, Totals, qualified};
use crate::fact::{Fact, Question};
use crate::limit::Spending;
use crate::obligation::Need;
use crate::proof::condition;
use crate::reads::Reads;
use crate::rule::Rule;

/// What one policy said of one effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Said {
    /// Its scope and conditions hold.
    Satisfied,
    /// They do not.
    Unsatisfied,
    /// They hold but for obligations.
    Waiting {
        /// What is missing.
        needs: Vec<Need>,
    },
    /// They hold but for a veto.
    Vetoed {
        /// The approver group that vetoed.
        group: String,
    },
    /// It failed, which denies.
    Failed {
        /// Why.
        message: String,
    },
}

/// What one part of a policy's condition said. Clauses are asked in their order, and those behind one that does not hold
/// are not asked: that is how Cedar evaluates them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// The part as Cedar writes it.
    pub condition: String,
    /// Whether it held; `None` where it failed or was not asked.
    pub holds: Option<bool>,
    /// Whether it belongs to the obligations.
    pub obligation: bool,
}

/// One policy whose scope can match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Its `@id`.
    pub rule: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// Its file in the bundle.
    pub file: String,
    /// Its line there.
    pub line: u32,
    /// What it said.
    #[serde(flatten)]
    pub said: Said,
    /// Whether it is among what decided.
    pub determining: bool,
    /// Its scope and conditions as far as they are joined by `and`, in their order.
    pub clauses: Vec<Clause>,
}

/// One limit that measures an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MeasuredLimit {
    /// The limit.
    pub limit: String,
    /// What this effect adds.
    pub amount: i64,
    /// The window's total, with the whole request in it: `context.spent.<limit>`.
    pub total: i64,
    /// The window, in milliseconds.
    pub window_ms: i64,
}

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EffectExplanation {
    /// What sort of effect.
    pub kind: Kind,
    /// What became of it.
    pub outcome: Outcome,
    /// What the policies could read, as Cedar's JSON.
    pub context: Value,
    /// The limits that measure it.
    pub limits: Vec<MeasuredLimit>,
    /// The policies whose scope can match, by name.
    pub candidates: Vec<Candidate>,
}

/// An evaluation and how it came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The answer.
    pub evaluation: Evaluation,
    /// Each effect, in order; empty when the request failed as a whole.
    pub effects: Vec<EffectExplanation>,
}

impl Bundle {
    /// Answers a question as [`Bundle::evaluate`] does, and shows how.
    #[must_use]
    pub fn explain(&self, question: &Question<'_>, spending: &dyn Spending) -> Explanation {
        let evaluation = self.evaluate(question, spending);
        if evaluation.effects.is_empty() {
            return Explanation { evaluation, effects: Vec::new() };
        }
        let described = &question.description.effects;
        let facts: Vec<_> = described.iter().map(|effect| Fact::read(self, question, effect)).collect();
        let totals = Totals::of(self, &facts, spending, question.now).unwrap_or_default();
        let effects = facts
            .iter()
            .zip(&evaluation.effects)
            .map(|(fact, result)| EffectExplanation {
                kind: result.kind,
                outcome: result.outcome,
                context: self.context_json(question, fact, &totals),
                limits: self.measured(fact, &totals),
                candidates: self.candidates(question, fact, &totals, &result.rules),
            })
            .collect();
        Explanation { evaluation, effects }
    }

    /// Whether a policy's scope and conditions hold of one effect of a question. A policy that fails does not hold.
    ///
    /// # Errors
    /// Text for people, when the question cannot be written down.
    pub(crate) fn said(
        &self,
        question: &Question<'_>,
        spending: &dyn Spending,
        effect: usize,
        policy: &Policy,
    ) -> Result<bool, String> {
        let described = &question.description.effects;
        let facts: Vec<_> = described.iter().map(|effect| Fact::read(self, question, effect)).collect();
        let totals = Totals::of(self, &facts, spending, question.now).map_err(|error| error.to_string())?;
        let fact = facts.get(effect).ok_or("an effect that the question does not have")?;
        let set = PolicySet::from_policies([policy.clone()]).map_err(|error| error.to_string())?;
        let request = self.request(question, fact, &totals, Reads::ALL, true)?;
        Ok(Authorizer::new().is_authorized(&request, &set, &self.entities).decision() == Decision::Allow)
    }

    fn context_json(&self, question: &Question<'_>, fact: &Fact<'_>, totals: &Totals) -> Value {
        let context = fact.context(self, question, &totals.spent, Reads::ALL);
        context.ok().and_then(|context| context.to_json_value().ok()).unwrap_or(Value::Null)
    }

    fn measured(&self, fact: &Fact<'_>, totals: &Totals) -> Vec<MeasuredLimit> {
        let limit = |position: usize| self.limits.get(position).map(|(limit, _)| limit);
        fact.measured
            .iter()
            .filter_map(|measured| {
                Some(MeasuredLimit {
                    limit: measured.counter.limit.clone(),
                    amount: measured.amount,
                    total: totals.spent.get(&measured.counter).copied()?,
                    window_ms: limit(measured.limit)?.window_ms,
                })
            })
            .collect()
    }

    fn candidates(
        &self,
        question: &Question<'_>,
        fact: &Fact<'_>,
        totals: &Totals,
        determining: &[crate::name::RuleName],
    ) -> Vec<Candidate> {
        let Ok(request) = self.request(question, fact, totals, Reads::ALL, true) else { return Vec::new() };
        let client = qualified(question.tenant, question.client.as_str());
        let wallet = qualified(question.tenant, question.wallet.as_str());
        let authorizer = Authorizer::new();
        let says = |policy: &cedar_policy::Policy| -> Result<bool, String> {
            let set = PolicySet::from_policies([policy.clone()]).map_err(|error| error.to_string())?;
            let response = authorizer.is_authorized(&request, &set, &self.entities);
            if let Some(cedar_policy::AuthorizationError::PolicyEvaluationError(error)) =
                response.diagnostics().errors().next()
            {
                return Err(error.inner().to_string());
            }
            Ok(response.decision() == Decision::Allow || response.diagnostics().reason().next().is_some())
        };
        let mut candidates = Vec::new();
        for policy in
            self.shelves(&client, &wallet, fact.effect.kind).flat_map(|shelf| shelf.policies.policies())
        {
            let Some(rule) = self.rules.get(AsRef::<str>::as_ref(policy.id())) else { continue };
            let clauses = clauses(rule, &says);
            let said = match (says(&rule.policy), rule.bare.as_ref().map(says)) {
                (Err(message), _) | (_, Some(Err(message))) => Said::Failed { message },
                (Ok(true), _) => Said::Satisfied,
                (Ok(false), Some(Ok(true))) => match rule.obligations.vetoed_by(question.met) {
                    Some(group) => Said::Vetoed { group: group.to_owned() },
                    None => Said::Waiting { needs: rule.obligations.missing(question.met) },
                },
                (Ok(false), _) => Said::Unsatisfied,
            };
            candidates.push(Candidate {
                rule: rule.name.clone(),
                effect: if rule.forbids { "forbid" } else { "permit" },
                file: rule.file.clone(),
                line: rule.line,
                said,
                determining: determining.iter().any(|name| name.as_str() == rule.name),
                clauses,
            });
        }
        candidates.sort_by(|a, b| a.rule.cmp(&b.rule));
        candidates
    }
}

/// Asks a rule's condition part by part, as far as Cedar would.
fn clauses(rule: &Rule, says: &impl Fn(&Policy) -> Result<bool, String>) -> Vec<Clause> {
    let whole = |policy: &Policy| {
        let json = policy.to_json().map_err(|error| error.to_string())?;
        condition::of_policy(&json).map(condition::parts)
    };
    let (Ok(all), own) = (whole(&rule.policy), rule.bare.as_ref().map(whole)) else { return Vec::new() };
    let own = match own {
        Some(Ok(own)) => own.len(),
        _ => all.len(),
    };
    let mut asked = true;
    let mut parts = Vec::with_capacity(all.len());
    for (position, part) in all.iter().enumerate() {
        let Ok(policy) = condition::permit("part", part) else { return Vec::new() };
        let holds = if asked { says(&policy).ok() } else { None };
        asked = holds == Some(true);
        parts.push(Clause { condition: condition::text(&policy), holds, obligation: position >= own });
    }
    parts
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allowed => "allowed",
            Self::Pending => "pending",
            Self::Denied => "denied",
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.evaluation.rules.iter().map(ToString::to_string).collect();
        writeln!(f, "{} by {}", self.evaluation.outcome, names.join(", "))?;
        for fault in &self.evaluation.errors {
            writeln!(f, "  error in {}: {}", fault.rule, fault.message)?;
        }
        for (position, effect) in self.effects.iter().enumerate() {
            writeln!(f, "effect {position}: {} is {}", effect.kind.as_str(), effect.outcome)?;
            for limit in &effect.limits {
                writeln!(f, "  limit {}: adds {}, total {}", limit.limit, limit.amount, limit.total)?;
            }
            for candidate in &effect.candidates {
                let mark = if candidate.determining { '*' } else { ' ' };
                write!(
                    f,
                    " {mark}{} {} ({}:{}): ",
                    candidate.effect, candidate.rule, candidate.file, candidate.line
                )?;
                match &candidate.said {
                    Said::Satisfied => writeln!(f, "applies")?,
                    Said::Unsatisfied => writeln!(f, "does not apply")?,
                    Said::Waiting { needs } => {
                        let needs: Vec<_> = needs.iter().map(ToString::to_string).collect();
                        writeln!(f, "waits for {}", needs.join(" and "))?;
                    }
                    Said::Vetoed { group } => writeln!(f, "vetoed by `{group}`")?,
                    Said::Failed { message } => writeln!(f, "failed: {message}")?,
                }
                let mut told = false;
                for part in &candidate.clauses {
                    let mark = match part.holds {
                        Some(true) => "true ",
                        Some(false) => "false",
                        None if told => continue, // behind what ended it
                        None => "fails",
                    };
                    told |= part.holds != Some(true);
                    let kind = if part.obligation { " (obligation)" } else { "" };
                    writeln!(f, "      {mark} {}{kind}", part.condition)?;
                }
            }
            writeln!(f, "  context:")?;
            if let Value::Object(context) = &effect.context {
                for (name, value) in context {
                    writeln!(f, "    {name} = {value}")?;
                }
            }
        }
        Ok(())
    }
}
