//! What must hold whenever the house has opened again, whatever happened before: what was seen outside is still so, the log
//! only grew, nothing was signed or released that is not decided in it, each key was answered once, and the limits count what
//! the requests add up to. Computed from the outside, with as little of the appliance's own code as can be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use chancery_audit::merkle::Hash;
use chancery_audit::{Decision, Digest, End, Outcome, Record, Verdict};
use chancery_core::{RequestId, Tenant, WalletId};
use chancery_enclave::{Enclave, Listed, Refusal, RequestFilter, RequestState};
use sha2::{Digest as _, Sha256};

use crate::account::Account;
use crate::bundle::{self, BURST, COUNT, SUM};
use crate::errand::{COLD, World};
use crate::token::Token;
use crate::transfer::transfer;

/// Leaves of one bundle of entries (C2SP tlog-tiles).
const WIDTH: u64 = 256;

/// The root over leaf hashes, straight from RFC 6962, section 2.1.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [one] => *one,
        many => {
            let left = 1 << (many.len() - 1).ilog2();
            let (left, right) = many.split_at(left);
            Sha256::new()
                .chain_update([1])
                .chain_update(root(left))
                .chain_update(root(right))
                .finalize()
                .into()
        }
    }
}

/// The whole log, as anybody can fetch it.
fn entries(enclave: &Enclave) -> Result<Vec<Vec<u8>>, Refusal> {
    let size = enclave.figures().log.size;
    let mut all = Vec::new();
    for number in 0..size.div_ceil(WIDTH) {
        let width = (size - number * WIDTH).min(WIDTH);
        let partial = if width < WIDTH { format!(".p/{width}") } else { String::new() };
        let bundle = enclave.log_file(&format!("tile/entries/{number:03}{partial}"))?;
        let mut rest = bundle.as_slice();
        while let Some((length, tail)) = rest.split_first_chunk::<2>() {
            let (entry, tail) = tail.split_at(usize::from(u16::from_be_bytes(*length)).min(tail.len()));
            all.push(entry.to_vec());
            rest = tail;
        }
    }
    Ok(all)
}

/// What the log says.
#[derive(Default)]
struct Log {
    hashes: Vec<Hash>,
    decisions: BTreeMap<u64, Decision>,
    outcomes: BTreeMap<u64, (u64, Outcome)>,
    wallets: BTreeMap<WalletId, Vec<u8>>,
    policies: Vec<(u64, Digest)>,
}

/// Looks at everything. `settled` says that nothing is under way and nothing was left undone.
///
/// # Errors
/// What keeps the house from being looked at.
pub fn look(enclave: &Enclave, world: &World, token: &Token, settled: bool) -> Result<(), Refusal> {
    let log = read(&entries(enclave)?, world);
    let rows = requests(enclave)?;
    world.seen(|account| {
        account.trusts(&enclave.trust());
        checkpoints(account, &log);
        seen_before(account, &log, &rows);
        decided(account, &log, token);
        rows_agree(account, &log, &rows, settled);
    });
    if settled {
        for row in rows.values() {
            if row.row.state == RequestState::Permitted {
                world.seen(|account| account.breaks(format!("request {} was left open", row.row.id)));
            }
        }
    }
    for wallet in log.wallets.keys() {
        limits(enclave, world, wallet, &rows)?;
    }
    in_force(enclave, world, &log);
    Ok(())
}

fn read(entries: &[Vec<u8>], world: &World) -> Log {
    let mut log = Log::default();
    for (index, body) in (0..).zip(entries) {
        log.hashes.push(Sha256::new().chain_update([0]).chain_update(body).finalize().into());
        match Record::parse(body) {
            Ok(Record::Decision(decision)) => {
                log.decisions.insert(index, decision);
            }
            Ok(Record::Outcome(outcome)) => {
                let decision = log.decisions.get(&outcome.decision_leaf);
                let belongs = decision.is_some_and(|decision| {
                    decision.request_id == outcome.request_id && outcome.outcome.may_follow(decision.outcome)
                });
                if !belongs {
                    world.seen(|account| account.breaks(format!("outcome {index} is of no decision")));
                }
                if log.outcomes.insert(outcome.decision_leaf, (index, outcome)).is_some() {
                    world.seen(|account| account.breaks(format!("entry {index} ends a request again")));
                }
            }
            Ok(Record::Approval(approval)) => {
                world.seen(|account| {
                    account.breaks(format!("entry {index}: `{}` spoke here", approval.officer))
                });
            }
            Ok(Record::Login(login)) => {
                world.seen(|account| {
                    account.breaks(format!("entry {index}: `{}` logged in here", login.officer))
                });
            }
            Ok(Record::Wallet(wallet)) => {
                log.wallets.insert(wallet.wallet, wallet.public_key.as_bytes().to_vec());
            }
            Ok(Record::Ceremony(_)) => {
                world.seen(|account| account.breaks(format!("entry {index}: nobody held a ceremony here")));
            }
            Ok(Record::Authority(_) | Record::Client(_) | Record::Revocation(_)) => {
                world.seen(|account| account.breaks(format!("entry {index}: nobody was let in here")));
            }
            Ok(Record::Rotation(_)) => {
                world.seen(|account| account.breaks(format!("entry {index}: nobody rotated a key here")));
            }
            Ok(Record::Policy(policy)) => log.policies.push((index, policy.bundle)),
            Err(error) => world.seen(|account| account.breaks(format!("entry {index}: {error}"))),
        }
    }
    log
}

