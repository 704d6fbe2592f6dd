//! A bundle's own tests: what its author expects of it. They run before it is applied and travel with it, so a later
//! change that breaks an expectation is seen. Read strictly: a case that cannot be understood is a finding.

use std::collections::BTreeSet;

use alloy_primitives::{Address, U256};
use cedar_policy::Policy;
use chancery_core::{ClientId, Code, Payload, Tenant, Tier, UnixMillis, WalletId};
use chancery_intent::bitcoin::{Network, OWN_KEY, Wallet};
use chancery_intent::change::SEAL;
use chancery_intent::model::{self, Description, Effect, Fee, Kind, Method};
use chancery_intent::solana::{self, Cluster};
use chancery_intent::{Account, IntentError, ethereum};
use serde::Deserialize;
use toml::Spanned;

use crate::answer::{Answer, Expected, TestResult};
use crate::bundle::Bundle;
use crate::chain::{MOST_SATOSHI, forms, is_appliance, is_bitcoin, is_solana, occurs, usual};
use crate::error::{FindingCode, Findings, Text};
use crate::evaluate::{Evaluation, Outcome};
use crate::explain::Explanation;
use crate::fact::Question;
use crate::limit::{Limit, SupposedSpending};
use crate::manifest;
use crate::name::RESERVED;
use crate::obligation::{Declared, Met};
use crate::registry::{self, Registry};
use crate::rule::Rule;
use crate::span;
use crate::units;

/// LIMIT: test cases of one bundle.
pub const CASES: usize = 5_000;

/// The time of a case that names none: a Monday noon.
const DEFAULT_NOW: &str = "2026-01-05T12:00:00Z";
const DEFAULT_ACCOUNT: &str = "0x0000000000000000000000000000000000000000";
/// Nobody's account on a Bitcoin network: the empty script.
const DEFAULT_SCRIPT: &str = "script-";
/// Nobody's account on Solana: the system program's address.
const DEFAULT_PUBKEY: &str = "11111111111111111111111111111111";

/// A case ready to run.
#[derive(Debug)]
pub(crate) struct Case {
    name: String,
    file: String,
    line: u32,
    tenant: Tenant,
    client: ClientId,
    wallet: WalletId,
    tier: Tier,
    /// What the payload would do, or the code with which decoding refuses it.
    intent: Result<Description, Code>,
    now: UnixMillis,
    met: Met,
    spent: SupposedSpending,
    expected: Expected,
    rules: Option<BTreeSet<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "case")]
    cases: Vec<Spanned<Entry>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Allow,
    Pending,
    Deny,
    Refused,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    client: String,
    wallet: String,
    chain: Option<String>,
    payload: Option<Payload>,
    payload_type: Option<String>,
    form: Option<String>,
    account: Option<String>,
    #[serde(default)]
    tier: Tier,
    public_key: Option<String>,
    descriptor: Option<String>,
    now: Option<String>,
    #[serde(default)]
    spent: SupposedSpending,
    #[serde(default)]
    approvals: std::collections::BTreeMap<String, u32>,
    #[serde(default)]
    factors: BTreeSet<String>,
    #[serde(default)]
    vetoes: BTreeSet<String>,
    waited: Option<String>,
    #[serde(default)]
    request_signed: bool,
    fee: Option<FeeEntry>,
    #[serde(default, rename = "effect")]
    effects: Vec<EffectEntry>,
    expect: Expect,
    code: Option<String>,
    rules: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeeEntry {
    asset: String,
    amount: Option<String>,
    coins: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EffectEntry {
    kind: Kind,
    asset: Option<String>,
    amount: Option<String>,
    coins: Option<String>,
    #[serde(default)]
    unlimited: bool,
    destination: Option<String>,
    owner: Option<String>,
    contract: Option<String>,
    method: Option<Method>,
    /// An output that pays the wallet itself.
    #[serde(default)]
    change: bool,
}

impl Entry {
    fn expected(&self) -> Result<Expected, Refusal> {
        let outcome = match self.expect {
            Expect::Allow => Outcome::Allowed,
            Expect::Pending => Outcome::Pending,
            Expect::Deny => Outcome::Denied,
            Expect::Refused if self.rules.is_some() => {
                return Err(value(
                    "what decoding refuses comes to no rule; `rules` cannot be expected of it",
                ));
            }
            Expect::Refused => {
                let known = |text: &str| Code::ALL.iter().find(|code| code.as_str() == text).copied();
                let code = self.code.as_deref().map(|text| {
                    known(text).ok_or_else(|| unknown(format!("`{text}` is not a code of the wire")))
                });
                return Ok(Expected::Refused { refused: code.transpose()? });
            }
        };
        if self.code.is_some() {
            return Err(value("`code` is expected where `expect = \"refused\"`"));
        }
        Ok(Expected::Outcome(outcome))
    }
}

/// What cases can name.
struct Names<'a> {
    registry: &'a Registry,
    limits: &'a [Limit],
    declared: &'a Declared,
    rules: BTreeSet<&'a str>,
}

