//! Second step: a decoded intent. It ends on the store's writer, where policy, limits, idempotency and the log meet in one
//! transaction, so that none of them can know what another does not.

use std::sync::Arc;

use chancery_audit::{self as audit, Appended, Digest, Leaf, Review, Salt, V1, Verdict};
use chancery_core::{Code, RequestId, SignRequest, UnixMillis};
use chancery_intent::{Intent, Scheme};
use chancery_policy::{Asked, Decision, Evaluation, Met, Need, Outcome, Reservation, decide};
use chancery_store::{RequestRow, RequestState, Tx};

use super::Recorded;
use super::authenticated::Own;
use crate::answer::Pending;
use crate::asker::Asker;
use crate::house::Books;
use crate::in_flight::InFlight;
use crate::kept::{self, Kept};
use crate::parties::Seat;
use crate::policy::{InForce, needs};
use crate::refusal::Refusal;
use crate::spending::{Spent, counter_name};
use crate::wallet::Wallet;

/// How often a decision starts over because a new bundle came into force under it.
const ATTEMPTS: usize = 3;

/// A request whose payload decoded to one canonical intent for this wallet.
pub struct Understood {
    pub(super) asker: Asker,
    pub(super) request: SignRequest,
    own: Option<Own>,
    pub(super) digest: Digest,
    pub(super) wallet: Arc<Wallet>,
    pub(super) policy: Arc<InForce>,
    pub(super) intent: Intent,
    /// The intent's description as records and receipts carry it.
    pub(super) described: serde_json::Value,
    /// Whether it may wait for its obligations.
    patient: bool,
}

/// What came of a decision. Everything but `Before` was recorded just now.
pub enum Decided {
    /// Policy allows it: the only way on.
    Permitted(Box<Recorded>),
    /// A rule applies but for its obligations.
    Pending(Pending),
    /// Policy denies it.
    Denied(Refusal),
    /// The idempotency key was used before for this same request.
    Before(Box<RequestRow>),
}

/// What the transaction leaves behind beside its leaf.
enum Written {
    Decided(Box<Fresh>),
    Before(Box<RequestRow>),
    /// Another bundle is in force by now; nothing was written.
    Stale,
}

/// A decision with what its receipt will say.
struct Fresh {
    decision: Decision,
    record: audit::Decision,
    kept: Kept,
}

impl Understood {
    /// Decodes the payload with what the bundle in force knows about contracts.
    pub(super) fn of(
        asker: Asker,
        request: SignRequest,
        own: Option<Own>,
        books: &Books,
    ) -> Result<Self, Refusal> {
        let wallet = books.wallets.find(&request.tenant, &request.wallet)?;
        let policy = books.policies.in_force(&request.tenant)?;
        let contracts = policy.bundle().contracts();
        let intent = chancery_intent::understand(&request.payload, &wallet.account(), contracts)?;
        let digest = audit::request_digest(&asker.id, &request)?;
        let described = kept::value(intent.description())?;
        Ok(Self { asker, request, own, digest, wallet, policy, intent, described, patient: true })
    }

    /// The same, where nobody would hear of what it waits for: what policy would leave waiting, it denies.
    pub(super) fn now_or_never(self) -> Self {
        Self { patient: false, ..self }
    }

    /// Decides, reserves limits and records, in one transaction.
    ///
    /// # Errors
    /// [`Code::IdempotencyConflict`] where the key names another request, [`Code::RequestSignatureInvalid`] where another
    /// decision used up the nonce of the client's signature, [`Code::ClockBehind`], [`Code::DiskFull`], and
    /// whatever keeps the store from recording. Nothing is reserved or recorded then.
    pub async fn decide(self, books: &Arc<Books>) -> Result<Decided, Refusal> {
        let mut asked = self;
        for _ in 0..ATTEMPTS {
            let id = RequestId::fresh();
            // ORDER: in flight before it can be on record, so that the resolver never ends a walk that goes on.
            let in_flight = books.walks.enter(id);
            let there = Arc::clone(books);
            let durable = books
                .store
                .write(move |tx| {
                    let (leaf, written) = asked.record(&there, tx, id)?;
                    Ok::<_, Refusal>((leaf, (written, asked)))
                })
                .await?;
            let (leaf, (written, still)) = durable.split();
            match (written, leaf.transpose().map(Appended::from_committed)) {
                (Written::Decided(fresh), Some(leaf)) => {
                    return Ok(still.concluded(id, *fresh, leaf, in_flight));
                }
                (Written::Before(row), _) => return Ok(Decided::Before(row)),
                _ => {
                    let Self { asker, request, own, patient, .. } = still;
                    asked = Self { patient, ..Self::of(asker, request, own, books)? };
                }
            }
        }
        let detail = "policy changes faster than this request can be decided";
        Err(Refusal::new(Code::Overloaded, detail).retry_after(1))
    }

