//! Beside the first steps: a pending request, read back from the store, understood again by the bundle in force and decided
//! again, because an officer spoke, a cold wallet signed, or its time has come. It ends where `Understood` ends, on the store's
//! writer, with the same decision by the same rules; what differs is what was done for the request meanwhile.

use std::sync::Arc;

use chancery_audit::{self as audit, Act, Appended, Approval, Digest, Leaf, Matter, Review, Spoken, V1};
use chancery_core::{Code, Payload, SignRequest, UnixMillis, limit};
use chancery_identity::Officer;
use chancery_identity::officer::OfficerRole;
use chancery_identity::webauthn::{Assertion, Base64Url, CredentialKey};
use chancery_policy::{Decision, Evaluation, Met, Outcome, Standing};
use chancery_store::{ApprovalRow, RequestRow, RequestState, Tx};
use serde_json::Value;

use super::understood::hold;
use super::{Brought, Recorded, Understood};
use crate::answer::Pending;
use crate::asker::Asker;
use crate::house::Books;
use crate::in_flight::InFlight;
use crate::kept::{self, Kept};
use crate::parties::Seat;
use crate::policy::needs;
use crate::receipts;
use crate::refusal::Refusal;

/// A request that waits for its obligations.
pub struct Waiting {
    pub(super) row: RequestRow,
    /// Log index of the decision that left it waiting.
    leaf: u64,
    kept: Kept,
    /// The digest of the client's own signature, as first recorded.
    first_signature: Option<Digest>,
    pub(super) understood: Understood,
}

/// What an officer says about a request.
#[derive(Clone, Debug)]
pub struct Word {
    /// Approval or veto.
    pub act: Act,
    /// The approver group that is spoken for.
    pub group: String,
    /// The bundle it was said under.
    pub bundle: Digest,
    /// The officer's authenticator's.
    pub assertion: Assertion,
}

/// A word that was verified: the only way to have one counted.
pub struct Said {
    approval: Approval,
    assertion: Assertion,
}

/// What happened since a request was last decided.
pub enum Done {
    /// Time passed.
    Nothing,
    /// An officer spoke.
    Said(Box<Said>),
    /// The cold wallet signed.
    Brought(Brought),
}

/// The role in which officers speak about a payload: administrators about changes of the appliance, approvers about the rest.
pub(crate) fn speaker(payload: &Payload) -> OfficerRole {
    match payload {
        Payload::ApplianceChange { .. } => OfficerRole::Administrator,
        _ => OfficerRole::Approver,
    }
}

/// What came of deciding again.
pub enum Reviewed {
    /// Policy allows it now: the only way on.
    Permitted(Box<Recorded>),
    /// It still waits.
    Pending(Pending),
    /// Policy denies it now.
    Denied(Refusal),
}

/// What the transaction leaves behind.
enum Written {
    Decided(Box<(Decision, audit::Decision)>),
    Waits(Box<Evaluation>),
    /// Another bundle is in force by now; nothing was written.
    Stale,
}

/// How a look at what is missing ends: never in a commit.
enum Looked {
    Saw(Box<Evaluation>),
    Failed(Refusal),
}

impl<E: Into<Refusal>> From<E> for Looked {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Waiting {
    /// Reads a pending request back and understands it by the bundle in force.
    ///
    /// # Errors
    /// [`Code::RequestNotPending`] and [`Code::RequestExpired`] where it waits no more; [`Code::ApprovalStale`] where the
    /// bundle in force reads the payload otherwise than it was recorded.
    pub fn of(row: RequestRow, books: &Books) -> Result<Self, Refusal> {
        let id = row.id;
        let leaf = still_pending(&row)?;
        let first = receipts::decision(&books.store, &row)?;
        let kept: Kept = kept::read("record", &row.record)?;
        let request = SignRequest {
            tenant: row.tenant.clone(),
            wallet: row.wallet.clone(),
            idempotency_key: kept.idempotency_key.clone(),
            payload: kept.payload.clone(),
        };
        let asker = Asker { id: row.client.clone(), certificate: first.certificate };
        let understood = Understood::of(asker, request, None, books).map_err(|refusal| refusal.of(id))?;
        // INVARIANT: one request has one intent in all of its records; what reads otherwise now is another request.
        if understood.described != kept.intent || *understood.digest.as_bytes() != row.request_digest {
            let detail = "the bundle in force reads this payload otherwise than when it was asked; it must be asked again";
            return Err(Refusal::new(Code::ApprovalStale, detail).of(id));
        }
        Ok(Self { row, leaf, kept, first_signature: first.request_signature, understood })
    }

