//! What parties say to each other beside the messages of a session: strict JSON, each call with one answer. Nothing here is
//! believed because of who sends it; who sends it is proved by the link.

use std::collections::BTreeMap;

use chancery_audit::{Digest, PartyDecision, RequestSignature};
use chancery_core::{Code, IdempotencyKey, RequestId, Tenant, WalletId};
use chancery_mpc::Certificate;
use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;
use crate::wallet::Design;

/// What one party asks another, by its path on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// To decide about a client's request.
    Ask,
    /// To make a key together.
    Propose,
    /// To begin the session that was agreed to.
    Begin,
    /// To give up what was agreed to.
    Cancel,
    /// To take a wallet whose key all parties have certified.
    Finish,
    /// For everybody's word about a share.
    Certificate,
    /// Whether it is there.
    Standing,
    /// To take a message of a session.
    Message([u8; 32]),
}

/// Where the paths begin.
const ROOT: &str = "/party/v1/";
const MESSAGE: &str = "message/";

impl Call {
    const NAMED: [(&str, Self); 7] = [
        ("ask", Self::Ask),
        ("propose", Self::Propose),
        ("begin", Self::Begin),
        ("cancel", Self::Cancel),
        ("finish", Self::Finish),
        ("certificate", Self::Certificate),
        ("standing", Self::Standing),
    ];

    /// The path.
    #[must_use]
    pub fn path(self) -> String {
        if let Self::Message(session) = self {
            return format!("{ROOT}{MESSAGE}{}", hex::encode(session));
        }
        let name = Self::NAMED.iter().find(|(_, call)| *call == self).map_or("", |(name, _)| name);
        format!("{ROOT}{name}")
    }

    /// The call of a path.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix(ROOT)?;
        match rest.strip_prefix(MESSAGE) {
            Some(session) => hex::decode(session).ok()?.try_into().ok().map(Self::Message),
            None => Self::NAMED.iter().find(|(name, _)| *name == rest).map(|(_, call)| *call),
        }
    }
}

/// [`Call::Ask`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    /// The asking party's name for it.
    pub id: RequestId,
    pub idempotency_key: IdempotencyKey,
    /// The client's own signature, and the body it is over.
    pub signed: RequestSignature,
}

/// A party's yes to a request.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Consent {
    /// Its part of the session's nonce.
    pub nonce: Digest,
    pub decision: PartyDecision,
}

/// [`Call::Propose`].
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Propose {
    pub id: RequestId,
    pub tenant: Tenant,
    pub wallet: WalletId,
    pub design: Design,
    pub threshold: u8,
    pub parties: u8,
}

/// A party's yes to a proposal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Proposed {
    /// It is ready to make the key; this is its part of the session's nonce.
    Ready(Digest),
    /// The key was made before, and here is everybody's word.
    Certified(Certificate),
}

/// [`Call::Begin`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begin {
    pub id: RequestId,
    /// Who takes part, and each one's part of the nonce.
    pub nonces: BTreeMap<u8, Digest>,
    /// Of a signature: what each of them decided, so that every signer sees it of every other.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub decisions: Vec<PartyDecision>,
}

/// [`Call::Cancel`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cancel {
    pub id: RequestId,
}

/// [`Call::Finish`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Finish {
    pub certificate: Certificate,
}

/// [`Call::Certificate`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sought {
    pub session: Digest,
}

/// An answer.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Reply<T> {
    Yes(T),
    No(No),
}

/// A refusal on its way.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct No {
    code: String,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    rules: Vec<String>,
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, detail, rules, .. } = refusal;
        Self { code: code.as_str().to_owned(), detail, rules }
    }
}

/// LIMIT: what of another party's words is passed on, in characters and in rules.
const DETAIL: usize = 512;
const RULES: usize = 64;

impl No {
    /// Its code; one that is not known here is a defect there.
    pub fn code(&self) -> Code {
        Code::parse(&self.code).unwrap_or(Code::Internal)
    }

    /// The same as this party's refusal, naming the other and its rules.
    pub fn of(self, party: impl std::fmt::Display) -> Refusal {
        let code = self.code();
        let plain =
            |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(DETAIL).collect() };
        let detail = format!("party {party} refused: {code}: {}", plain(&self.detail));
        let rules = self.rules.iter().take(RULES).map(|rule| format!("party {party}: {}", plain(rule)));
        Refusal { rules: rules.collect(), ..Refusal::new(Code::PartyRefused, detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_path() {
        for call in Call::NAMED.map(|(_, call)| call).into_iter().chain([Call::Message([7; 32])]) {
            assert_eq!(Call::parse(&call.path()), Some(call));
        }
        for path in ["/party/v1/", "/party/v1/message/07", "/party/v1/ask/", "/v1/sign"] {
            assert_eq!(Call::parse(path), None, "{path}");
        }
    }
}
