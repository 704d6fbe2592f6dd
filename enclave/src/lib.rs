//! The trusted process: the walk, the key registry and the rooms opened in their order. Only this crate may reach the HSM,
//! and within it only the walk's `Recorded` reaches a wallet's key. Trusts the store's disk and the token's honesty no
//! further than each is checked. If this is wrong, money moves.

mod addresses;
mod answer;
mod approve;
mod asker;
mod backfill;
mod change;
mod clients;
mod cold;
mod courier;
mod create;
mod disk;
mod enact;
mod events;
mod house;
mod in_flight;
mod kek;
mod kept;
mod keys;
mod login;
mod manage;
#[cfg(test)]
mod model;
mod parties;
mod policy;
mod post;
mod preview;
mod programs;
mod query;
mod quiet;
mod receipts;
mod refusal;
mod resolve;
mod scrub;
mod seed;
mod signer;
mod spending;
mod stamping;
mod start;
pub mod walk;
mod wallet;

use std::process::ExitCode;
use std::sync::Arc;

use chancery_core::SignRequest;
use chancery_identity::{Client, Vouched};

pub use chancery_audit::{KeyShare, PartyIdentity};
pub use chancery_intent::AccountKey;
pub use chancery_intent::bitcoin::Network;
pub use chancery_intent::solana::{Cluster, signature_text};

pub use addresses::{ADDRESSES, Address};
pub use answer::{Answer, Pending, Released, Signed};
pub use approve::{Sheet, Spoke};
pub use change::{PolicyChange, Standing};
pub use clients::{Certificate, Certified, Issued};
pub use courier::WitnessError;
pub use create::Made;
pub use events::webhook::{Delivered, WebhookError};
pub use events::{Audience, Event, Told};
pub use house::{Books, House};
pub use in_flight::InFlight;
pub use keys::{Cold, GAP};
pub use login::{Entered, Factors, InSession, OpenSession};
pub use parties::{Banned, Call, Carried, Link, LinkPeer, PartiesError, PartiesStanding, PeerStanding};
pub use policy::InForce;
pub use preview::Preview;
pub use programs::{Programs, launcher};
pub use query::{Component, Figures, KeptPolicy, Listed, RequestFilter, RequestState};
pub use quiet::Quiet;
pub use refusal::Refusal;
pub use seed::SeedError;
pub use stamping::{Stamped, StampingError};
pub use start::{Enclave, Ground, StartError, init_token};
pub use walk::Word;
pub use wallet::{CHAINS, Design, Holding, Source, Wallet};

impl Enclave {
    /// Walks one request, with what its client signed itself, to a released signature or a refusal. The walk goes on to its end even when the caller stops
    /// waiting: what is recorded is never left half done.
    ///
    /// # Errors
    /// See [`walk`]; each refusal has a stable code.
    pub async fn sign(
        &self,
        client: Client,
        request: SignRequest,
        vouched: Option<Vouched>,
    ) -> Result<Answer, Refusal> {
        let house = Arc::clone(self.house());
        self.run(async move { walk::walk(&house, client, request, vouched.as_ref()).await }).await
    }
}

/// The process that loads the PKCS#11 module; `chanceryd hsm-worker` is nothing else.
#[must_use]
pub fn hsm_worker() -> ExitCode {
    chancery_hsm::worker_main()
}