/// Reads every test file.
pub(crate) fn parse<'a>(
    files: impl Iterator<Item = Text<'a>>,
    registry: &Registry,
    limits: &[Limit],
    declared: &Declared,
    rules: &[Rule],
    findings: &mut Findings,
) -> Vec<Case> {
    let names = Names::of(registry, limits, declared, rules.iter());
    let mut cases = Vec::new();
    let mut taken = BTreeSet::new();
    for at in files {
        let Some(file) = manifest::parse::<File>(at, findings) else { continue };
        if cases.len().saturating_add(file.cases.len()) > CASES {
            findings.add(at, None, FindingCode::Size, format!("more than {CASES} test cases"), "");
            return cases;
        }
        for entry in file.cases {
            let offset = entry.span().start;
            let entry = entry.into_inner();
            if !taken.insert(entry.name.clone()) {
                let message = format!("`{}` names two test cases", entry.name);
                findings.add(at, Some(offset), FindingCode::Duplicate, message, "");
            }
            let name = entry.name.clone();
            match names.case(at, offset, entry) {
                Ok(case) => cases.push(case),
                Err((code, message)) => {
                    findings.add(at, Some(offset), code, format!("test case `{name}`: {message}"), "");
                }
            }
        }
    }
    cases
}

/// Reads one case, not of the bundle's own.
///
/// # Errors
/// Why it is none.
pub(crate) fn read_one(bundle: &Bundle, text: &str) -> Result<Case, String> {
    let limits: Vec<_> = bundle.limits().cloned().collect();
    let names = Names::of(&bundle.registry, &limits, &bundle.declared, bundle.rules.values());
    let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let entry = file.cases.into_iter().next().ok_or("it has no `[[case]]`")?.into_inner();
    names.case(Text { file: "", text }, 0, entry).map_err(|(_, reason)| reason)
}

type Refusal = (FindingCode, String);

fn value(message: impl Into<String>) -> Refusal {
    (FindingCode::Value, message.into())
}

fn unknown(message: impl Into<String>) -> Refusal {
    (FindingCode::Unknown, message.into())
}

/// `tenant/name` in two.
fn qualified(text: &str) -> Result<(Tenant, &str), Refusal> {
    let parts = text.split_once('/').and_then(|(tenant, name)| Some((tenant.parse().ok()?, name)));
    parts.ok_or_else(|| value(format!("`{text}` is not written as `<tenant>/<name>`")))
}

impl<'a> Names<'a> {
    fn of(
        registry: &'a Registry,
        limits: &'a [Limit],
        declared: &'a Declared,
        rules: impl Iterator<Item = &'a Rule>,
    ) -> Self {
        let rules = rules.map(|rule| rule.name.as_str()).chain(RESERVED.iter().copied()).collect();
        Self { registry, limits, declared, rules }
    }

    fn case(&self, at: Text<'_>, offset: usize, entry: Entry) -> Result<Case, Refusal> {
        let (tenant, client) = qualified(&entry.client)?;
        let (other, wallet) = qualified(&entry.wallet)?;
        if tenant != other {
            return Err(value("client and wallet are of different tenants"));
        }
        let client = client.parse().map_err(|error| value(format!("{error}")))?;
        let wallet = wallet.parse().map_err(|error| value(format!("{error}")))?;
        let now = entry.now.as_deref().unwrap_or(DEFAULT_NOW);
        let now =
            registry::parse_time(now).ok_or_else(|| value(format!("`{now}` is not an RFC 3339 time")))?;
        let waited_ms = match &entry.waited {
            Some(text) => span::parse_ms(text).ok_or_else(|| value(format!("`{text}`: {}", span::FORM)))?,
            None => 0,
        };
        for group in entry.approvals.keys().chain(&entry.vetoes) {
            if !self.declared.approvers.contains(group) {
                return Err(unknown(format!("`{group}` is not among the `approvers` of bundle.toml")));
            }
        }
        if let Some(factor) = entry.factors.iter().find(|factor| !self.declared.factors.contains(factor)) {
            return Err(unknown(format!("`{factor}` is not among the `factors` of bundle.toml")));
        }
        if let Some(name) =
            entry.spent.0.keys().find(|name| !self.limits.iter().any(|limit| limit.name == **name))
        {
            return Err(unknown(format!("`{name}` is not a limit")));
        }
        if let Some(rule) = entry.rules.iter().flatten().find(|rule| !self.rules.contains(rule.as_str())) {
            return Err(unknown(format!("`{rule}` is not a rule")));
        }
        let expected = entry.expected()?;
        let intent = self.intent(&entry)?;
        let (line, _) = at.place(offset);
        Ok(Case {
            name: entry.name,
            file: at.file.to_owned(),
            line,
            tenant,
            client,
            wallet,
            tier: entry.tier,
            intent,
            now,
            met: Met {
                approvals: entry.approvals,
                factors: entry.factors,
                waited_ms,
                vetoes: entry.vetoes,
                request_signed: entry.request_signed,
                // A case is about the rules: that a cold wallet's signature is still to come is not theirs.
                cold_signed: true,
            },
            spent: entry.spent,
            expected,
            rules: entry.rules.map(|rules| rules.into_iter().collect()),
        })
    }

