//! The listener that cannot be held open. Order of a connection: accepted, handshake (timed apart), proved, counted
//! against its client's share, served under its clocks for as long as its proof holds, closed.
//!
//! Trusts nothing of a peer before `Authority` proved it. If this is wrong, 2,000 silent sockets keep honest clients out.

mod body;
mod connection;
mod credentials;
mod lobby;
mod paced;
mod pulse;
mod reception;
mod renewal;
mod tls;
mod vouched;
mod wire;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use chancery_core::{Clock, Code, Mode, causes, config, limit};
use chancery_enclave::Issued;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

pub use body::BodyLimits;
pub(crate) use connection::{Protocol, serve};
pub(crate) use paced::Paced;
pub(crate) use pulse::{Pulse, STALL, Stall};
pub(crate) use reception::Source;
pub use renewal::Certificates;
pub(crate) use tls::{H2, HANDSHAKE, provider};
pub(crate) use wire::Wire;

use crate::ServerError;
use crate::rate::Limiter;
use crate::telemetry::Metrics;
use lobby::{Crowd, Lobby};
use reception::{Guest, Proof, Reception};
use renewal::Gauges;

/// How long the accept loop rests when the process has no file left to open.
const REST: Duration = Duration::from_millis(50);

/// An address that is taken, where nobody is listened to yet.
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// Takes an address; port 0 takes a free one. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`ServerError::Listen`].
    pub fn at(address: SocketAddr) -> Result<Self, ServerError> {
        let (listener, address) = listen(address)?;
        Ok(Self { listener, address })
    }
}

/// What the door is told.
pub struct Settings {
    /// Where it listens.
    pub listen: Listening,
    /// Certificate, key and client authorities.
    pub tls: config::Tls,
    /// The appliance's own authorities, and each change of them.
    pub issued: watch::Receiver<Arc<Vec<Issued>>>,
    /// Whether a key open to others is refused.
    pub mode: Mode,
    /// What one client may ask.
    pub rate: config::Rate,
    /// Which paths take bodies larger than `limit::BODY_BYTES`.
    pub bodies: BodyLimits,
    /// The time certificates are judged by.
    pub clock: Arc<dyn Clock>,
    /// Where the door counts.
    pub metrics: Arc<Metrics>,
}

/// A bound listener, not yet serving.
pub struct Door {
    certificates: Arc<Certificates>,
    settings: Settings,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had to be cut when `limit::DRAIN_MS` had passed.
    pub connections_cut: usize,
    /// False if a request was still at work then.
    pub requests_finished: bool,
}

impl Door {
    /// Reads the TLS files.
    ///
    /// # Errors
    /// A [`ServerError`] that names the file; [`ServerError::NobodyKnown`].
    pub fn bind(settings: Settings) -> Result<Self, ServerError> {
        let issued = settings.issued.clone();
        let certificates =
            Certificates::open(settings.tls.clone(), settings.mode, Arc::clone(&settings.clock), issued)?;
        let gauges = Gauges(Arc::clone(&certificates));
        settings.metrics.register(|registry| registry.register_collector(Box::new(gauges)));
        Ok(Self { certificates, settings })
    }

    /// The certificates it serves with, renewed from their files while it serves.
    #[must_use]
    pub fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.certificates)
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.settings.listen.address
    }

    /// Serves until `shutdown` resolves, then lets requests in flight finish for `limit::DRAIN_MS`.
    ///
    /// Each request reaches `router` with its whole body in memory and, as extensions, `Arc<Peer>` (proved at most
    /// `limit::IDENTITY_MS` ago) and a fresh `RequestId`. It runs in its own task to its end, whether or not the client
    /// waits. The router must not hold a body limit below those of [`Settings::bodies`].
    pub async fn serve(self, router: Router, shutdown: impl Future<Output = ()>) -> Drained {
        let Self { certificates, settings } = self;
        let listener = settings.listen.listener;
        let (at_work, mut working) = mpsc::channel(1);
        let hall = Arc::new(Hall {
            reception: Arc::new(Reception {
                router: router.layer(middleware::from_fn(name_route)),
                certificates: Arc::clone(&certificates),
                clock: settings.clock,
                limiter: Limiter::new(&settings.rate),
                metrics: settings.metrics,
                bodies: settings.bodies,
                at_work,
            }),
            lobby: Lobby::new(),
            crowd: Crowd::new(),
        });
        let (close, closing) = watch::channel(false);
        let slots = Arc::new(Semaphore::new(limit::CONNECTIONS));
        let mut connections = JoinSet::new();
        {
            let mut shutdown = pin!(shutdown);
            let mut keeping = pin!(certificates.keep());
            loop {
                let accepted = tokio::select! {
                    biased;
                    () = &mut shutdown => break,
                    never = &mut keeping => match never {},
                    Some(_) = connections.join_next() => continue,
                    accepted = next(&listener, &slots, &hall.lobby) => accepted,
                };
                let (socket, address, slot) = accepted;
                connections.spawn(Arc::clone(&hall).meet(socket, address, slot, closing.clone()));
            }
        }
        drop(listener);
        hall.lobby.clear();
        let _ = close.send(true);
        drop(hall);
        let deadline = Instant::now() + Duration::from_millis(limit::DRAIN_MS);
        let _ = timeout_at(deadline, async { while connections.join_next().await.is_some() {} }).await;
        let connections_cut = connections.len();
        connections.shutdown().await;
        let requests_finished = timeout_at(deadline, working.recv()).await.is_ok();
        Drained { connections_cut, requests_finished }
    }
}

