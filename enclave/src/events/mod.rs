//! What happened, for whoever is to be told: the log's own entries in their order, told by their index. Nothing is told that
//! no checkpoint covers yet, so whatever is told can be proved. If this is wrong, somebody misses what happened, or hears of
//! what is not theirs.

pub(crate) mod webhook;

use chancery_audit::{Approval, Decision, Digest, Outcome, Record, rfc3339};
use chancery_core::{ClientId, IdempotencyKey, RequestId, Tenant, WalletId};
use chancery_store::{LeafRow, RequestRow};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::house::House;
use crate::refusal::Refusal;
use crate::start::Enclave;

/// LIMIT: entries looked at by one reading, however few of them are told.
const ENTRIES: u64 = 256;

/// Who is told: a client of its own requests, others of everything of their tenant.
#[derive(Clone, Debug)]
pub struct Audience {
    /// Whose.
    pub tenant: Tenant,
    /// The client whose requests alone are told.
    pub client: Option<ClientId>,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// The log index of its entry.
    pub index: u64,
    /// Its name, one of [`chancery_audit::EVENTS`].
    pub name: &'static str,
    /// The hash of its leaf, which no other has.
    pub leaf: Digest,
    /// JSON: `type`, `timestamp` and `data`, as Standard Webhooks has it.
    pub body: String,
}

/// What one reading found.
#[derive(Debug)]
pub struct Told {
    /// In the order of the log.
    pub events: Vec<Event>,
    /// Where the next reading goes on.
    pub next: u64,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    index: u64,
    #[serde(flatten)]
    request: Option<Asked<'a>>,
    /// The entry itself, as it is in the log.
    record: &'a RawValue,
}

#[derive(Serialize)]
struct Asked<'a> {
    request_id: RequestId,
    client: &'a ClientId,
    wallet: &'a WalletId,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a IdempotencyKey>,
}

impl Enclave {
    /// What happened from log index `from` on, at most `most` of it. It reads: not for the runtime's own threads.
    ///
    /// # Errors
    /// What keeps the store from being read.
    pub fn events(&self, audience: &Audience, from: u64, most: usize) -> Result<Told, Refusal> {
        read(self.house(), audience, from, most)
    }

    /// The index of the entry that would be told next.
    #[must_use]
    pub fn events_so_far(&self) -> u64 {
        self.house().log.standing().cosigned
    }

    /// Waits until there is something to be told from `from` on.
    ///
    /// # Errors
    /// [`Code::ShuttingDown`](chancery_core::Code::ShuttingDown).
    pub async fn events_from(&self, from: u64) -> Result<(), Refusal> {
        Ok(self.house().log.grown_beyond(from).await?)
    }
}

fn read(house: &House, audience: &Audience, from: u64, most: usize) -> Result<Told, Refusal> {
    // Where everything is told, no more is read than that.
    let ahead = if audience.client.is_some() { ENTRIES } else { (most as u64).min(ENTRIES) };
    let end = house.log.standing().cosigned.min(from.saturating_add(ahead));
    let mut told = Told { events: Vec::new(), next: from };
    if end <= from {
        return Ok(told);
    }
    for leaf in house.store.read(|rows| rows.leaves(from..end))? {
        if told.events.len() == most {
            break;
        }
        told.next = leaf.index.saturating_add(1);
        told.events.extend(event(house, audience, &leaf)?);
    }
    Ok(told)
}

/// The event of one entry, where it is for this audience.
fn event(house: &House, audience: &Audience, leaf: &LeafRow) -> Result<Option<Event>, Refusal> {
    let record = Record::parse(&leaf.body).map_err(|_| Refusal::damaged(leaf.index))?;
    if *record.tenant() != audience.tenant {
        return Ok(None);
    }
    let request = match &record {
        Record::Decision(Decision { request_id, .. })
        | Record::Approval(Approval { request_id, .. })
        | Record::Outcome(Outcome { request_id, .. }) => {
            house.store.read(|rows| rows.request(*request_id))?
        }
        Record::Wallet(_)
        | Record::Policy(_)
        | Record::Ceremony(_)
        | Record::Login(_)
        | Record::Authority(_)
        | Record::Client(_)
        | Record::Revocation(_)
        | Record::Rotation(_) => None,
    };
    let theirs =
        |request: &RequestRow| audience.client.as_ref().is_none_or(|client| request.client == *client);
    if !request.as_ref().map_or(audience.client.is_none(), theirs) {
        return Ok(None);
    }
    let body = Body {
        r#type: record.event(),
        timestamp: rfc3339(record.time()),
        data: Data {
            index: leaf.index,
            request: request.as_ref().map(|request| Asked {
                request_id: request.id,
                client: &request.client,
                wallet: &request.wallet,
                idempotency_key: request.idempotency_key.as_ref(),
            }),
            record: serde_json::from_slice(&leaf.body).map_err(|_| Refusal::damaged(leaf.index))?,
        },
    };
    let body = serde_json::to_string(&body).map_err(|_| Refusal::damaged(leaf.index))?;
    Ok(Some(Event { index: leaf.index, name: record.event(), leaf: Digest::from_bytes(leaf.hash), body }))
}
