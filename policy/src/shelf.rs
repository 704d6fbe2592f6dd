//! The index: policies by the principal, action and resource their scope names, so that a decision reads only the ones
//! whose scope can match. Cedar evaluates a scope before any condition, so a policy that is not reached could neither have
//! applied nor failed: the answer is the one of the whole set. A test below asks both.

use std::collections::{BTreeMap, HashMap};

use cedar_policy::{ActionConstraint, EntityUid, Policy, PolicySet, PrincipalConstraint, ResourceConstraint};
use chancery_intent::model::Kind;

use crate::reads::Reads;
use crate::rule::{Rule, id_of};

/// The policies of one scope.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// With obligations as conditions: what decides.
    pub policies: PolicySet,
    /// Without them, only of the rules that have some: what would apply but for its obligations.
    pub bare: PolicySet,
    /// What any of them can read.
    pub reads: Reads,
}

/// Something for anything, for one entity, and for the members of one group.
#[derive(Debug)]
struct Axis<T> {
    any: Option<T>,
    one: HashMap<String, T>,
    group: HashMap<String, T>,
}

impl<T> Default for Axis<T> {
    fn default() -> Self {
        Self { any: None, one: HashMap::new(), group: HashMap::new() }
    }
}

/// A place on an axis.
#[derive(Clone, Copy)]
enum Place<'a> {
    Any,
    One(&'a str),
    Group(&'a str),
}

impl<T: Default> Axis<T> {
    fn entry(&mut self, place: Place<'_>) -> &mut T {
        match place {
            Place::Any => self.any.get_or_insert_default(),
            Place::One(id) => self.one.entry(id.to_owned()).or_default(),
            Place::Group(id) => self.group.entry(id.to_owned()).or_default(),
        }
    }

    fn matching<'a>(&'a self, id: &'a str, groups: &'a [String]) -> impl Iterator<Item = &'a T> {
        let groups = groups.iter().filter_map(|group| self.group.get(group));
        self.any.iter().chain(self.one.get(id)).chain(groups)
    }
}

/// Shelves by action; `None` for policies that name none.
type Actions = BTreeMap<Option<Kind>, Shelf>;

/// All shelves: by resource, then principal, then action.
#[derive(Debug, Default)]
pub(crate) struct Shelves {
    by_resource: Axis<Axis<Actions>>,
}

/// Where a scope's principal or resource stands on its axis. `None`: it matches nothing of that type.
fn place<'a>(
    one: &str,
    group: &str,
    kind: Option<String>,
    entity: Option<&'a EntityUid>,
    within: bool,
) -> Option<Place<'a>> {
    if kind.is_some_and(|kind| kind != one) {
        return None;
    }
    match entity {
        None => Some(Place::Any),
        // Everything is in itself, so `in Wallet::"x"` is `== Wallet::"x"`.
        Some(uid) => match (id_of(uid, one), id_of(uid, group)) {
            (Some(id), _) => Some(Place::One(id)),
            (_, Some(id)) if within => Some(Place::Group(id)),
            _ => None,
        },
    }
}

/// The kinds of effect that a policy's scope names; `None` for all that are signed for wallets. Nothing but `Action::"change"`
/// itself names a change: what says nothing of actions was not written about who may change the rules.
pub(crate) fn actions(policy: &Policy) -> Vec<Option<Kind>> {
    let kind = |uid: &EntityUid| {
        let id = uid.id().unescaped();
        Kind::ALL.iter().copied().find(|kind| kind.as_str() == id)
    };
    match policy.action_constraint() {
        ActionConstraint::Any => vec![None],
        ActionConstraint::Eq(uid) => kind(&uid).map(Some).into_iter().collect(),
        ActionConstraint::In(uids) => {
            // What is no kind is the group `sign`.
            let whole = uids.iter().any(|uid| kind(uid).is_none());
            let mut kinds: Vec<_> = uids.iter().map(kind).collect();
            kinds.retain(|kind| !whole || kind.is_none_or(|kind| !kind.is_signing()));
            kinds.sort_unstable();
            kinds.dedup();
            kinds
        }
    }
}

