//! The words that both sides share: a bundle, a payload and a step as plain values, and how a bundle and a payload are
//! written for the appliance. No decision is made here.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use alloy_consensus::{SignableTransaction as _, TxEip1559};
use alloy_primitives::{Address, TxKind, U256, address};
use chancery_core::Payload;
use chancery_policy::Source;

pub const CLIENTS: [&str; 3] = ["c0", "c1", "c2"];
/// The last one is cold: its key is not with the appliance.
pub const WALLETS: [&str; 3] = ["w0", "w1", "cold"];
pub const COLD: usize = 2;
/// The first two are payees of every bundle, the third is nobody.
pub const PEOPLE: [Address; 3] = [
    address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"),
    address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
    address!("90F79bf6EB2c4f870365E785982E1f101E93b906"),
];
pub const COIN: usize = 0;
pub const TOKEN: usize = 1;
pub const ITEMS: usize = 2;
pub const CONTRACTS: [Address; 3] = [
    Address::ZERO,
    address!("5FbDB2315678afecb367f032d93F642f64180aa3"),
    address!("e7f1725E7734CE288F8367e1Bb143E90bb3F0512"),
];
const ASSETS: [&str; 3] = ["slip44:60", "erc20", "erc1155"];
/// What a transaction may cost the wallet at most, in wei.
pub const FEE: u64 = GAS * GAS_PRICE;
const GAS: u64 = 21_000;
const GAS_PRICE: u64 = 1_000_000_001;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Transfer,
    TokenTransfer,
    TokenApproval,
    Message,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Transfer, Self::TokenTransfer, Self::TokenApproval, Self::Message];

    pub fn name(self) -> &'static str {
        ["transfer", "token_transfer", "token_approval", "message"][self as usize]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    Sum,
    Usd,
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Wallet,
    Client,
    Asset,
    Destination,
}

/// A limit, whole: two that differ in anything are two limits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limit {
    pub name: usize,
    pub measure: Measure,
    pub keys: BTreeSet<Key>,
    pub window_s: i64,
    pub actions: BTreeSet<Kind>,
    pub assets: BTreeSet<usize>,
}

/// A registered asset; a price in US cents for a whole one, until a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    pub decimals: u32,
    pub unit: u32,
    pub price: Option<(u64, i64)>,
}

#[derive(Clone, Copy, Debug)]
pub enum Who {
    Any,
    One(usize),
    Group,
}

#[derive(Clone, Copy, Debug)]
pub enum Atom {
    AmountAtMost(i64),
    SpentAtMost(usize, i64),
    SpentOver(usize, i64),
    Payee,
    Unlimited,
    /// The client signed its request itself.
    RequestSigned,
    WorthAtMost(i64),
    FeeAtMost(i64),
    /// `context.amount + n >= 0`: fails where it overflows.
    Sum(i64),
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub forbids: bool,
    pub client: Who,
    pub wallet: Who,
    pub kind: Option<Kind>,
    pub atoms: Vec<Atom>,
    pub quorum: Option<u32>,
    pub delay_s: Option<i64>,
    pub veto: bool,
    pub expires_s: Option<i64>,
}

/// A bundle.
#[derive(Clone, Debug)]
pub struct Bundle {
    pub assets: [Option<Asset>; 3],
    pub limits: Vec<Limit>,
    pub rules: Vec<Rule>,
}

/// What is asked to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Message,
    Coin { to: usize, wei: U256 },
    Token { to: usize, amount: U256, wei: U256 },
    Approve { to: usize, amount: U256 },
    Items { to: usize, amounts: Vec<U256> },
}

