//! Opening and closing the house: the store, the HSM, the log and what they hold, in that order, and only then the door.
//! A log that was cut or set back, a token that lies or a bundle that no longer compiles keeps the appliance from starting.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chancery_audit::{self as audit, AuditError, EndorsementError, Endorsers, Feed, Keeper, Log, LogOptions};
use chancery_core::config::Config;
use chancery_core::{Clock, Code, limit};
use chancery_hsm::{Hsm, HsmError, NewToken, Settings, Token};
use chancery_prove::{Options, ProveError, Prover, Solver};
use chancery_secret::Pin;
use chancery_store::{Store, StoreError};
use tokio::task::JoinSet;

use crate::approve;
use crate::clients::{Offices, renew_for_ever};
use crate::courier::{self, WitnessError};
use crate::disk::Disk;
use crate::events::webhook::{self, WebhookError};
use crate::house::{Books, House};
use crate::in_flight::Walks;
use crate::login::Logins;
use crate::parties::{Parties, PartiesError, catch_up_for_ever};
use crate::policy::Policies;
use crate::programs::Programs;
use crate::receipts;
use crate::refusal::Refusal;
use crate::resolve;
use crate::scrub;
use crate::seed::SeedError;
use crate::signer::Signers;
use crate::stamping::{Stamping, StampingError, stamp_for_ever};
use crate::wallet::Wallets;

/// How long walks under way may take to end when the house closes.
const CLOSING: Duration = Duration::from_secs(10);

