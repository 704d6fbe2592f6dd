//! Policies as rules: named, typed, with their obligations compiled in. Everything an author can get wrong without Cedar
//! noticing (no name, a misspelt obligation, an entity no request can equal) is a finding here.

use std::collections::{BTreeMap, HashMap, HashSet};

use cedar_policy::{Effect, EntityUid, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use chancery_intent::model::Kind;
use miette::Diagnostic;
use serde_json::Value;

use crate::depth;
use crate::error::{FindingCode, Findings, Text};
use crate::name::{NAME_FORM, RESERVED, is_name};
use crate::obligation::{ANNOTATIONS, Declared, OWN_ATTRIBUTES, Obligations};
use crate::reads::Reads;
use crate::registry;

/// LIMIT: policies of one bundle.
pub const RULES: usize = 20_000;
/// LIMIT: bytes of one policy's text.
pub const RULE_BYTES: usize = 32 * 1024;

/// One policy, ready to be indexed.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub name: String,
    pub file: String,
    pub line: u32,
    pub description: Option<String>,
    pub forbids: bool,
    pub obligations: Obligations,
    /// What is evaluated: the policy with its obligations as conditions.
    pub policy: Policy,
    /// The policy as written, where obligations make that another one.
    pub bare: Option<Policy>,
    /// What either of them can read.
    pub reads: Reads,
}

/// The groups that exist, by entity type.
#[derive(Default)]
pub(crate) struct Vocabulary<'a> {
    pub groups: BTreeMap<&'static str, HashSet<&'a str>>,
}

/// A policy where it was found.
pub(crate) struct Found<'a> {
    pub at: Text<'a>,
    pub offset: usize,
    pub line: u32,
    pub policy: Policy,
}

/// Parses and checks every policy file.
pub(crate) fn compile<'a>(
    files: impl Iterator<Item = Text<'a>>,
    schema: &Schema,
    declared: &Declared,
    vocabulary: &Vocabulary<'_>,
    findings: &mut Findings,
) -> Vec<Rule> {
    let found = parse(files, findings);
    if found.len() > RULES {
        let at = Text { file: crate::source::MANIFEST, text: "" };
        findings.add(at, None, FindingCode::Size, format!("more than {RULES} policies"), "");
        return Vec::new();
    }
    let found = name(found, findings);
    validate(&found, schema, findings);
    let mut rules = Vec::with_capacity(found.len());
    for found in &found {
        check_literals(found, vocabulary, findings);
        rules.extend(oblige(found, declared, findings));
    }
    rules
}

fn parse<'a>(files: impl Iterator<Item = Text<'a>>, findings: &mut Findings) -> Vec<Found<'a>> {
    let mut all = Vec::new();
    for at in files {
        if !depth::check(at, findings) {
            continue;
        }
        let set = match at.text.parse::<PolicySet>() {
            Ok(set) => set,
            Err(errors) => {
                for error in errors.iter() {
                    diagnose(at, error, None, FindingCode::Syntax, findings);
                }
                continue;
            }
        };
        for template in set.templates() {
            let offset = at.text.find(&template.to_cedar());
            let hint = "write `==` or `in` with an entity instead of `?principal` or `?resource`";
            findings.add(at, offset, FindingCode::Template, "policy templates are not used here", hint);
        }
        // Cedar numbers the policies of a text `policy0`, `policy1`, ...; the order is needed to find each in the text.
        let mut policies: Vec<_> = set.policies().cloned().collect();
        policies
            .sort_by_key(|policy| policy.id().to_string().trim_start_matches("policy").parse::<usize>().ok());
        let (mut after, mut counted, mut line) = (0, 0, 1_u32);
        for policy in policies {
            let text = policy.to_cedar().unwrap_or_default();
            let offset = at
                .text
                .get(after..)
                .and_then(|rest| rest.find(&text))
                .map_or(after, |at| after.saturating_add(at));
            after = offset.saturating_add(text.len());
            // Counted on from the policy before, because counting from the top for each would take quadratic time.
            let between =
                at.text.get(counted..offset).unwrap_or_default().bytes().filter(|b| *b == b'\n').count();
            line = line.saturating_add(u32::try_from(between).unwrap_or(u32::MAX));
            counted = offset;
            if text.len() > RULE_BYTES {
                let message = format!("the policy is longer than {RULE_BYTES} bytes");
                findings.add(at, Some(offset), FindingCode::Size, message, "");
                continue;
            }
            all.push(Found { at, offset, line, policy });
        }
    }
    all
}