/// One effect of a body.
#[derive(Clone, Debug)]
pub struct Effect {
    pub kind: Kind,
    pub asset: Option<usize>,
    pub amount: Option<U256>,
    pub unlimited: bool,
    pub to: Option<Address>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub client: usize,
    pub wallet: usize,
    pub key: u64,
    pub nonce: u64,
    pub body: Body,
    /// The nonce under which the client signed the request itself.
    pub signed: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Released,
    Failed,
    /// The walk goes on.
    Open,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// The wall clock stands here from now on.
    Clock(i64),
    /// A request, and how its signing ends if it gets there.
    Ask(Ask, End),
    /// Somebody fetches what a cold wallet is asked to sign for this request, and brings it signed; and how that ends.
    Bring(usize, End),
    /// The oldest walk that goes on ends.
    Settle(End),
    /// The resolver's round.
    Sweep,
    /// A bundle comes into force.
    Apply(usize),
    /// The process is killed and started again.
    Restart,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Case {
    pub start: i64,
    pub bundles: Vec<Bundle>,
    pub steps: Vec<Step>,
}

impl Body {
    pub fn effects(&self) -> Vec<Effect> {
        let moved = |kind, asset, amount: U256, to| Effect {
            kind,
            asset: Some(asset),
            amount: Some(amount),
            unlimited: kind == Kind::TokenApproval && amount >= U256::ONE << 255,
            to: Some(to),
        };
        match self {
            Self::Message => {
                vec![Effect { kind: Kind::Message, asset: None, amount: None, unlimited: false, to: None }]
            }
            Self::Coin { to, wei } => vec![moved(Kind::Transfer, COIN, *wei, PEOPLE[*to])],
            Self::Token { to, amount, wei } => {
                let token = moved(Kind::TokenTransfer, TOKEN, *amount, PEOPLE[*to]);
                let coin = moved(Kind::Transfer, COIN, *wei, CONTRACTS[TOKEN]);
                if wei.is_zero() { vec![token] } else { vec![coin, token] }
            }
            Self::Approve { to, amount } => vec![moved(Kind::TokenApproval, TOKEN, *amount, PEOPLE[*to])],
            Self::Items { to, amounts } => {
                amounts.iter().map(|amount| moved(Kind::TokenTransfer, ITEMS, *amount, PEOPLE[*to])).collect()
            }
        }
    }

    /// The bytes that `account` would send.
    pub fn payload(&self, nonce: u64, account: Address) -> Payload {
        let word = |number: U256| number.to_be_bytes::<32>();
        let party = |address: Address| address.into_word().0;
        let (to, value, input) = match self {
            Self::Message => return Payload::EthereumMessage { data: nonce.to_be_bytes().to_vec() },
            Self::Coin { to, wei } => (PEOPLE[*to], *wei, Vec::new()),
            // transfer(address,uint256)
            Self::Token { to, amount, wei } => (
                CONTRACTS[TOKEN],
                *wei,
                [&[0xa9, 0x05, 0x9c, 0xbb][..], &party(PEOPLE[*to]), &word(*amount)].concat(),
            ),
            // approve(address,uint256)
            Self::Approve { to, amount } => (
                CONTRACTS[TOKEN],
                U256::ZERO,
                [&[0x09, 0x5e, 0xa7, 0xb3][..], &party(PEOPLE[*to]), &word(*amount)].concat(),
            ),
            // safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)
            Self::Items { to, amounts } => {
                let many = amounts.len();
                let at = |words: usize| word(U256::from(32 * words));
                let mut words = vec![party(account), party(PEOPLE[*to])];
                words.extend([at(5), at(6 + many), at(7 + 2 * many), word(U256::from(many))]);
                words.extend((0..many).map(|id| word(U256::from(id))));
                words.push(word(U256::from(many)));
                words.extend(amounts.iter().map(|amount| word(*amount)));
                words.push([0; 32]);
                (CONTRACTS[ITEMS], U256::ZERO, [&[0x2e, 0xb2, 0xc2, 0xd6][..], &words.concat()].concat())
            }
        };
        let transaction = TxEip1559 {
            chain_id: 1,
            nonce,
            gas_limit: GAS,
            max_fee_per_gas: GAS_PRICE.into(),
            max_priority_fee_per_gas: 1,
            to: TxKind::Call(to),
            value,
            input: input.into(),
            ..TxEip1559::default()
        };
        Payload::EthereumTransaction { data: transaction.encoded_for_signing() }
    }
}

/// CAIP-19.
fn asset_id(asset: usize) -> String {
    if asset == COIN {
        "eip155:1/slip44:60".into()
    } else {
        format!("eip155:1/{}:{}", ASSETS[asset], CONTRACTS[asset])
    }
}

fn quoted(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let words: Vec<_> = words.into_iter().map(|word| format!("{:?}", word.as_ref())).collect();
    format!("[{}]", words.join(", "))
}

/// RFC 3339, to the second.
fn date(ms: i64) -> String {
    let days = ms.div_euclid(86_400_000);
    let (hour, rest) = (ms.div_euclid(3_600_000).rem_euclid(24), ms.div_euclid(1_000));
    // 2026-01-01 is day 20454; every price here ends in that January.
    format!(
        "2026-01-{:02}T{hour:02}:{:02}:{:02}Z",
        days - 20_454 + 1,
        rest.div_euclid(60).rem_euclid(60),
        rest.rem_euclid(60)
    )
}

impl Bundle {
    /// As an officer would write it.
    pub fn source(&self) -> Source {
        let mut manifest = String::from(
            "version = 1\nname = \"model\"\napprovers = [\"treasury\", \"risk\"]\n[groups.clients]\ngroup = [\"default/c0\", \
             \"default/c1\"]\n[groups.wallets]\ngroup = [\"default/w0\"]\n",
        );
        for (position, asset) in self.assets.iter().enumerate() {
            let Some(asset) = asset else { continue };
            let id = asset_id(position);
            let _ = write!(
                manifest,
                "[[asset]]\nid = \"{id}\"\nname = \"A{position}\"\ndecimals = {}\nunit_decimals = {}\n",
                asset.decimals, asset.unit
            );
            if let Some((cents, until)) = asset.price {
                let (usd, cents, until) = (cents / 100, cents % 100, date(until));
                let _ = write!(
                    manifest,
                    "[[price]]\nasset = \"{id}\"\nusd = \"{usd}.{cents:02}\"\nexpires = \"{until}\"\n"
                );
            }
        }
        for (position, address) in PEOPLE.iter().take(2).enumerate() {
            let _ = write!(
                manifest,
                "[[address]]\nname = \"p{position}\"\naddress = \"{address}\"\nchains = [\"eip155:1\"]\ngroups = [\"payees\"]\n"
            );
        }
        for limit in &self.limits {
            let keys =
                limit.keys.iter().map(|key| ["wallet", "client", "asset", "destination"][*key as usize]);
            let _ = write!(
                manifest,
                "[[limit]]\nname = \"l{}\"\nmeasure = \"{}\"\nwindow = \"{}s\"\nkeys = {}\nactions = {}\nassets = {}\n",
                limit.name,
                ["sum", "usd", "count"][limit.measure as usize],
                limit.window_s,
                quoted(keys),
                quoted(limit.actions.iter().map(|kind| kind.name())),
                quoted(limit.assets.iter().map(|asset| asset_id(*asset))),
            );
        }
        let rules: String = self.rules.iter().enumerate().map(|(number, rule)| rule.text(number)).collect();
        let files = [("bundle.toml", manifest), ("policies/main.cedar", rules)];
        Source { files: files.map(|(path, text)| (path.to_owned(), text)).into() }
    }
}

fn scope(variable: &str, kind: &str, who: Who, names: &[&str]) -> String {
    match who {
        Who::Any => variable.to_owned(),
        Who::One(one) => format!("{variable} == {kind}::\"default/{}\"", names[one]),
        Who::Group => format!("{variable} in {kind}Group::\"group\""),
    }
}

impl Rule {
    /// Permits everything.
    pub const PLAIN: Self = Self {
        forbids: false,
        client: Who::Any,
        wallet: Who::Any,
        kind: None,
        atoms: Vec::new(),
        quorum: None,
        delay_s: None,
        veto: false,
        expires_s: None,
    };