    /// What `act` of `group` is about, for its challenge.
    pub fn matter<'a>(&'a self, act: Act, group: &'a str, bundle: &'a Digest) -> Matter<'a> {
        let RequestRow { tenant, client, wallet, .. } = &self.row;
        Matter::new(act, group, tenant, self.row.id, client, wallet, &self.kept.intent, bundle)
    }

    /// The role in which officers speak about it.
    fn role(&self) -> OfficerRole {
        speaker(&self.kept.payload)
    }

    /// The hash of the bundle it was understood by.
    pub fn bundle(&self) -> Digest {
        self.understood.policy.digest()
    }

    /// Verifies an officer's word.
    ///
    /// # Errors
    /// [`Code::ApprovalStale`], [`Code::SelfApproval`], [`Code::ApprovalNotAsked`] for somebody outside the group,
    /// [`Code::AssertionInvalid`].
    pub fn hear(&self, officer: &Officer, word: Word, now: UnixMillis) -> Result<Said, Refusal> {
        let refuse = |code, detail: String| Refusal::new(code, detail).of(self.row.id);
        let Word { act, group, bundle, assertion } = word;
        let policy = &self.understood.policy;
        if bundle != policy.digest() {
            let detail = format!("the bundle in force is {}: look again what it says", policy.digest());
            return Err(refuse(Code::ApprovalStale, detail));
        }
        let officers = policy.bundle().officers();
        let (id, client) = (officer.id(), &self.row.client);
        let Some(person) = officers.find(id) else {
            return Err(refuse(
                Code::ApprovalNotAsked,
                format!("`{id}` is no officer of the bundle in force"),
            ));
        };
        if person.clients.contains(client) {
            let detail = format!("`{id}` holds the key of client `{client}`, which asked for this");
            return Err(refuse(Code::SelfApproval, detail));
        }
        let standing = officers.standing(id, (self.role(), &group), client, now).ok_or_else(|| {
            refuse(Code::ApprovalNotAsked, format!("`{id}` does not stand in the approver group `{group}`"))
        })?;
        let invalid = |detail: &str| refuse(Code::AssertionInvalid, detail.to_owned());
        let credential = person
            .credential(&assertion.credential)
            .ok_or_else(|| invalid("the credential is not one of this officer's"))?;
        let party = officers.party().ok_or_else(|| invalid("the bundle names no relying party"))?;
        let origin = origin(&assertion.client_data).filter(|origin| party.origins.contains(origin));
        let approval = Approval {
            v: V1,
            tenant: self.row.tenant.clone(),
            request_id: self.row.id,
            time_ms: now,
            decision_leaf: self.leaf,
            officer: id.clone(),
            certificate: Digest::from_bytes(*officer.fingerprint().as_bytes()),
            act,
            group,
            on_behalf_of: match standing {
                Standing::Own => None,
                Standing::For(other) => Some(other),
            },
            bundle,
            key: CredentialKey::clone(&credential.key),
            relying_party: party.id.clone(),
            origin: origin.ok_or_else(|| invalid("the assertion was asked for by an origin that may not"))?,
            assertion_sha256: Digest::from_bytes(assertion.digest()),
        };
        let matter = self.matter(act, &approval.group, &bundle);
        approval.verify(&assertion, &matter).map_err(|error| {
            tracing::warn!(request = %self.row.id, officer = %id, %error, "an approval was refused");
            invalid(&error.to_string())
        })?;
        Ok(Said { approval, assertion })
    }

    /// Records what was said, decides again, and records that too where it ends the waiting, or leaves nothing but a cold
    /// wallet's signature missing: one transaction.
    ///
    /// # Errors
    /// [`Code::ColdNotReady`] where that signature was brought and something else is missing now, [`Code::AlreadyExists`] where
    /// the officer said so before, [`Code::ApprovalStale`] where another bundle came into force meanwhile, [`Code::RequestNotPending`], [`Code::RequestExpired`], and whatever keeps the store from recording.
    pub async fn decide(self, books: &Arc<Books>, done: Done) -> Result<Reviewed, Refusal> {
        let id = self.row.id;
        // ORDER: in flight before it can be permitted, so that the resolver never ends a walk that goes on.
        let in_flight = books.walks.enter(id);
        let there = Arc::clone(books);
        let durable = books
            .store
            .write(move |tx| {
                let (leaf, written) = self.record(&there, tx, &done)?;
                Ok::<_, Refusal>((leaf, (written, (self, done))))
            })
            .await
            .map_err(|refusal| refusal.of(id))?;
        let (leaf, (written, (still, done))) = durable.split();
        match (written, leaf.transpose().map(Appended::from_committed)) {
            (Written::Decided(decided), Some(leaf)) => Ok(still.concluded(*decided, leaf, in_flight, done)),
            (Written::Waits(evaluation), _) => Ok(Reviewed::Pending(Pending {
                request_id: id,
                missing: needs(&evaluation.missing)?,
                expires_ms: still.row.expires_ms,
                is_permitted: false,
            })),
            _ => {
                let detail = "another bundle came into force meanwhile: look again what it says";
                Err(Refusal::new(Code::ApprovalStale, detail).of(id))
            }
        }
    }

    /// What it waits for after all that was said so far, or nothing where policy would not have it wait any more. Nothing is written.
    ///
    /// # Errors
    /// Whatever keeps clock or store from answering.
    pub async fn missing(self, books: &Books) -> Result<Option<Vec<Value>>, Refusal> {
        let now = books.clock.now()?;
        let looked = books.store.write(move |tx| {
            // What it holds would count twice. It holds it again once this is undone, as it always is.
            tx.give_back(self.row.id)?;
            let (_, met) = self.met(tx, now)?;
            let decision = self.understood.judge(tx, now, &met);
            Err::<(), _>(Looked::Saw(Box::new(decision.evaluation().clone())))
        });
        match looked.await {
            Err(Looked::Saw(seen)) if seen.outcome == Outcome::Pending => needs(&seen.missing).map(Some),
            Err(Looked::Failed(refusal)) => Err(refusal),
            _ => Ok(None),
        }
    }

    /// The transaction; it runs on the store's writer.
    fn record(
        &self,
        books: &Books,
        tx: &mut Tx<'_>,
        done: &Done,
    ) -> Result<(Option<Leaf>, Written), Refusal> {
        let (id, policy) = (self.row.id, &self.understood.policy);
        let missing = || Refusal::new(Code::NotFound, format!("no request `{id}`"));
        let row = tx.request(id)?.ok_or_else(missing)?;
        still_pending(&row)?;
        if tx.rows().activation(&row.tenant)? != Some(policy.leaf()) {
            return Ok((None, Written::Stale));
        }
        books.disk.admit()?;
        let now = books.clock.now()?;
        if row.expires_ms.is_some_and(|expires| expires <= now) {
            return Err(expired());
        }
        // What it holds is given back and measured anew: limits and prices are those of now.
        tx.give_back(id)?;
        if let Done::Said(said) = done {
            self.asks(tx, now, &said.approval)?;
            self.put(tx, said)?;
        }
        let (mut review, mut met) = self.met(tx, now)?;
        met.cold_signed = matches!(done, Done::Brought(_));
        let decision = self.understood.judge(tx, now, &met);
        if let (Decision::Permitted(_), Done::Brought(brought)) = (&decision, done) {
            review.brought_sha256 = Some(brought.sha256);
        }
        let salt = &self.kept.intent_salt;
        let mut record = self.understood.decision_record(id, now, &decision, salt, Some(review))?;
        record.request_signature = self.first_signature;
        if let Decision::Pending(evaluation) = decision {
            if met.cold_signed {
                let detail = "others have to agree again before the cold wallet's signature counts";
                return Err(Refusal::new(Code::ColdNotReady, detail));
            }
            let waits = Decision::Pending(evaluation.clone());
            hold(tx, id, now, &waits)?;
            let leaf = self.ready(tx, record)?;
            return Ok((leaf, Written::Waits(Box::new(evaluation))));
        }
        let leaf = audit::append(tx, &audit::Record::Decision(record.clone()))?;
        let state = match decision {
            Decision::Permitted(_) => RequestState::Permitted,
            Decision::Pending(_) | Decision::Denied(_) => RequestState::Denied,
        };
        hold(tx, id, now, &decision)?;
        tx.decide_again(id, state, leaf.index(), now)?;
        Ok((Some(leaf), Written::Decided(Box::new((decision, record)))))
    }

    /// Puts on record, once under each bundle, that nothing is missing but a cold wallet's signature.
    fn ready(&self, tx: &mut Tx<'_>, mut record: audit::Decision) -> Result<Option<Leaf>, Refusal> {
        let (id, bundle) = (self.row.id, *self.bundle().as_bytes());
        let said = tx.rows().ready(id)?.iter().any(|(known, _)| *known == bundle);
        if said || !audit::waits_for_signature(&record.missing) {
            return Ok(None);
        }
        record.expires_ms = self.row.expires_ms;
        let leaf = audit::append(tx, &audit::Record::Decision(record))?;
        tx.make_ready(id, &bundle, leaf.index())?;
        Ok(Some(leaf))
    }

    /// Whether it was not said before, and a rule waits for such an approval, or heeds such a veto: what would change
    /// nothing is not taken, so that nobody believes to have stopped what goes on.
    fn asks(&self, tx: &Tx<'_>, now: UnixMillis, approval: &Approval) -> Result<(), Refusal> {
        let (review, before) = self.met(tx, now)?;
        let word = Spoken::of(0, approval);
        if let Some(same) = review.approvals.iter().find(|spoken| spoken.repeats(&word)) {
            let detail = format!("`{}` said so already, under this bundle", same.officer);
            return Err(Refusal::new(Code::AlreadyExists, detail));
        }
        let decision = self.understood.judge(tx, now, &before);
        let Approval { act, group, .. } = approval;
        if self.understood.policy.bundle().asks(decision.evaluation(), *act == Act::Veto, group) {
            return Ok(());
        }
        let detail = format!("no rule waits for `{act}` by `{group}` for this request");
        Err(Refusal::new(Code::ApprovalNotAsked, detail))
    }

    fn put(&self, tx: &mut Tx<'_>, said: &Said) -> Result<(), Refusal> {
        let Said { approval, assertion } = said;
        if tx.rows().approvals(self.row.id)?.len() >= limit::APPROVALS {
            return Err(Refusal::new(Code::Overloaded, "more was said about this request than can be kept"));
        }
        let leaf = audit::append(tx, &audit::Record::Approval(approval.clone()))?.index();
        Ok(tx.insert_approval(&ApprovalRow {
            request: self.row.id,
            leaf,
            officer: approval.officer.clone(),
            act: approval.act.as_str().to_owned(),
            bundle: *approval.bundle.as_bytes(),
            record: kept::write(assertion)?,
        })?)
    }

    /// What was done for the request: every word under the bundle in force by somebody who still stands where it was
    /// said, and the time that passed.
    fn met(&self, tx: &Tx<'_>, now: UnixMillis) -> Result<(Review, Met), Refusal> {
        let (bundle, officers) = (self.bundle(), self.understood.policy.bundle().officers());
        let waited_ms = now.0.saturating_sub(self.row.decided_ms.0).max(0);
        let request_signed = self.kept.request_signature.is_some();
        let mut met = Met { waited_ms, request_signed, ..Met::default() };
        let mut review =
            Review { decision_leaf: self.leaf, waited_ms, approvals: Vec::new(), brought_sha256: None };
        for row in tx.rows().approvals(self.row.id)? {
            if row.bundle != *bundle.as_bytes() {
                continue;
            }
            let approval = receipts::approval(&tx.rows(), row.leaf)?;
            let Approval { officer, act, group, .. } = &approval;
            if officers.standing(officer, (self.role(), group), &self.row.client, now).is_none() {
                continue;
            }
            match act {
                Act::Approve => {
                    let count = met.approvals.entry(group.clone()).or_default();
                    *count = count.saturating_add(1);
                }
                Act::Veto => {
                    met.vetoes.insert(group.clone());
                }
            }
            review.approvals.push(Spoken::of(row.leaf, &approval));
        }
        Ok((review, met))
    }

    fn concluded(
        self,
        decided: (Decision, audit::Decision),
        leaf: Appended,
        in_flight: InFlight,
        done: Done,
    ) -> Reviewed {
        let (decision, record) = decided;
        let Self { row, kept, understood, .. } = self;
        match decision {
            Decision::Permitted(permit) => Reviewed::Permitted(Box::new(Recorded {
                id: row.id,
                wallet: understood.wallet,
                intent: understood.intent,
                permit,
                leaf,
                record,
                kept,
                in_flight,
                brought: match done {
                    Done::Brought(brought) => Some(brought.signatures),
                    Done::Nothing | Done::Said(_) => None,
                },
                seat: Seat::Head,
                key: None,
            })),
            Decision::Pending(_) | Decision::Denied(_) => {
                Reviewed::Denied(Refusal::denied(row.id, record.rules, false))
            }
        }
    }
}

/// The log index of the decision that a pending request waits under.
fn still_pending(row: &RequestRow) -> Result<u64, Refusal> {
    match (row.state, row.decision_leaf) {
        (RequestState::Pending, Some(leaf)) => Ok(leaf),
        (RequestState::Expired, _) => Err(expired().of(row.id)),
        (state, _) => {
            let detail = format!("the request is {}", state.as_str());
            Err(Refusal::new(Code::RequestNotPending, detail).of(row.id))
        }
    }
}

fn expired() -> Refusal {
    Refusal::new(Code::RequestExpired, "the request expired before its obligations were met")
}

/// The origin in an assertion's client data.
fn origin(client_data: &Base64Url) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Origin {
        origin: String,
    }
    serde_json::from_slice::<Origin>(&client_data.0).ok().map(|data| data.origin)
}
