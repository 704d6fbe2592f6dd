//! `chancery policy simulate`: one request, asked of a bundle here, with what each rule saw. The request is a payload, decoded
//! as at the door, or one of the bundle's own test cases.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use chancery_core::{ClientId, Payload, Tenant, Tier, UnixMillis, WalletId};
use chancery_intent::bitcoin::{Network, Wallet};
use chancery_intent::solana::{self, Cluster};
use chancery_intent::{Account, Address, Description, ethereum, understand};
use chancery_policy::{Bundle, Explanation, Met, Outcome, Question, SupposedSpending};
use clap::Args;
use serde_json::{Map, Value, json};

use super::compile;
use crate::command::request::show_intent;
use crate::payload::{PayloadArgs, TokenAccounts};
use crate::{Error, Exit, Output, file, when};

/// `chancery policy simulate`.
#[derive(Args, Debug)]
#[command(
    after_help = "A test case of the bundle (`--case`) says everything itself, also where there is no payload yet: what a failing \
    test or a pasted example of `prove` came to, and why.\n\n\
    Exit codes are those of the decision: 0 allowed, 3 pending, 4 denied.\n\nExamples:\n  \
    chancery policy simulate policies/treasury --request request.json --client-name payments --chain-id 1\n  \
    chancery policy simulate policies/treasury --wallet treasury --client-name payments --chain-id 1 \
    --transaction @unsigned.hex --spent daily=500 --approvals treasury=2 --at 2026-11-01T12:00:00Z\n  \
    chancery policy simulate policies/vault --wallet vault --client-name backend --bitcoin mainnet --public-key 02c6... \
    --psbt @payment.psbt\n  \
    chancery policy simulate policies/vault --case large-payment"
)]
pub struct Simulate {
    /// The bundle's folder
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// One of the bundle's own test cases, by its name
    #[arg(long, value_name = "NAME", conflicts_with_all = [
        "request", "wallet", "PayloadArgs", "client_name", "chain_id", "bitcoin", "solana_address", "spent", "approvals",
        "factor", "veto", "waited", "request_signed", "tier",
    ])]
    case: Option<String>,
    #[command(flatten)]
    asked: Asked,
    /// Who asks
    #[arg(long, value_name = "NAME", required_unless_present = "case")]
    client_name: Option<ClientId>,
    /// The tenant of client and wallet
    #[arg(long, default_value_t = Tenant::default())]
    tenant: Tenant,
    /// The address of the wallet's key
    #[arg(long, value_name = "ADDRESS", default_value_t = Address::ZERO)]
    account: Address,
    /// A chain the wallet may sign for; give it again for more
    #[arg(long, value_name = "N", conflicts_with = "bitcoin")]
    chain_id: Vec<u64>,
    /// The wallet is of this Bitcoin network
    #[arg(long, value_name = "NETWORK", requires = "public_key", value_parser = ["mainnet", "testnet4", "signet", "regtest"])]
    bitcoin: Option<String>,
    /// The Bitcoin wallet's key, as `chancery wallet show` prints it
    #[arg(long, value_name = "HEX", requires = "bitcoin")]
    public_key: Option<String>,
    /// The Bitcoin wallet's output descriptor, with `@0` for its key
    #[arg(long, value_name = "DESCRIPTOR", requires = "bitcoin", default_value = "wpkh(@0)")]
    descriptor: String,
    /// The wallet is this address on Solana
    #[arg(long, value_name = "CLUSTER:ADDRESS", conflicts_with_all = ["chain_id", "bitcoin"], value_parser = on_solana)]
    solana_address: Option<(Cluster, solana::Pubkey)>,
    /// Where the wallet's key lives: `hsm` or `hd`
    #[arg(long, value_name = "TIER", default_value = "hsm", value_parser = tier)]
    tier: Tier,
    /// What a limit has used up already, in its own unit; give it again for more
    #[arg(long, value_name = "LIMIT=N", value_parser = counted)]
    spent: Vec<(String, i64)>,
    /// How many people of an approver group approved; give it again for more
    #[arg(long, value_name = "GROUP=N", value_parser = counted)]
    approvals: Vec<(String, i64)>,
    /// A factor that was proved; give it again for more
    #[arg(long, value_name = "FACTOR")]
    factor: Vec<String>,
    /// An approver group of which somebody vetoed; give it again for more
    #[arg(long, value_name = "GROUP")]
    veto: Vec<String>,
    /// How long the request has waited
    #[arg(long, value_name = "SPAN", value_parser = when::parse_span)]
    waited: Option<Duration>,
    /// Suppose that the client signed the request itself
    #[arg(long)]
    request_signed: bool,
    /// The time of the decision: RFC 3339, milliseconds since 1970, or relative such as `-24h`
    #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true, value_parser = when::parse)]
    at: UnixMillis,
}