    fn text(&self, number: usize) -> String {
        let mut text = format!("@id(\"r{number}\") ");
        let mut note = |annotation: Option<String>| text += &annotation.unwrap_or_default();
        note(self.quorum.map(|count| format!("@quorum(\"treasury, {count}\") ")));
        note(self.delay_s.map(|delay| format!("@delay(\"{delay}s\") ")));
        note(self.veto.then(|| "@veto(\"risk\") ".into()));
        note(self.expires_s.map(|expires| format!("@expires(\"{expires}s\") ")));
        let verb = if self.forbids { "forbid" } else { "permit" };
        let client = scope("principal", "Client", self.client, &CLIENTS);
        let wallet = scope("resource", "Wallet", self.wallet, &WALLETS);
        let action =
            self.kind.map_or("action".to_owned(), |kind| format!("action == Action::\"{}\"", kind.name()));
        let _ = write!(text, "{verb} ({client}, {action}, {wallet})");
        let atoms: Vec<_> = self.atoms.iter().map(Atom::text).collect();
        if !atoms.is_empty() {
            let _ = write!(text, " when {{ {} }}", atoms.join(" && "));
        }
        text + ";\n"
    }
}

impl Atom {
    fn text(&self) -> String {
        match self {
            Self::AmountAtMost(n) => format!("context.amount <= {n}"),
            Self::SpentAtMost(limit, n) => {
                format!("context.spent has l{limit} && context.spent.l{limit} <= {n}")
            }
            Self::SpentOver(limit, n) => {
                format!("context.spent has l{limit} && context.spent.l{limit} > {n}")
            }
            Self::Payee => {
                "context has destination && context.destination in AddressGroup::\"payees\"".into()
            }
            Self::Unlimited => "context.unlimited".into(),
            Self::RequestSigned => "context.request_signed".into(),
            Self::WorthAtMost(n) => format!("context has value_usd_cents && context.value_usd_cents <= {n}"),
            Self::FeeAtMost(n) => format!("context.fee <= {n}"),
            Self::Sum(n) => format!("context.amount + {n} >= 0"),
        }
    }
}
