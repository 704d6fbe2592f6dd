//! Offline verification of a receipt against a trust file alone. INVARIANT: every field is bound: the records by their
//! inclusion proofs, the rest by a digest in a record or by the wallet's signature. What is not here: that the payload
//! decodes to the intent and to the signing digest, which needs the decoders (`chancery receipt verify` adds it).

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use chancery_core::{Payload, RequestId, Tenant, UnixMillis};
use chancery_identity::Testimony;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey, Secp256k1, VerifyOnly, XOnlyPublicKey, schnorr};
use serde::{Deserialize, Serialize};

use crate::approval::{Act, Matter, Spoken};
use crate::checkpoint::SignedCheckpoint;
use crate::commitment::{Asked, digest_of_request, intent_commitment};
use crate::digest::Digest;
use crate::digest::V1;
use crate::merkle::Hash;
use crate::proof::{ProofError, TlogProof};
use crate::receipt::{Approved, Receipt, ReceiptError, signing_commitment};
use crate::record::{Algorithm, Decision, End, Outcome, Record, Verdict};
use crate::trust::Trust;

/// What a receipt proved. Made only by [`verify`].
#[derive(Clone, Debug)]
pub struct Verified {
    receipt: Receipt,
    decision_leaf: u64,
    outcome_leaf: Option<u64>,
    checkpoint: SignedCheckpoint,
    testimony: Option<Testimony>,
    /// Each other party that signed: its number, its log, and where its decision stands there.
    parties: Vec<(u8, String, u64)>,
}

impl Verified {
    /// The receipt, every field of which holds.
    #[must_use]
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Where the decision stands in the log.
    #[must_use]
    pub fn decision_leaf(&self) -> u64 {
        self.decision_leaf
    }

    /// Where the outcome stands in the log.
    #[must_use]
    pub fn outcome_leaf(&self) -> Option<u64> {
        self.outcome_leaf
    }

    /// The checkpoint both are proved under.
    #[must_use]
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }

    /// That the client itself signed the request, where it did.
    #[must_use]
    pub fn testimony(&self) -> Option<&Testimony> {
        self.testimony.as_ref()
    }

    /// What was proved, a sentence each, for people.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        let decision = &self.receipt.decision;
        let signed = match self.checkpoint.ml_dsa_time_s() {
            None => "a trusted key".to_owned(),
            Some(0) => "trusted keys, Ed25519 and ML-DSA-44".to_owned(),
            Some(time_s) => format!("trusted keys, Ed25519 and ML-DSA-44, at {time_s} s since 1970"),
        };
        let mut findings = vec![
            format!(
                "log `{}` holds the decision as entry {} of {}, under a checkpoint signed by {signed}",
                self.checkpoint.checkpoint().origin,
                self.decision_leaf,
                self.checkpoint.size()
            ),
            format!(
                "the decision is `{}` under policy bundle {}",
                decision.outcome.as_str(),
                decision.bundle
            ),
            format!(
                "client `{}` asked wallet `{}` for exactly this payload",
                decision.client, decision.wallet
            ),
            "the intent is the one the decision committed to".to_owned(),
        ];
        if let Some((own, shown)) = self.receipt.request_signature.as_ref().zip(self.testimony.as_ref()) {
            findings.push(format!(
                "the client signed exactly this request itself, for `{}`, at {} s since 1970 by its clock, with the key \
                 of certificate {}",
                own.authority,
                shown.created.0 / 1_000,
                decision.certificate
            ));
        }
        for Approved { approval, .. } in &self.receipt.approvals {
            let word = if approval.act == Act::Approve { "approved" } else { "vetoed" };
            let behalf = approval
                .on_behalf_of
                .as_ref()
                .map_or_else(String::new, |who| format!(" in place of `{who}`"));
            findings.push(format!(
                "officer `{}` {word} exactly this, for group `{}`{behalf}, with the key {}",
                approval.officer, approval.group, approval.key
            ));
        }
        for cosignature in self.checkpoint.cosignatures() {
            let (witness, time_s) = (cosignature.witness(), cosignature.time_s());
            findings.push(format!(
                "witness `{witness}` cosigned that checkpoint at {time_s} s since 1970, having seen no other history"
            ));
        }
        for (party, origin, leaf) in &self.parties {
            findings.push(format!(
                "party {party} allowed exactly this for itself, entry {leaf} of its log `{origin}`"
            ));
        }
        if let (Some(outcome), Some(leaf)) = (&self.receipt.outcome, self.outcome_leaf) {
            findings.push(format!("the request ended as `{}`, entry {leaf}", outcome.outcome.as_str()));
        }
        if self.receipt.signature.is_some() {
            let what = match self.receipt.signing_digests.len() {
                0 => "the signature is the wallet's, low-S, over".to_owned(),
                several => {
                    format!("{several} signatures are the wallet's, low-S, over the digests committed to by")
                }
            };
            let digest = decision.signing_digest;
            findings.push(format!("{what} {digest}, and what is recorded as released"));
        }
        if self.receipt.signed_transaction.is_some() {
            findings.push("the signed transaction is the one recorded as released".to_owned());
        }
        findings
    }
}

