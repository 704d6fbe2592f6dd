//! The index: policies by the principal, action and resource their scope names, so that a decision reads only the ones
//! whose scope can match. Cedar evaluates a scope before any condition, so a policy that is not reached could neither have
//! applied nor failed: the answer is the one of the whole set. `tests/index.rs` holds the two against each other.

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
fn place<'a>(one: &str, group: &str, kind: Option<String>, entity: Option<&'a EntityUid>, within: bool) -> Option<Place<'a>> {
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

fn actions(policy: &Policy) -> Vec<Option<Kind>> {
    let kind = |uid: &EntityUid| {
        let id = uid.id().unescaped();
        Kind::ALL.iter().copied().find(|kind| kind.as_str() == id)
    };
    match policy.action_constraint() {
        ActionConstraint::Any => vec![None],
        ActionConstraint::Eq(uid) => kind(&uid).map(Some).into_iter().collect(),
        ActionConstraint::In(uids) => {
            if uids.iter().any(|uid| kind(uid).is_none()) {
                vec![None] // the group `sign`, which holds every action
            } else {
                let mut kinds: Vec<_> = uids.iter().map(kind).collect();
                kinds.sort_unstable();
                kinds.dedup();
                kinds
            }
        }
    }
}

impl Shelves {
    /// Puts every rule where the requests it can match will look.
    pub fn build(rules: &[Rule]) -> Result<Self, cedar_policy::PolicySetError> {
        let mut shelves = Self::default();
        for rule in rules {
            let resource = rule.policy.resource_constraint();
            let resource = match &resource {
                ResourceConstraint::Any => place("Wallet", "WalletGroup", None, None, false),
                ResourceConstraint::Eq(uid) => place("Wallet", "WalletGroup", None, Some(uid), false),
                ResourceConstraint::In(uid) => place("Wallet", "WalletGroup", None, Some(uid), true),
                ResourceConstraint::Is(kind) => place("Wallet", "WalletGroup", Some(kind.to_string()), None, false),
                ResourceConstraint::IsIn(kind, uid) => {
                    place("Wallet", "WalletGroup", Some(kind.to_string()), Some(uid), true)
                }
            };
            let principal = rule.policy.principal_constraint();
            let principal = match &principal {
                PrincipalConstraint::Any => place("Client", "ClientGroup", None, None, false),
                PrincipalConstraint::Eq(uid) => place("Client", "ClientGroup", None, Some(uid), false),
                PrincipalConstraint::In(uid) => place("Client", "ClientGroup", None, Some(uid), true),
                PrincipalConstraint::Is(kind) => place("Client", "ClientGroup", Some(kind.to_string()), None, false),
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
            .flat_map(move |actions| [actions.get(&None), actions.get(&Some(kind))].into_iter().flatten())
    }
}