fn requests(enclave: &Enclave) -> Result<BTreeMap<RequestId, Listed>, Refusal> {
    let mut filter = RequestFilter::all(Tenant::default());
    let mut all = BTreeMap::new();
    loop {
        let page = enclave.requests(&filter)?;
        let Some(last) = page.last() else { return Ok(all) };
        filter.after = Some(last.row.id);
        all.extend(page.into_iter().map(|listed| (listed.row.id, listed)));
    }
}

/// The log only grew.
fn checkpoints(account: &mut Account, log: &Log) {
    for (size, seen) in account.checkpoints.clone() {
        match usize::try_from(size).ok().and_then(|size| log.hashes.get(..size)) {
            None => account.breaks(format!("the log has {} entries and had {size}", log.hashes.len())),
            Some(leaves) if root(leaves) != seen => {
                account.breaks(format!("the first {size} entries of the log are others than they were"));
            }
            Some(_) => {}
        }
    }
}

/// What was answered is on record.
fn seen_before(account: &mut Account, log: &Log, rows: &BTreeMap<RequestId, Listed>) {
    for ((_, key), held) in account.held.clone() {
        let decision = log.decisions.get(&held.leaves.0);
        let permitted = decision.is_some_and(|decision| {
            decision.request_id == held.id
                && decision.outcome == Verdict::Allowed
                && decision.signing_digest == held.digest
        });
        let outcome = log.outcomes.get(&held.leaves.0);
        let released = outcome.is_some_and(|(index, outcome)| {
            *index == held.leaves.1
                && outcome.outcome == End::Released
                && outcome.signature_sha256 == Some(Digest::of(&held.signature))
        });
        if !permitted || !released {
            account.breaks(format!("a client holds the signature of `{key}` and the log does not"));
        }
    }
    for (id, how) in account.answered.clone() {
        let state = rows.get(&id).map(|listed| listed.row.state);
        let stands = match how {
            "denied" => state == Some(RequestState::Denied),
            // Nobody speaks here, so what waits for anything but a cold wallet waits until its end.
            _ if rows.get(&id).is_some_and(|listed| listed.row.wallet.as_str() == COLD) => state.is_some(),
            _ => matches!(state, Some(RequestState::Pending | RequestState::Expired)),
        };
        if !stands {
            account.breaks(format!("request {id} was answered as {how} and is {state:?}"));
        }
    }
    for (wallet, key) in account.wallets.clone() {
        if log.wallets.get(&wallet) != Some(&key) {
            account.breaks(format!("wallet `{wallet}` was shown and is not on record"));
        }
    }
    for (leaf, bundle) in account.policies.clone() {
        if !log.policies.contains(&(leaf, bundle)) {
            account.breaks(format!("policy {bundle} came into force and is not on record"));
        }
    }
}

/// No key signed what was not decided before, and no request was released twice.
fn decided(account: &mut Account, log: &Log, token: &Token) {
    let allowed: BTreeSet<&[u8; 32]> = log
        .decisions
        .values()
        .filter(|decision| decision.outcome == Verdict::Allowed)
        .map(|decision| decision.signing_digest.as_bytes())
        .collect();
    let asked: BTreeSet<[u8; 32]> = token.asked().into_iter().collect();
    for digest in asked.iter().filter(|digest| !allowed.contains(digest)) {
        account.breaks(format!(
            "the token was asked to sign {} and no decision is on record",
            hex::encode(digest)
        ));
    }
    let mut released = BTreeSet::new();
    for (leaf, (_, outcome)) in &log.outcomes {
        if let Some(decision) = log.decisions.get(leaf)
            && outcome.outcome == End::Released
            && !released.insert(decision.request_digest)
        {
            account.breaks(format!("request {} was released before under its key", outcome.request_id));
        }
    }
}