    fn intent(&self, entry: &Entry) -> Result<Result<Description, Code>, Refusal> {
        let chain = entry.chain.clone().ok_or_else(|| value("`chain` is missing"))?;
        if !registry::is_chain(&chain) {
            return Err(value(format!("`{chain}` is not a chain")));
        }
        if let Some(payload) = &entry.payload {
            let made_up = entry.fee.is_some() || entry.form.is_some() || entry.payload_type.is_some();
            if made_up || !entry.effects.is_empty() {
                return Err(value(
                    "`payload` says the form, the fee and the effects; they cannot be given beside it",
                ));
            }
            return match self.understand(payload, &chain, entry)? {
                // Where no refusal is expected, it is the case that is wrong.
                Err(error) if !matches!(entry.expect, Expect::Refused) => {
                    Err(value(format!("the payload: {error}")))
                }
                understood => Ok(understood.map_err(|error| error.code())),
            };
        }
        if matches!(entry.expect, Expect::Refused) {
            return Err(value("what decoding refuses is a `payload`; effects are already decoded"));
        }
        if is_appliance(&chain) && entry.account.as_ref().is_some_and(|account| account != SEAL) {
            return Err(value(format!("the account of changes is `{SEAL}`")));
        }
        if entry.public_key.is_some() || entry.descriptor.is_some() {
            return Err(value("`public_key` and `descriptor` are what a Bitcoin `payload` is decoded with"));
        }
        let account = if is_appliance(&chain) { SEAL.to_owned() } else { self.account(&chain, entry)? };
        let Some(first) = entry.effects.first() else {
            return Err(value("it has neither a `[[case.effect]]` nor a `payload`"));
        };
        let payload_type = entry.payload_type.as_deref().unwrap_or_else(|| usual(first.kind, &chain));
        let form = forms(payload_type).first().copied().unwrap_or_default();
        // As a PSBT is read: what pays the wallet is no effect beside what does not.
        let all_change = entry.effects.iter().all(|effect| effect.change);
        let effects: Result<Vec<_>, _> = entry
            .effects
            .iter()
            .map(|effect| Ok((effect.change, self.effect(&chain, &account, effect)?)))
            .filter(|effect| all_change || !matches!(effect, Ok((true, _))))
            .map(|effect| effect.map(|(_, effect)| effect))
            .collect();
        let fee = match &entry.fee {
            None => None,
            Some(fee) => {
                let asset = self.asset(&chain, &fee.asset)?;
                let maximum = self.amount(Some(&asset), fee.amount.as_deref(), fee.coins.as_deref())?;
                Some(Fee {
                    asset,
                    maximum: maximum.ok_or_else(|| value("the fee has no `amount` or `coins`"))?,
                })
            }
        };
        Ok(Ok(Description {
            v: model::VERSION,
            payload: payload_type.to_owned(),
            form: entry.form.clone().unwrap_or_else(|| form.to_owned()),
            account,
            chain,
            effects: effects?,
            fee,
            nonce: None,
            detail: serde_json::Map::new(),
        }))
    }

