//! First step: a client whom `identity` vouches for asks for a wallet of its own tenant. Where it signed its request itself,
//! that signature is over this request and no other.

use chancery_audit::RequestSignature;
use chancery_core::{Code, SignRequest};
use chancery_identity::{Client, Vouched};

use super::Understood;
use crate::house::Books;
use crate::refusal::Refusal;

/// A request and who makes it.
pub struct Authenticated {
    client: Client,
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
        let own = vouched.map(|vouched| Own::of(vouched, &client, &request)).transpose();
        let own = own.map_err(Refusal::request_signature)?;
        Ok(Self { client, request, own })
    }

    /// Decodes the payload for the wallet's account.
    ///
    /// # Errors
    /// [`Code::NotFound`] without such a wallet, [`Code::NoPolicy`] before a bundle is in force, and each way in which
    /// bytes are not one canonical payload for this wallet.
    pub fn understand(self, books: &Books) -> Result<Understood, Refusal> {
        Understood::of((&self.client).into(), self.request, self.own, books)
    }
}
