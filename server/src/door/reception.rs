//! Receives each request: headers bounded, the peer proved, its rate checked, the body taken whole, its own signature
//! verified where it made one; then the router.
//!
//! Once handed over, a request runs to its end in its own task: a client that leaves cancels nothing half-way.
//! If this is wrong, an unproved peer reaches a route, or a walk stops between two transactions.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::response::{IntoResponse, Response};
use chancery_core::{Clock, Code, RequestId, UnixMillis, causes, limit};
use chancery_identity::{Authority, Peer};
use http::{HeaderMap, Request};
use hyper::body::Incoming;
use rustls_pki_types::CertificateDer;
use tokio::sync::{mpsc, watch};
use tower::ServiceExt;
use tracing::Instrument;

use super::body::{BodyLimits, Gathered, gather};
use super::connection::Protocol;
use super::lobby::Place;
use super::paced::Paced;
use super::pulse::Pulse;
use super::renewal::Certificates;
use super::tls::Threshold;
use super::vouched::vouched;
use crate::problem::{Problem, settle};
use crate::rate::Limiter;
use crate::telemetry::{Access, Metrics};

/// What all connections share.
pub(crate) struct Reception {
    pub(crate) router: Router,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limiter: Limiter,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) bodies: BodyLimits,
    /// Held by every request at work; the door has drained when all are gone.
    pub(crate) at_work: mpsc::Sender<()>,
}

/// Where a request comes from, as the kernel says: a proxy's address where one stands before the door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source(pub(crate) IpAddr);

/// Who a peer is, since when that is known, and by whose word.
pub(crate) struct Proof {
    pub(crate) peer: Arc<Peer>,
    pub(crate) at: UnixMillis,
    pub(crate) by: Arc<Authority>,
}

/// The peer of one connection, and the proof of who it is.
pub(crate) struct Guest {
    chain: Vec<CertificateDer<'static>>,
    proof: Mutex<Proof>,
    place: Place,
    from: IpAddr,
    protocol: Protocol,
}

impl Guest {
    pub(crate) fn new(
        chain: Vec<CertificateDer<'static>>,
        proof: Proof,
        place: Place,
        from: IpAddr,
        protocol: Protocol,
    ) -> Self {
        Self { chain, proof: Mutex::new(proof), place, from, protocol }
    }

    /// True above its client's share of connections: every request is answered `overloaded`.
    pub(crate) fn is_refused(&self) -> bool {
        self.place.is_refused()
    }

    /// Who it is, proved at most `limit::IDENTITY_MS` ago and under the certificates in force: one that expires or is
    /// revoked ends an open connection too.
    fn identify(&self, reception: &Reception) -> Result<Arc<Peer>, Code> {
        let now = reception.clock.now().map_err(|_| Code::ClockBehind)?;
        let by = Arc::clone(&reception.certificates.threshold().authority);
        let mut proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        if now > proof.at.plus_ms(limit::IDENTITY_MS) || !Arc::ptr_eq(&by, &proof.by) {
            let peer = by.authenticate(&self.chain, now).map_err(|error| {
                tracing::info!(target: "door", reason = causes(&error), peer = %proof.peer, "a peer lost its identity");
                error.code()
            })?;
            *proof = Proof { peer: Arc::new(peer), at: now, by };
        }
        Ok(Arc::clone(&proof.peer))
    }

    /// Resolves when new certificates no longer know this guest. What it has asked before runs to its end unheard.
    pub(crate) async fn disowned(&self, reception: &Reception, mut changes: watch::Receiver<Arc<Threshold>>) {
        while changes.changed().await.is_ok() {
            if self.identify(reception) == Err(Code::Unauthenticated) {
                return;
            }
        }
        std::future::pending().await
    }
}

impl Reception {
    /// Answers one request.
    pub(crate) async fn answer(
        self: Arc<Self>,
        guest: Arc<Guest>,
        pulse: Arc<Pulse>,
        request: Request<Incoming>,
    ) -> http::Response<Paced> {
        let visit = pulse.visit();
        let id = RequestId::fresh();
        let mut access = Access::begin(&self.metrics, id, request.method());
        let received = match pulse.leaving() {
            Some(code) => Err(Problem::new(code).detail("this connection is ending")),
            None => self.receive(&guest, id, request, &mut access).await,
        };
        let answered = received.unwrap_or_else(|problem| {
            // Who stalls, lost its identity or has too many connections is told so and shown out.
            match problem.code() {
                code @ Code::Unauthenticated => pulse.hang_up(code),
                code if code == Code::RequestTimeout || guest.is_refused() => pulse.hang_up(Code::Overloaded),
                _ => {}
            }
            problem.into_response()
        });
        let settled = settle(answered, id).await;
        let code = settled.extensions().get::<Problem>().map_or("ok", |problem| problem.code().as_str());
        let route = settled.extensions().get::<MatchedPath>().cloned();
        access.answered(settled.status().as_u16(), code, route.as_ref().map(MatchedPath::as_str));
        settled.map(|body| Paced::new(body, visit, guest.protocol == Protocol::Http2))
    }

    async fn receive(
        &self,
        guest: &Guest,
        id: RequestId,
        request: Request<Incoming>,
        access: &mut Access<'_>,
    ) -> Result<Response, Problem> {
        if guest.is_refused() {
            return Err(Problem::new(Code::Overloaded).detail("this client has too many connections"));
        }
        if too_large(request.headers()) {
            return Err(Code::HeadersTooLarge.into());
        }
        let peer = guest.identify(self)?;
        access.peer = Some(Arc::clone(&peer));
        self.limiter.check(peer.to_string()).inspect_err(|_| self.metrics.rate_limited())?;

        let (parts, body) = request.into_parts();
        let limit_bytes = self.bodies.bytes(&parts.method, parts.uri.path());
        let Gathered { bytes, share } = gather(body, limit_bytes, &guest.place).await?;
        let place = guest.place.work().ok_or(Code::Overloaded)?;
        let now = self.clock.now().map_err(|_| Code::ClockBehind)?;
        let vouched = vouched(&peer, &parts, &bytes, &self.certificates.threshold(), now)?;
        let mut request = Request::from_parts(parts, Body::from(bytes));
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(id);
        request.extensions_mut().insert(Source(guest.from));
        if let Some(vouched) = vouched {
            request.extensions_mut().insert(vouched);
        }

        let router = self.router.clone();
        let at_work = self.at_work.clone();
        let work = async move {
            let response = router.oneshot(request).await.into_response();
            drop((at_work, place, share));
            response
        };
        let work = tokio::spawn(work.instrument(tracing::info_span!("request", request_id = %id)));
        match tokio::time::timeout(Duration::from_millis(limit::ANSWER_MS), work).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(panicked)) => Err(Problem::internal(&panicked)),
            Err(_) => Err(Problem::new(Code::Overloaded).detail("the answer takes too long")),
        }
    }
}

/// True above `limit::HEADERS` or `limit::HEADERS_BYTES`, counted as on an HTTP/1.1 wire.
fn too_large(headers: &HeaderMap) -> bool {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    headers.len() > limit::HEADERS || bytes > limit::HEADERS_BYTES
}