    /// A real payload, decoded as it would be at the door.
    fn understand(
        &self,
        payload: &Payload,
        chain: &str,
        entry: &Entry,
    ) -> Result<Result<Description, IntentError>, Refusal> {
        let decode = |account: &Account<'_>| {
            chancery_intent::understand(payload, account, &self.registry.decoding)
                .map(|intent| intent.description().clone())
        };
        if let Some(network) = Network::of_chain(chain) {
            return Ok(decode(&Account::Bitcoin(&wallet(network, entry)?)));
        }
        if let Some(cluster) = Cluster::of_chain(chain) {
            let address = solana::address(&self.account(chain, entry)?);
            let address = address.map_err(|error| value(error.to_string()))?;
            return Ok(decode(&Account::Solana(solana::Account { address, cluster })));
        }
        let chain_id = chain.strip_prefix("eip155:").and_then(|id| id.parse::<u64>().ok());
        let chain_ids = [chain_id.ok_or_else(|| value(format!("`{chain}` is not a chain of payloads")))?];
        let address = Address::parse_checksummed(&self.account(chain, entry)?, None)
            .map_err(|error| value(error.to_string()))?;
        Ok(decode(&Account::Ethereum(ethereum::Account { address, chain_ids: &chain_ids })))
    }

    /// The wallet's account on the chain.
    fn account(&self, chain: &str, entry: &Entry) -> Result<String, Refusal> {
        let nobody = match chain {
            _ if is_bitcoin(chain) => DEFAULT_SCRIPT,
            _ if is_solana(chain) => DEFAULT_PUBKEY,
            _ => DEFAULT_ACCOUNT,
        };
        self.address(chain, entry.account.as_deref().unwrap_or(nobody))
    }

    fn effect(&self, chain: &str, account: &str, entry: &EffectEntry) -> Result<Effect, Refusal> {
        if !occurs(entry.kind, chain) {
            return Err(value(format!("nothing on {chain} is a `{}`", entry.kind.as_str())));
        }
        if entry.change && !(is_bitcoin(chain) && entry.kind == Kind::Transfer) {
            return Err(value("`change` is an output of a Bitcoin transaction that pays the wallet itself"));
        }
        if entry.kind == Kind::Change && (entry.asset.is_some() || entry.destination.is_some()) {
            return Err(value("a change of the appliance moves nothing and goes to nobody"));
        }
        let asset = entry.asset.as_deref().map(|asset| self.asset(chain, asset)).transpose()?;
        let amount = self.amount(asset.as_deref(), entry.amount.as_deref(), entry.coins.as_deref())?;
        if is_bitcoin(chain) {
            on_bitcoin(chain, asset.as_deref(), amount, entry)?;
        }
        let address =
            |text: &Option<String>| text.as_deref().map(|text| self.address(chain, text)).transpose();
        let own = || entry.change.then(|| account.to_owned());
        Ok(Effect {
            kind: entry.kind,
            amount,
            asset,
            unlimited: entry.unlimited,
            destination: address(&entry.destination)?.or_else(own),
            owner: address(&entry.owner)?,
            contract: address(&entry.contract)?,
            method: entry.method.clone(),
        })
    }

    /// An asset by CAIP-19, or by its name on this chain.
    fn asset(&self, chain: &str, text: &str) -> Result<String, Refusal> {
        if registry::is_asset(registry::split_token(text).0) {
            return Ok(text.to_owned());
        }
        let on_chain = |id: &str| id.split_once('/').is_some_and(|(own, _)| own == chain);
        let found = self.registry.assets.iter().find(|(id, asset)| asset.name == text && on_chain(id));
        found.map(|(id, _)| id.clone()).ok_or_else(|| unknown(format!("`{text}` is no asset of {chain}")))
    }

    /// An address, or the name of one in the address book of this chain.
    fn address(&self, chain: &str, text: &str) -> Result<String, Refusal> {
        if registry::is_address(chain, text) {
            return Ok(text.to_owned());
        }
        let prefix = format!("{chain}:");
        let mut found = self.registry.addresses.iter().filter(|(_, known)| known.name == text);
        let address = found.find_map(|(account, _)| account.strip_prefix(&prefix));
        address
            .map(str::to_owned)
            .ok_or_else(|| unknown(format!("`{text}` is neither an address nor in the book of {chain}")))
    }

    /// Base units from `amount`, or whole ones from `coins`.
    fn amount(
        &self,
        asset: Option<&str>,
        amount: Option<&str>,
        coins: Option<&str>,
    ) -> Result<Option<U256>, Refusal> {
        match (amount, coins) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(value("`amount` and `coins` exclude each other")),
            (Some(text), None) => {
                let digits = text.replace('_', "");
                let number = units::decimal(&digits, 0).or_else(|| U256::from_str_radix(&digits, 10).ok());
                let decimal = digits.bytes().all(|b| b.is_ascii_digit());
                number
                    .filter(|_| decimal)
                    .map(Some)
                    .ok_or_else(|| value(format!("`{text}` is not a number of base units")))
            }
            (None, Some(text)) => {
                let known = asset.and_then(|asset| self.registry.assets.get(asset));
                let known = known.ok_or_else(|| unknown("`coins` needs a registered `asset`"))?;
                let exact = units::decimal(text, known.decimals);
                exact.map(Some).ok_or_else(|| {
                    value(format!("`{text}` is not a number with {} decimals", known.decimals))
                })
            }
        }
    }
}