    /// The transaction; it runs on the store's writer.
    fn record(
        &self,
        books: &Books,
        tx: &mut Tx<'_>,
        id: RequestId,
    ) -> Result<(Option<Leaf>, Written), Refusal> {
        let Self { asker, request, own, policy, .. } = self;
        if let Some(row) = tx.request_by_key(&request.tenant, &asker.id, &request.idempotency_key)? {
            if row.request_digest == *self.digest.as_bytes() {
                return Ok((None, Written::Before(Box::new(row))));
            }
            let detail = "this `Idempotency-Key` was sent before with another request; use a fresh one";
            return Err(Refusal::new(Code::IdempotencyConflict, detail).of(row.id));
        }
        if tx.rows().activation(&request.tenant)? != Some(policy.leaf()) {
            return Ok((None, Written::Stale));
        }
        books.disk.admit()?;
        let now = books.clock.now()?;
        // INVARIANT: one signature of a client is good for one decision, also when that one failed and freed its key.
        if let Some(own) = own
            && !tx.use_nonce(&request.tenant, &asker.id, &own.nonce)?
        {
            return Err(Refusal::request_signature("its nonce was used before"));
        }
        let met = Met { request_signed: own.is_some(), ..Met::default() };
        let decision = match self.judge(tx, now, &met) {
            Decision::Pending(evaluation) if !self.patient => {
                Decision::Denied(Evaluation { reservations: Vec::new(), ..evaluation })
            }
            decision => decision,
        };
        let lacks_signature = self.lacks_signature(tx, now, &met, &decision);
        let salt = fresh_salt()?;
        let mut record = self.decision_record(id, now, &decision, &salt, None)?;
        let ready = audit::waits_for_signature(&record.missing);
        if ready {
            record.expires_ms = decision.evaluation().expires_ms;
        }
        let leaf = audit::append(tx, &audit::Record::Decision(record.clone()))?;
        let kept = Kept {
            v: V1,
            idempotency_key: request.idempotency_key.clone(),
            payload: request.payload.clone(),
            intent: self.described.clone(),
            intent_salt: salt,
            request_signature: own.as_ref().map(|own| own.signature.clone()),
            lacks_signature,
        };
        let index = leaf.index();
        tx.insert_request(&self.row(id, now, &decision, &kept, index)?)?;
        if ready {
            tx.make_ready(id, self.policy.digest().as_bytes(), index)?;
        }
        hold(tx, id, now, &decision)?;
        Ok((Some(leaf), Written::Decided(Box::new(Fresh { decision, record, kept }))))
    }

    fn asked<'a>(&'a self, now: UnixMillis, met: &'a Met) -> Asked<'a> {
        Asked {
            tenant: &self.request.tenant,
            client: &self.asker.id,
            wallet: &self.request.wallet,
            tier: self.wallet.tier(),
            intent: &self.intent,
            now,
            met,
        }
    }

    /// What policy says, with what this transaction sees as spent.
    pub(super) fn judge(&self, tx: &Tx<'_>, now: UnixMillis, met: &Met) -> Decision {
        decide(self.policy.tested(), &self.asked(now, met), &Spent(&tx.rows()))
    }

    /// Whether a denial is for want of the client's own signature alone.
    fn lacks_signature(&self, tx: &Tx<'_>, now: UnixMillis, met: &Met, decision: &Decision) -> bool {
        let signed = Met { request_signed: true, ..met.clone() };
        let again = || {
            let asked = self.asked(now, &signed);
            self.policy.bundle().evaluate(&asked.question(), &Spent(&tx.rows())).outcome
        };
        matches!(decision, Decision::Denied(_)) && !met.request_signed && again() != Outcome::Denied
    }

