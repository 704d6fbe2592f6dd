//! A compiled bundle: immutable, shared between threads, and only made by `Bundle::compile` from a source without findings.
//! It trusts nothing in the source. If it is wrong, every decision under it is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, Schema};

use chancery_intent::Contracts;
use chancery_intent::model::Kind;

use crate::call::{METHODS, Methods};
use crate::case::{self, Case};
use crate::error::{BundleError, FindingCode, Findings, Text};
use crate::fact::Types;
use crate::goal::{self, Goal};
use crate::limit::{Key, LIMITS, Limit, Measure};
use crate::manifest::{self, LimitEntry, Manifest};
use crate::name::{NAME_FORM, WORD_FORM, is_name, is_word};
use crate::obligation::Declared;
use crate::officers::{Officers, speaker};
use crate::registry::{GROUPS_OF_ONE, Registry};
use crate::rule::{self, Rule, Vocabulary};
use crate::schema;
use crate::shelf::Shelves;
use crate::source::{MANIFEST, Source};
use crate::span;

/// LIMIT: members of all client and wallet groups together.
pub const MEMBERS: usize = 20_000;
/// LIMIT: approver groups, and factors.
pub const APPROVERS: usize = 32;

/// What a rule is, for listings.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RuleSummary {
    /// Its `@id`.
    pub name: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// Its file in the bundle.
    pub file: String,
    /// Its line there.
    pub line: u32,
    /// Its `@description`.
    pub description: Option<String>,
    /// Its obligations as a Cedar condition; `None` when it has none.
    pub obligations: Option<String>,
}

/// A compiled policy bundle.
#[derive(Debug)]
pub struct Bundle {
    source: Source,
    hash: String,
    name: String,
    schema_text: String,
    pub(crate) schema: Schema,
    pub(crate) registry: Registry,
    pub(crate) methods: Methods,
    pub(crate) declared: Declared,
    pub(crate) officers: Officers,
    /// Each limit and the hash of its definition.
    pub(crate) limits: Vec<(Limit, [u8; 32])>,
    pub(crate) utc_offset_s: i64,
    pub(crate) types: Types,
    /// Groups, address book, registered assets and actions; the same for every request.
    pub(crate) entities: Entities,
    pub(crate) rules: HashMap<String, Rule>,
    pub(crate) shelves: Shelves,
    /// Groups by client and by wallet.
    pub(crate) clients: HashMap<String, Vec<String>>,
    pub(crate) wallets: HashMap<String, Vec<String>>,
    pub(crate) cases: Vec<Case>,
    pub(crate) goals: Vec<Goal>,
}

impl Bundle {
    /// Compiles a bundle.
    ///
    /// # Errors
    /// [`BundleError`] with everything that is wrong.
    pub fn compile(source: &Source) -> Result<Self, BundleError> {
        let mut findings = Findings::default();
        let bundle = Self::build(source, &mut findings);
        match bundle {
            Some(bundle) if findings.is_empty() => Ok(bundle),
            _ => Err(findings.into_error()),
        }
    }