/// Verifies a receipt of any outcome: allowed, pending or denied.
///
/// # Errors
/// [`ReceiptError`] names the first thing that does not hold.
pub fn verify(receipt: &[u8], trust: &Trust) -> Result<Verified, ReceiptError> {
    let receipt = Receipt::parse(receipt)?;
    let decision = &receipt.decision;

    let leaf = leaf_hash("decision", &Record::Decision(decision.clone()))?;
    let (decision_leaf, checkpoint) =
        included(&receipt.decision_proof, &leaf, trust).map_err(ReceiptError::DecisionProof)?;

    asked(&receipt)?;
    if intent_commitment(&receipt.intent_salt, &receipt.intent).ok() != Some(decision.intent_commitment) {
        return Err(ReceiptError::Commitment);
    }

    reviewed(&receipt, decision_leaf, &checkpoint, trust)?;
    let testimony = vouched(&receipt).map_err(ReceiptError::RequestSignature)?;

    let outcome_leaf = match (&receipt.outcome, &receipt.outcome_proof) {
        (None, None) => None,
        (Some(outcome), Some(proof)) => {
            let leaf = leaf_hash("outcome", &Record::Outcome(outcome.clone()))?;
            let (outcome_leaf, under) = included(proof, &leaf, trust).map_err(ReceiptError::OutcomeProof)?;
            if under != checkpoint {
                return Err(ReceiptError::TwoCheckpoints);
            }
            belongs(outcome, outcome_leaf, &decision.into(), decision_leaf).map_err(ReceiptError::Outcome)?;
            Some(outcome_leaf)
        }
        _ => return Err(ReceiptError::Fields("`outcome` and `outcome_proof` come together")),
    };
    released(&receipt)?;
    let parties = parties(&receipt, trust)?;
    Ok(Verified { decision_leaf, outcome_leaf, checkpoint, testimony, parties, receipt })
}

fn leaf_hash(name: &'static str, record: &Record) -> Result<Hash, ReceiptError> {
    record.leaf_hash().map_err(|_| ReceiptError::Record(name))
}

fn included(proof: &str, leaf: &Hash, trust: &Trust) -> Result<(u64, SignedCheckpoint), ProofError> {
    let proof = TlogProof::parse(proof)?;
    let checkpoint = proof.verify(leaf, trust)?;
    Ok((proof.index(), checkpoint))
}

