//! Recorded decisions asked again, in the log's order, with limits counted as the appliance counts them: from what each
//! decision reserved and each end gave back. Nothing here is believed further than the API that told it; evidence is what
//! receipts and `audit verify` show. What lies before the first decision that is read is not counted: callers read a
//! longest window ahead.

use std::collections::HashMap;
use std::sync::LazyLock;

use chancery_audit::{Act, Decision, End, Receipt, Row, Spoken};
use chancery_core::{ClientId, RequestId, UnixMillis, WalletId};
use chancery_intent::model::Description;
use chancery_intent::{Account, Address, ethereum, understand};
use chancery_policy::{Bundle, Evaluation, MemorySpending, Met, Outcome, Question, Reservation, bucket_ms};
use serde::Serialize;

use crate::recheck::{is_bitcoin, is_change, is_solana, stated_seal, stated_solana, stated_wallet};

/// One decision as it was recorded, with what was asked.
pub struct Recorded {
    /// The rows of the log.
    pub row: Row,
    /// What was asked and how it was understood.
    pub receipt: Receipt,
}

/// What one recorded decision becomes when it is asked again.
#[derive(Debug, Serialize)]
pub struct Asked {
    /// The request.
    pub request_id: RequestId,
    /// When it was decided.
    pub time_ms: UnixMillis,
    /// Who asked.
    pub client: ClientId,
    /// Whose key.
    pub wallet: WalletId,
    /// The bundle that decided.
    pub bundle: String,
    /// What was decided.
    pub then: &'static str,
    /// By which rules.
    pub then_rules: Vec<String>,
    /// What is decided now.
    pub now: String,
    /// By which rules; or why nothing could be decided.
    pub now_rules: Vec<String>,
    /// Whether both are the same, rules included.
    pub agrees: bool,
}

/// What one request holds in a run.
struct Held<'r> {
    recorded: &'r Recorded,
    /// Since when.
    at: UnixMillis,
    reservations: Vec<Reservation>,
    expires_ms: Option<UnixMillis>,
}

/// As a request is asked: before anything was done for it.
static NOTHING: LazyLock<Met> = LazyLock::new(Met::default);

/// The counters of one run through the log.
#[derive(Default)]
pub struct Replay<'r> {
    spending: MemorySpending,
    held: HashMap<RequestId, Held<'r>>,
    /// The bundle that was asked last.
    bundle: Option<String>,
}

/// The longest window of a bundle's limits and one bucket of it, in milliseconds: what counts can be no older.
pub fn reach_ms(bundle: &Bundle) -> i64 {
    let reach = |window_ms: i64| window_ms.saturating_add(bucket_ms(window_ms));
    bundle.limits().map(|limit| reach(limit.window_ms)).max().unwrap_or(0)
}