impl Shelves {
    /// Puts every rule where the requests it can match will look.
    pub fn build(rules: &[Rule]) -> Result<Self, Box<cedar_policy::PolicySetError>> {
        let mut shelves = Self::default();
        for rule in rules {
            let resource = rule.policy.resource_constraint();
            let resource = match &resource {
                ResourceConstraint::Any => place("Wallet", "WalletGroup", None, None, false),
                ResourceConstraint::Eq(uid) => place("Wallet", "WalletGroup", None, Some(uid), false),
                ResourceConstraint::In(uid) => place("Wallet", "WalletGroup", None, Some(uid), true),
                ResourceConstraint::Is(kind) => {
                    place("Wallet", "WalletGroup", Some(kind.to_string()), None, false)
                }
                ResourceConstraint::IsIn(kind, uid) => {
                    place("Wallet", "WalletGroup", Some(kind.to_string()), Some(uid), true)
                }
            };
            let principal = rule.policy.principal_constraint();
            let principal = match &principal {
                PrincipalConstraint::Any => place("Client", "ClientGroup", None, None, false),
                PrincipalConstraint::Eq(uid) => place("Client", "ClientGroup", None, Some(uid), false),
                PrincipalConstraint::In(uid) => place("Client", "ClientGroup", None, Some(uid), true),
                PrincipalConstraint::Is(kind) => {
                    place("Client", "ClientGroup", Some(kind.to_string()), None, false)
                }
                PrincipalConstraint::IsIn(kind, uid) => {
                    place("Client", "ClientGroup", Some(kind.to_string()), Some(uid), true)
                }
            };
            let (Some(resource), Some(principal)) = (resource, principal) else { continue };
            for action in actions(&rule.policy) {
                let shelf = shelves.by_resource.entry(resource).entry(principal).entry(action).or_default();
                shelf.policies.add(rule.policy.clone())?;
                shelf.reads = shelf.reads.and(rule.reads);
                if let Some(bare) = &rule.bare {
                    shelf.bare.add(bare.clone())?;
                }
            }
        }
        Ok(shelves)
    }

