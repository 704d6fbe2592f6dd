//! What changes from one bundle to another, thing by thing, by the names people know them by: not lines of files, so that
//! a rule that only moved does not appear and a changed member of a group does. Trusts both bundles as compiled; what it
//! leaves out an officer approves unseen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use chancery_core::{ClientId, limit};
use chancery_identity::officer::{Credential, Enrolment, Registered};
use serde::Serialize;
use similar::{Algorithm, ChangeTag, DiffOp, capture_diff_slices};

use crate::bundle::Bundle;
use crate::limit::Limit;
use crate::registry::{Price, time_text};

/// LIMIT: lines that are held against lines, of one difference: what is beyond it is shown whole, as it was and as it would be.
const COMPARED_LINES: usize = 4_000_000;

/// What sort of thing changed, in the order that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The bundle's own header.
    Bundle,
    /// A rule, by its `@id`.
    Rule,
    /// A goal.
    Goal,
    /// A limit.
    Limit,
    /// An approver group.
    Approver,
    /// A factor.
    Factor,
    /// For whom credentials are made.
    Webauthn,
    /// An officer.
    Officer,
    /// One officer standing in for another.
    Delegation,
    /// A group of clients.
    ClientGroup,
    /// A group of wallets.
    WalletGroup,
    /// An asset.
    Asset,
    /// A price.
    Price,
    /// An address of the book.
    Address,
    /// A contract.
    Contract,
    /// A lookup table of Solana.
    LookupTable,
    /// A file of ABIs or tests.
    File,
}

impl Part {
    /// As people read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Rule => "rule",
            Self::Goal => "goal",
            Self::Limit => "limit",
            Self::Approver => "approver group",
            Self::Factor => "factor",
            Self::Webauthn => "relying party",
            Self::Officer => "officer",
            Self::Delegation => "delegation",
            Self::ClientGroup => "client group",
            Self::WalletGroup => "wallet group",
            Self::Asset => "asset",
            Self::Price => "price",
            Self::Address => "address",
            Self::Contract => "contract",
            Self::LookupTable => "lookup table",
            Self::File => "file",
        }
    }
}

/// One thing that one bundle has otherwise than the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What sort of thing.
    pub part: Part,
    /// Its name.
    pub name: String,
    /// What it was; `None` where it is new.
    pub before: Option<String>,
    /// What it is; `None` where it is gone.
    pub after: Option<String>,
}

/// Everything that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The old bundle's hash.
    pub old: String,
    /// The new bundle's hash.
    pub new: String,
    /// The changes, by part and name.
    pub changes: Vec<Change>,
}

impl Difference {
    /// What [`Display`](fmt::Display) tells, as many lines and as long ones as a change of the appliance carries: officers'
    /// programs compute the same.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let short = |line: &str| match line.len() > limit::CHANGE_LINE_BYTES {
            true => {
                let end = line.floor_char_boundary(limit::CHANGE_LINE_BYTES.saturating_sub(4));
                format!("{} ...", line.get(..end).unwrap_or_default())
            }
            false => line.to_owned(),
        };
        let whole = self.to_string();
        let mut rest = whole.lines();
        let mut lines: Vec<_> =
            rest.by_ref().take(limit::CHANGE_LINES.saturating_sub(1)).map(short).collect();
        match rest.count() {
            0 => {}
            more => lines.push(format!("and {more} more lines")),
        }
        lines
    }
}

type Things = BTreeMap<(Part, String), String>;

impl Bundle {
    /// What changes from `old` to this bundle.
    #[must_use]
    pub fn diff(&self, old: &Self) -> Difference {
        let (before, after) = (old.things(), self.things());
        let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let changes = names
            .into_iter()
            .filter(|name| before.get(*name) != after.get(*name))
            .map(|name| Change {
                part: name.0,
                name: name.1.clone(),
                before: before.get(name).cloned(),
                after: after.get(name).cloned(),
            })
            .collect();
        Difference { old: old.hash().to_owned(), new: self.hash().to_owned(), changes }
    }

