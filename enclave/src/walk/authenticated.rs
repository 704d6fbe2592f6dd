//! First step: a client whom `identity` vouches for asks for a wallet of its own tenant.

use chancery_core::{Code, SignRequest};
use chancery_identity::Client;

use super::Understood;
use crate::house::Books;
use crate::refusal::Refusal;

/// A request and who makes it.
pub struct Authenticated {
    client: Client,
    request: SignRequest,
}

impl Authenticated {
    /// Joins a request to the client that the door authenticated.
    ///
    /// # Errors
    /// Another tenant's wallets do not exist for this client: [`Code::NotFound`].
    pub fn new(client: Client, request: SignRequest) -> Result<Self, Refusal> {
        if *client.tenant() == request.tenant {
            Ok(Self { client, request })
        } else {
            Err(Refusal::new(Code::NotFound, format!("no wallet `{}`", request.wallet)))
        }
    }

    /// Decodes the payload for the wallet's account.
    ///
    /// # Errors
    /// [`Code::NotFound`] without such a wallet, [`Code::NoPolicy`] before a bundle is in force, and each way in which
    /// bytes are not one canonical payload for this wallet.
    pub fn understand(self, books: &Books) -> Result<Understood, Refusal> {
        Understood::of((&self.client).into(), self.request, books)
    }
}
