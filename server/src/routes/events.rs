//! `/v1/events`: what happened, in the order of the log: a page of it, or a stream of server-sent events. A client hears of its
//! own requests; everybody else of everything in their tenant. A stream ends with its session, with its time, and when the
//! appliance stops; it says from its beginning where it is, so that who comes back with `Last-Event-ID` misses nothing.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::sse::{Event as Sent, Sse};
use axum::response::{IntoResponse, Response};
use chancery_core::{Code, limit};
use chancery_enclave::{Audience, Enclave, Event, InSession, Told};
use chancery_identity::Peer;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};

use super::peer::Anyone;
use super::wire::ProblemSchema;
use super::{blocking, rows};
use crate::problem::Problem;

/// LIMIT: events held for one stream.
const HELD: usize = 16;
/// LIMIT: how often one page reads on where nothing of what it read was for the peer.
const READINGS: usize = 4;
/// How often a silent stream shows that it lives.
const PULSE: Duration = Duration::from_millis(limit::EVENT_PULSE_MS);
const LASTS: Duration = Duration::from_millis(limit::EVENT_STREAM_MS);

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Since {
    /// The log index after which to begin. Without it a page begins with the log, a stream with what happens next.
    after: Option<u64>,
    /// At most so many of a page: 1 to 500, 100 without it.
    limit: Option<usize>,
}

/// Events, the oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Events {
    /// Each with `type`, `timestamp` and `data`.
    #[schema(value_type = Vec<Object>)]
    events: Vec<Box<RawValue>>,
    /// To be given back as `after` for the next page; absent where there is none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The streams that are open, and whether all of them must end.
#[derive(Clone)]
pub(crate) struct Streams {
    open: Arc<Mutex<HashMap<String, usize>>>,
    readings: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

impl Streams {
    pub(crate) fn new(stopping: watch::Receiver<bool>) -> Self {
        Self { open: Arc::default(), readings: Arc::new(Semaphore::new(limit::EVENT_READINGS)), stopping }
    }

    /// What happened from `from` on, read in turn with everybody else.
    async fn read(
        &self,
        enclave: &Enclave,
        audience: &Audience,
        from: u64,
        most: usize,
    ) -> Result<Told, Problem> {
        let turn = Arc::clone(&self.readings).acquire_owned().await;
        let turn = turn.map_err(|error| Problem::internal(&error))?;
        let (enclave, audience) = (enclave.clone(), audience.clone());
        blocking(move || {
            let told = enclave.events(&audience, from, most);
            drop(turn);
            told
        })
        .await
    }

    fn enter(&self, peer: &Peer) -> Result<Seat, Problem> {
        let name = peer.to_string();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = open.entry(name.clone()).or_default();
        if *taken >= limit::EVENT_STREAMS {
            let detail = format!("{} event streams are open already", limit::EVENT_STREAMS);
            return Err(Problem::new(Code::Overloaded).detail(detail));
        }
        *taken += 1;
        Ok(Seat { streams: self.clone(), name })
    }
}

/// A stream's place among those of its peer.
struct Seat {
    streams: Streams,
    name: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = open.get_mut(&self.name) {
            *taken -= 1;
            if *taken == 0 {
                open.remove(&self.name);
            }
        }
    }
}

/// Hear what happened: a page, or with `Accept: text/event-stream` a stream.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", params(Since, ("Last-Event-ID" = Option<u64>, Header,
        description = "The log index of the last event that was heard: a stream goes on after it")),
    responses(
        (status = 200, description = "A page; or events whose `id` is their log index and whose `event` is their `type`",
            content((Events = "application/json"), (String = "text/event-stream"))),
        (status = 429, description = "Too many streams are open", body = ProblemSchema),
    )
)]
pub(crate) async fn hear(
    State(enclave): State<Enclave>,
    State(streams): State<Streams>,
    Anyone(peer): Anyone,
    Query(since): Query<Since>,
    headers: HeaderMap,
    session: Option<axum::Extension<InSession>>,
) -> Result<Response, Problem> {
    let audience = Audience {
        tenant: peer.tenant().clone(),
        client: match &*peer {
            Peer::Client(client) => Some(client.id().clone()),
            Peer::Auditor(_) | Peer::Operator(_) | Peer::Officer(_) => None,
        },
    };
    let after = last_heard(&headers)?.or(since.after);
    // Whoever heard more than there is would wait in silence for what is another log's.
    if let Some(after) = after.filter(|after| *after >= enclave.figures().log.size) {
        let detail = format!("the log has no entry {after} yet: is it the one that this was heard of?");
        return Err(Problem::new(Code::BadRequest).detail(detail));
    }
    let after = after.map(|index| index.saturating_add(1));
    if !is_stream(&headers) {
        return Ok(Json(page(&streams, &enclave, &audience, after.unwrap_or(0), rows(since.limit)?).await?)
            .into_response());
    }
    let ear = Ear {
        seat: streams.enter(&peer)?,
        next: after.unwrap_or_else(|| enclave.events_so_far()),
        until: Instant::now() + LASTS,
        greeted: false,
        held: VecDeque::new(),
        session: session.map(|axum::Extension(session)| session),
        enclave,
        audience,
    };
    Ok(Sse::new(stream::unfold(ear, Ear::hear)).into_response())
}