/// What no transaction there can do is no test of anything.
fn on_bitcoin(
    chain: &str,
    asset: Option<&str>,
    amount: Option<U256>,
    entry: &EffectEntry,
) -> Result<(), Refusal> {
    if entry.owner.is_some() || entry.contract.is_some() || entry.method.is_some() || entry.unlimited {
        return Err(value("`owner`, `contract`, `method` and `unlimited` are not of Bitcoin"));
    }
    if asset.is_some_and(|asset| Network::of_chain(chain).is_none_or(|network| network.coin() != asset)) {
        return Err(value(format!("`{chain}/slip44:0` is all there is to move on this chain")));
    }
    if amount.is_some_and(|amount| amount > U256::from(MOST_SATOSHI)) {
        return Err(value(format!("there are no more than {MOST_SATOSHI} satoshi")));
    }
    Ok(())
}

/// The wallet that a payload of Bitcoin is decoded for.
fn wallet(network: Network, entry: &Entry) -> Result<Wallet, Refusal> {
    if entry.account.is_some() {
        return Err(value("a Bitcoin payload's `account` follows from `public_key` and `descriptor`"));
    }
    let form = || value("a Bitcoin payload needs the wallet's `public_key`, 33 bytes in hexadecimal");
    let key = entry.public_key.as_deref().and_then(|digits| hex::decode(digits).ok()).ok_or_else(form)?;
    let simple = format!("wpkh({OWN_KEY})");
    let descriptor = entry.descriptor.as_deref().unwrap_or(&simple);
    Wallet::parse(network, descriptor, &key).map_err(|error| value(error.to_string()))
}

impl Bundle {
    /// Runs the bundle's own tests, in the order of its files.
    #[must_use]
    pub fn test(&self) -> Vec<TestResult> {
        self.cases.iter().map(|case| case.run(self)).collect()
    }

    /// Answers one of the bundle's own tests and shows how, or says the code with which decoding refuses it; `None` where none
    /// has this name.
    #[must_use]
    pub fn explain_case(&self, name: &str) -> Option<Result<(&Description, Explanation), Code>> {
        let case = self.cases.iter().find(|case| case.name == name)?;
        Some(case.question().map(|question| (question.description, self.explain(&question, &case.spent))))
    }

    /// The names of the bundle's own tests.
    pub fn case_names(&self) -> impl Iterator<Item = &str> {
        self.cases.iter().map(|case| case.name.as_str())
    }
}

impl Case {
    /// What the rules are asked.
    ///
    /// # Errors
    /// The code with which decoding refuses the payload.
    fn question(&self) -> Result<Question<'_>, Code> {
        Ok(Question {
            tenant: &self.tenant,
            client: &self.client,
            wallet: &self.wallet,
            tier: self.tier,
            description: self.intent.as_ref().map_err(|code| *code)?,
            now: self.now,
            met: &self.met,
        })
    }

    /// What the bundle decides about it.
    ///
    /// # Errors
    /// The code with which decoding refuses its payload.
    pub fn decide(&self, bundle: &Bundle) -> Result<Evaluation, Code> {
        self.question().map(|question| bundle.evaluate(&question, &self.spent))
    }

    /// Whether a policy's scope and conditions hold of its first effect.
    ///
    /// # Errors
    /// Text for people, when the question cannot be written down.
    pub fn holds(&self, bundle: &Bundle, policy: &Policy) -> Result<bool, String> {
        let question = self.question().map_err(|code| code.to_string())?;
        bundle.said(&question, &self.spent, 0, policy)
    }

    fn run(&self, bundle: &Bundle) -> TestResult {
        let answer = match self.decide(bundle) {
            Ok(said) => Answer::Evaluation(said),
            Err(code) => Answer::Refused(code),
        };
        let passed = self.expected.is_met(&answer, self.rules.as_ref());
        TestResult {
            name: self.name.clone(),
            file: self.file.clone(),
            line: self.line,
            passed,
            expected: self.expected,
            expected_rules: self.rules.as_ref().map(|rules| rules.iter().cloned().collect()),
            answer,
        }
    }
}