    /// `None` only with a finding.
    fn build(source: &Source, findings: &mut Findings) -> Option<Self> {
        source.check(findings);
        let at = Text { file: MANIFEST, text: source.files.get(MANIFEST).map_or("", String::as_str) };
        if !findings.is_empty() {
            return None; // sizes and paths first: nothing unbounded is parsed
        }
        if !source.files.contains_key(MANIFEST) {
            findings.add(at, None, FindingCode::ManifestMissing, "the bundle has no `bundle.toml`", "");
            return None;
        }
        let manifest: Manifest = manifest::parse(at, findings)?;
        let mut parts = Parts { at, findings };
        let utc_offset_s = parts.header(&manifest);
        let declared = parts.declared(&manifest);
        let officers = Officers::build(&manifest, &declared, at, parts.findings);
        let clients = parts.members(&manifest.groups.clients, "a client");
        let wallets = parts.members(&manifest.groups.wallets, "a wallet");
        let registry = Registry::build(&manifest, source, at, parts.findings);
        let limits = parts.limits(&manifest, &registry);
        let methods = Methods::of(&registry);
        parts.check(
            methods.len() <= METHODS,
            None,
            FindingCode::Size,
            format!("more than {METHODS} methods"),
            "",
        );

        let plain: Vec<_> = limits.iter().map(|(limit, _)| limit.clone()).collect();
        let schema_text = schema::text(&plain, &methods, &declared.approvers);
        let schema = parts.must(schema::compile(&schema_text), "the schema does not compile")?;
        let types = parts.must(Types::parse().ok_or_else(String::new), "entity types")?;
        let vocabulary = vocabulary(&registry, &clients, &wallets);
        let rules = rule::compile(source.folder("policies"), &schema, &declared, &vocabulary, parts.findings);
        parts.reachable(&rules, &officers);
        let reader = goal::Reader { schema: &schema, declared: &declared, vocabulary: &vocabulary };
        let goals = reader.read(source.folder("goals"), parts.findings);
        let entities = entities(&schema, &registry, &clients, &wallets);
        let entities = parts.must(entities, "the groups do not fit the schema")?;
        let shelves = Shelves::build(&rules).map_err(|error| error.to_string());
        let shelves = parts.must(shelves, "the policies cannot be indexed")?;
        let cases = case::parse(source.folder("tests"), &registry, &plain, &declared, &rules, parts.findings);
        Some(Self {
            hash: source.hash(),
            source: source.clone(),
            name: manifest.name.into_inner(),
            schema_text,
            schema,
            registry,
            methods,
            declared,
            officers,
            limits,
            utc_offset_s,
            types,
            entities,
            rules: rules.into_iter().map(|rule| (rule.name.clone(), rule)).collect(),
            shelves,
            clients,
            wallets,
            cases,
            goals,
        })
    }

    /// What names this bundle in every record: [`Source::hash`].
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The bundle's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was compiled from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The Cedar schema its policies were checked against, as text.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema_text
    }

    /// What `intent` decodes by: the standards of registered tokens and the ABIs of registered contracts.
    #[must_use]
    pub fn contracts(&self) -> &impl Contracts {
        &self.registry.decoding
    }

    /// Whether its rules speak about changes of the appliance: then each is asked for, and needs whom they name.
    #[must_use]
    pub fn governs_changes(&self) -> bool {
        self.rules.values().any(|rule| rule.is_about(Kind::Change))
    }

    /// Who may approve.
    #[must_use]
    pub fn officers(&self) -> &Officers {
        &self.officers
    }

    /// The approver groups that rules and requests may name.
    #[must_use]
    pub fn approvers(&self) -> &[String] {
        &self.declared.approvers
    }

    /// The factors that rules and requests may name.
    #[must_use]
    pub fn factors(&self) -> &[String] {
        &self.declared.factors
    }

    /// The declared limits, in order.
    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.limits.iter().map(|(limit, _)| limit)
    }

    /// Its rules, by name.
    #[must_use]
    pub fn rules(&self) -> Vec<RuleSummary> {
        let mut rules: Vec<_> = self
            .rules
            .values()
            .map(|rule| RuleSummary {
                name: rule.name.clone(),
                effect: if rule.forbids { "forbid" } else { "permit" },
                file: rule.file.clone(),
                line: rule.line,
                description: rule.description.clone(),
                obligations: (!rule.obligations.is_empty()).then(|| rule.obligations.condition()),
            })
            .collect();
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        rules
    }
}

/// The manifest's checks that need no other room.
struct Parts<'a, 'f> {
    at: Text<'a>,
    findings: &'f mut Findings,
}

impl Parts<'_, '_> {
    fn check(
        &mut self,
        holds: bool,
        offset: Option<usize>,
        code: FindingCode,
        message: impl Into<String>,
        hint: &str,
    ) -> bool {
        if !holds {
            self.findings.add(self.at, offset, code, message, hint);
        }
        holds
    }