    fn things(&self) -> Things {
        let mut things = Things::new();
        let mut put = |part, name: &str, text: String| {
            things.insert((part, name.to_owned()), text);
        };
        put(Part::Bundle, "name", self.name().to_owned());
        put(Part::Bundle, "utc_offset", format!("{} s", self.utc_offset_s));
        for rule in self.rules.values() {
            let written = rule.bare.as_ref().unwrap_or(&rule.policy).to_cedar();
            put(Part::Rule, &rule.name, written.unwrap_or_default());
        }
        for goal in self.goals() {
            put(Part::Goal, &goal.name, goal.claim.clone());
        }
        for limit in self.limits() {
            put(Part::Limit, &limit.name, measured(limit));
        }
        for group in &self.declared.approvers {
            put(Part::Approver, group, "declared".to_owned());
        }
        for factor in &self.declared.factors {
            put(Part::Factor, factor, "declared".to_owned());
        }
        if let Some(party) = self.officers.party() {
            put(Part::Webauthn, &party.id, party.origins.join("\n"));
        }
        for officer in self.officers.iter() {
            put(Part::Officer, officer.id.as_str(), described(officer));
        }
        for delegation in self.officers.delegations() {
            let name = format!("{} to {}", delegation.from, delegation.to);
            put(Part::Delegation, &name, format!("until {}", time_text(delegation.until)));
        }
        for (part, members) in [(Part::ClientGroup, &self.clients), (Part::WalletGroup, &self.wallets)] {
            for (group, members) in by_group(members) {
                put(part, group, members.join(", "));
            }
        }
        for (id, asset) in &self.registry.assets {
            let groups = asset.groups.join(", ");
            let text = format!(
                "{}, {} decimals, counted with {}, groups: {groups}",
                asset.name, asset.decimals, asset.unit_decimals
            );
            put(Part::Asset, id, text);
            if let Some(price) = &asset.price {
                put(Part::Price, id, priced(price));
            }
        }
        for (account, known) in &self.registry.addresses {
            put(Part::Address, account, format!("{}, groups: {}", known.name, known.groups.join(", ")));
        }
        for (account, contract) in &self.registry.contracts {
            put(Part::Contract, account, format!("{}, {}", contract.name, contract.abi));
        }
        for (table, (name, held)) in &self.registry.lookup_tables {
            let held: Vec<_> = held.iter().map(ToString::to_string).collect();
            put(Part::LookupTable, table, format!("{name}: {}", held.join(", ")));
        }
        let files = self.source().files.iter();
        for (path, text) in files.filter(|(path, _)| path.starts_with("abi/") || path.starts_with("tests/")) {
            put(Part::File, path, text.clone());
        }
        things
    }
}

fn by_group(members: &HashMap<String, Vec<String>>) -> BTreeMap<&str, Vec<&str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (member, own) in members {
        for group in own {
            groups.entry(group).or_default().push(member);
        }
    }
    groups.values_mut().for_each(|members| members.sort_unstable());
    groups
}

fn described(officer: &Registered) -> String {
    let list = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let roles = list(officer.roles.iter().map(|role| role.as_str()).collect());
    let groups = list(officer.groups.iter().map(String::as_str).collect());
    let clients = list(officer.clients.iter().map(ClientId::as_str).collect());
    let mut lines = vec![format!("roles: {roles}; groups: {groups}; clients: {clients}")];
    if let Some(Enrolment { code_sha256, until }) = &officer.enrolment {
        let (code, until) = (hex::encode(code_sha256), time_text(*until));
        lines.push(format!("sets a password with the code {code} until {until}"));
    }
    for Credential { id, key, held } in &officer.credentials {
        lines.push(format!("credential {} {key} held in {held}", String::from(id.clone())));
    }
    lines.join("\n")
}