fn is_stream(headers: &HeaderMap) -> bool {
    let asked = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    asked
        .split(',')
        .any(|range| range.split(';').next().is_some_and(|kind| kind.trim() == "text/event-stream"))
}

fn last_heard(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let index = value.to_str().ok().and_then(|text| text.parse().ok());
    let problem =
        || Problem::new(Code::BadRequest).detail("`Last-Event-ID` must be the log index of an event");
    index.map(Some).ok_or_else(problem)
}

async fn page(
    streams: &Streams,
    enclave: &Enclave,
    audience: &Audience,
    from: u64,
    most: usize,
) -> Result<Events, Problem> {
    let (mut events, mut next) = (Vec::new(), from);
    for _ in 0..READINGS {
        let told = streams.read(enclave, audience, next, most - events.len()).await?;
        let ended = told.next == next;
        next = told.next;
        for event in told.events {
            events.push(RawValue::from_string(event.body).map_err(|error| Problem::internal(&error))?);
        }
        if ended || events.len() == most {
            break;
        }
    }
    let more = next < enclave.events_so_far();
    Ok(Events { events, next: next.checked_sub(1).filter(|_| more).map(|index| index.to_string()) })
}

/// One who listens.
struct Ear {
    seat: Seat,
    enclave: Enclave,
    audience: Audience,
    session: Option<InSession>,
    /// When it ends.
    until: Instant,
    /// Whether it said where it is.
    greeted: bool,
    next: u64,
    held: VecDeque<Event>,
}

impl Ear {
    /// The next that is sent: an event, or a sign of life. `None` ends the stream.
    async fn hear(mut self) -> Option<(Result<Sent, Infallible>, Self)> {
        let mut stopping = self.seat.streams.stopping.clone();
        let sent = tokio::select! {
            biased;
            // A sender that is gone has stopped too.
            _ = stopping.wait_for(|stop| *stop) => None,
            sent = self.next() => sent,
        };
        sent.map(|sent| (Ok(sent), self))
    }

    async fn next(&mut self) -> Option<Sent> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(self.here());
        }
        let until = Instant::now() + PULSE;
        loop {
            if let Some(event) = self.held.pop_front() {
                return Some(Sent::default().id(event.index.to_string()).event(event.name).data(event.body));
            }
            let silent = match timeout_at(until, self.enclave.events_from(self.next)).await {
                Err(_) => true,
                // Whoever is far behind may have a long way without an event of its own.
                Ok(waited) => waited.map(|()| Instant::now() >= until).ok()?,
            };
            if !self.may_listen() {
                return None;
            }
            if silent {
                return Some(self.here());
            }
            let told = self.seat.streams.read(&self.enclave, &self.audience, self.next, HELD).await.ok()?;
            self.next = told.next;
            self.held.extend(told.events);
        }
    }

    /// A sign of life. An `id` alone moves what the reader comes back with, and is no event to it.
    fn here(&self) -> Sent {
        match self.next.checked_sub(1) {
            Some(last) => Sent::default().id(last.to_string()),
            None => Sent::default().comment(""),
        }
    }

    /// False once the stream's time or the session that it was opened in is over.
    fn may_listen(&self) -> bool {
        Instant::now() < self.until
            && self.session.as_ref().is_none_or(|session| self.enclave.is_open(session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_one_that_was_asked_for() {
        for (accept, stream) in [
            ("text/event-stream", true),
            ("application/json;q=0.5, text/event-stream ; q=1", true),
            ("application/json", false),
            ("*/*", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            assert_eq!(is_stream(&headers), stream, "{accept}");
        }
    }
}