/// Puts the declared path of the route where the access line finds it: raw paths are not logged.
async fn name_route(route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

/// A listener on `address`. What the kernel buffers for one reader is bounded here: accepted sockets inherit it.
pub(crate) fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServerError> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(limit::SEND_BUFFER_BYTES)?;
        socket.bind(address)?;
        let listener = socket.listen(limit::BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    open().map_err(|source| ServerError::Listen { address, source })
}

/// Raises the number of files this process may open to what the system allows. Returns that number.
///
/// # Errors
/// [`ServerError::OpenFiles`] if the system refuses.
pub fn raise_open_files() -> Result<u64, ServerError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_err(|errno| ServerError::OpenFiles(errno.into()))?;
    Ok(maximum.unwrap_or(u64::MAX))
}

/// The next connection. When all slots or files are taken, whoever has waited longest in the lobby makes room.
async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    lobby: &Lobby,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    let slot = match Arc::clone(slots).try_acquire_owned() {
        Ok(slot) => Some(slot),
        Err(_) => {
            lobby.make_room();
            // The semaphore is never closed; the next one waits in the kernel's backlog.
            Arc::clone(slots).acquire_owned().await.ok()
        }
    };
    loop {
        match listener.accept().await {
            Ok((socket, address)) => return (socket, address, slot),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(target: "door", reason = causes(&error), "no connection can be accepted now");
                lobby.make_room();
                sleep(REST).await;
            }
        }
    }
}

/// A connection that was gone before it was accepted says nothing about the next.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What all connections pass through.
struct Hall {
    reception: Arc<Reception>,
    lobby: Arc<Lobby>,
    crowd: Arc<Crowd>,
}

impl Hall {
    /// One connection, from accept to close.
    async fn meet(
        self: Arc<Self>,
        socket: TcpStream,
        address: SocketAddr,
        slot: Option<OwnedSemaphorePermit>,
        closing: watch::Receiver<bool>,
    ) {
        let metrics = &self.reception.metrics;
        let _ = socket.set_nodelay(true);
        let pulse = Pulse::new();
        let (seat, told_to_go) = self.lobby.enter(address.ip());
        let threshold = self.reception.certificates.threshold();
        let handshake = timeout(HANDSHAKE, threshold.acceptor.accept(Wire::new(socket, Arc::clone(&pulse))));
        let stream = tokio::select! {
            biased;
            handshake = handshake => match handshake {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return metrics.handshake_failed(tls::failure(&error)),
                Err(_) => return metrics.handshake_failed("stall"),
            },
            _ = told_to_go => return metrics.handshake_failed("crowded-out"),
        };
        drop(seat);
        let (_, tls) = stream.get_ref();
        let protocol = if tls.alpn_protocol() == Some(tls::H2) { Protocol::Http2 } else { Protocol::Http1 };
        let chain: Vec<_> =
            tls.peer_certificates().into_iter().flatten().cloned().map(CertificateDer::into_owned).collect();
        // ORDER: listened to before the guest is proved, so that no change falls between the two.
        let changes = self.reception.certificates.changes();
        let Some(guest) = self.admit(chain, address.ip(), protocol) else { return };
        pulse.greeted(if guest.is_refused() { pulse::ONE_QUESTION } else { pulse::STALL });
        let _open = metrics.connected(protocol.as_str());
        let reception = Arc::clone(&self.reception);
        let (clocks, visitor) = (Arc::clone(&pulse), Arc::clone(&guest));
        let answer =
            move |request| Arc::clone(&reception).answer(Arc::clone(&visitor), Arc::clone(&clocks), request);
        let cut = tokio::select! {
            biased;
            () = guest.disowned(&self.reception, changes) => Some("identity"),
            stall = serve(stream, protocol, &pulse, closing, answer) => stall.map(Stall::as_str),
        };
        // A request may hear of it first: its answer ends the connection then.
        let disowned = pulse.leaving() == Some(Code::Unauthenticated);
        if let Some(cause) = cut.or_else(|| disowned.then_some("identity")) {
            metrics.connection_cut(cause);
        }
        drop(slot);
    }

    /// Proves who it is, also after a resumed session, and counts it.
    fn admit(
        &self,
        chain_of: Vec<CertificateDer<'static>>,
        from: IpAddr,
        protocol: Protocol,
    ) -> Option<Arc<Guest>> {
        let metrics = &self.reception.metrics;
        let Ok(now) = self.reception.clock.now() else {
            metrics.handshake_failed("clock");
            return None;
        };
        let threshold = self.reception.certificates.threshold();
        let peer = threshold.authority.authenticate(&chain_of, now).inspect_err(|error| {
            tracing::info!(target: "door", reason = causes(error), "a peer was refused");
            metrics.handshake_failed("certificate");
        });
        let peer = peer.ok()?;
        let Some(place) = self.crowd.admit(peer.to_string()) else {
            metrics.handshake_failed("client-full");
            return None;
        };
        let proof = Proof { peer: Arc::new(peer), at: now, by: Arc::clone(&threshold.authority) };
        Some(Arc::new(Guest::new(chain_of, proof, place, from, protocol)))
    }
}