/// The requests are what the log says of them, and no key names two.
fn rows_agree(account: &mut Account, log: &Log, rows: &BTreeMap<RequestId, Listed>, settled: bool) {
    let mut keys = BTreeSet::new();
    for listed in rows.values() {
        let row = &listed.row;
        let end =
            row.decision_leaf.and_then(|leaf| log.outcomes.get(&leaf)).map(|(_, outcome)| outcome.outcome);
        let agrees = match row.state {
            RequestState::Permitted | RequestState::Pending | RequestState::Denied => end.is_none(),
            RequestState::Released => end == Some(End::Released),
            RequestState::Failed => end == Some(End::Failed),
            RequestState::Expired => end == Some(End::Expired),
        };
        if !agrees {
            account.breaks(format!("request {} is {:?} and the log says {end:?}", row.id, row.state));
        }
        if let Some(key) = &row.idempotency_key
            && !keys.insert((row.client.clone(), key.clone()))
        {
            account.breaks(format!("`{key}` names two requests"));
        }
    }
    for decision in log.decisions.values() {
        if !rows.contains_key(&decision.request_id) {
            account.breaks(format!("decision {} has no request", decision.request_id));
        }
    }
    if settled {
        let held = account.held.clone();
        let ids: BTreeSet<RequestId> = held.values().map(|held| held.id).collect();
        let unseen = rows.values().filter(|listed| listed.row.state == RequestState::Released);
        for listed in unseen.filter(|listed| !ids.contains(&listed.row.id)) {
            account.breaks(format!("request {} was released and its client never got it", listed.row.id));
        }
    }
}

/// Each limit counts what the requests of its window add up to.
fn limits(
    enclave: &Enclave,
    world: &World,
    wallet: &WalletId,
    rows: &BTreeMap<RequestId, Listed>,
) -> Result<(), Refusal> {
    let Some(client) = world.people.clients.first() else { return Ok(()) };
    if enclave.policy(&Tenant::default()).is_err() {
        return Ok(());
    }
    let preview = enclave.preview(client, wallet, &transfer(1 << 52, 1), false)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let holding: Vec<(i64, i64)> = rows
        .values()
        .filter(|listed| listed.row.wallet == *wallet)
        .filter(|listed| {
            let state = listed.row.state;
            matches!(state, RequestState::Permitted | RequestState::Released | RequestState::Pending)
        })
        .map(|listed| (listed.row.decided_ms.0, gwei(listed)))
        .collect();
    for limit in preview.explanation.effects.iter().flat_map(|effect| &effect.limits) {
        let counted = limit.total - limit.amount;
        let since = |ms: i64| {
            let within = holding.iter().filter(|(decided, _)| *decided > now - ms);
            if limit.limit == SUM { within.map(|(_, gwei)| gwei).sum::<i64>() } else { within.count() as i64 }
        };
        // The clock may have been set back by a second without being refused; a bucket of the window may be counted whole.
        let (least, most) =
            (since(limit.window_ms - 1_000), since(limit.window_ms + limit.window_ms / 64 + 2_000));
        if counted < least || counted > most {
            let name = &limit.limit;
            world.seen(|account| {
                account.breaks(format!(
                    "`{name}` of `{wallet}` counts {counted}, and {least} to {most} are on record"
                ));
            });
        }
        let bound = [(COUNT, bundle::COUNT_MOST), (SUM, bundle::SUM_MOST), (BURST, i64::MAX)];
        if bound.iter().any(|(name, most)| *name == limit.limit && since(limit.window_ms) > *most) {
            world.seen(|account| account.breaks(format!("`{}` of `{wallet}` is exceeded", limit.limit)));
        }
    }
    Ok(())
}

/// What a request moves, as its record describes it.
fn gwei(listed: &Listed) -> i64 {
    if listed.decision.payload != "ethereum.transaction" {
        return 0;
    }
    let amount = listed.intent.pointer("/effects/0/amount").and_then(|amount| amount.as_str());
    let wei: Option<u128> = amount.and_then(|text| match text.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    });
    wei.and_then(|wei| i64::try_from(wei / 1_000_000_000).ok()).unwrap_or(i64::MIN)
}

/// The policy in force is the last that came into force.
fn in_force(enclave: &Enclave, world: &World, log: &Log) {
    let found = enclave.policy(&Tenant::default()).ok().map(|policy| (policy.leaf(), policy.digest()));
    if found != log.policies.last().copied() {
        world.seen(|account| account.breaks("the policy in force is not the last of the log"));
    }
    for (wallet, key) in &log.wallets {
        let found = enclave.wallet(&Tenant::default(), wallet).ok();
        if found.is_none_or(|found| found.public_key() != key.as_slice()) {
            world.seen(|account| account.breaks(format!("wallet `{wallet}` is on record and not served")));
        }
    }
}