/// Every approval that the decision counts, and no other: recorded before it, about just this, by the recorded key.
fn reviewed(
    receipt: &Receipt,
    decision_leaf: u64,
    checkpoint: &SignedCheckpoint,
    trust: &Trust,
) -> Result<(), ReceiptError> {
    let Receipt { decision, approvals, intent, .. } = receipt;
    decision.fits_its_tier().map_err(ReceiptError::Review)?;
    let Some(review) = &decision.review else {
        let none = if approvals.is_empty() { Ok(()) } else { Err("there is none, and there are approvals") };
        return none.map_err(ReceiptError::Review);
    };
    review.check().map_err(ReceiptError::Review)?;
    if review.approvals.len() != approvals.len() {
        return Err(ReceiptError::Review("the receipt holds more or fewer approvals than it counts"));
    }
    for (spoken, approved) in review.approvals.iter().zip(approvals) {
        let Approved { approval, approval_proof, assertion } = approved;
        let officer = || approval.officer.clone();
        let leaf = leaf_hash("approval", &Record::Approval(approval.clone()))?;
        let (index, under) = included(approval_proof, &leaf, trust)
            .map_err(|source| ReceiptError::ApprovalProof { officer: officer(), source })?;
        if under != *checkpoint {
            return Err(ReceiptError::TwoCheckpoints);
        }
        let counted = *spoken == Spoken::of(index, approval)
            && approval.decision_leaf == review.decision_leaf
            && index < decision_leaf
            && approval.time_ms <= decision.time_ms;
        if !counted {
            return Err(ReceiptError::Review("it counts another approval than the receipt holds"));
        }
        let Decision { tenant, request_id, client, wallet, bundle, .. } = decision;
        let (act, group) = (approval.act, &approval.group);
        let matter = Matter::new(act, group, tenant, *request_id, client, wallet, intent, bundle);
        approval
            .verify(assertion, &matter)
            .map_err(|source| ReceiptError::Approval { officer: officer(), source })?;
    }
    Ok(())
}

fn asked(receipt: &Receipt) -> Result<(), ReceiptError> {
    let decision = &receipt.decision;
    if receipt.payload.kind() != decision.payload {
        return Err(ReceiptError::NotAsked("payload"));
    }
    let asked = Asked {
        v: V1,
        tenant: &decision.tenant,
        client: &decision.client,
        wallet: &decision.wallet,
        idempotency_key: receipt.idempotency_key.as_str(),
        payload: &receipt.payload,
    };
    if digest_of_request(&asked).ok() == Some(decision.request_digest) {
        Ok(())
    } else {
        Err(ReceiptError::NotAsked("payload"))
    }
}

fn vouched(receipt: &Receipt) -> Result<Option<Testimony>, &'static str> {
    let decision = &receipt.decision;
    match (&decision.request_signature, &receipt.request_signature) {
        (None, None) => Ok(None),
        (Some(recorded), Some(own)) if own.digest().ok().as_ref() == Some(recorded) => {
            own.verify(decision, &receipt.idempotency_key, &receipt.payload).map(Some)
        }
        _ => Err("it is not the recorded one"),
    }
}

/// The wire name of a payload that changes the appliance.
const CHANGE: &str = "appliance.change";

/// What of a decision its outcome is held to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decided {
    pub(crate) tenant: Tenant,
    pub(crate) request_id: RequestId,
    pub(crate) time_ms: UnixMillis,
    pub(crate) outcome: Verdict,
    /// About a change of the appliance.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(crate) is_change: bool,
    /// What officers have said about it since.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) approvals: Vec<Spoken>,
}

impl From<&Decision> for Decided {
    fn from(decision: &Decision) -> Self {
        let Decision { tenant, request_id, time_ms, outcome, payload, .. } = decision;
        Self {
            tenant: tenant.clone(),
            request_id: *request_id,
            time_ms: *time_ms,
            outcome: *outcome,
            is_change: payload == CHANGE,
            approvals: Vec::new(),
        }
    }
}

/// Whether an outcome at one leaf can be of the decision at another. Also what `verify_log` asks of every outcome.
pub(crate) fn belongs(
    outcome: &Outcome,
    outcome_leaf: u64,
    decision: &Decided,
    decision_leaf: u64,
) -> Result<(), &'static str> {
    let rule = |holds: bool, rule| if holds { Ok(()) } else { Err(rule) };
    rule(outcome.decision_leaf == decision_leaf, "it names another entry")?;
    rule(outcome_leaf > decision_leaf, "it stands before the decision")?;
    rule(outcome.tenant == decision.tenant, "it is of another tenant")?;
    rule(outcome.request_id == decision.request_id, "it is of another request")?;
    rule(outcome.time_ms >= decision.time_ms, "it is older than the decision")?;
    rule(outcome.outcome.may_follow(decision.outcome), "such a decision does not end so")?;
    let released = outcome.outcome == End::Released;
    rule(outcome.signature_sha256.is_some() == released, "a signature is recorded exactly when released")?;
    rule(released || outcome.transaction_sha256.is_none(), "a transaction is recorded only when released")
}

