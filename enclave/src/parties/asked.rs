//! What another party brings: a client's request, which is authenticated here as if the client had come itself, and walked. The party
//! that brings it vouches for nothing. If this is wrong, one party has another sign what no client asked for.

use std::sync::Arc;

use chancery_audit::{Digest, RequestSignature};
use chancery_core::{Code, Payload, SignRequest, WalletId};
use chancery_identity::{Fields, Message, Vouched};
use chancery_mpc::PartyId;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::Parties;
use super::waiting::Member;
use super::wire::{Ask, Consent};
use crate::refusal::Refusal;
use crate::start::Enclave;
use crate::walk;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    wallet: WalletId,
    payload: Payload,
}

impl Enclave {
    /// Walks a client's request that another party brought, and answers once it is decided: yes with the decision proved, or why
    /// not. The walk goes on to its end.
    pub(super) async fn asked(
        &self,
        parties: &Arc<Parties>,
        from: PartyId,
        ask: Ask,
    ) -> Result<Consent, Refusal> {
        let expected = parties.waiting.expect(from, ask.id)?;
        let (vouched, request) = self.testified(parties, from, &ask)?;
        let (consent, agreed) = oneshot::channel();
        let member = Member { expected, consent };
        let (there, house) = (self.clone(), Arc::clone(self.house()));
        let walking = tokio::spawn(async move {
            there.run(async move { walk::join(&house, vouched, request, member).await }).await
        });
        if let Ok(consent) = agreed.await {
            return Ok(consent);
        }
        match walking.await {
            Ok(Err(refusal)) => Err(refusal),
            _ => Err(Refusal::new(Code::RequestInProgress, "this was signed before, or is being signed")),
        }
    }

    /// What the client itself signed, seen with this party's own eyes.
    fn testified(
        &self,
        parties: &Parties,
        from: PartyId,
        ask: &Ask,
    ) -> Result<(Vouched, SignRequest), Refusal> {
        let refused = |reason: String| {
            tracing::info!(%from, reason, "a request that another party brought was refused");
            Refusal::new(Code::RequestSignatureInvalid, Code::RequestSignatureInvalid.title())
        };
        let signed = &ask.signed;
        if !parties.peer(from)?.is_called(&signed.authority) {
            return Err(refused("it was for somebody else than who brought it".to_owned()));
        }
        let link = parties.link.get().ok_or_else(|| refused("the link is not open".to_owned()))?;
        let client = link.client(signed.certificate.as_bytes()).map_err(refused)?;
        let body = signed.body.as_bytes();
        let message = Message {
            method: "POST",
            authority: &signed.authority,
            path: "/v1/sign",
            idempotency_key: ask.idempotency_key.as_str(),
            body,
        };
        let [input, signature, digest] = fields(signed, body);
        let fields = Fields { signature_input: &input, signature: &signature, content_digest: &digest };
        let now = self.house().clock.now()?;
        let vouched = client.vouch(message, &fields, now).map_err(|error| refused(error.to_string()))?;
        let Body { wallet, payload } =
            serde_json::from_slice(body).map_err(|error| refused(error.to_string()))?;
        let idempotency_key = ask.idempotency_key.clone();
        let request = SignRequest { tenant: client.tenant().clone(), wallet, idempotency_key, payload };
        Ok((vouched, request))
    }
}

/// The fields as they came with the request: what is kept of them says all.
fn fields(signed: &RequestSignature, body: &[u8]) -> [String; 3] {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    [
        format!("sig={}", signed.parameters),
        format!("sig=:{}:", STANDARD.encode(signed.signature.as_bytes())),
        format!("sha-256=:{}:", STANDARD.encode(Digest::of(body).as_bytes())),
    ]
}
