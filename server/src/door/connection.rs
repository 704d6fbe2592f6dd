//! Drives one connection under its clocks: one builder for each protocol (never the one that guesses, which leaves slow
//! clients open: hyper #3756), asked to end when idle, cut when a clock says so.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use chancery_core::{Code, limit};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::paced::Paced;
use super::pulse::{Pulse, STALL, Stall, Verdict};

/// hyper's own bounds are twice ours, so that what is a little too much is still answered with a problem.
const SLACK: usize = 2;
/// After this silence an HTTP/2 peer is pinged, and has the next time to answer.
const PING_EVERY: Duration = Duration::from_millis(limit::STALL_MS / 2);
const PONG_WITHIN: Duration = Duration::from_millis(limit::STALL_MS / 2 - limit::GRACE_MS);
const WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// What speaks on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

/// Serves one connection to its end. Returns the stall it was cut for, if any.
pub(crate) async fn serve<I, F, A>(
    io: I,
    protocol: Protocol,
    pulse: &Arc<Pulse>,
    closing: watch::Receiver<bool>,
    answer: F,
) -> Option<Stall>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> A + Send + 'static,
    A: Future<Output = Response<Paced>> + Send + 'static,
{
    let io = TokioIo::new(io);
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    match protocol {
        Protocol::Http1 => drive(pin!(http1_builder().serve_connection(io, service)), pulse, closing).await,
        Protocol::Http2 => drive(pin!(http2_builder().serve_connection(io, service)), pulse, closing).await,
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(STALL)
        .max_headers(limit::HEADERS * SLACK)
        .max_header_size(limit::HEADERS_BYTES * SLACK)
        .max_buf_size(limit::PACE_BYTES)
        .half_close(false);
    builder
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .max_concurrent_streams(limit::STREAMS)
        .max_header_list_size(u32::try_from(limit::HEADERS_BYTES * SLACK).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(limit::PACE_BYTES);
    builder
}

/// Both kinds of connection, as far as driving them goes.
trait Drive: Future<Output = hyper::Result<()>> {
    fn drain(self: Pin<&mut Self>);
}

impl<I, S> Drive for http1::Connection<I, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = Paced>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn drain(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, E> Drive for http2::Connection<I, S, E>
where
    S: hyper::service::HttpService<Incoming, ResBody = Paced>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, Paced>,
{
    fn drain(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

async fn drive(
    mut connection: Pin<&mut impl Drive>,
    pulse: &Pulse,
    mut closing: watch::Receiver<bool>,
) -> Option<Stall> {
    let mut look_at = Instant::now();
    let mut draining = false;
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            () = sleep_until(look_at) => match pulse.verdict(Instant::now()) {
                Verdict::Cut(stall) => return Some(stall),
                Verdict::Wait(at) => look_at = at,
                Verdict::Drain(at) => {
                    look_at = at;
                    if !draining {
                        draining = true;
                        connection.as_mut().drain();
                    }
                }
            },
            () = pulse.hung_up() => {
                look_at = Instant::now();
                if !draining {
                    draining = true;
                    connection.as_mut().drain();
                }
            }
            // A sender that is gone has stopped too.
            _ = closing.wait_for(|closing| *closing), if !stopping => {
                stopping = true;
                pulse.hang_up(Code::ShuttingDown);
            }
            _ = connection.as_mut() => return None,
        }
    }
}
