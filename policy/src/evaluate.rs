//! The decision: default deny, forbid wins, any evaluation error denies, every effect must be allowed, and what one effect
//! spends counts for all. Pure: the same bundle, question and spending give the same answer.
//! INVARIANT: `Allowed` needs, for each effect, a satisfied permit, no satisfied forbid and no error; and of a cold wallet its
//! signature.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use cedar_policy::{Authorizer, Decision, Request};
use chancery_core::{Tenant, Tier, UnixMillis, limit as bounds};
use chancery_intent::model::Kind;
use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::fact::{Fact, Question};
use crate::limit::{Counter, Measure, Reservation, Spending, SpendingError};
use crate::name::{DEFAULT_DENY, EFFECTS_OUT_OF_RANGE, REQUEST_UNREADABLE, RuleName, SPENDING_UNREADABLE};
use crate::obligation::Need;
use crate::reads::Reads;
use crate::rule::Rule;
use crate::shelf::Shelf;

static AUTHORIZER: LazyLock<Authorizer> = LazyLock::new(Authorizer::new);

/// What became of an effect or a request; the later, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A rule permits it and its obligations are met.
    Allowed,
    /// A rule would permit it, once its obligations are met.
    Pending,
    /// A rule forbids it, nothing permits it, or something failed.
    Denied,
}

/// What one rule still needs to permit one effect. Any one rule of an effect is enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The rule.
    pub rule: RuleName,
    /// The effect's position in the intent, from 0.
    pub effect: usize,
    /// All that it needs.
    pub needs: Vec<Need>,
}

/// Something that failed, and therefore denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The rule that failed, or a reserved name.
    pub rule: RuleName,
    /// The effect's position in the intent; `None` when the request as a whole failed.
    pub effect: Option<usize>,
    /// Why, for people.
    pub message: String,
}

/// What became of one effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectEvaluation {
    /// What sort of effect.
    pub kind: Kind,
    /// What became of it.
    pub outcome: Outcome,
    /// What decided, sorted: the permits that allowed, the permits that wait, or what denied.
    pub rules: Vec<RuleName>,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The bundle that decided.
    pub bundle: String,
    /// The worst outcome of the effects; pending also where all are allowed and a cold wallet has not signed.
    pub outcome: Outcome,
    /// What decided: the rules of the effects with that outcome, sorted.
    pub rules: Vec<RuleName>,
    /// What a pending request needs.
    pub missing: Vec<Missing>,
    /// What failed. Not empty only if denied.
    pub errors: Vec<Fault>,
    /// What the request holds of each counter; empty if denied.
    pub reservations: Vec<Reservation>,
    /// When a pending request stops waiting.
    pub expires_ms: Option<UnixMillis>,
    /// Each effect, in order.
    pub effects: Vec<EffectEvaluation>,
}

/// The totals of a request's counters, with the request in them.
#[derive(Default)]
pub(crate) struct Totals {
    pub spent: HashMap<Counter, i64>,
    pub reservations: Vec<Reservation>,
}

