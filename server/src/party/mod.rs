//! The link between parties: a listener of its own, where only pinned nodes come in and only what parties say is answered, and the
//! way to each of the others. Clients never reach it, and parties never reach the door by it.
//! If this is wrong, a stranger takes part in signing, or one party drowns another.

mod tls;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use chancery_core::{Clock, Code, causes, config, limit};
use chancery_enclave::{Call, Carried, Enclave, Link, LinkPeer};
use chancery_identity::node::LINK_MS;
use chancery_identity::{Client, Peer};
use http::{Method, Request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::ServerError;
use crate::door::{self, Certificates, HANDSHAKE, Paced, Protocol, Pulse, Wire};
use crate::problem::Problem;
use crate::setup::Failure;
use tls::{Own, Pins};

/// How often this party's certificate is made anew.
const RENEW_EVERY: Duration = Duration::from_millis((LINK_MS / 7).unsigned_abs());
/// Calls that one party has here at once. LIMIT: each holds a body of `limit::PARTY_BYTES` at most.
const CALLS: usize = 64;
/// How long a body may take.
const BODY: Duration = Duration::from_millis(limit::STALL_MS - limit::GRACE_MS);

/// A bound listener for parties, not yet serving.
pub struct PartyLink {
    listener: TcpListener,
    address: SocketAddr,
}

/// What every connection needs.
struct Hall {
    enclave: Enclave,
    clock: Arc<dyn Clock>,
    pins: Arc<Pins>,
    acceptor: TlsAcceptor,
    calls: BTreeMap<u8, Arc<Semaphore>>,
}

impl PartyLink {
    /// Takes the address.
    ///
    /// # Errors
    /// [`ServerError::Listen`] names it.
    pub fn bind(config: &config::Mpc) -> Result<Self, ServerError> {
        let (listener, address) = door::listen(config.listen)?;
        Ok(Self { listener, address })
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Opens the way to the others, and answers them until `shutdown` resolves.
    ///
    /// # Errors
    /// What keeps the node from making its certificate, and TLS from being set up.
    pub async fn open(
        self,
        enclave: Enclave,
        certificates: Arc<Certificates>,
        clock: Arc<dyn Clock>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<tokio::task::JoinHandle<()>, Failure> {
        let peers = enclave.link_peers()?;
        let own = Own::new(enclave.link_key().await?)?;
        let ways = peers.iter().map(|peer| Ok((peer.party, Way::to(peer, &own)?)));
        let ways = ways.collect::<Result<_, Failure>>()?;
        enclave.connect(Arc::new(Outwards { ways, certificates, clock: Arc::clone(&clock) }))?;
        let pins = Pins::of(&peers);
        let hall = Arc::new(Hall {
            acceptor: TlsAcceptor::from(Arc::new(tls::inwards(&pins, &own)?)),
            pins,
            enclave,
            clock,
            calls: peers.iter().map(|peer| (peer.party, Arc::new(Semaphore::new(CALLS)))).collect(),
        });
        Ok(tokio::spawn(async move {
            let renewing = renew(Arc::clone(&hall), own);
            tokio::select! {
                () = self.serve(&hall, shutdown) => {}
                () = renewing => {}
            }
        }))
    }

    async fn serve(self, hall: &Arc<Hall>, shutdown: impl Future<Output = ()>) {
        let slots = Arc::new(Semaphore::new(limit::PARTY_CONNECTIONS));
        let (close, closing) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match (accepted, Arc::clone(&slots).try_acquire_owned()) {
                    (Ok((socket, _)), Ok(slot)) => {
                        let (hall, closing) = (Arc::clone(hall), closing.clone());
                        connections.spawn(async move {
                            hall.meet(socket, closing).await;
                            drop(slot);
                        });
                    }
                    (Ok(_), Err(_)) => {}
                    (Err(error), _) => {
                        tracing::warn!(target: "party", reason = causes(&error), "no connection can be accepted now");
                        sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
        let _ = close.send(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(Duration::from_millis(2 * limit::GRACE_MS), drained).await;
    }
}

/// Makes this party's certificate anew, long before it ends.
async fn renew(hall: Arc<Hall>, own: Arc<Own>) {
    loop {
        sleep(RENEW_EVERY).await;
        let renewed = match hall.enclave.link_key().await {
            Ok(link) => own.renew(link).map_err(|error| error.to_string()),
            Err(refusal) => Err(refusal.to_string()),
        };
        if let Err(reason) = renewed {
            tracing::error!(target: "party", reason, "this party's certificate could not be made anew");
        }
    }
}

impl Hall {
    async fn meet(self: Arc<Self>, socket: TcpStream, closing: watch::Receiver<bool>) {
        let _ = socket.set_nodelay(true);
        let pulse = Pulse::new();
        let wire = Wire::new(socket, Arc::clone(&pulse));
        let Ok(Ok(stream)) = timeout(HANDSHAKE, self.acceptor.accept(wire)).await else {
            return tracing::info!(target: "party", "a handshake failed: no pinned node, or none at all");
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let party = shown.zip(self.clock.now().ok()).and_then(|(shown, now)| self.pins.party(shown, now));
        let Some((party, calls)) = party.and_then(|party| Some((party, self.calls.get(&party)?))) else {
            return;
        };
        pulse.greeted(door::STALL);
        let (clocks, calls) = (Arc::clone(&pulse), Arc::clone(calls));
        let hall = Arc::clone(&self);
        let answer = move |request: Request<Incoming>| {
            let (hall, calls, visit) = (Arc::clone(&hall), Arc::clone(&calls), clocks.visit());
            async move {
                let response = match calls.try_acquire() {
                    Ok(_call) => hall.answer(party, request).await,
                    Err(_) => Problem::new(Code::Overloaded).into_response(),
                };
                response.map(|body| Paced::new(body, visit, true))
            }
        };
        let _ = door::serve(stream, Protocol::Http2, &pulse, closing, answer).await;
    }

    async fn answer(&self, party: u8, request: Request<Incoming>) -> Response {
        let (parts, body) = request.into_parts();
        let call = Call::parse(parts.uri.path()).filter(|_| parts.method == Method::POST);
        let Some(call) = call else { return Problem::new(Code::NotFound).into_response() };
        match timeout(BODY, Limited::new(body, limit::PARTY_BYTES).collect()).await {
            Ok(Ok(body)) => {
                let answer = self.enclave.hear(party, call, body.to_bytes().to_vec()).await;
                Response::new(Body::from(answer))
            }
            Ok(Err(_)) => Problem::new(Code::BodyTooLarge).into_response(),
            Err(_) => Problem::new(Code::RequestTimeout).into_response(),
        }
    }
}

/// The way to one party.
struct Way {
    client: reqwest::Client,
    url: String,
}

impl Way {
    fn to(peer: &LinkPeer, own: &Arc<Own>) -> Result<Self, Failure> {
        // Pinned to this one: no other party answers in its place.
        let tls = tls::outwards(&Pins::of([peer]), own)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http2_prior_knowledge()
            .http2_keep_alive_interval(Duration::from_millis(limit::PARTY_ROUND_MS))
            .http2_keep_alive_timeout(Duration::from_millis(limit::PARTY_ROUND_MS))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_millis(limit::STALL_MS / 2))
            .connect_timeout(Duration::from_millis(limit::PARTY_ROUND_MS))
            .build()?;
        Ok(Self { client, url: peer.url.trim_end_matches('/').to_owned() })
    }

    async fn call(&self, call: Call, body: Vec<u8>, within: Duration) -> Result<Vec<u8>, Failure> {
        let url = format!("{}{}", self.url, call.path());
        let sent = self.client.post(url).timeout(within).body(body).send().await;
        let mut answer = sent.map_err(reqwest::Error::without_url)?;
        if !answer.status().is_success() {
            return Err(format!("it answers {}", answer.status()).into());
        }
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            if bytes.len().saturating_add(piece.len()) > limit::PARTY_BYTES {
                return Err("its answer is too long".into());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

/// The ways to all others, and whom the door knows.
struct Outwards {
    ways: BTreeMap<u8, Way>,
    certificates: Arc<Certificates>,
    clock: Arc<dyn Clock>,
}

impl Link for Outwards {
    fn call(&self, party: u8, call: Call, body: Vec<u8>, within: Duration) -> Carried<'_> {
        Box::pin(async move {
            let way = self.ways.get(&party).ok_or("no such party")?;
            way.call(call, body, within).await.map_err(|error| causes(&*error))
        })
    }

    fn client(&self, certificate: &[u8]) -> Result<Client, String> {
        let now = self.clock.now().map_err(|error| error.to_string())?;
        let authority = Arc::clone(&self.certificates.threshold().authority);
        match authority.authenticate(&[CertificateDer::from(certificate)], now) {
            Ok(Peer::Client(client)) => Ok(client),
            Ok(other) => Err(format!("`{other}` is no client")),
            Err(error) => Err(causes(&error)),
        }
    }
}
