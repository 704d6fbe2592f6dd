//! Who may approve: the officers that a bundle names, with the public keys of what they approve with. They stand in the bundle
//! so that whoever changes them needs what every other change of policy needs, and so that an approval can be verified by
//! anyone who has the bundle of its time. If this is wrong, the wrong people approve.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chancery_core::{ClientId, UnixMillis};
use chancery_identity::officer::{Credential, Enrolment, Held, OfficerRole, Registered};
use chancery_identity::webauthn::{Base64Url, CredentialKey, RelyingParty};
use chancery_intent::model::Kind;
use serde::Deserialize;
use toml::Spanned;

use crate::error::{FindingCode, Findings, Text};
use crate::manifest::Manifest;
use crate::obligation::Declared;
use crate::registry::parse_time;

/// LIMIT: officers of a bundle.
pub const OFFICERS: usize = 256;
/// LIMIT: credentials, groups and clients of one officer.
pub const OF_ONE: usize = 16;
/// LIMIT: origins of the relying party.
pub const ORIGINS: usize = 8;
/// LIMIT: delegations of a bundle.
pub const DELEGATIONS: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebauthnEntry {
    pub rp_id: String,
    pub origins: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfficerEntry {
    pub id: ClientId,
    pub roles: Vec<OfficerRole>,
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub clients: Vec<ClientId>,
    #[serde(default)]
    pub enrolment: Option<EnrolmentEntry>,
    #[serde(default, rename = "credential")]
    pub credentials: Vec<CredentialEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolmentEntry {
    pub code_sha256: String,
    pub until: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CredentialEntry {
    pub id: Base64Url,
    pub key: CredentialKey,
    pub held: Held,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DelegationEntry {
    pub from: ClientId,
    pub to: ClientId,
    pub until: String,
}

/// One officer's groups in another's hands for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// Whose groups.
    pub from: ClientId,
    /// Who stands in for them.
    pub to: ClientId,
    /// Until when.
    pub until: UnixMillis,
}

/// Every officer of a bundle.
#[derive(Clone, Debug, Default)]
pub struct Officers {
    party: Option<RelyingParty>,
    people: BTreeMap<ClientId, Registered>,
    delegations: Vec<Delegation>,
}

/// Those who speak in groups: approvers about what wallets sign, administrators about changes of the appliance.
const SPEAKING: [OfficerRole; 2] = [OfficerRole::Approver, OfficerRole::Administrator];

/// The role in which somebody speaks about a request.
pub(crate) fn speaker(kind: Kind) -> OfficerRole {
    if kind.is_signing() { OfficerRole::Approver } else { OfficerRole::Administrator }
}

/// In whose name somebody may speak for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As a member.
    Own,
    /// For a member who delegated.
    For(ClientId),
}

impl Officers {
    /// For whom their credentials were made; always there where an officer has one.
    #[must_use]
    pub fn party(&self) -> Option<&RelyingParty> {
        self.party.as_ref()
    }

    /// The officer of this name.
    #[must_use]
    pub fn find(&self, id: &ClientId) -> Option<&Registered> {
        self.people.get(id)
    }

    /// Every officer, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Registered> {
        self.people.values()
    }

    /// Every delegation, in the order of the bundle.
    #[must_use]
    pub fn delegations(&self) -> &[Delegation] {
        &self.delegations
    }

    /// Whether anybody approves with a key that is kept in a file.
    #[must_use]
    pub fn in_software(&self) -> bool {
        self.iter()
            .flat_map(|officer| &officer.credentials)
            .any(|credential| credential.held == Held::Software)
    }

    /// In whose name an officer may speak for `group`, in a role, about what `client` asked: as a member, or for one who
    /// delegated and whose time is not over. Nobody speaks about the requests of clients whose keys they hold, nor for
    /// somebody who does.
    #[must_use]
    pub fn standing(
        &self,
        officer: &ClientId,
        (role, group): (OfficerRole, &str),
        client: &ClientId,
        now: UnixMillis,
    ) -> Option<Standing> {
        let may = |officer: &Registered| officer.roles.contains(&role) && !officer.clients.contains(client);
        let person = self.find(officer).filter(|person| may(person))?;
        if person.groups.contains(group) {
            return Some(Standing::Own);
        }
        let stands_for = |delegation: &&Delegation| {
            delegation.to == *officer
                && now < delegation.until
                && self.find(&delegation.from).is_some_and(|from| may(from) && from.groups.contains(group))
        };
        let delegation = self.delegations.iter().find(stands_for)?;
        Some(Standing::For(delegation.from.clone()))
    }

    /// How many people could speak for a group in a role, delegations apart.
    pub(crate) fn members(&self, role: OfficerRole, group: &str) -> usize {
        self.iter().filter(|who| who.roles.contains(&role) && who.groups.contains(group)).count()
    }

    /// Checks the manifest's tables; what is wrong becomes findings.
    pub(crate) fn build(
        manifest: &Manifest,
        declared: &Declared,
        at: Text<'_>,
        findings: &mut Findings,
    ) -> Self {
        let mut reading = Reading { at, findings, offset: None };
        let party = manifest.webauthn.as_ref().map(|entry| reading.party(entry));
        let mut officers = Self { party, ..Self::default() };
        reading.check(
            manifest.officers.len() <= OFFICERS && manifest.delegations.len() <= DELEGATIONS,
            FindingCode::Size,
            format!("more than {OFFICERS} officers or {DELEGATIONS} delegations"),
            "",
        );
        let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
        for entry in manifest.officers.iter().take(OFFICERS) {
            reading.offset = Some(entry.span().start);
            let officer = reading.officer(entry.get_ref(), declared);
            for credential in &officer.credentials {
                let fresh = ids.insert(credential.id.clone()) && keys.insert(credential.key.clone());
                let message = format!("a credential of `{}` is somebody's already", officer.id);
                reading.check(
                    fresh,
                    FindingCode::Duplicate,
                    message,
                    "a key that two people have says nothing of either",
                );
            }
            let asks = officer.credentials.is_empty() || officers.party.is_some();
            let hint =
                "declare `[webauthn]` with the `rp_id` and `origins` that the credentials were made for";
            reading.check(asks, FindingCode::Unknown, "credentials without a relying party", hint);
            let message = format!("`{}` names two officers", officer.id);
            let fresh = !officers.people.contains_key(&officer.id);
            if reading.check(fresh, FindingCode::Duplicate, message, "") {
                officers.people.insert(officer.id.clone(), officer);
            }
        }
        for entry in manifest.delegations.iter().take(DELEGATIONS) {
            reading.offset = Some(entry.span().start);
            officers.delegations.extend(reading.delegation(entry, &officers.people));
        }
        officers
    }
}

struct Reading<'a, 'f> {
    at: Text<'a>,
    findings: &'f mut Findings,
    offset: Option<usize>,
}

impl Reading<'_, '_> {
    fn check(&mut self, holds: bool, code: FindingCode, message: impl Into<String>, hint: &str) -> bool {
        if !holds {
            self.findings.add(self.at, self.offset, code, message, hint);
        }
        holds
    }

    fn party(&mut self, entry: &Spanned<WebauthnEntry>) -> RelyingParty {
        self.offset = Some(entry.span().start);
        let WebauthnEntry { rp_id, origins } = entry.get_ref();
        let domain = |text: &str| {
            !text.is_empty()
                && text.len() <= 253
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
        };
        let message = format!("`{rp_id}` is not a domain");
        self.check(domain(rp_id), FindingCode::Value, message, "such as `chancery.example`, in lower case");
        let few = (1..=ORIGINS).contains(&origins.len());
        self.check(few, FindingCode::Size, format!("`origins` must be 1 to {ORIGINS}"), "");
        for origin in origins {
            let host = origin.strip_prefix("https://").unwrap_or_default();
            let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
            let within =
                host == rp_id || host.strip_suffix(rp_id.as_str()).is_some_and(|rest| rest.ends_with('.'));
            let message = format!("`{origin}` is not an origin of `{rp_id}`");
            let hint = "an origin is `https://` and the relying party's domain or one below it";
            self.check(domain(host) && within, FindingCode::Value, message, hint);
        }
        RelyingParty { id: rp_id.clone(), origins: origins.clone() }
    }

    fn officer(&mut self, entry: &OfficerEntry, declared: &Declared) -> Registered {
        let id = &entry.id;
        let roles: BTreeSet<_> = entry.roles.iter().copied().collect();
        let message = format!("`{id}` has no role, or one twice");
        let once = !roles.is_empty() && roles.len() == entry.roles.len();
        self.check(
            once,
            FindingCode::Value,
            message,
            "roles are administrator, custodian, approver, auditor",
        );
        for (one, other) in roles.iter().flat_map(|one| roles.iter().map(move |other| (one, other))) {
            let message = format!("`{id}` cannot be both {one} and {other}");
            let hint = "whoever changes the rules does not approve under them, and an auditor only reads";
            self.check(one >= other || one.goes_with(*other), FindingCode::Value, message, hint);
        }
        let groups: BTreeSet<_> = entry.groups.iter().cloned().collect();
        for group in &groups {
            let known = declared.approvers.contains(group);
            let message = format!("`{group}` is not among the `approvers`");
            self.check(known, FindingCode::Unknown, message, "declare it in `approvers`");
        }
        let speaks = groups.is_empty() || SPEAKING.iter().any(|role| roles.contains(role));
        let message = format!("`{id}` stands in approver groups and is neither approver nor administrator");
        self.check(speaks, FindingCode::Value, message, "give a role that speaks, or no groups");
        let longest = entry.credentials.len().max(entry.groups.len()).max(entry.clients.len());
        let message = format!("`{id}` has more than {OF_ONE} credentials, groups or clients");
        self.check(longest <= OF_ONE, FindingCode::Size, message, "");
        let credentials = entry.credentials.iter().map(|CredentialEntry { id, key, held }| Credential {
            id: id.clone(),
            key: key.clone(),
            held: *held,
        });
        Registered {
            id: id.clone(),
            roles,
            groups,
            credentials: credentials.collect(),
            clients: entry.clients.iter().cloned().collect(),
            enrolment: entry.enrolment.as_ref().and_then(|enrolment| self.enrolment(id, enrolment)),
        }
    }

    fn enrolment(&mut self, officer: &ClientId, entry: &EnrolmentEntry) -> Option<Enrolment> {
        let EnrolmentEntry { code_sha256, until } = entry;
        let lower = !code_sha256.bytes().any(|byte| byte.is_ascii_uppercase());
        let mut digest = [0; 32];
        let hashed = lower && hex::decode_to_slice(code_sha256, &mut digest).is_ok();
        let message = format!("the `code_sha256` of `{officer}` is not a SHA-256");
        self.check(hashed, FindingCode::Value, message, "`chancery officer invite` prints the entry");
        let until_ms = parse_time(until);
        let message = format!("`{until}` is not a time");
        let hint = "written as RFC 3339, such as `2027-01-31T18:00:00Z`";
        self.check(until_ms.is_some(), FindingCode::Value, message, hint);
        Some(Enrolment { code_sha256: digest, until: until_ms.filter(|_| hashed)? })
    }

    fn delegation(
        &mut self,
        entry: &Spanned<DelegationEntry>,
        people: &BTreeMap<ClientId, Registered>,
    ) -> Option<Delegation> {
        let DelegationEntry { from, to, until } = entry.get_ref();
        let has = |id: &ClientId, role| people.get(id).is_some_and(|who| who.roles.contains(&role));
        let alike = SPEAKING.iter().any(|role| has(from, *role) && has(to, *role));
        let message = format!("`{from}` cannot delegate to `{to}`");
        let hint = "both are approvers, or both are administrators, and not the same";
        let good = self.check(from != to && alike, FindingCode::Value, message, hint);
        let until_ms = parse_time(until);
        let message = format!("`{until}` is not a time");
        let hint = "written as RFC 3339, such as `2027-01-31T18:00:00Z`";
        self.check(until_ms.is_some(), FindingCode::Value, message, hint);
        let until = until_ms.filter(|_| good)?;
        Some(Delegation { from: from.clone(), to: to.clone(), until })
    }
}
