//! First step: a client whom `identity` vouches for asks for a wallet of its own tenant. Where it signed its request itself,
//! that signature is over this request and no other.

use chancery_audit::RequestSignature;
use chancery_core::{Change, Code, IdempotencyKey, Payload, SignRequest};
use chancery_identity::{Client, Operator, Vouched};
use chancery_intent::change::SEAL;

use super::Understood;
use crate::asker::Asker;
use crate::house::Books;
use crate::parties::require_signature;
use crate::refusal::Refusal;

/// A request and who makes it.
pub struct Authenticated {
    asker: Asker,
    request: SignRequest,
    own: Option<Own>,
}

/// That the client signed the request itself.
pub(super) struct Own {
    pub(super) nonce: String,
    pub(super) signature: RequestSignature,
}

impl Own {
    fn of(vouched: &Vouched, client: &Client, request: &SignRequest) -> Result<Self, &'static str> {
        if vouched.client() != client {
            return Err("it is another client's");
        }
        let SignRequest { wallet, idempotency_key, payload, .. } = request;
        let signature = RequestSignature::of(vouched, idempotency_key, wallet, payload)?;
        Ok(Self { nonce: vouched.nonce().to_owned(), signature })
    }
}

impl Authenticated {
    /// Joins a request to the client that the door authenticated, and to what that client signed itself.
    ///
    /// # Errors
    /// Another tenant's wallets do not exist for this client: [`Code::NotFound`]. [`Code::RequestSignatureInvalid`] where
    /// the client signed something else than this request.
    pub fn new(client: Client, request: SignRequest, vouched: Option<&Vouched>) -> Result<Self, Refusal> {
        if *client.tenant() != request.tenant {
            return Err(Refusal::new(Code::NotFound, format!("no wallet `{}`", request.wallet)));
        }
        if matches!(request.payload, Payload::ApplianceChange { .. }) {
            let detail = "a change is asked for where it belongs, `/v1/policy`, `/v1/wallets` or `/v1/clients`, by an operator";
            return Err(Refusal::new(Code::Forbidden, detail));
        }
        let own = vouched.map(|vouched| Own::of(vouched, &client, &request)).transpose();
        let own = own.map_err(Refusal::request_signature)?;
        Ok(Self { asker: (&client).into(), request, own })
    }

    /// An operator's change of their own tenant, for its seal.
    ///
    /// # Errors
    /// None today: the name of the seal is one.
    pub(crate) fn to_change(
        operator: &Operator,
        key: IdempotencyKey,
        change: Change,
    ) -> Result<Self, Refusal> {
        let wallet = SEAL.parse().map_err(|_| Refusal::new(Code::Internal, "the seal has no name"))?;
        let request = SignRequest {
            tenant: operator.tenant().clone(),
            wallet,
            idempotency_key: key,
            payload: Payload::ApplianceChange { change },
        };
        Ok(Self { asker: operator.into(), request, own: None })
    }

    /// Decodes the payload for the wallet's account.
    ///
    /// # Errors
    /// [`Code::NotFound`] without such a wallet, [`Code::NoPolicy`] before a bundle is in force, and each way in which
    /// bytes are not one canonical payload for this wallet; [`Code::RequestSignatureRequired`] where several parties hold its
    /// key and the client did not sign.
    pub fn understand(self, books: &Books) -> Result<Understood, Refusal> {
        let wallet = books.wallets.find(&self.request.tenant, &self.request.wallet)?;
        require_signature(self.own.is_some() || wallet.share().is_none())?;
        Understood::of(self.asker, self.request, self.own, books)
    }
}
