//! What is logged and counted: JSON lines on stderr and Prometheus metrics.
//!
//! One access line per request: id, peer, method, matched path, status, code, time. Never a body, a header, a raw path
//! or a secret. Labels come from fixed sets and declared routes, so the number of series is bounded.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chancery_core::RequestId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use crate::ServerError;
use crate::door::Stall;

/// The content type of the metrics page (OpenMetrics 1.0).
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the latency histogram, in seconds.
const LATENCY_S: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Starts JSON logging on stderr. `filter` is in the syntax of `tracing`'s `EnvFilter`, such as `info,hyper=warn`.
///
/// # Errors
/// [`ServerError::Logging`] if the filter does not parse or logging was started before.
pub fn start_logging(filter: &str) -> Result<(), ServerError> {
    let filter = EnvFilter::try_new(filter).map_err(|error| ServerError::Logging(error.into()))?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .try_init()
        .map_err(ServerError::Logging)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    code: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Protocol {
    protocol: &'static str,
}

/// The counters of one appliance, and a registry that other parts add theirs to.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Answered, Counter>,
    latency: Family<Route, Histogram, fn() -> Histogram>,
    connections: Family<Protocol, Gauge>,
    handshakes_failed: Family<Cause, Counter>,
    connections_cut: Family<Cause, Counter>,
    rate_limited: Counter,
    resident: Gauge<f64, AtomicU64>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn latency_histogram() -> Histogram {
    Histogram::new(LATENCY_S)
}

impl Metrics {
    /// A fresh set, all at zero.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("chancery")),
            requests: Family::default(),
            latency: Family::new_with_constructor(latency_histogram),
            connections: Family::default(),
            handshakes_failed: Family::default(),
            connections_cut: Family::default(),
            rate_limited: Counter::default(),
            resident: Gauge::default(),
        };
        metrics.register(|registry| {
            registry.register("requests", "Requests answered", metrics.requests.clone());
            registry.register(
                "request_seconds",
                "Time from the header to the answer",
                metrics.latency.clone(),
            );
            registry.register("connections", "Open connections", metrics.connections.clone());
            registry.register(
                "handshakes_failed",
                "Handshakes that failed",
                metrics.handshakes_failed.clone(),
            );
            registry.register(
                "connections_cut",
                "Connections cut for a stall",
                metrics.connections_cut.clone(),
            );
            registry.register(
                "rate_limited",
                "Requests over their client's rate",
                metrics.rate_limited.clone(),
            );
            registry.register("resident_memory_bytes", "Resident memory", metrics.resident.clone());
        });
        // A counter that appears with its first event hides that event from `rate`.
        for cause in ["certificate", "no-certificate", "stall"] {
            drop(metrics.handshakes_failed.get_or_create(&Cause { cause }));
        }
        for stall in Stall::ALL {
            drop(metrics.connections_cut.get_or_create(&Cause { cause: stall.as_str() }));
        }
        metrics
    }

    /// Adds metrics of another part. Their names get the prefix `chancery_`.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The page, in OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "memory sizes stay far below 2^53")]
        self.resident.set(resident_bytes() as f64);
        let mut page = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if prometheus_client::encoding::text::encode(&mut page, &registry).is_err() {
            page.clear();
        }
        page
    }

    pub(crate) fn handshake_failed(&self, cause: &'static str) {
        self.handshakes_failed.get_or_create(&Cause { cause }).inc();
    }

    pub(crate) fn connection_cut(&self, cause: &'static str) {
        self.connections_cut.get_or_create(&Cause { cause }).inc();
    }

    pub(crate) fn rate_limited(&self) {
        self.rate_limited.inc();
    }

    /// Counts a connection as open until the answer is dropped.
    pub(crate) fn connected(&self, protocol: &'static str) -> Connected {
        let gauge = self.connections.get_or_create_owned(&Protocol { protocol });
        gauge.inc();
        Connected(gauge)
    }
}

/// One open connection.
pub(crate) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Resident memory of this process, in bytes; 0 where `/proc` does not say.
#[must_use]
pub fn resident_bytes() -> u64 {
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages: u64 = statm.split_ascii_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages.saturating_mul(u64::try_from(rustix::param::page_size()).unwrap_or(4_096))
}

/// The access line of one request. It is written when dropped, so a client that leaves before the answer has one too.
pub(crate) struct Access<'a> {
    metrics: &'a Metrics,
    id: RequestId,
    method: &'static str,
    began: Instant,
    /// Who asked, once known.
    pub(crate) peer: Option<std::sync::Arc<chancery_identity::Peer>>,
    answered: Option<(u16, &'static str, String)>,
}

impl<'a> Access<'a> {
    pub(crate) fn begin(metrics: &'a Metrics, id: RequestId, method: &http::Method) -> Self {
        Self { metrics, id, method: method_name(method), began: Instant::now(), peer: None, answered: None }
    }

    /// Notes the answer: its status, its code (`ok` if it is no refusal) and the declared route it matched.
    pub(crate) fn answered(&mut self, status: u16, code: &'static str, route: Option<&str>) {
        self.answered = Some((status, code, route.unwrap_or("-").to_owned()));
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        let took: Duration = self.began.elapsed();
        // 499 is what proxies write for a client that left; nothing was sent.
        let (status, code, route) = self.answered.take().unwrap_or((499, "client-left", "-".to_owned()));
        tracing::info!(
            target: "access",
            request_id = %self.id,
            peer = self.peer.as_ref().map(|peer| tracing::field::display(peer.clone())),
            method = self.method,
            route,
            status,
            code,
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        );
        self.metrics.latency.get_or_create(&Route { route: route.clone() }).observe(took.as_secs_f64());
        self.metrics.requests.get_or_create(&Answered { route, code, status }).inc();
    }
}

/// A method of the standard, or `other`: a method is free text, and labels and logs take none.
fn method_name(method: &http::Method) -> &'static str {
    ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]
        .into_iter()
        .find(|name| method.as_str() == *name)
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_what_was_counted() {
        let metrics = Metrics::new();
        metrics.handshake_failed("stall");
        let open = metrics.connected("h2");
        Access::begin(&metrics, RequestId::fresh(), &http::Method::GET).answered(
            200,
            "ok",
            Some("/v1/wallets"),
        );
        drop(Access::begin(&metrics, RequestId::fresh(), &http::Method::from_bytes(b"EVIL").unwrap()));
        let page = metrics.encode();
        for line in [
            "chancery_handshakes_failed_total{cause=\"stall\"} 1",
            "chancery_connections{protocol=\"h2\"} 1",
            "chancery_requests_total{route=\"/v1/wallets\",code=\"ok\",status=\"200\"} 1",
            "chancery_requests_total{route=\"-\",code=\"client-left\",status=\"499\"} 1",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
        drop(open);
        assert!(metrics.encode().contains("chancery_connections{protocol=\"h2\"} 0"));
        assert!(resident_bytes() > 1_000_000, "this process is larger than that");
    }
}
