//! The stable error codes of the wire. A code never changes its meaning; programs match on it, people read the detail.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])+ $name:ident = $text:literal, $status:literal, $title:literal;)+) => {
        /// A stable error code: its text, HTTP status and title (RFC 9457 `title`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])+ $name,)+ }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The text on the wire, such as `policy-denied`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The HTTP status it travels with.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// The same few words each time.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// The code written so, if it is one.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.as_str() == text)
            }
        }
    };
}

codes! {
    /// The request is not well-formed: JSON, header or query.
    BadRequest = "bad-request", 400, "The request is not well-formed";
    /// The `Idempotency-Key` header is missing or malformed.
    IdempotencyKeyMissing = "idempotency-key-missing", 400, "An Idempotency-Key header is needed";
    /// No identity this appliance accepts. Every failure of authentication looks the same.
    Unauthenticated = "unauthenticated", 401, "Not authenticated";
    /// The login does not go on: password, assertion, one-time code or order. Every such failure looks the same.
    LoginFailed = "login-failed", 401, "The login failed";
    /// This needs a session that holds for this certificate, now. Every such failure looks the same.
    SessionRequired = "session-required", 401, "A session is needed";
    /// The code of the enrolment is wrong, used or out of time. Every such failure looks the same.
    EnrolmentRefused = "enrolment-refused", 403, "The enrolment is refused";
    /// Who asked for something, or holds the key that asked, does not approve it.
    SelfApproval = "self-approval", 403, "The initiator never approves";
    /// The officer does not stand in a group whose word the request waits for.
    ApprovalNotAsked = "approval-not-asked", 403, "This approval is not asked for";
    /// The assertion does not hold: another challenge, key, party or person.
    AssertionInvalid = "assertion-invalid", 403, "The assertion does not hold";
    /// The request carries a signature that does not hold. Every such failure looks the same.
    RequestSignatureInvalid = "request-signature-invalid", 401, "The request's signature does not hold";
    /// The role may not do this.
    Forbidden = "forbidden", 403, "This role may not do that";
    /// Policy denied the request; `rules` names what decided.
    PolicyDenied = "policy-denied", 403, "Denied by policy";
    /// Policy denied the request, and would not have if the client had signed it itself; `rules` names what decided.
    RequestSignatureRequired = "request-signature-required", 403, "The client must sign this request itself";
    /// So many addresses in a row are unused that another would not be found by a wallet that recovers from the seed.
    GapLimit = "gap-limit", 409, "Too many unused addresses";
    /// Nothing under this name, or not for this client.
    NotFound = "not-found", 404, "Not found";
    /// The method does not exist on this path.
    MethodNotAllowed = "method-not-allowed", 405, "Method not allowed";
    /// The request took too long to arrive.
    RequestTimeout = "request-timeout", 408, "The request took too long";
    /// The key was used before for another request.
    IdempotencyConflict = "idempotency-conflict", 409, "The idempotency key names another request";
    /// A request under this key is still being worked on.
    RequestInProgress = "request-in-progress", 409, "The first request under this key is still in progress";
    /// Another policy bundle is still being put in force.
    ChangeInProgress = "change-in-progress", 409, "Another policy change is in progress";
    /// The name is taken.
    AlreadyExists = "already-exists", 409, "Already exists";
    /// The request does not wait for anything.
    RequestNotPending = "request-not-pending", 409, "The request is not pending";
    /// Another policy bundle is in force than the one this was approved under.
    ApprovalStale = "approval-stale", 409, "The approval is of another policy";
    /// The request waited for its obligations until its time was over.
    RequestExpired = "request-expired", 410, "The request expired";
    /// The request does not wait for the signature of a cold wallet, or for something else before it.
    ColdNotReady = "cold-not-ready", 409, "Not ready for a cold signature";
    /// What was brought is not the cold wallet's signature over just this request.
    ColdSignatureInvalid = "cold-signature-invalid", 422, "The cold signature does not hold";
    /// The body is larger than allowed.
    BodyTooLarge = "body-too-large", 413, "The body is too large";
    /// The body is not of a media type this path takes.
    UnsupportedMediaType = "unsupported-media-type", 415, "Unsupported media type";
    /// The headers are more or larger than allowed.
    HeadersTooLarge = "headers-too-large", 431, "The headers are too large";
    /// The payload has no bytes.
    PayloadEmpty = "payload-empty", 422, "The payload is empty";
    /// The payload is larger than allowed.
    PayloadTooLarge = "payload-too-large", 422, "The payload is too large";
    /// The payload does not decode.
    PayloadMalformed = "payload-malformed", 422, "The payload does not decode";
    /// Bytes follow the decoded payload.
    PayloadTrailingBytes = "payload-trailing-bytes", 422, "Bytes follow the payload";
    /// The payload decodes, but its canonical encoding is other bytes.
    PayloadNotCanonical = "payload-not-canonical", 422, "The payload is not in canonical form";
    /// The transaction type is not one this appliance decodes.
    TransactionTypeUnknown = "transaction-type-unknown", 422, "Unknown transaction type";
    /// The transaction carries a signature already.
    AlreadySigned = "already-signed", 422, "The transaction is signed already";
    /// The payload is valid on any chain (no EIP-155 chain id).
    ChainIdMissing = "chain-id-missing", 422, "The payload names no chain";
    /// The payload is for a chain the wallet may not sign for.
    ChainIdMismatch = "chain-id-mismatch", 422, "The payload is for another chain";
    /// A nested structure is deeper or longer than allowed.
    PayloadTooComplex = "payload-too-complex", 422, "The payload is too deeply nested or has too many parts";
    /// A PSBT field that nobody here can read, so nobody can say what it means.
    PsbtFieldUnknown = "psbt-field-unknown", 422, "The PSBT holds an unknown field";
    /// An input does not say what it spends, or not in a way that the signatures commit to.
    UtxoMissing = "utxo-missing", 422, "What an input spends is not proved";
    /// What a PSBT says of a spent output contradicts itself or the outpoint.
    UtxoMismatch = "utxo-mismatch", 422, "What an input spends is contradicted";
    /// A script or key in the PSBT is not the one that the wallet's descriptor derives.
    ScriptMismatch = "script-mismatch", 422, "A script is not the one it should be";
    /// A signature of this sighash type would leave parts of the transaction open.
    SighashNotAllowed = "sighash-not-allowed", 422, "The sighash type is not allowed";
    /// The fee is beyond any reason.
    FeeAbsurd = "fee-absurd", 422, "The fee is absurd";
    /// Amounts that cannot be: more than there is, or more out than in.
    AmountOutOfRange = "amount-out-of-range", 422, "An amount is out of range";
    /// No input of the transaction is the wallet's.
    NothingToSign = "nothing-to-sign", 422, "Nothing here is this wallet's to sign";
    /// An instruction takes an account from an address lookup table that the policy bundle does not know.
    LookupTableUnknown = "lookup-table-unknown", 422, "What a lookup table holds is not known";
    /// An instruction moves tokens without saying which, and nothing proves it.
    MintUnknown = "mint-unknown", 422, "Which token moves is not proved";
    /// A Schnorr signature is needed (taproot), which no PKCS#11 token makes; a key derived from a seed does.
    SchnorrUnavailable = "schnorr-unavailable", 501, "Schnorr signatures are not available";
    /// The policy bundle does not parse, type-check or pass its own tests.
    BundleInvalid = "bundle-invalid", 422, "The policy bundle is not valid";
    /// The policy bundle lacks signatures by the configured policy keys.
    BundleUnsigned = "bundle-unsigned", 422, "The policy bundle is not signed by those who must";
    /// More requests than this client may make; see `Retry-After`.
    RateLimited = "rate-limited", 429, "Too many requests";
    /// Too many logins were begun that came to no end; see `Retry-After`.
    LoginLocked = "login-locked", 429, "Too many tries to log in";
    /// A queue is full; see `Retry-After`.
    Overloaded = "overloaded", 429, "The appliance is at its limit";
    /// A defect of the appliance.
    Internal = "internal", 500, "Internal error";
    /// No policy bundle has been applied yet.
    NoPolicy = "no-policy", 503, "No policy is in force";
    /// The HSM does not answer; see `Retry-After`.
    HsmUnavailable = "hsm-unavailable", 503, "The HSM is unavailable";
    /// Another party that shares the wallet's key refused; the detail and `rules` name it and why.
    PartyRefused = "party-refused", 403, "Another party refused";
    /// Fewer parties than it takes answer; see `Retry-After`.
    PartiesUnavailable = "parties-unavailable", 503, "Too few parties answer";
    /// The parties began and came to no end; where it cannot be told whether others came to one, the limits stay spent.
    PartiesFailed = "parties-failed", 503, "The parties came to no end";
    /// The key is set apart because the HSM answered wrongly with it.
    KeyQuarantined = "key-quarantined", 503, "The key is quarantined";
    /// The appliance stopped before the request was signed; nothing was released.
    Interrupted = "interrupted", 503, "Interrupted before signing";
    /// The store or the log cannot record.
    StoreUnavailable = "store-unavailable", 503, "The store cannot record";
    /// The disk has less room left than is kept in reserve.
    DiskFull = "disk-full", 503, "The disk is nearly full";
    /// Fewer witnesses than the configuration asks for have cosigned the log; see `Retry-After`.
    NotCosigned = "not-cosigned", 503, "Too few witnesses have cosigned the log";
    /// The wall clock stands behind the latest recorded time.
    ClockBehind = "clock-behind", 503, "The clock cannot be trusted";
    /// The appliance is stopping.
    ShuttingDown = "shutting-down", 503, "The appliance is stopping";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_distinct_and_kebab_case() {
        let texts: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for text in texts {
            assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{text}");
        }
    }
}