    /// A step that cannot fail unless an earlier check is incomplete: then it is a finding, never a panic.
    fn must<T>(&mut self, result: Result<T, String>, what: &str) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(reason) => {
                self.findings.add(self.at, None, FindingCode::Value, format!("{what}: {reason}"), "");
                None
            }
        }
    }

    fn header(&mut self, manifest: &Manifest) -> i64 {
        let version = &manifest.version;
        let message = format!("version {} is not known", version.get_ref());
        let hint = "this build reads version 1";
        self.check(
            *version.get_ref() == manifest::VERSION,
            Some(version.span().start),
            FindingCode::Value,
            message,
            hint,
        );
        let name = &manifest.name;
        let message = format!("`{}` is not a name", name.get_ref());
        self.check(is_name(name.get_ref()), Some(name.span().start), FindingCode::Value, message, NAME_FORM);
        let Some(offset) = &manifest.utc_offset else { return 0 };
        let parsed = span::parse_offset_s(offset.get_ref());
        let message = format!("`{}` is not an offset from UTC", offset.get_ref());
        let hint = "an offset is hours and minutes, such as `+01:00`; it is fixed, there is no summer time";
        self.check(parsed.is_some(), Some(offset.span().start), FindingCode::Value, message, hint);
        parsed.unwrap_or(0)
    }

    fn declared(&mut self, manifest: &Manifest) -> Declared {
        let mut declared = Declared::default();
        for (entries, list) in
            [(&manifest.approvers, &mut declared.approvers), (&manifest.factors, &mut declared.factors)]
        {
            let few = entries.len() <= APPROVERS;
            self.check(
                few,
                None,
                FindingCode::Size,
                format!("more than {APPROVERS} approver groups or factors"),
                "",
            );
            for entry in entries {
                let (name, offset) = (entry.get_ref(), Some(entry.span().start));
                let good = self.check(
                    is_word(name),
                    offset,
                    FindingCode::Value,
                    format!("`{name}` cannot be used"),
                    WORD_FORM,
                );
                let fresh = !list.contains(name);
                self.check(fresh, offset, FindingCode::Duplicate, format!("`{name}` is declared twice"), "");
                if good && fresh {
                    list.push(name.clone());
                }
            }
        }
        declared
    }

    /// Where the bundle names its officers, every quorum must be one that they can meet.
    fn reachable(&mut self, rules: &[Rule], officers: &Officers) {
        if officers.iter().next().is_none() {
            return;
        }
        for rule in rules {
            let spoken = Kind::ALL.iter().filter(|kind| rule.is_about(**kind)).map(|kind| speaker(*kind));
            let roles: BTreeSet<_> = spoken.collect();
            let asked = rule.obligations.quorum();
            for ((group, needed), role) in
                asked.flat_map(|asked| roles.iter().map(move |role| (asked, *role)))
            {
                let members = officers.members(role, group);
                let message = format!(
                    "`{}` asks for {needed} approvals by `{group}`, which has {members} members who are {role}s",
                    rule.name
                );
                let enough = members >= usize::try_from(*needed).unwrap_or(usize::MAX);
                self.check(
                    enough,
                    None,
                    FindingCode::Value,
                    message,
                    "such a request could never be approved",
                );
            }
        }
    }

    /// Groups by member.
    fn members(
        &mut self,
        groups: &BTreeMap<toml::Spanned<String>, Vec<toml::Spanned<String>>>,
        what: &str,
    ) -> HashMap<String, Vec<String>> {
        let mut members: HashMap<String, Vec<String>> = HashMap::new();
        if groups.values().map(Vec::len).sum::<usize>() > MEMBERS {
            self.check(false, None, FindingCode::Size, format!("more than {MEMBERS} members of groups"), "");
            return members;
        }
        for (group, list) in groups {
            let (group, offset) = (group.get_ref(), Some(group.span().start));
            self.check(
                is_name(group),
                offset,
                FindingCode::Value,
                format!("`{group}` is not a name"),
                NAME_FORM,
            );
            for member in list {
                let (member, offset) = (member.get_ref(), Some(member.span().start));
                let message = format!("`{member}` does not name {what}");
                let hint = "written as `<tenant>/<name>`, such as `default/treasury`";
                self.check(rule::is_qualified(member), offset, FindingCode::Value, message, hint);
                let groups = members.entry(member.clone()).or_default();
                let message = format!("`{member}` is in `{group}` twice");
                if self.check(!groups.contains(group), offset, FindingCode::Duplicate, message, "") {
                    groups.push(group.clone());
                }
                let message = format!("`{member}` is in more than {GROUPS_OF_ONE} groups");
                let few = groups.len() <= GROUPS_OF_ONE;
                self.check(few, offset, FindingCode::Size, message, "");
            }
        }
        members
    }

    fn limits(&mut self, manifest: &Manifest, registry: &Registry) -> Vec<(Limit, [u8; 32])> {
        let few = manifest.limits.len() <= LIMITS;
        self.check(few, None, FindingCode::Size, format!("more than {LIMITS} limits"), "");
        let mut names = HashSet::new();
        let mut limits = Vec::new();
        for entry in manifest.limits.iter().take(LIMITS) {
            let offset = Some(entry.span().start);
            let name = &entry.get_ref().name;
            let message = format!("`{name}` names two limits");
            self.check(names.insert(name.clone()), offset, FindingCode::Duplicate, message, "");
            if let Some(limit) = self.limit(entry.get_ref(), offset, registry) {
                let identity = limit.identity();
                limits.push((limit, identity));
            }
        }
        limits
    }

    fn limit(&mut self, entry: &LimitEntry, offset: Option<usize>, registry: &Registry) -> Option<Limit> {
        let name = &entry.name;
        let mut good = self.check(
            is_word(name),
            offset,
            FindingCode::Value,
            format!("`{name}` cannot name a limit"),
            WORD_FORM,
        );
        let window_ms = span::parse_ms(&entry.window);
        let message = format!("`{}` is not a window", entry.window);
        good &= self.check(window_ms.is_some(), offset, FindingCode::Value, message, span::FORM);
        for asset in &entry.assets {
            let message = format!("`{asset}` is not a registered asset");
            let known = registry.assets.contains_key(asset);
            good &= self.check(known, offset, FindingCode::Unknown, message, "declare it with `[[asset]]`");
        }
        let keys: BTreeSet<Key> = entry.keys.iter().copied().collect();
        let assets: BTreeSet<String> = entry.assets.iter().cloned().collect();
        let mixes = entry.measure == Measure::Sum && !keys.contains(&Key::Asset) && assets.len() != 1;
        let message = format!("`{name}` would add amounts of different assets");
        let hint = "add `asset` to `keys`, name one asset in `assets`, or measure `usd`";
        good &= self.check(!mixes, offset, FindingCode::Value, message, hint);
        let actions = entry.actions.iter().copied().collect();
        let window_ms = window_ms.filter(|_| good)?;
        Some(Limit { name: name.clone(), measure: entry.measure, keys, window_ms, actions, assets })
    }
}