    pub(super) fn decision_record(
        &self,
        id: RequestId,
        now: UnixMillis,
        decision: &Decision,
        salt: &Salt,
        review: Option<Review>,
    ) -> Result<audit::Decision, Refusal> {
        Ok(audit::Decision {
            v: V1,
            tenant: self.request.tenant.clone(),
            request_id: id,
            time_ms: now,
            client: self.asker.id.clone(),
            certificate: self.asker.certificate,
            wallet: self.wallet.id.clone(),
            tier: self.wallet.tier(),
            algorithm: match self.intent.scheme() {
                Scheme::Ed25519 => audit::Algorithm::Ed25519,
                Scheme::Schnorr(_) => audit::Algorithm::Bip340,
                Scheme::Ecdsa => audit::Algorithm::Secp256k1,
            },
            public_key: self.wallet.public_key().into(),
            signers: self
                .intent
                .signings()
                .iter()
                .filter_map(|signing| signing.signer(self.wallet.public_key()).map(Into::into))
                .collect(),
            payload: self.request.payload.kind().to_owned(),
            request_digest: self.digest,
            signing_digest: Digest::from_bytes(*self.intent.signing_digest()),
            intent_commitment: audit::intent_commitment(salt, &self.described)?,
            outcome: match decision {
                Decision::Permitted(_) => Verdict::Allowed,
                Decision::Pending(_) => Verdict::Pending,
                Decision::Denied(_) => Verdict::Denied,
            },
            rules: decision.evaluation().rules.iter().map(ToString::to_string).collect(),
            missing: needs(&decision.evaluation().missing)?,
            bundle: self.policy.digest(),
            expires_ms: None,
            review,
            request_signature: self.own.as_ref().map(|own| own.signature.digest()).transpose()?,
            share: self.wallet.share(),
        })
    }

    fn row(
        &self,
        id: RequestId,
        now: UnixMillis,
        decision: &Decision,
        kept: &Kept,
        leaf: u64,
    ) -> Result<RequestRow, Refusal> {
        let (state, expires_ms) = match decision {
            Decision::Permitted(_) => (RequestState::Permitted, None),
            Decision::Pending(evaluation) => (RequestState::Pending, evaluation.expires_ms),
            Decision::Denied(_) => (RequestState::Denied, None),
        };
        let request = &self.request;
        Ok(RequestRow {
            id,
            tenant: request.tenant.clone(),
            client: self.asker.id.clone(),
            wallet: request.wallet.clone(),
            idempotency_key: Some(request.idempotency_key.clone()),
            request_digest: *self.digest.as_bytes(),
            state,
            decided_ms: now,
            expires_ms,
            signing_digest: *self.intent.signing_digest(),
            decision_leaf: Some(leaf),
            outcome_leaf: None,
            record: kept::write(kept)?,
            released: None,
        })
    }

    fn concluded(self, id: RequestId, fresh: Fresh, leaf: Appended, in_flight: InFlight) -> Decided {
        let Fresh { decision, record, kept } = fresh;
        match decision {
            Decision::Permitted(permit) => Decided::Permitted(Box::new(Recorded {
                id,
                wallet: self.wallet,
                intent: self.intent,
                permit,
                leaf,
                record,
                kept,
                in_flight,
                brought: None,
                seat: Seat::Head,
                key: None,
            })),
            Decision::Pending(evaluation) => Decided::Pending(Pending {
                request_id: id,
                missing: record.missing,
                expires_ms: evaluation.expires_ms,
                is_permitted: false,
            }),
            Decision::Denied(_) => Decided::Denied(Refusal::denied(id, record.rules, kept.lacks_signature)),
        }
    }
}

/// Reserves what a request holds, and has one that waits for time decided again when it has passed.
pub(super) fn hold(
    tx: &mut Tx<'_>,
    id: RequestId,
    now: UnixMillis,
    decision: &Decision,
) -> Result<(), Refusal> {
    let evaluation = decision.evaluation();
    for Reservation { counter, window_ms, amount } in &evaluation.reservations {
        tx.reserve(id, &counter_name(counter), now, *window_ms, *amount)?;
    }
    if let Decision::Pending(_) = decision {
        let needs = evaluation.missing.iter().flat_map(|missing| &missing.needs);
        let waits = needs.filter_map(|need| match need {
            Need::Delay { wait_ms } => Some(now.plus_ms(*wait_ms)),
            Need::Quorum { .. } | Need::Factor { .. } | Need::Signature => None,
        });
        tx.wait(id, waits.min())?;
    }
    Ok(())
}

fn fresh_salt() -> Result<Salt, Refusal> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| Refusal::new(Code::Internal, "no randomness"))?;
    Ok(Salt::from_bytes(bytes))
}