impl Totals {
    /// Every counter the request touches. Each total has all effects in it, whatever their order: no effect can be judged
    /// as if the others did not happen.
    pub fn of(
        bundle: &Bundle,
        facts: &[Fact<'_>],
        spending: &dyn Spending,
        now: UnixMillis,
    ) -> Result<Self, SpendingError> {
        let reservations = reservations(bundle, facts);
        let mut spent = HashMap::with_capacity(reservations.len());
        for reservation in &reservations {
            // A negative total would be a defect of the store; it must not make room.
            let before = spending.spent(&reservation.counter, reservation.window_ms, now)?.max(0);
            spent.insert(reservation.counter.clone(), before.saturating_add(reservation.amount));
        }
        Ok(Self { spent, reservations })
    }
}

/// What all effects together add to each counter.
fn reservations(bundle: &Bundle, facts: &[Fact<'_>]) -> Vec<Reservation> {
    let mut positions: HashMap<&Counter, usize> = HashMap::new();
    let mut reservations: Vec<Reservation> = Vec::new();
    for measured in facts.iter().flat_map(|fact| &fact.measured) {
        let Some((limit, _)) = bundle.limits.get(measured.limit) else { continue };
        match positions.get(&measured.counter).and_then(|position| reservations.get_mut(*position)) {
            // Requests are counted once for each counter.
            Some(_) if limit.measure == Measure::Count => {}
            Some(reservation) => reservation.amount = reservation.amount.saturating_add(measured.amount),
            None => {
                positions.insert(&measured.counter, reservations.len());
                let (counter, amount) = (measured.counter.clone(), measured.amount);
                reservations.push(Reservation { counter, window_ms: limit.window_ms, amount });
            }
        }
    }
    reservations
}

/// What the policies say of one effect.
#[derive(Default)]
struct Verdict {
    permits: BTreeSet<String>,
    forbids: BTreeSet<String>,
    errors: Vec<(String, String)>,
    /// Permits that apply but for obligations that can still be met.
    waiting: Vec<(String, Vec<Need>)>,
    /// Permits that apply but for a veto.
    vetoed: BTreeSet<String>,
    expires_ms: Option<i64>,
}

impl Verdict {
    fn outcome(&self) -> Outcome {
        if !self.errors.is_empty() || !self.forbids.is_empty() {
            Outcome::Denied
        } else if !self.permits.is_empty() {
            Outcome::Allowed
        } else if !self.waiting.is_empty() {
            Outcome::Pending
        } else {
            Outcome::Denied
        }
    }

    fn rules(&self) -> BTreeSet<String> {
        match self.outcome() {
            Outcome::Allowed => self.permits.clone(),
            Outcome::Pending => self.waiting.iter().map(|(rule, _)| rule.clone()).collect(),
            Outcome::Denied => {
                let failed = self.errors.iter().map(|(rule, _)| rule.clone());
                let mut rules: BTreeSet<_> = failed.chain(self.forbids.iter().cloned()).collect();
                if rules.is_empty() {
                    rules.extend(self.vetoed.iter().cloned());
                }
                if rules.is_empty() {
                    rules.insert(DEFAULT_DENY.to_owned());
                }
                rules
            }
        }
    }
}

impl Bundle {
    /// Answers a question. Pure; used for decisions, previews, tests and simulation alike.
    #[must_use]
    pub fn evaluate(&self, question: &Question<'_>, spending: &dyn Spending) -> Evaluation {
        let effects = &question.description.effects;
        if effects.is_empty() || effects.len() > bounds::EFFECTS {
            let message =
                format!("the intent has {} effects; 1 to {} can be decided", effects.len(), bounds::EFFECTS);
            return self.refuse(EFFECTS_OUT_OF_RANGE, message);
        }
        let facts: Vec<_> = effects.iter().map(|effect| Fact::read(self, question, effect)).collect();
        let totals = match Totals::of(self, &facts, spending, question.now) {
            Ok(totals) => totals,
            Err(error) => return self.refuse(SPENDING_UNREADABLE, format!("{error}: {}", error.0)),
        };
        let verdicts: Vec<_> = facts.iter().map(|fact| self.judge(question, fact, &totals)).collect();
        self.conclude(question, &facts, &verdicts, totals)
    }

    /// What a request holds of each of this bundle's counters, were it permitted or pending.
    #[must_use]
    pub fn measure(&self, question: &Question<'_>) -> Vec<Reservation> {
        let effects = question.description.effects.iter();
        let facts: Vec<_> = effects.map(|effect| Fact::read(self, question, effect)).collect();
        reservations(self, &facts)
    }

    /// Whether everything that this bundle measures, `other` has measured into the same counters.
    #[must_use]
    pub fn measures_as(&self, other: &Self) -> bool {
        let unit = |bundle: &Self, id: &str| bundle.registry.assets.get(id).map(|asset| asset.unit.clone());
        self.limits.iter().all(|(_, identity)| other.limits.iter().any(|(_, known)| known == identity))
            && self.registry.assets.keys().all(|id| unit(self, id) == unit(other, id))
    }

    /// Whether an approval of `group` is among what a request still needs, or a veto of it would end a rule that permits
    /// the request or waits.
    #[must_use]
    pub fn asks(&self, evaluation: &Evaluation, veto: bool, group: &str) -> bool {
        let missing = &evaluation.missing;
        if veto {
            let waiting = missing.iter().map(|missing| &missing.rule);
            let heeds = |rule: &Rule| rule.obligations.heeds(group);
            return evaluation
                .rules
                .iter()
                .chain(waiting)
                .any(|rule| self.rules.get(rule.as_str()).is_some_and(heeds));
        }
        let asked = |need: &Need| matches!(need, Need::Quorum { group: asked, .. } if asked == group);
        missing.iter().any(|missing| missing.needs.iter().any(asked))
    }

    fn refuse(&self, rule: &'static str, message: String) -> Evaluation {
        let rule = RuleName::reserved(rule);
        Evaluation {
            bundle: self.hash().to_owned(),
            outcome: Outcome::Denied,
            rules: vec![rule.clone()],
            missing: Vec::new(),
            errors: vec![Fault { rule, effect: None, message }],
            reservations: Vec::new(),
            expires_ms: None,
            effects: Vec::new(),
        }
    }

    /// The shelves whose policies can match a question about an effect of this kind.
    pub(crate) fn shelves<'a>(
        &'a self,
        client: &'a str,
        wallet: &'a str,
        kind: Kind,
    ) -> impl Iterator<Item = &'a Shelf> {
        let groups = |of: &'a HashMap<String, Vec<String>>, id: &str| {
            of.get(id).map_or(&[] as &[String], Vec::as_slice)
        };
        let (clients, wallets) = (groups(&self.clients, client), groups(&self.wallets, wallet));
        self.shelves.matching((client, clients), (wallet, wallets), kind)
    }

    /// Cedar's request for one effect, with the attributes in `reads`. `checked` holds it against the schema: decisions do
    /// without, because the shape is fixed here and `tests/model.rs` checks it, and what did not fit would only fail.
    pub(crate) fn request(
        &self,
        question: &Question<'_>,
        fact: &Fact<'_>,
        totals: &Totals,
        reads: Reads,
        checked: bool,
    ) -> Result<Request, String> {
        let context = fact.context(self, question, &totals.spent, reads)?;
        let client = self.types.client(&qualified(question.tenant, question.client.as_str()));
        let wallet = self.types.wallet(&qualified(question.tenant, question.wallet.as_str()));
        let action = self.types.action(fact.effect.kind);
        let schema = checked.then_some(&self.schema);
        Request::new(client, action, wallet, context, schema).map_err(|error| error.to_string())
    }

    fn judge(&self, question: &Question<'_>, fact: &Fact<'_>, totals: &Totals) -> Verdict {
        let mut verdict = Verdict::default();
        let client = qualified(question.tenant, question.client.as_str());
        let wallet = qualified(question.tenant, question.wallet.as_str());
        let shelves: Vec<_> = self.shelves(&client, &wallet, fact.effect.kind).collect();
        let reads = shelves.iter().fold(Reads::default(), |reads, shelf| reads.and(shelf.reads));
        let request = match self.request(question, fact, totals, reads, false) {
            Ok(request) => request,
            Err(message) => {
                verdict.errors.push((REQUEST_UNREADABLE.to_owned(), message));
                return verdict;
            }
        };
        for shelf in &shelves {
            let response = AUTHORIZER.is_authorized(&request, &shelf.policies, &self.entities);
            for error in response.diagnostics().errors() {
                let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
                verdict.errors.push((error.policy_id().to_string(), error.inner().to_string()));
            }
            let reasons = response.diagnostics().reason().map(ToString::to_string);
            match response.decision() {
                Decision::Allow => verdict.permits.extend(reasons),
                Decision::Deny => verdict.forbids.extend(reasons),
            }
        }
        verdict.errors.sort();
        if verdict.errors.is_empty() && verdict.forbids.is_empty() && verdict.permits.is_empty() {
            for shelf in &shelves {
                if !shelf.bare.is_empty() {
                    let response = AUTHORIZER.is_authorized(&request, &shelf.bare, &self.entities);
                    let names = response.diagnostics().reason().map(ToString::to_string);
                    names.for_each(|name| self.wait(question, &name, &mut verdict));
                }
            }
            verdict.waiting.sort_by(|a, b| a.0.cmp(&b.0));
        }
        verdict
    }

    /// Notes a permit that applies but for its obligations.
    fn wait(&self, question: &Question<'_>, name: &str, verdict: &mut Verdict) {
        let Some(rule) = self.rules.get(name) else { return };
        if rule.obligations.vetoed_by(question.met).is_some() {
            verdict.vetoed.insert(name.to_owned());
            return;
        }
        let needs = rule.obligations.missing(question.met);
        if !needs.is_empty() {
            let expires_ms = expiry_ms(rule);
            verdict.expires_ms = Some(verdict.expires_ms.map_or(expires_ms, |other| other.max(expires_ms)));
            verdict.waiting.push((name.to_owned(), needs));
        }
    }

    fn conclude(
        &self,
        question: &Question<'_>,
        facts: &[Fact<'_>],
        verdicts: &[Verdict],
        totals: Totals,
    ) -> Evaluation {
        let outcome = verdicts.iter().map(Verdict::outcome).max().unwrap_or(Outcome::Denied);
        let mut rules = BTreeSet::new();
        let (mut missing, mut errors) = (Vec::new(), Vec::new());
        let mut effects = Vec::with_capacity(verdicts.len());
        let mut expires_ms: Option<i64> = None;
        for (position, (verdict, fact)) in verdicts.iter().zip(facts).enumerate() {
            let named = verdict.rules();
            let own = verdict.outcome();
            effects.push(EffectEvaluation {
                kind: fact.effect.kind,
                outcome: own,
                rules: named.iter().map(rule_name).collect(),
            });
            if own == outcome {
                rules.extend(named);
            }
            errors.extend(verdict.errors.iter().map(|(rule, message)| Fault {
                rule: rule_name(rule),
                effect: Some(position),
                message: message.clone(),
            }));
            if outcome == Outcome::Pending && own == Outcome::Pending {
                missing.extend(verdict.waiting.iter().map(|(rule, needs)| Missing {
                    rule: rule_name(rule),
                    effect: position,
                    needs: needs.clone(),
                }));
                // Of the rules for one effect the most patient counts; of the effects the least.
                let own = verdict.expires_ms.unwrap_or(bounds::PENDING_MS);
                expires_ms = Some(expires_ms.map_or(own, |other| other.min(own)));
            }
        }
        let mut outcome = outcome;
        if outcome == Outcome::Allowed && question.tier == Tier::Cold && !question.met.cold_signed {
            outcome = Outcome::Pending;
            let permits = verdicts.iter().enumerate().flat_map(|(effect, verdict)| {
                verdict.permits.iter().map(move |rule| (effect, rule_name(rule)))
            });
            missing.extend(permits.map(|(effect, rule)| Missing {
                rule,
                effect,
                needs: vec![Need::Signature],
            }));
            let patience = |verdict: &Verdict| {
                verdict.permits.iter().filter_map(|rule| self.rules.get(rule)).map(expiry_ms).max()
            };
            expires_ms = Some(verdicts.iter().filter_map(patience).min().unwrap_or(bounds::PENDING_MS));
        }
        let asked = question.now.plus_ms(question.met.waited_ms.max(0).saturating_neg());
        Evaluation {
            bundle: self.hash().to_owned(),
            outcome,
            rules: rules.iter().map(rule_name).collect(),
            missing,
            errors,
            reservations: if outcome == Outcome::Denied { Vec::new() } else { totals.reservations },
            expires_ms: expires_ms.map(|expires_ms| asked.plus_ms(expires_ms)),
            effects,
        }
    }
}

/// The id of a client's or wallet's entity.
pub(crate) fn qualified(tenant: &Tenant, name: &str) -> String {
    let tenant = tenant.as_str();
    let mut id = String::with_capacity(tenant.len() + 1 + name.len());
    id.push_str(tenant);
    id.push('/');
    id.push_str(name);
    id
}

/// How long a request may wait for a rule's obligations, from when it was first asked.
fn expiry_ms(rule: &Rule) -> i64 {
    rule.obligations.expires_ms.unwrap_or(bounds::PENDING_MS)
}

fn rule_name(name: impl AsRef<str>) -> RuleName {
    let name = name.as_ref();
    // Policies are named at compile time; anything else would be a defect and reads as the default.
    RuleName::try_from(name.to_owned()).unwrap_or_else(|_| RuleName::reserved(DEFAULT_DENY))
}