/// Gives each policy its `@id` as Cedar's id; policies without a proper one are findings and are left out.
fn name<'a>(found: Vec<Found<'a>>, findings: &mut Findings) -> Vec<Found<'a>> {
    let mut first: HashMap<String, String> = HashMap::new();
    let mut named = Vec::with_capacity(found.len());
    for Found { at, offset, line, policy } in found {
        let mut refuse =
            |code, message: String, hint: &str| findings.add(at, Some(offset), code, message, hint);
        let Some(id) = policy.annotation("id").map(str::to_owned) else {
            let hint = "put `@id(\"some-name\")` above it: denials and records name the rule that decided";
            refuse(FindingCode::IdMissing, "the policy has no `@id`".into(), hint);
            continue;
        };
        if !is_name(&id) || RESERVED.contains(&id.as_str()) {
            let hint = if is_name(&id) { "this name is used when no rule decided" } else { NAME_FORM };
            refuse(FindingCode::IdMalformed, format!("`{id}` cannot name a policy"), hint);
            continue;
        }
        if let Some(other) = first.get(&id) {
            refuse(
                FindingCode::IdDuplicate,
                format!("`{id}` names two policies"),
                &format!("the other one is at {other}"),
            );
            continue;
        }
        first.insert(id.clone(), format!("{}:{line}", at.file));
        named.push(Found { at, offset, line, policy: policy.new_id(PolicyId::new(id)) });
    }
    named
}

/// Strict validation. Cedar's warnings are findings too: a rule that can never apply protects nothing.
pub(crate) fn validate(found: &[Found<'_>], schema: &Schema, findings: &mut Findings) {
    let Ok(set) = PolicySet::from_policies(found.iter().map(|found| found.policy.clone())) else {
        return; // unreachable: names are distinct and templates are left out
    };
    let places: HashMap<&PolicyId, &Found<'_>> =
        found.iter().map(|found| (found.policy.id(), found)).collect();
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let errors = result
        .validation_errors()
        .map(|error| (error.policy_id(), error as &dyn Diagnostic, FindingCode::Type));
    let warnings = result
        .validation_warnings()
        .map(|warning| (warning.policy_id(), warning as &dyn Diagnostic, FindingCode::Suspicious));
    let mut seen = HashSet::new();
    for (policy, diagnostic, code) in errors.chain(warnings) {
        // Cedar reports once for each action; the author has one thing to mend.
        let place = (policy, offset(diagnostic), message(diagnostic));
        if let Some(found) = places.get(policy)
            && seen.insert(place)
        {
            diagnose(found.at, diagnostic, Some(found), code, findings);
        }
    }
}

fn offset(error: &dyn Diagnostic) -> Option<usize> {
    error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset())
}

fn message(error: &dyn Diagnostic) -> String {
    let text = error.to_string();
    text.split(" in context for Action::").next().unwrap_or_default().to_owned()
}

fn diagnose(
    at: Text<'_>,
    error: &dyn Diagnostic,
    found: Option<&Found<'_>>,
    code: FindingCode,
    findings: &mut Findings,
) {
    let label = error.labels().and_then(|mut labels| labels.next());
    let offset = offset(error).or(found.map(|found| found.offset));
    let mut message = message(error);
    if let Some(detail) = label.as_ref().and_then(|label| label.label()) {
        message = format!("{message}: {detail}");
    }
    let hint = error.help().map(|help| help.to_string()).unwrap_or_else(|| match code {
        FindingCode::Suspicious => {
            "`has` of a name that the schema does not know is always false: is a name misspelt?".to_owned()
        }
        _ => String::new(),
    });
    findings.add(at, offset, code, message, &hint);
}

/// An address in the wrong capitals equals no request's address, so a forbid that names it would never apply.
pub(crate) fn check_literals(found: &Found<'_>, vocabulary: &Vocabulary<'_>, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for uid in found.policy.entity_literals() {
        if !seen.insert(uid.clone()) {
            continue;
        }
        let (kind, id) = (uid.type_name().to_string(), uid.id().unescaped());
        let hint = match kind.as_str() {
            "Client" | "Wallet" if !is_qualified(id) => {
                "written as `<tenant>/<name>`, such as `default/treasury`"
            }
            "Address" if !registry::is_account(id) => {
                "written as CAIP-10 in the chain's own spelling, such as `eip155:1:0x70997970C51812dc3A010C7d01b50e0d17dc79C8`"
            }
            "Asset" if !registry::is_asset(id) => {
                "written as CAIP-19 without a token id, such as `eip155:1/slip44:60`"
            }
            _ => {
                if let Some(known) = vocabulary.groups.get(kind.as_str())
                    && !known.contains(id)
                {
                    let message = format!("nothing in bundle.toml is in {uid}");
                    findings.add(
                        found.at,
                        Some(found.offset),
                        FindingCode::Unknown,
                        message,
                        "groups exist by having members",
                    );
                }
                continue;
            }
        };
        let message = format!("no request can ever name {uid}");
        findings.add(found.at, Some(found.offset), FindingCode::Literal, message, hint);
    }
}

/// `tenant/name`, as clients and wallets are named.
pub(crate) fn is_qualified(text: &str) -> bool {
    text.split_once('/').is_some_and(|(tenant, name)| is_name(tenant) && is_name(name))
}

