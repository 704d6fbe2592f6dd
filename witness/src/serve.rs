//! The witness's door: plain HTTP/1.1 for a proxy or loopback. A submission is worth nothing but its signatures, so nobody is
//! authenticated; connections, bodies and times are bounded.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chancery_core::limit;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::{Judged, Witness, WitnessError};

/// LIMIT: open connections.
const CONNECTIONS: usize = 256;
/// LIMIT: a head, a body.
const STALL: Duration = Duration::from_secs(5);
/// LIMIT: a connection, however busy; a log makes the next one.
const CONNECTION: Duration = Duration::from_secs(600);

/// Why the door closed.
#[derive(Debug)]
pub enum Ended {
    /// As asked.
    Stopped,
    /// The memory could not be made durable.
    Failed(WitnessError),
}

/// Serves `POST /add-checkpoint` until `stop`, or until the memory fails.
pub async fn serve(listener: TcpListener, witness: Arc<Witness>, stop: impl Future<Output = ()>) -> Ended {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (fail, mut failed) = mpsc::channel(1);
    tokio::pin!(stop);
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accepted = async { (place.await, listener.accept().await) };
        let (place, stream) = tokio::select! {
            () = &mut stop => return Ended::Stopped,
            Some(error) = failed.recv() => return Ended::Failed(error),
            accepted = accepted => match accepted {
                (Ok(place), Ok((stream, _))) => (place, stream),
                (_, error) => {
                    tracing::warn!(?error, "no connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (witness, fail) = (Arc::clone(&witness), fail.clone());
        tokio::spawn(async move {
            let _place = place;
            let answer = service_fn(move |request| answer(Arc::clone(&witness), fail.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(STALL)
                .max_buf_size(limit::HEADERS_BYTES)
                .serve_connection(TokioIo::new(stream), answer);
            if let Ok(Err(error)) = tokio::time::timeout(CONNECTION, connection).await {
                tracing::debug!(%error, "a connection broke");
            }
        });
    }
}

async fn answer(
    witness: Arc<Witness>,
    fail: mpsc::Sender<WitnessError>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != "/add-checkpoint" {
        return Ok(told(404, "not found\n".to_owned()));
    }
    if request.method() != Method::POST {
        return Ok(told(405, "POST a checkpoint\n".to_owned()));
    }
    let body = Limited::new(request.into_body(), limit::WITNESS_BYTES).collect();
    let body = match tokio::time::timeout(STALL, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Ok(told(413, "the body is too long or broke off\n".to_owned())),
        Err(_) => return Ok(told(408, "the body took too long\n".to_owned())),
    };
    let judged = tokio::task::spawn_blocking(move || witness.judge(&body)).await;
    Ok(match judged {
        Ok(Ok(Judged { status, body })) => told(status, body),
        Ok(Err(error)) => {
            drop(fail.try_send(error));
            told(500, "the memory failed\n".to_owned())
        }
        Err(_) => told(500, "a defect\n".to_owned()),
    })
}

fn told(status: u16, body: String) -> Response<Full<Bytes>> {
    let kind = if status == 409 { "text/x.tlog.size" } else { "text/plain; charset=utf-8" };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
