//! What the other parties of a key decided, each proved in its own log. A signature of several parties needs every signer's word
//! on record; here is what one party's word is held to. If this is wrong, a receipt shows parties that never agreed.

use serde::{Deserialize, Serialize};

use crate::canonical::refuse_repeated_names;
use crate::digest::{Digest, V1};
use crate::proof::{ProofError, TlogProof};
use crate::record::{Decision, Record, Verdict};
use crate::trust::{TRUST_BYTES, Trust, TrustError};

/// Which share of a key a party holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyShare {
    /// The party, by its number.
    pub party: u8,
    /// How many sign.
    pub threshold: u8,
    /// How many hold a share.
    pub parties: u8,
    /// How often the shares were made anew.
    pub epoch: u64,
}

/// Another party's decision about the same request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartyDecision {
    /// Its record; the leaf of its log is `{"kind":"decision", ...}` of these fields in canonical form.
    pub decision: Decision,
    /// Its C2SP tlog-proof, under a checkpoint of that party's log.
    pub decision_proof: String,
}

/// Why another party's word does not hold.
#[derive(Debug, thiserror::Error)]
pub enum PartyError {
    /// It says not which share it is about.
    #[error("the decision names no share")]
    NoShare,
    /// It is about something else, or no.
    #[error("its decision is another one: `{0}`")]
    Other(&'static str),
    /// It cannot be a leaf.
    #[error("its decision cannot be a log entry")]
    Record,
    /// It is not proved.
    #[error("its decision is not proved: {0}")]
    Proof(#[source] ProofError),
}

impl PartyDecision {
    /// The number of the party whose decision it says it is.
    #[must_use]
    pub fn party(&self) -> Option<u8> {
        self.decision.share.map(|share| share.party)
    }

    /// Whether the party's log, as `trust` knows it, holds that it allowed just what `own` is about. Answers the entry's index.
    ///
    /// # Errors
    /// [`PartyError`] says what does not hold.
    pub fn verify(&self, own: &Decision, trust: &Trust) -> Result<u64, PartyError> {
        let theirs = &self.decision;
        let same = |holds: bool, what| if holds { Ok(()) } else { Err(PartyError::Other(what)) };
        let (share, of) = theirs.share.zip(own.share).ok_or(PartyError::NoShare)?;
        same(share.party != of.party, "party")?;
        let scheme = |share: KeyShare| (share.threshold, share.parties, share.epoch);
        same(scheme(share) == scheme(of), "share")?;
        same(theirs.outcome == Verdict::Allowed, "outcome")?;
        theirs.fits_its_tier().map_err(PartyError::Other)?;
        same((&theirs.tenant, &theirs.wallet) == (&own.tenant, &own.wallet), "wallet")?;
        same((&theirs.client, &theirs.certificate) == (&own.client, &own.certificate), "client")?;
        same((theirs.algorithm, &theirs.public_key) == (own.algorithm, &own.public_key), "public_key")?;
        same(theirs.signers == own.signers, "signers")?;
        same(theirs.request_digest == own.request_digest, "request_digest")?;
        same(theirs.signing_digest == own.signing_digest, "signing_digest")?;
        // INVARIANT: no party signs on another's word: each has seen that the client itself asked.
        same(theirs.request_signature.is_some(), "request_signature")?;
        same(theirs.request_signature == own.request_signature, "request_signature")?;
        let leaf = Record::Decision(theirs.clone()).leaf_hash().map_err(|_| PartyError::Record)?;
        let proof = TlogProof::parse(&self.decision_proof).map_err(PartyError::Proof)?;
        proof.verify(&leaf, trust).map_err(PartyError::Proof)?;
        Ok(proof.index())
    }
}

/// What the other parties pin of one, format 1: `chancery mpc identity` writes it, and it comes to them by a way they trust.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartyIdentity {
    /// The format.
    pub v: V1,
    /// Its number.
    pub party: u8,
    /// The Ed25519 key of its node.
    pub node_key: Digest,
    /// The trust file of its log.
    pub trust: serde_json::Value,
}

/// Why a file is no identity.
#[derive(Debug, thiserror::Error)]
pub enum PartyIdentityError {
    /// Longer than two trust files.
    #[error("the identity is too long")]
    TooLong,
    /// Not the JSON it must be.
    #[error("the identity does not parse: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Of another party.
    #[error("it is party {found}'s")]
    Party {
        /// Whose it is.
        found: u8,
    },
    /// The trust file in it is none.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl PartyIdentity {
    /// Reads the identity of a party, and the trust in its log.
    ///
    /// # Errors
    /// [`PartyIdentityError`].
    pub fn parse(bytes: &[u8], party: u8) -> Result<(Self, Trust), PartyIdentityError> {
        if bytes.len() > 2 * TRUST_BYTES {
            return Err(PartyIdentityError::TooLong);
        }
        refuse_repeated_names(bytes)?;
        let identity: Self = serde_json::from_slice(bytes)?;
        if identity.party != party {
            return Err(PartyIdentityError::Party { found: identity.party });
        }
        let trust = Trust::parse(identity.trust.to_string().as_bytes())?;
        Ok((identity, trust))
    }
}