fn oblige(found: &Found<'_>, declared: &Declared, findings: &mut Findings) -> Option<Rule> {
    let Found { at, offset, line, policy } = found;
    let mut good = true;
    let mut refuse = |code, message: String, hint: &str| {
        findings.add(*at, Some(*offset), code, message, hint);
        good = false;
    };
    let mut obligations = Obligations::default();
    for (annotation, value) in policy.annotations() {
        if !ANNOTATIONS.contains(&annotation) {
            let hint = format!("known annotations: @{}", ANNOTATIONS.join(", @"));
            refuse(FindingCode::AnnotationUnknown, format!("`@{annotation}` means nothing here"), &hint);
        } else if let Err(hint) = obligations.read(annotation, value, declared) {
            refuse(
                FindingCode::ObligationMalformed,
                format!("cannot read `@{annotation}(\"{value}\")`"),
                &hint,
            );
        }
    }
    let forbids = policy.effect() == Effect::Forbid;
    if forbids && (!obligations.is_empty() || obligations.expires_ms.is_some()) {
        let hint = "a forbid that applies always denies; put the obligation on the permit";
        refuse(FindingCode::ObligationOnForbid, "a forbid cannot have obligations".into(), hint);
    }
    if obligations.expires_ms.is_some() && obligations.is_empty() {
        let hint = "`@expires` says how long a request may wait for its obligations";
        refuse(FindingCode::ObligationMalformed, "`@expires` without an obligation".into(), hint);
    }
    let changes = crate::shelf::actions(policy).contains(&Some(Kind::Change));
    if changes && !forbids && !obligations.asks_people() {
        let hint =
            "write `@quorum(\"administrators, 2\")`, or whoever holds the operator's key changes everything";
        refuse(FindingCode::ChangeUnguarded, "a permit of `change` without a quorum".into(), hint);
    }
    let Ok(json) = policy.to_json() else {
        refuse(FindingCode::Syntax, "the policy has no JSON form".into(), "");
        return None;
    };
    if let Some(attribute) = reads_own_attribute(&json) {
        let hint = "write @quorum, @factor, @delay or @veto on a permit, so that a request can wait for it";
        refuse(FindingCode::ObligationByHand, format!("the condition reads `context.{attribute}`"), hint);
    }
    let (policy, bare, reads) = if obligations.is_empty() {
        (policy.clone(), None, Reads::of(&json))
    } else {
        match strengthen(policy.id(), json, &obligations.condition()) {
            Ok((strong, reads)) => (strong, Some(policy.clone()), reads),
            Err(reason) => {
                refuse(
                    FindingCode::ObligationMalformed,
                    format!("the obligations do not compile: {reason}"),
                    "",
                );
                return None;
            }
        }
    };
    let description = policy.annotation("description").map(str::to_owned);
    let name = policy.id().to_string();
    good.then(|| Rule {
        name,
        file: at.file.to_owned(),
        line: *line,
        description,
        forbids,
        obligations,
        policy,
        bare,
        reads,
    })
}

/// The policy with one more `when`, behind the ones it has: so an error in the author's condition stays an error.
fn strengthen(id: &PolicyId, mut json: Value, condition: &str) -> Result<(Policy, Reads), String> {
    let extra = Policy::parse(None, format!("permit(principal, action, resource) when {{ {condition} }};"));
    let mut extra = extra.map_err(|error| error.to_string())?.to_json().map_err(|error| error.to_string())?;
    let clauses =
        extra.get_mut("conditions").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    if clauses.len() != 1 {
        return Err("the condition is not one clause".into());
    }
    json.get_mut("conditions")
        .and_then(Value::as_array_mut)
        .ok_or("the policy has no conditions")?
        .extend(clauses);
    let reads = Reads::of(&json);
    Ok((Policy::from_json(Some(id.clone()), json).map_err(|error| error.to_string())?, reads))
}

/// The first attribute of `context` in Cedar's JSON that belongs to obligations.
fn reads_own_attribute(json: &Value) -> Option<&'static str> {
    match json {
        Value::Object(map) => {
            for operator in [".", "has"] {
                let read = map.get(operator);
                let on_context =
                    read.and_then(|read| read.get("left")?.get("Var")?.as_str()) == Some("context");
                let attribute = read.and_then(|read| read.get("attr")?.as_str());
                let own = OWN_ATTRIBUTES.iter().copied().find(|own| on_context && attribute == Some(*own));
                if own.is_some() {
                    return own;
                }
            }
            map.values().find_map(reads_own_attribute)
        }
        Value::Array(items) => items.iter().find_map(reads_own_attribute),
        _ => None,
    }
}

/// An entity's type and id, or nothing where the type is another.
pub(crate) fn id_of<'a>(uid: &'a EntityUid, kind: &str) -> Option<&'a str> {
    (uid.type_name().basename() == kind).then(|| uid.id().unescaped())
}