fn released(receipt: &Receipt) -> Result<(), ReceiptError> {
    let recorded = receipt.outcome.as_ref().filter(|outcome| outcome.outcome == End::Released);
    let (outcome, signature) = match (recorded, &receipt.signature) {
        (Some(outcome), Some(signature)) => (outcome, signature),
        (None, None) if receipt.signed_transaction.is_none() && receipt.signing_digests.is_empty() => {
            return Ok(());
        }
        _ => return Err(ReceiptError::Fields("`signature` and an outcome `released` come together")),
    };
    // `belongs` has seen to it already; said again because this line is the promise.
    if receipt.decision.outcome != Verdict::Allowed {
        return Err(ReceiptError::Signature("the decision did not allow one"));
    }
    if outcome.signature_sha256 != Some(Digest::of(signature.as_bytes())) {
        return Err(ReceiptError::Signature("it is not the one recorded as released"));
    }
    let brought = receipt.decision.review.as_ref().and_then(|review| review.brought_sha256);
    if brought.is_some_and(|brought| brought != brought_sha256(signature.as_bytes())) {
        return Err(ReceiptError::Signature("it is not the one that was brought for the cold wallet"));
    }
    let transaction = receipt.signed_transaction.as_ref().map(|bytes| Digest::of(bytes.as_bytes()));
    if outcome.transaction_sha256 != transaction {
        return Err(ReceiptError::Signature("the signed transaction is not the one recorded as released"));
    }
    signed_by_wallet(receipt, signature.as_bytes()).map_err(ReceiptError::Signature)
}

/// Every party whose share signed, each by its own log: as many as the threshold, this one included.
fn parties(receipt: &Receipt, trust: &Trust) -> Result<Vec<(u8, String, u64)>, ReceiptError> {
    let Receipt { decision, parties, signature, .. } = receipt;
    let (Some(own), true) = (decision.share, signature.is_some()) else {
        let none = if parties.is_empty() { Ok(Vec::new()) } else { Err("nothing was signed by several") };
        return none.map_err(ReceiptError::Parties);
    };
    let mut shown: Vec<(u8, String, u64)> = Vec::new();
    for theirs in parties {
        let party = theirs.party().ok_or(ReceiptError::Parties("a decision names no share"))?;
        if shown.iter().any(|(other, ..)| *other == party) {
            return Err(ReceiptError::Parties("a party is there twice"));
        }
        let log =
            trust.party(party).ok_or(ReceiptError::Parties("the trust file knows no log of a party"))?;
        let leaf = theirs.verify(decision, log).map_err(|source| ReceiptError::Party { party, source })?;
        shown.push((party, log.origin().to_owned(), leaf));
    }
    if shown.len() + 1 < usize::from(own.threshold) {
        return Err(ReceiptError::Parties("fewer parties are proved than it takes to sign"));
    }
    Ok(shown)
}

/// What is recorded of the signatures that were brought: their parities were found here.
fn brought_sha256(signatures: &[u8]) -> Digest {
    let (signatures, _) = signatures.as_chunks::<65>();
    let brought: Vec<u8> = signatures.iter().flat_map(|[brought @ .., _parity]| brought).copied().collect();
    Digest::of(&brought)
}