/// Why the house does not open.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error("the store does not open: {0}")]
    Store(#[from] StoreError),
    /// The HSM.
    #[error("the HSM does not serve: {0}")]
    Hsm(#[from] HsmError),
    /// The log.
    #[error("the log does not open: {0}")]
    Log(#[from] AuditError),
    /// The log's ML-DSA key.
    #[error("the log's ML-DSA key cannot be used: {0}")]
    Seed(#[from] SeedError),
    /// The solver.
    #[error("goals cannot be proved: {0}")]
    Solver(#[from] ProveError),
    /// The log's witnesses.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// The log's time-stamping authorities.
    #[error(transparent)]
    Stamping(#[from] StampingError),
    /// Who is told what happens.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// Who signs policy bundles.
    #[error(transparent)]
    Endorsers(#[from] EndorsementError),
    /// The other parties.
    #[error("this appliance cannot be a party: {0}")]
    Parties(#[from] PartiesError),
    /// What the store holds.
    #[error("{0}")]
    Content(#[from] Refusal),
}

/// The opened appliance without its door. Clones are the same.
#[derive(Clone)]
pub struct Enclave {
    pub(crate) open: Arc<Open>,
}

pub(crate) struct Open {
    house: Arc<House>,
    keeper: Mutex<Option<Keeper>>,
    /// What goes on beside the walks; a stop does not wait for it.
    behind: Mutex<Option<JoinSet<()>>>,
    walks: Mutex<Option<JoinSet<()>>>,
}

/// What the rooms stand on: this machine, or a simulated one.
pub struct Ground {
    /// The opened store.
    pub store: Store,
    /// The log's end of the observer that the store was opened with.
    pub feed: Feed,
    /// Starts programs.
    pub programs: Programs,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whether checkpoints are signed with ML-DSA as well. False in a simulation alone: AWS-LC draws randomness for these
    /// signatures that no seed governs.
    pub second_signature: bool,
}

impl Enclave {
    /// Opens the rooms on this machine.
    ///
    /// # Errors
    /// [`StartError`] names the room and what is wrong with it.
    pub async fn open(
        config: &Config,
        pin: Pin,
        programs: Programs,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let (observer, feed) = audit::feed();
        let store = Store::open(&config.store.directory, Box::new(observer))?;
        Self::open_on(config, pin, Ground { store, feed, programs, clock, second_signature: true }).await
    }

    /// Opens the rooms on any ground.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_on(config: &Config, pin: Pin, ground: Ground) -> Result<Self, StartError> {
        let Ground { store, feed, programs: Programs { worker, solver }, clock, second_signature } = ground;
        let limit = Duration::from_millis(config.policy.proof_ms);
        let prover = match &config.policy.solver {
            Some(path) => {
                let at = Solver::at(path)?;
                let started = match solver {
                    Some(starts) => at.started_by(starts),
                    None => at,
                };
                Some(Prover::new(started, Options { limit, ..Options::default() }))
            }
            None => None,
        };
        let endorsers = Endorsers::new(&config.policy.keys, config.policy.signatures)?;
        let webhooks = webhook::open(&config.webhook, &config.tenant())?;
        clock.seen(store.read(|rows| rows.newest_time())?);

        let settings = Settings { worker, hsm: config.hsm.clone(), mode: config.mode };
        let hsm = Hsm::start(settings, pin).await?;
        let keys = Signers::open(&hsm, &store, &config.log.origin, &clock, second_signature).await?;
        let options = LogOptions {
            origin: config.log.origin.clone(),
            directory: config.log.directory.clone(),
            ml_dsa: keys.ml_dsa,
            retired: keys.retired,
            witnesses: courier::witnesses(&config.log.witness)?,
            quorum: config.log.cosignatures,
        };
        let log = Log::open(Arc::new(store.clone()), &feed, options, keys.signer)?;
        log.recall().await?;
        let stamping = Stamping::open(&config.log, log.trust())?.map(Arc::new);
        let keeper = log.start();

        let tenant = config.tenant();
        let policies = Policies::new(&config.log.origin, endorsers, config.mode);
        if let Some(row) = store.read(|rows| rows.active_bundle(&tenant))? {
            let activation = receipts::activation(&store, row.leaf)?;
            policies.load(row, &activation)?;
        }
        let wallets = Wallets::default();
        let mut after = None;
        loop {
            let page = store.read(|rows| rows.wallets(&tenant, after.as_ref(), limit::PAGE_ROWS))?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for row in page {
                wallets.load(&store, row)?;
            }
        }

        let (disk, walks) = (Disk::of(config), Walks::default());
        let books = Arc::new(Books { clock, disk, store, policies, wallets, walks });
        let logins = Logins::new(&config.log.origin, config.officers.session_s);
        let offices = Offices::default();
        let parties = match &config.mpc {
            Some(mpc) => Some(Parties::open(mpc, &hsm, &books.store, (&config.log.origin, &tenant)).await?),
            None => None,
        };
        let house = Arc::new(House { books, log, hsm, offices, logins, prover, stamping, webhooks, parties });
        // Permits that the last process left open were never released: they end here, before anyone can ask again.
        while resolve::sweep(&house).await? > 0 {}
        // Without its list an authority names nobody: its clients wait, and those of other authorities come in.
        if let Err(refusal) = house.offices.renew(&house, &tenant).await {
            tracing::error!(%refusal, "the appliance's own authority cannot sign: its clients are not admitted");
        }
        let mut behind = JoinSet::new();
        behind.spawn(renew_for_ever(Arc::clone(&house), tenant.clone()));
        behind.spawn(resolve::sweep_every_period(Arc::clone(&house.books)));
        behind.spawn(scrub::scrub_for_ever(Arc::clone(&house), tenant));
        if let Some(parties) = &house.parties {
            behind.spawn(catch_up_for_ever(Arc::clone(&house), Arc::clone(parties)));
        }
        webhook::tell_for_ever(&house, &mut behind);
        if let Some(stamping) = &house.stamping {
            stamp_for_ever(stamping, &house.clock, &mut behind);
        }
        let open = Open {
            house,
            keeper: Mutex::new(Some(keeper)),
            behind: Mutex::new(Some(behind)),
            walks: Mutex::new(Some(JoinSet::new())),
        };
        let open = Arc::new(open);
        let resuming = approve::resume_every_period(Arc::downgrade(&open));
        if let Some(behind) = &mut *open.behind.lock().unwrap_or_else(PoisonError::into_inner) {
            behind.spawn(resuming);
        }
        Ok(Self { open })
    }

    pub(crate) fn house(&self) -> &Arc<House> {
        &self.open.house
    }

    /// Runs `work` to its end, whether or not the caller waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (done, result) = tokio::sync::oneshot::channel();
        {
            let mut walks = self.open.walks.lock().unwrap_or_else(PoisonError::into_inner);
            let walks = walks.as_mut().ok_or_else(stopping)?;
            while walks.try_join_next().is_some() {}
            walks.spawn(async move { drop(done.send(work.await)) });
        }
        // The sender goes without a word only if the task panicked.
        result.await.unwrap_or_else(|_| Err(Refusal::new(Code::Internal, Code::Internal.title())))
    }

    /// Does `work` beside the walks. A stop breaks it off.
    pub(crate) fn beside(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<(), Refusal> {
        let mut behind = self.open.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = behind.as_mut().ok_or_else(stopping)?;
        while behind.try_join_next().is_some() {}
        behind.spawn(work);
        Ok(())
    }

    /// Closes the rooms in order: no new walks, those under way to their end, the log published, the store emptied of its
    /// WAL, the HSM worker ended.
    pub async fn close(self) {
        let walks = self.open.walks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut walks) = walks {
            let all = async { while walks.join_next().await.is_some() {} };
            if tokio::time::timeout(CLOSING, all).await.is_err() {
                tracing::warn!(left = walks.len(), "walks did not end in time; the next start ends them");
            }
        }
        drop(self.open.behind.lock().unwrap_or_else(PoisonError::into_inner).take());
        let keeper = self.open.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper
            && let Err(error) = keeper.stop().await
        {
            tracing::warn!(%error, "the last tiles were not published; the next start makes them");
        }
        self.open.house.store.clone().close().await;
        self.open.house.hsm.clone().stop().await;
    }
}

fn stopping() -> Refusal {
    Refusal::new(Code::ShuttingDown, Code::ShuttingDown.title()).retry_after(2)
}

/// Makes the configured token and sets its PINs.
///
/// # Errors
/// See [`chancery_hsm::init_token`].
pub async fn init_token(
    config: &Config,
    worker: PathBuf,
    so_pin: &Pin,
    pin: &Pin,
) -> Result<Token, HsmError> {
    chancery_hsm::init_token(&NewToken { worker, hsm: config.hsm.clone() }, so_pin, pin).await
}