/// What happens, in the log's order.
pub enum Event<'r> {
    /// A request that was decided later began to wait.
    Waits(&'r Recorded),
    /// A decision.
    Decided(&'r Recorded),
    /// An end.
    Ended(&'r Recorded, End),
}

/// The decisions and their ends, in the order of their leaves.
pub fn events(recorded: &[Recorded]) -> Vec<Event<'_>> {
    let mut events: Vec<(u64, Event<'_>)> = Vec::new();
    for one in recorded {
        if let Some(review) = &one.row.decision.review {
            events.push((review.decision_leaf, Event::Waits(one)));
        }
        events.push((one.row.leaf, Event::Decided(one)));
        if let (Some(leaf), Some(end)) = (one.row.end_leaf, &one.row.end) {
            events.push((leaf, Event::Ended(one, end.outcome)));
        }
    }
    events.sort_by_key(|(leaf, _)| *leaf);
    events.into_iter().map(|(_, event)| event).collect()
}

impl<'r> Replay<'r> {
    /// Asks a recorded decision again, of this bundle, and holds what it reserves.
    pub fn decide(&mut self, recorded: &'r Recorded, bundle: &Bundle) -> Asked {
        let Decision { request_id, time_ms, client, wallet, rules, outcome, bundle: then, .. } =
            &recorded.row.decision;
        self.expire(*time_ms);
        if self.bundle.as_deref() != Some(bundle.hash()) {
            self.look_back(bundle);
        }
        // What it held while it waited is measured anew, as it was then.
        self.release(request_id);
        let (now, now_rules) = match recorded.understand(bundle) {
            Ok(description) => {
                let met = recorded.met();
                let evaluation = bundle.evaluate(&recorded.question(&description, &met), &self.spending);
                let names = evaluation.rules.iter().map(ToString::to_string).collect();
                for reservation in &evaluation.reservations {
                    self.spending.reserve(reservation, *time_ms);
                }
                let Evaluation { reservations, expires_ms, .. } = evaluation;
                if evaluation.outcome != Outcome::Denied {
                    self.held.insert(*request_id, Held { recorded, at: *time_ms, reservations, expires_ms });
                }
                (evaluation.outcome.to_string(), names)
            }
            Err(reason) => (Outcome::Denied.to_string(), vec![reason]),
        };
        Asked {
            request_id: *request_id,
            time_ms: *time_ms,
            client: client.clone(),
            wallet: wallet.clone(),
            bundle: then.to_string(),
            then: outcome.as_str(),
            agrees: now == outcome.as_str() && now_rules == *rules,
            then_rules: rules.clone(),
            now,
            now_rules,
        }
    }

    /// Holds what a request reserved while it waited for the decision that was recorded later.
    pub fn wait(&mut self, recorded: &'r Recorded, bundle: &Bundle) {
        let Decision { request_id, time_ms, review: Some(review), .. } = &recorded.row.decision else {
            return;
        };
        let at = time_ms.plus_ms(review.waited_ms.saturating_neg());
        self.expire(at);
        // What no longer decodes counts as it was decided.
        let Ok(description) = recorded.understand(bundle).or_else(|_| recorded.stated()) else { return };
        let question = Question { now: at, ..recorded.question(&description, &NOTHING) };
        let reservations = bundle.measure(&question);
        for reservation in &reservations {
            self.spending.reserve(reservation, at);
        }
        self.held.insert(*request_id, Held { recorded, at, reservations, expires_ms: None });
    }

    /// Gives back what a request held, as its recorded end did.
    pub fn end(&mut self, recorded: &Recorded, end: End) {
        if end != End::Released {
            self.release(&recorded.row.decision.request_id);
        }
    }

    /// A limit counts what went before it: what is held is measured by a new bundle too, as when it came into force.
    fn look_back(&mut self, bundle: &Bundle) {
        for held in self.held.values_mut() {
            // What no longer decodes counts as it was decided.
            let description = held.recorded.understand(bundle).or_else(|_| held.recorded.stated());
            let Ok(description) = description else { continue };
            for reservation in bundle.measure(&held.recorded.question(&description, &NOTHING)) {
                if !held.reservations.iter().any(|known| known.counter == reservation.counter) {
                    self.spending.reserve(&reservation, held.at);
                    held.reservations.push(reservation);
                }
            }
        }
        self.bundle = Some(bundle.hash().to_owned());
    }

    /// Requests that wait here and did not wait then have no recorded end: they run out of time.
    fn expire(&mut self, now: UnixMillis) {
        let late = self.held.iter().filter(|(_, held)| {
            let waited = held.recorded.row.decision.outcome == chancery_audit::Verdict::Pending;
            !waited && held.expires_ms.is_some_and(|expires_ms| expires_ms < now)
        });
        let late: Vec<RequestId> = late.map(|(id, _)| *id).collect();
        late.iter().for_each(|id| self.release(id));
    }

    fn release(&mut self, id: &RequestId) {
        if let Some(held) = self.held.remove(id) {
            for reservation in &held.reservations {
                self.spending.release(reservation, held.at);
            }
        }
    }
}

impl Recorded {
    /// What the payload does, decoded again: what a bundle registers decides how a call reads.
    fn understand(&self, bundle: &Bundle) -> Result<Description, String> {
        let stated = self.stated()?;
        let again = |account: &Account<'_>| {
            understand(&self.receipt.payload, account, bundle.contracts())
                .map(|intent| intent.description().clone())
                .map_err(|error| format!("the payload is refused before policy: {error}"))
        };
        if is_bitcoin(&self.receipt.payload) {
            let wallet = stated_wallet(&stated, self.row.decision.public_key.as_bytes())?;
            return again(&Account::Bitcoin(&wallet));
        }
        if is_solana(&self.receipt.payload) {
            return again(&Account::Solana(stated_solana(&stated)?));
        }
        if is_change(&self.receipt.payload) {
            return again(&Account::Seal(stated_seal(&stated)?));
        }
        let address: Address = stated.account.parse().map_err(|_| "the intent's account is no address")?;
        let chain = stated.chain.strip_prefix("eip155:").and_then(|id| id.parse().ok());
        let chain_ids: Vec<u64> = chain.into_iter().collect();
        again(&Account::Ethereum(ethereum::Account { address, chain_ids: &chain_ids }))
    }

    fn stated(&self) -> Result<Description, String> {
        serde_json::from_value(self.receipt.intent.clone())
            .map_err(|error| format!("the recorded intent is not of format 1: {error}"))
    }

    /// What was done for it by the time of its decision.
    fn met(&self) -> Met {
        let decision = &self.row.decision;
        let mut met = Met { request_signed: decision.request_signature.is_some(), ..Met::default() };
        let Some(review) = &decision.review else { return met };
        met.waited_ms = review.waited_ms;
        met.cold_signed = review.brought_sha256.is_some();
        for Spoken { act, group, .. } in &review.approvals {
            match act {
                Act::Approve => {
                    let count = met.approvals.entry(group.clone()).or_default();
                    *count = count.saturating_add(1);
                }
                Act::Veto => drop(met.vetoes.insert(group.clone())),
            }
        }
        met
    }

    fn question<'q>(&'q self, description: &'q Description, met: &'q Met) -> Question<'q> {
        let decision = &self.row.decision;
        Question {
            tenant: &decision.tenant,
            client: &decision.client,
            wallet: &decision.wallet,
            tier: decision.tier,
            description,
            now: decision.time_ms,
            met,
        }
    }
}
