//! `chanceryd serve`: opens the house, then its door; closes them in the other order.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use chancery_core::config::Config;
use chancery_core::{Clock, SystemClock, causes};
use chancery_enclave::{Enclave, Programs};
use chancery_sandbox::{Kind, Standing, wall_in};
use chancery_secret::{Pin, Protection, harden_process, protection};
use tokio::sync::watch;

use crate::door::{Certificates, Door, Listening, Settings, raise_open_files};
use crate::ops::{Component, Ops};
use crate::party::PartyLink;
use crate::telemetry::{Metrics, start_logging};
use crate::{routes, setup, walls};

/// What is logged when `CHANCERY_LOG` does not say.
const LOG: &str = "info";

/// Serves until SIGTERM or SIGINT. SIGHUP renews the certificates at once.
#[must_use]
pub fn run(config: &Path) -> ExitCode {
    let filter = std::env::var("CHANCERY_LOG").unwrap_or_else(|_| LOG.to_owned());
    setup::report(start_logging(&filter).map_err(Into::into).and_then(|()| serve(config)))
}

fn serve(path: &Path) -> Result<(), setup::Failure> {
    harden_process().map_err(|error| format!("the process cannot be hardened: {error}"))?;
    raise_open_files()?;
    let config = setup::read_config(path)?;
    if !config.mode.is_production() {
        tracing::warn!("DEVELOPMENT MODE: dev-only providers are allowed; do not guard real keys with this");
    }
    // For the client that asks the log's witnesses; the door names its own.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a cryptographic provider was installed before");
    }
    let pin = setup::read_pin(&config.hsm.pin)?;
    let programs = Programs::launched(&config, &setup::own_program()?)?;
    make_folders(&config)?;
    // ORDER: before the first thread of the runtime, and before anybody is listened to.
    match wall_in(Kind::Appliance, &walls::keeps(&config))? {
        Standing::Whole => {}
        Standing::Partial => tracing::warn!(
            "this kernel's Landlock is old: some of what this process may not do is not kept from it"
        ),
        Standing::WithoutFiles => {
            tracing::warn!("this kernel has no Landlock: this process may open what its user may");
        }
    }
    if protection().map_err(|error| format!("no memory for secrets: {error}"))? != Protection::SecretMemory {
        tracing::warn!(
            "this kernel has no memfd_secret: root can read the PIN from the memory of this process"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let served = runtime.block_on(open(config, pin, programs));
    // A proof may sit on a thread for as long as its solver may; what it is for was given up when the house closed.
    runtime.shutdown_background();
    served
}

/// The folders that are kept must be there; what is in them is their rooms' affair.
fn make_folders(config: &Config) -> Result<(), setup::Failure> {
    // Tiles may be served by others; the store is nobody's.
    for (folder, mode) in [(&config.store.directory, 0o700), (&config.log.directory, 0o777)] {
        let made = DirBuilder::new().recursive(true).mode(mode).create(folder);
        made.map_err(|error| format!("`{}` cannot be made: {error}", folder.display()))?;
    }
    Ok(())
}

async fn open(config: Config, pin: Pin, programs: Programs) -> Result<(), setup::Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let stopping = stopping()?;
    let metrics = Arc::new(Metrics::new());
    // ORDER: the addresses are taken before the house opens, so that a second process fails before it touches anything.
    let ops = Ops::bind(config.listen.ops)?;
    let listen = Listening::at(config.listen.api)?;
    let link = config.mpc.as_ref().map(PartyLink::bind).transpose()?;
    let enclave = Enclave::open(&config, pin, programs, Arc::clone(&clock)).await?;
    let settings = Settings {
        listen,
        tls: config.tls.clone(),
        issued: enclave.issued(),
        mode: config.mode,
        rate: config.rate.client,
        bodies: routes::body_limits(),
        clock: Arc::clone(&clock),
        metrics: Arc::clone(&metrics),
    };
    let door = match Door::bind(settings) {
        Ok(door) => door,
        Err(error) => {
            enclave.close().await;
            return Err(error.into());
        }
    };
    crate::gauges::register(&metrics, &enclave);

    let certificates = door.certificates();
    let link = match link {
        Some(link) => {
            let address = link.local_addr();
            let open = link.open(enclave.clone(), Arc::clone(&certificates), clock, told(stopping.clone()));
            match open.await {
                Ok(serving) => {
                    tracing::info!(parties = %address, "the link to other parties is open");
                    Some(serving)
                }
                Err(error) => {
                    enclave.close().await;
                    return Err(error);
                }
            }
        }
        None => None,
    };
    renew_when_told(Arc::clone(&certificates))?;
    let watched = enclave.clone();
    let ready = Arc::new(move || {
        let components = watched.components().into_iter();
        let rooms =
            components.map(|part| Component { component: part.name, ok: part.ready, detail: part.detail });
        let (ok, detail) = certificates.standing();
        rooms.chain([Component { component: "certificates", ok, detail }]).collect()
    });
    let ops_address = ops.local_addr();
    let ops = tokio::spawn(ops.serve(metrics, ready, told(stopping.clone())));
    tracing::info!(api = %door.local_addr(), ops = %ops_address, log = enclave.trust().origin(), "ready");
    let router = routes::router(
        enclave.clone(),
        config.rate.wallet,
        config.officers.require_session,
        stopping.clone(),
    );
    let drained = door.serve(router, told(stopping)).await;
    tracing::info!(?drained, "the door is closed");
    enclave.close().await;
    if let Some(link) = link {
        drop(link.await);
    }
    drop(ops.await);
    tracing::info!("stopped");
    Ok(())
}

/// SIGHUP has the certificates on disk looked at now.
fn renew_when_told(certificates: Arc<Certificates>) -> Result<(), setup::Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup =
        signal(SignalKind::hangup()).map_err(|error| format!("signals cannot be heard: {error}"))?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            certificates.renew();
        }
    });
    Ok(())
}

/// True from the first SIGTERM or SIGINT on.
fn stopping() -> Result<watch::Receiver<bool>, setup::Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let unheard = |error| format!("signals cannot be heard: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(unheard)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unheard)?;
    let (say, said) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        let _ = say.send(true);
        say.closed().await;
    });
    Ok(said)
}

async fn told(mut stopping: watch::Receiver<bool>) {
    // An error means that nobody can say so any more, which ends serving as well.
    if let Err(error) = stopping.wait_for(|stop| *stop).await {
        tracing::warn!(reason = causes(&error), "stopping for want of a signal handler");
    }
}