/// Wallet and payload, from a request's file or from flags.
#[derive(Args, Debug)]
struct Asked {
    /// The body of a sign request: `{"wallet": ..., "payload": {...}}`; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["wallet", "PayloadArgs"], required_unless_present_any = ["wallet", "case"])]
    request: Option<PathBuf>,
    /// The wallet
    #[arg(long, requires = "PayloadArgs")]
    wallet: Option<WalletId>,
    #[command(flatten)]
    payload: Option<PayloadArgs>,
    #[command(flatten)]
    token_accounts: TokenAccounts,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SignBody {
    wallet: WalletId,
    payload: Payload,
}

impl Asked {
    fn read(&self) -> Result<SignBody, Error> {
        match (&self.request, &self.wallet, &self.payload) {
            (Some(path), ..) => serde_json::from_str(&file::read_text_or_stdin(path)?)
                .map_err(|error| Error::content(path, format!("is not a sign request: {error}"))),
            (None, Some(wallet), Some(payload)) => {
                Ok(SignBody { wallet: wallet.clone(), payload: payload.read(&self.token_accounts)? })
            }
            _ => Err(Error::Usage {
                detail: "no request".to_owned(),
                hint: "give `--request FILE`, `--wallet` and a payload, or `--case NAME`",
            }),
        }
    }
}

impl Simulate {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let bundle = compile(&self.directory, output)?;
        match &self.case {
            Some(name) => match bundle.explain_case(name).ok_or_else(|| unknown(&bundle, name))? {
                Ok((description, explanation)) => tell(description, None, &explanation, output),
                Err(code) => Err(Error::Failed(format!("the payload is refused before policy [{code}]"))),
            },
            None => self.payload(&bundle, output),
        }
    }

    fn payload(&self, bundle: &Bundle, output: &Output) -> Result<Exit, Error> {
        let asked = self.asked.read()?;
        let (spent, met) = (self.spent(bundle)?, self.met(bundle)?);
        let wallet;
        let account = match (&self.bitcoin, self.solana_address) {
            (None, Some((cluster, address))) => Account::Solana(solana::Account { address, cluster }),
            (None, None) => {
                Account::Ethereum(ethereum::Account { address: self.account, chain_ids: &self.chain_id })
            }
            (Some(network), _) => {
                wallet = self.wallet(network)?;
                Account::Bitcoin(&wallet)
            }
        };
        let intent = understand(&asked.payload, &account, bundle.contracts()).map_err(|error| {
            let code = error.code();
            let hint = match (code, &account) {
                (chancery_core::Code::ChainIdMismatch, Account::Ethereum(_)) => {
                    "; say which chains the wallet may sign for: `--chain-id`, `--bitcoin` or `--solana-address`"
                }
                _ => "",
            };
            Error::Failed(format!("the payload is refused before policy: {error} [{code}]{hint}"))
        })?;
        let explanation = bundle.explain(
            &Question {
                tenant: &self.tenant,
                client: self.client_name.as_ref().ok_or(Error::Usage {
                    detail: "nobody asks".to_owned(),
                    hint: "name the client with `--client-name`",
                })?,
                wallet: &asked.wallet,
                tier: self.tier,
                description: intent.description(),
                now: self.at,
                met: &met,
            },
            &spent,
        );
        tell(intent.description(), Some(intent.signing_digest()), &explanation, output)
    }

    fn wallet(&self, network: &str) -> Result<Wallet, Error> {
        let usage = |detail: String| Error::Usage {
            detail,
            hint: "`chancery wallet show` prints a Bitcoin wallet's public key and descriptor",
        };
        let network = Network::ALL.iter().copied().find(|known| known.as_str() == network);
        let network = network.ok_or_else(|| usage("no such network".to_owned()))?;
        let key = self.public_key.as_deref().and_then(|digits| hex::decode(digits).ok());
        let key = key.ok_or_else(|| usage("`--public-key` is not hexadecimal".to_owned()))?;
        Wallet::parse(network, &self.descriptor, &key).map_err(|error| usage(error.to_string()))
    }

