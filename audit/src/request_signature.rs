//! How a client signed its request itself (RFC 9421), format 1: what a stranger needs to see that the key of this client's
//! certificate asked for exactly this. The decision's leaf commits to all of it by one digest, so that nobody can take it
//! off a receipt, and the nonce in it keeps the digest from being guessed. It is made from evidence; nothing here trusts it.

use chancery_core::{IdempotencyKey, Payload, WalletId};
use chancery_identity::{Message, Testimony, Vouched, testimony};
use serde::{Deserialize, Serialize};

use crate::AuditError;
use crate::canonical::{encode, refuse_repeated_names};
use crate::digest::{Digest, HexBytes, V1};
use crate::record::Decision;

/// The one call whose requests are recorded.
const METHOD: &str = "POST";
const PATH: &str = "/v1/sign";

/// A client's signature over one HTTP request, and the parts of the request that a receipt does not hold anyway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestSignature {
    /// The format: 1.
    pub v: V1,
    /// The client's certificate, DER; `decision.certificate` is its SHA-256.
    pub certificate: HexBytes,
    /// `@authority`: which appliance was asked.
    pub authority: String,
    /// `@signature-params`: the covered components, and the signature's time, nonce, key, algorithm and tag.
    pub parameters: String,
    /// The 64 bytes.
    pub signature: HexBytes,
    /// The request's body as it was sent; `content-digest` is its SHA-256.
    pub body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    wallet: WalletId,
    payload: Payload,
}

impl RequestSignature {
    /// What a client vouched for, if that was a request to sign this payload with this wallet.
    ///
    /// # Errors
    /// A sentence about what it was instead.
    pub fn of(
        vouched: &Vouched,
        key: &IdempotencyKey,
        wallet: &WalletId,
        payload: &Payload,
    ) -> Result<Self, &'static str> {
        if (vouched.method(), vouched.path()) != (METHOD, PATH) {
            return Err("it is over another call");
        }
        if vouched.idempotency_key() != key.as_str() {
            return Err("it is over another idempotency key");
        }
        let body = std::str::from_utf8(vouched.body()).map_err(|_| "the body is not UTF-8")?;
        let signature = Self {
            v: V1,
            certificate: vouched.client().certificate().into(),
            authority: vouched.authority().to_owned(),
            parameters: vouched.parameters().to_owned(),
            signature: vouched.signature().into(),
            body: body.to_owned(),
        };
        signature.asks_for(wallet, payload)?;
        Ok(signature)
    }

    /// What the decision's leaf holds of it: `SHA-256(JCS(self))`.
    ///
    /// # Errors
    /// [`AuditError`] where it cannot be encoded.
    pub fn digest(&self) -> Result<Digest, AuditError> {
        Ok(Digest::of(&encode(self)?))
    }

    /// Whether the client of this decision signed a request for exactly this.
    pub(crate) fn verify(
        &self,
        decision: &Decision,
        key: &IdempotencyKey,
        payload: &Payload,
    ) -> Result<Testimony, &'static str> {
        if Digest::of(self.certificate.as_bytes()) != decision.certificate {
            return Err("the certificate is not the one that was shown");
        }
        self.asks_for(&decision.wallet, payload)?;
        let message = Message {
            method: METHOD,
            authority: &self.authority,
            path: PATH,
            idempotency_key: key.as_str(),
            body: self.body.as_bytes(),
        };
        let shown =
            testimony(self.certificate.as_bytes(), &message, &self.parameters, self.signature.as_bytes())
                .map_err(|_| "it does not verify under the certificate's key")?;
        if (&shown.tenant, &shown.client) == (&decision.tenant, &decision.client) {
            Ok(shown)
        } else {
            Err("the certificate is another client's")
        }
    }

    fn asks_for(&self, wallet: &WalletId, payload: &Payload) -> Result<(), &'static str> {
        // Parsers differ about which of two equal names counts: a body that has such is no one request.
        refuse_repeated_names(self.body.as_bytes()).map_err(|_| "the body does not have one reading")?;
        let asked: Body = serde_json::from_str(&self.body).map_err(|_| "the body is no request")?;
        if (&asked.wallet, &asked.payload) == (wallet, payload) {
            Ok(())
        } else {
            Err("the body asks for something else")
        }
    }
}