fn measured(limit: &Limit) -> String {
    let all = |names: Vec<String>| if names.is_empty() { "all".to_owned() } else { names.join(", ") };
    let keys = limit.keys.iter().map(|key| format!("{key:?}").to_lowercase()).collect();
    let actions = limit.actions.iter().map(|kind| kind.as_str().to_owned()).collect();
    format!(
        "{} over {} s, for each of: {}; actions: {}; assets: {}",
        limit.measure,
        limit.window_ms / 1_000,
        all(keys),
        all(actions),
        all(limit.assets.iter().cloned().collect())
    )
}

fn priced(price: &Price) -> String {
    let text = format!("{:0>9}", price.usd.to_string());
    let (whole, fraction) = text.split_at(text.len().saturating_sub(8));
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{whole}{point}{fraction} USD until {}", time_text(price.expires))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = COMPARED_LINES;
        for change in &self.changes {
            let mark = match (&change.before, &change.after) {
                (None, _) => '+',
                (_, None) => '-',
                _ => '~',
            };
            writeln!(f, "{mark} {} {}", change.part.as_str(), change.name)?;
            let lines = |text: &Option<String>| -> Vec<String> {
                text.iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
            };
            for (mark, line) in differing(&lines(&change.before), &lines(&change.after), &mut left) {
                writeln!(f, "    {mark} {line}")?;
            }
        }
        Ok(())
    }
}

/// The lines that went, and those that came. `left` is what may still be compared.
fn differing<'a>(before: &'a [String], after: &'a [String], left: &mut usize) -> Vec<(char, &'a str)> {
    let same = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (before, after) = (before.get(same..).unwrap_or_default(), after.get(same..).unwrap_or_default());
    let tail = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
    let middle = |lines: &'a [String]| lines.get(..lines.len().saturating_sub(tail)).unwrap_or_default();
    let (before, after) = (middle(before), middle(after));
    // INVARIANT: never by a clock; officers' programs compute the same.
    let ops = match left.checked_sub(before.len().saturating_mul(after.len())) {
        Some(rest) => {
            *left = rest;
            capture_diff_slices(Algorithm::Myers, before, after)
        }
        None => {
            vec![DiffOp::Replace { old_index: 0, old_len: before.len(), new_index: 0, new_len: after.len() }]
        }
    };
    let marked = |(tag, lines): (ChangeTag, &'a [String])| match tag {
        ChangeTag::Equal => Vec::new(),
        ChangeTag::Delete => lines.iter().map(|line| ('-', line.as_str())).collect(),
        ChangeTag::Insert => lines.iter().map(|line| ('+', line.as_str())).collect(),
    };
    ops.iter().flat_map(|op| op.iter_slices(before, after)).flat_map(marked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::U256;
    use chancery_core::UnixMillis;

    /// Would catch a line between two that changed which is told as changed, and a difference that is left out.
    #[test]
    fn only_lines_that_differ_are_told() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (before, after) = (lines("a b c d e f"), lines("a x c d f g"));
        let told = |before, after| differing(before, after, &mut 36);
        assert_eq!(told(&before, &after), [('-', "b"), ('+', "x"), ('-', "e"), ('+', "g")]);
        assert!(told(&before, &before).is_empty());
        // Between the first and the last of them stand five lines; for all of them it was enough once.
        let mut left = 25;
        assert_eq!(differing(&before, &after, &mut left).len(), 4);
        assert_eq!((differing(&before, &after, &mut left).len(), left), (10, 0));
    }

    #[test]
    fn prices_are_written_as_they_are_read() {
        let price = |usd: u64| priced(&Price { usd: U256::from(usd), expires: UnixMillis(0) });
        assert_eq!(price(315_025_000_000), "3150.25 USD until 1970-01-01T00:00:00Z");
        assert_eq!(price(1), "0.00000001 USD until 1970-01-01T00:00:00Z");
        assert_eq!(price(100_000_000), "1 USD until 1970-01-01T00:00:00Z");
    }
}