    /// The shelves whose policies can match; a policy stands on at most one of them.
    pub fn matching<'a>(
        &'a self,
        client: (&'a str, &'a [String]),
        wallet: (&'a str, &'a [String]),
        kind: Kind,
    ) -> impl Iterator<Item = &'a Shelf> {
        self.by_resource
            .matching(wallet.0, wallet.1)
            .flat_map(move |principals| principals.matching(client.0, client.1))
            .flat_map(move |actions| {
                let any = actions.get(&None).filter(|_| kind.is_signing());
                [any, actions.get(&Some(kind))].into_iter().flatten()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Bundle;
    use crate::source::Source;
    use cedar_policy::{Authorizer, Context, Decision, Request};
    use std::collections::BTreeSet;

    const MANIFEST: &str = r#"version = 1
        name = "index"
        [groups.clients]
        cg = ["default/c0", "default/c1"]
        ch = ["default/c1"]
        [groups.wallets]
        wg = ["default/w0", "default/w1"]
        wh = ["default/w1"]"#;

    /// Every shape of a scope's principal or resource.
    fn shapes(variable: &str, kind: &str, letter: char) -> Vec<String> {
        let shapes = [
            "V",
            "V is K",
            "V == K::\"default/L0\"",
            "V in K::\"default/L1\"",
            "V is K in K::\"default/L1\"",
            "V in KGroup::\"Lg\"",
            "V is K in KGroup::\"Lh\"",
            "V == K::\"other/L0\"",
        ];
        shapes
            .map(|shape| shape.replace('V', variable).replace('K', kind).replace('L', &letter.to_string()))
            .to_vec()
    }

    fn bundle() -> Bundle {
        let actions = [
            "action",
            "action in Action::\"sign\"",
            "action == Action::\"transfer\"",
            "action in [Action::\"transfer\", Action::\"message\"]",
            "action in [Action::\"message\", Action::\"sign\"]",
        ];
        // Some apply, some do not, some fail: the failures must be the same too.
        let conditions =
            ["", "when { context.amount > 5 }", "when { context.amount + 9223372036854775807 > 0 }"];
        let mut text = String::new();
        let mut number = 0;
        for principal in shapes("principal", "Client", 'c') {
            for resource in shapes("resource", "Wallet", 'w') {
                for action in actions {
                    let effect = if number % 5 == 0 { "forbid" } else { "permit" };
                    let condition = conditions[number % conditions.len()];
                    text += &format!(
                        "@id(\"r{number}\") {effect} ({principal}, {action}, {resource}) {condition};\n"
                    );
                    number += 1;
                }
            }
        }
        let files = [("bundle.toml", MANIFEST), ("policies/x.cedar", text.as_str())];
        let source = Source { files: files.map(|(path, text)| (path.to_owned(), text.to_owned())).into() };
        Bundle::compile(&source).unwrap()
    }

    type Answer = (BTreeSet<String>, BTreeSet<String>, BTreeSet<String>);

    /// Permits, forbids and errors of one set. Cedar names permits only where no forbid applies, so each effect is asked apart.
    fn ask(request: &Request, set: &PolicySet, bundle: &Bundle) -> Answer {
        let mut answer = Answer::default();
        for effect in [cedar_policy::Effect::Permit, cedar_policy::Effect::Forbid] {
            let of_effect = set.policies().filter(|policy| policy.effect() == effect).cloned();
            let part = PolicySet::from_policies(of_effect).unwrap();
            let response = Authorizer::new().is_authorized(request, &part, &bundle.entities);
            let reasons = response.diagnostics().reason().map(ToString::to_string);
            match response.decision() {
                Decision::Allow => answer.0.extend(reasons),
                Decision::Deny => answer.1.extend(reasons),
            }
            answer.2.extend(response.diagnostics().errors().map(ToString::to_string));
        }
        answer
    }

    #[test]
    fn the_index_answers_as_the_whole_set() {
        let bundle = bundle();
        let whole = PolicySet::from_policies(bundle.rules.values().map(|rule| rule.policy.clone())).unwrap();
        let mut reached = 0;
        for (client, wallet) in
            ["c0", "c1", "c2"].into_iter().flat_map(|c| ["w0", "w1", "w2"].map(|w| (c, w)))
        {
            let (client, wallet) = (format!("default/{client}"), format!("default/{wallet}"));
            for (kind, amount) in [(Kind::Transfer, 0), (Kind::Message, 9), (Kind::Deployment, 9)] {
                let context =
                    Context::from_json_value(serde_json::json!({ "amount": amount }), None).unwrap();
                let (principal, resource) = (bundle.types.client(&client), bundle.types.wallet(&wallet));
                let request =
                    Request::new(principal, bundle.types.action(kind), resource, context, None).unwrap();
                let mut indexed = Answer::default();
                let mut names = BTreeSet::new();
                for shelf in bundle.shelves(&client, &wallet, kind) {
                    for policy in shelf.policies.policies() {
                        assert!(
                            names.insert(policy.id().to_string()),
                            "{} stands on two shelves",
                            policy.id()
                        );
                    }
                    let (permits, forbids, errors) = ask(&request, &shelf.policies, &bundle);
                    indexed.0.extend(permits);
                    indexed.1.extend(forbids);
                    indexed.2.extend(errors);
                }
                assert_eq!(indexed, ask(&request, &whole, &bundle), "{client} {wallet} {kind:?}");
                reached += names.len();
            }
        }
        let all = bundle.rules.len() * 27;
        assert!(reached * 2 < all, "the index reaches {reached} of {all} policies: it does not sort");
    }
}