/// Every signature under the wallet's key, over the decided digest or each of those it commits to.
fn signed_by_wallet(receipt: &Receipt, signatures: &[u8]) -> Result<(), &'static str> {
    let Receipt { decision, signing_digests, payload, .. } = receipt;
    let several = matches!(payload, Payload::BitcoinPsbt { .. } | Payload::BitcoinMessage { .. });
    if several == signing_digests.is_empty() {
        return Err("a Bitcoin payload is signed digest by digest, and no other is");
    }
    if several && signing_commitment(signing_digests) != decision.signing_digest {
        return Err("the decision did not commit to these digests");
    }
    let one = [decision.signing_digest];
    let digests = if several { signing_digests.as_slice() } else { &one };
    match decision.algorithm {
        Algorithm::Secp256k1 => {}
        Algorithm::Bip340 => return signed_schnorr(decision, digests, signatures),
        Algorithm::Ed25519 => return signed_ed25519(decision, payload, signatures),
    }
    let (signatures, rest) = signatures.as_chunks::<65>();
    if !rest.is_empty() || signatures.len() != digests.len() {
        return Err("it is not 65 bytes for each digest");
    }
    if !decision.signers.is_empty() && decision.signers.len() != digests.len() {
        return Err("the decision names more or fewer keys than there are signatures");
    }
    let secp = Secp256k1::verification_only();
    digests.iter().zip(signatures).enumerate().try_for_each(|(place, (digest, signature))| {
        let key = decision.signers.get(place).unwrap_or(&decision.public_key);
        let key = PublicKey::from_slice(key.as_bytes()).map_err(|_| "the wallet's public key is none")?;
        signed_by(&secp, &key, digest, signature)
    })
}

/// Schnorr signatures, each by the key that the decision names for it.
fn signed_schnorr(decision: &Decision, digests: &[Digest], signatures: &[u8]) -> Result<(), &'static str> {
    let (signatures, rest) = signatures.as_chunks::<64>();
    let signers = &decision.signers;
    if !rest.is_empty() || signatures.len() != digests.len() || signers.len() != digests.len() {
        return Err("it is not 64 bytes and a key for each digest");
    }
    let secp = Secp256k1::verification_only();
    digests.iter().zip(signatures).zip(signers).try_for_each(|((digest, signature), signer)| {
        let key = XOnlyPublicKey::from_slice(signer.as_bytes()).map_err(|_| "a signer's key is none")?;
        let signature =
            schnorr::Signature::from_slice(signature).map_err(|_| "it is no Schnorr signature")?;
        let message = Message::from_digest(*digest.as_bytes());
        secp.verify_schnorr(&signature, &message, &key)
            .map_err(|_| "it does not verify under the key that the decision names")
    })
}

/// The one signature of a payload whose bytes are signed themselves.
fn signed_ed25519(decision: &Decision, payload: &Payload, signature: &[u8]) -> Result<(), &'static str> {
    let Payload::SolanaTransaction { data, .. } = payload else {
        return Err("no such payload is signed with Ed25519");
    };
    if Digest::of(data) != decision.signing_digest {
        return Err("the decision is about another message");
    }
    if !decision.signers.is_empty() {
        return Err("the wallet has one key, and the decision names others");
    }
    UnparsedPublicKey::new(&ED25519, decision.public_key.as_bytes())
        .verify(data, signature)
        .map_err(|_| "it does not verify under the wallet's key")
}

fn signed_by(
    secp: &Secp256k1<VerifyOnly>,
    key: &PublicKey,
    digest: &Digest,
    [compact @ .., parity]: &[u8; 65],
) -> Result<(), &'static str> {
    let parity = match parity {
        0 | 1 => i32::from(*parity),
        _ => return Err("its parity is neither 0 nor 1"),
    };
    let message = Message::from_digest(*digest.as_bytes());
    let recoverable = RecoveryId::from_i32(parity)
        .and_then(|id| RecoverableSignature::from_compact(compact, id))
        .map_err(|_| "its numbers are out of range")?;
    // libsecp256k1 verifies low-S signatures only; recovery binds the parity byte as well.
    secp.verify_ecdsa(&message, &recoverable.to_standard(), key)
        .map_err(|_| "it does not verify under the wallet's key, or is not low-S")?;
    match secp.recover_ecdsa(&message, &recoverable) {
        Ok(recovered) if recovered == *key => Ok(()),
        _ => Err("its parity is of another key"),
    }
}