fn vocabulary<'a>(
    registry: &'a Registry,
    clients: &'a HashMap<String, Vec<String>>,
    wallets: &'a HashMap<String, Vec<String>>,
) -> Vocabulary<'a> {
    let mut vocabulary = Vocabulary::default();
    let of = |lists: Vec<&'a Vec<String>>| lists.into_iter().flatten().map(String::as_str).collect();
    vocabulary.groups.insert("ClientGroup", of(clients.values().collect()));
    vocabulary.groups.insert("WalletGroup", of(wallets.values().collect()));
    vocabulary
        .groups
        .insert("AddressGroup", of(registry.addresses.values().map(|known| &known.groups).collect()));
    vocabulary.groups.insert("AssetGroup", of(registry.assets.values().map(|asset| &asset.groups).collect()));
    vocabulary
}

/// Every entity with ancestors. What is not here has none, and no entity has attributes: facts are in the context.
fn entities(
    schema: &Schema,
    registry: &Registry,
    clients: &HashMap<String, Vec<String>>,
    wallets: &HashMap<String, Vec<String>>,
) -> Result<Entities, String> {
    let kinds = [
        ("Client", "ClientGroup", clients.iter().collect::<Vec<_>>()),
        ("Wallet", "WalletGroup", wallets.iter().collect()),
        (
            "Address",
            "AddressGroup",
            registry.addresses.iter().map(|(id, known)| (id, &known.groups)).collect(),
        ),
        ("Asset", "AssetGroup", registry.assets.iter().map(|(id, asset)| (id, &asset.groups)).collect()),
    ];
    let mut entities = Vec::new();
    for (one, group, members) in kinds {
        let one: EntityTypeName = one.parse().map_err(|_| one.to_owned())?;
        let group: EntityTypeName = group.parse().map_err(|_| group.to_owned())?;
        let uid = |kind: &EntityTypeName, id: &str| {
            EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
        };
        let mut groups = HashSet::new();
        for (id, parents) in members {
            let parents: HashSet<_> = parents.iter().map(|parent| uid(&group, parent)).collect();
            groups.extend(parents.iter().cloned());
            entities.push(Entity::new_no_attrs(uid(&one, id), parents));
        }
        entities.extend(groups.into_iter().map(Entity::with_uid));
    }
    Entities::from_entities(entities, Some(schema)).map_err(|error| error.to_string())
}