    fn spent(&self, bundle: &Bundle) -> Result<SupposedSpending, Error> {
        let spent: BTreeMap<String, i64> = self.spent.iter().cloned().collect();
        if let Some(unknown) = spent.keys().find(|name| bundle.limits().all(|limit| limit.name != **name)) {
            return Err(Error::Usage {
                detail: format!("the bundle declares no limit `{unknown}`"),
                hint: "`--spent` takes the name of a limit in `bundle.toml`",
            });
        }
        Ok(SupposedSpending(spent))
    }

    /// What people did for the request.
    fn met(&self, bundle: &Bundle) -> Result<Met, Error> {
        let (approvers, factors) = (bundle.approvers(), bundle.factors());
        let groups = self.approvals.iter().map(|(group, _)| group).chain(&self.veto);
        let unknown =
            groups.map(|group| (approvers, group)).chain(self.factor.iter().map(|one| (factors, one)));
        if let Some((_, name)) = unknown.into_iter().find(|(known, name)| !known.contains(name)) {
            return Err(Error::Usage {
                detail: format!("the bundle declares no `{name}`"),
                hint: "`approvers` and `factors` in `bundle.toml` are what `--approvals`, `--veto` and `--factor` take",
            });
        }
        let approved =
            |(group, count): &(String, i64)| (group.clone(), u32::try_from(*count).unwrap_or(u32::MAX));
        let waited = self.waited.unwrap_or_default().as_millis();
        Ok(Met {
            request_signed: self.request_signed,
            // What the rules say: whether somebody signs on a machine apart is not theirs.
            cold_signed: true,
            approvals: self.approvals.iter().map(approved).collect(),
            factors: BTreeSet::from_iter(self.factor.iter().cloned()),
            vetoes: BTreeSet::from_iter(self.veto.iter().cloned()),
            waited_ms: i64::try_from(waited).unwrap_or(i64::MAX),
        })
    }
}

fn tell(
    description: &Description,
    digest: Option<&[u8; 32]>,
    explanation: &Explanation,
    output: &Output,
) -> Result<Exit, Error> {
    if output.is_json() {
        let mut document = Map::new();
        document.insert("intent".to_owned(), json!(description));
        if let Some(digest) = digest {
            document.insert("signing_digest".to_owned(), hex::encode(digest).into());
        }
        document.insert("decision".to_owned(), json!(explanation.evaluation));
        document.insert("explanation".to_owned(), json!(explanation.effects));
        output.document(&Value::Object(document))?;
    } else {
        output.line(explanation.to_string().trim_end())?;
        show_intent(&json!(description), output)?;
    }
    Ok(match explanation.evaluation.outcome {
        Outcome::Allowed => Exit::Ok,
        Outcome::Pending => Exit::Pending,
        Outcome::Denied => Exit::Denied,
    })
}

/// LIMIT: names of test cases in an error.
const NAMES: usize = 8;

fn unknown(bundle: &Bundle, name: &str) -> Error {
    let near = bundle.case_names().filter(|known| known.contains(name));
    let mut names: Vec<_> = near.take(NAMES).map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        names = bundle.case_names().take(NAMES).map(|name| format!("`{name}`")).collect();
    }
    Error::Usage {
        detail: format!("the bundle has no test case `{name}`; it has {}", names.join(", ")),
        hint: "`--case` takes the `name` of a case in `tests/*.toml`",
    }
}

/// `daily=500`.
fn tier(text: &str) -> Result<Tier, String> {
    Tier::ALL.into_iter().find(|tier| tier.as_str() == text).ok_or_else(|| "hsm, hd, cold or mpc".to_owned())
}

fn on_solana(text: &str) -> Result<(Cluster, solana::Pubkey), String> {
    let wrong = || "a cluster, `:`, and an address in base58".to_owned();
    let (cluster, address) = text.split_once(':').ok_or_else(wrong)?;
    let cluster = Cluster::ALL.iter().copied().find(|known| known.as_str() == cluster).ok_or_else(wrong)?;
    Ok((cluster, solana::address(address).map_err(|_| wrong())?))
}

fn counted(text: &str) -> Result<(String, i64), String> {
    let wrong = || "a name of the bundle, `=`, and a whole number".to_owned();
    let (name, number) = text.split_once('=').ok_or_else(wrong)?;
    let number: i64 = number.parse().map_err(|_| wrong())?;
    if name.is_empty() || number < 0 { Err(wrong()) } else { Ok((name.to_owned(), number)) }
}
