//! Health and metrics in plain HTTP for this machine's own monitoring. Keep it on loopback: it asks nobody who they are.
//! The same clocks as at the door; nothing here reads a body or changes a state.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chancery_core::{Code, causes, limit};
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::ServerError;
use crate::door::{self, Paced, Protocol, Pulse, Wire};
use crate::problem::Problem;
use crate::telemetry::{METRICS_TYPE, Metrics};

/// One part of the appliance, and whether it can work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Component {
    /// Its name, such as `hsm`.
    pub component: &'static str,
    /// True if it can do its part of a request.
    pub ok: bool,
    /// What an operator should know; never a secret.
    pub detail: String,
}

/// Says how each part is. Called for each `/health/ready`; must not block.
pub type Ready = Arc<dyn Fn() -> Vec<Component> + Send + Sync>;

/// A bound ops listener, not yet serving.
pub struct Ops {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Clone)]
struct Watch {
    metrics: Arc<Metrics>,
    ready: Ready,
}

impl Ops {
    /// Takes the address; port 0 takes a free one. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`ServerError::Listen`] names the address.
    pub fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let (listener, address) = door::listen(address)?;
        Ok(Self { listener, address })
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` resolves; then answers what is in flight and returns.
    pub async fn serve(self, metrics: Arc<Metrics>, ready: Ready, shutdown: impl Future<Output = ()>) {
        let router = Router::new()
            .route("/health/live", get(|| async { axum::Json(serde_json::json!({ "live": true })) }))
            .route("/health/ready", get(report_ready))
            .route("/metrics", get(report_metrics))
            .with_state(Watch { metrics, ready });
        let slots = Arc::new(Semaphore::new(limit::OPS_CONNECTIONS));
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
                        let (router, closing) = (router.clone(), closing.clone());
                        connections.spawn(async move {
                            attend(socket, router, closing).await;
                            drop(slot);
                        });
                    }
                    (Ok(_), Err(_)) => {}
                    (Err(error), _) => {
                        tracing::warn!(target: "ops", reason = causes(&error), "no connection can be accepted now");
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

async fn attend(socket: TcpStream, router: Router, closing: watch::Receiver<bool>) {
    let pulse = Pulse::new();
    let clocks = Arc::clone(&pulse);
    let answer = move |request: Request<Incoming>| {
        let (router, visit) = (router.clone(), clocks.visit());
        async move {
            // No route here takes a body, so none is read: hyper closes a connection with an unread one.
            let request = request.map(|_| Body::empty());
            let response = router.oneshot(request).await.into_response();
            response.map(|body| Paced::new(body, visit, false))
        }
    };
    let _ =
        door::serve(Wire::new(socket, Arc::clone(&pulse)), Protocol::Http1, &pulse, closing, answer).await;
}

async fn report_ready(State(watch): State<Watch>) -> Response {
    let components = (watch.ready)();
    let ready = components.iter().all(|component| component.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(serde_json::json!({ "ready": ready, "components": components }))).into_response()
}

async fn report_metrics(State(watch): State<Watch>) -> Response {
    let page = watch.metrics.encode();
    if page.is_empty() {
        return Problem::new(Code::Internal).detail("the metrics do not encode").into_response();
    }
    ([(CONTENT_TYPE, METRICS_TYPE)], page).into_response()
}
