//! Recorded decisions asked again, in the log's order, with limits counted as the appliance counts them: from what each
//! decision reserved and each end gave back. Nothing here is believed further than the API that told it; evidence is what
//! receipts and `audit verify` show. What lies before the first decision that is read is not counted: callers read a
//! longest window ahead.

use std::collections::HashMap;

use chancery_audit::{Decision, End, Receipt, Row};
use chancery_core::{ClientId, RequestId, UnixMillis, WalletId};
use chancery_intent::model::Description;
use chancery_intent::{Account, Address, understand};
use chancery_policy::{Bundle, Evaluation, MemorySpending, Met, Outcome, Question, Reservation, bucket_ms};
use serde::Serialize;

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
    pub now: &'static str,
    /// By which rules; or why nothing could be decided.
    pub now_rules: Vec<String>,
    /// Whether both are the same, rules included.
    pub agrees: bool,
}

/// The counters of one run through the log.
#[derive(Default)]
pub struct Replay {
    spending: MemorySpending,
    held: HashMap<RequestId, (Vec<Reservation>, UnixMillis, Option<UnixMillis>)>,
}

/// The longest window of a bundle's limits and one bucket of it, in milliseconds: what counts can be no older.
pub fn reach_ms(bundle: &Bundle) -> i64 {
    let reach = |window_ms: i64| window_ms.saturating_add(bucket_ms(window_ms));
    bundle.limits().map(|limit| reach(limit.window_ms)).max().unwrap_or(0)
}

/// What happens, in the log's order.
pub enum Event<'r> {
    /// A decision.
    Decided(&'r Recorded),
    /// An end.
    Ended(&'r Recorded, End),
}

/// The decisions and their ends, in the order of their leaves.
pub fn events(recorded: &[Recorded]) -> Vec<Event<'_>> {
    let mut events: Vec<(u64, Event<'_>)> = Vec::new();
    for one in recorded {
        events.push((one.row.leaf, Event::Decided(one)));
        if let (Some(leaf), Some(end)) = (one.row.end_leaf, &one.row.end) {
            events.push((leaf, Event::Ended(one, end.outcome)));
        }
    }
    events.sort_by_key(|(leaf, _)| *leaf);
    events.into_iter().map(|(_, event)| event).collect()
}

impl Replay {
    /// Asks a recorded decision again, of this bundle, and holds what it reserves.
    pub fn decide(&mut self, recorded: &Recorded, bundle: &Bundle) -> Asked {
        let Decision { request_id, time_ms, client, wallet, rules, outcome, bundle: then, .. } =
            &recorded.row.decision;
        let (now, now_rules) = match self.evaluate(recorded, bundle) {
            Ok(evaluation) => {
                let rules = evaluation.rules.iter().map(ToString::to_string).collect();
                self.held.insert(*request_id, (evaluation.reservations, *time_ms, evaluation.expires_ms));
                (evaluation.outcome, rules)
            }
            Err(reason) => (Outcome::Denied, vec![reason]),
        };
        let now = match now {
            Outcome::Allowed => "allowed",
            Outcome::Pending => "pending",
            Outcome::Denied => "denied",
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

    fn evaluate(&mut self, recorded: &Recorded, bundle: &Bundle) -> Result<Evaluation, String> {
        let decision = &recorded.row.decision;
        self.expire(decision.time_ms);
        let stated: Description = serde_json::from_value(recorded.receipt.intent.clone())
            .map_err(|error| format!("the recorded intent is not of format 1: {error}"))?;
        let address: Address = stated.account.parse().map_err(|_| "the intent's account is no address")?;
        let chain = stated.chain.strip_prefix("eip155:").and_then(|id| id.parse().ok());
        let chain_ids: Vec<u64> = chain.into_iter().collect();
        let account = Account { address, chain_ids: &chain_ids };
        // Decoded again, because what a bundle registers decides how a call reads.
        let intent = understand(&recorded.receipt.payload, &account, bundle.contracts())
            .map_err(|error| format!("the payload is refused before policy: {error}"))?;
        let question = Question {
            tenant: &decision.tenant,
            client: &decision.client,
            wallet: &decision.wallet,
            description: intent.description(),
            now: decision.time_ms,
            met: &Met::default(),
        };
        let evaluation = bundle.evaluate(&question, &self.spending);
        for reservation in &evaluation.reservations {
            self.spending.reserve(reservation, decision.time_ms);
        }
        Ok(evaluation)
    }

    /// Gives back what a request held, as its recorded end did.
    pub fn end(&mut self, recorded: &Recorded, end: End) {
        if end != End::Released {
            self.release(&recorded.row.decision.request_id);
        }
    }

    /// Requests that wait here and did not wait then have no recorded end: they run out of time.
    fn expire(&mut self, now: UnixMillis) {
        let late = self.held.iter().filter(|(_, held)| held.2.is_some_and(|expires| expires < now));
        let late: Vec<RequestId> = late.map(|(id, _)| *id).collect();
        late.iter().for_each(|id| self.release(id));
    }

    fn release(&mut self, id: &RequestId) {
        if let Some((reservations, at, _)) = self.held.remove(id) {
            for reservation in &reservations {
                self.spending.release(reservation, at);
            }
        }
    }
}
