//! Calls to the server's API: one deadline for each call with its retries, bounded answers, problems as errors.
//! Retries only what is safe to send again. Trusts the server's certificate, not the sense of its answers.

use std::time::Duration;

use chancery_core::{IdempotencyKey, causes};
use chancery_identity::Message;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Url};
use rustls::AlertDescription;
use serde_json::Value;
use tokio::time::Instant;

use crate::connection::{Connection, Prepared};
use crate::events::{Heard, Parser};
use crate::problem::{PAUSE, Problem};
use crate::session::Session;
use crate::signer::Signer;
use crate::{Error, Output};

/// LIMIT: one answer, in bytes: a full bundle of log entries (C2SP tlog-tiles: 256 entries of 65,535 bytes).
const ANSWER_BYTES: usize = 24 * 1024 * 1024;
/// After so long without a sign of life a stream has broken off: the server shows one every two seconds.
const SILENCE: Duration = Duration::from_secs(15);
/// However soon the server wants to be asked again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// How a server says that it does not take the client's certificate (RFC 8446, 6.2); `chanceryd` always says the first.
const OF_CERTIFICATES: [AlertDescription; 8] = [
    AlertDescription::AccessDenied,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRequired,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::UnsupportedCertificate,
];

/// One call.
pub struct Call<'a> {
    method: Method,
    path: &'a [&'a str],
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    key: Option<&'a IdempotencyKey>,
    /// Whether the client signs the request itself.
    signed: bool,
    /// Safe to send again: it changes nothing, or its key makes it happen once.
    again: bool,
}

impl<'a> Call<'a> {
    /// Reads what stands at these path segments below `/v1`.
    #[must_use]
    pub fn get(path: &'a [&'a str]) -> Self {
        Self {
            method: Method::GET,
            path,
            query: Vec::new(),
            body: None,
            key: None,
            signed: false,
            again: true,
        }
    }

    /// Sends a document that changes something.
    #[must_use]
    pub fn post(path: &'a [&'a str], body: Value) -> Self {
        Self {
            method: Method::POST,
            path,
            query: Vec::new(),
            body: Some(body),
            key: None,
            signed: false,
            again: false,
        }
    }

    /// Takes away what stands there.
    #[must_use]
    pub fn delete(path: &'a [&'a str]) -> Self {
        Self { method: Method::DELETE, again: false, ..Self::get(path) }
    }

    /// Puts a document in place of another.
    #[must_use]
    pub fn put(path: &'a [&'a str], body: Value) -> Self {
        Self { method: Method::PUT, ..Self::post(path, body) }
    }

    /// Adds a query parameter, where there is a value.
    #[must_use]
    pub fn query(mut self, name: &'static str, value: Option<String>) -> Self {
        self.query.extend(value.map(|value| (name, value)));
        self
    }

    /// Names the effect, which also makes the call safe to send again.
    #[must_use]
    pub fn key(mut self, key: &'a IdempotencyKey) -> Self {
        self.key = Some(key);
        self.again = true;
        self
    }

    /// Has the client sign the request itself, each time it is sent.
    #[must_use]
    pub fn signed(mut self, signed: bool) -> Self {
        self.signed = signed;
        self
    }

    /// Says that the call changes nothing.
    #[must_use]
    pub fn harmless(mut self) -> Self {
        self.again = true;
        self
    }

    fn name(&self) -> String {
        format!("{} /v1/{}", self.method, self.path.join("/"))
    }
}

/// An answer below 400.
pub struct Answer {
    /// Its HTTP status.
    pub status: u16,
    /// Its body.
    pub bytes: Vec<u8>,
    call: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// [`Error::Answer`] when it is none.
    pub fn json(&self) -> Result<Value, Error> {
        serde_json::from_slice(&self.bytes).map_err(|_| self.unexpected("is not JSON"))
    }

    /// The text at `pointer` (RFC 6901) of a JSON answer.
    ///
    /// # Errors
    /// [`Error::Answer`] when nothing or something else stands there.
    pub fn text(&self, document: &Value, pointer: &str) -> Result<String, Error> {
        document
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| self.unexpected(&format!("has no text at `{pointer}`")))
    }

    /// The list called `name` in a JSON answer.
    ///
    /// # Errors
    /// [`Error::Answer`] when there is none.
    pub fn rows<'v>(&self, document: &'v Value, name: &str) -> Result<&'v Vec<Value>, Error> {
        document
            .get(name)
            .and_then(Value::as_array)
            .ok_or_else(|| self.unexpected(&format!("has no list `{name}`")))
    }

    /// This answer as an error.
    #[must_use]
    pub fn unexpected(&self, what: &str) -> Error {
        Error::Answer { call: self.call.clone(), what: what.to_owned() }
    }
}

/// The server, ready to be called.
pub struct Api<'o> {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    base: Url,
    signer: Option<Signer>,
    session: Option<Session>,
    timeout: Duration,
    output: &'o Output,
}

impl<'o> Api<'o> {
    /// Prepares the client; the connection is made by the first call.
    ///
    /// # Errors
    /// As [`Connection::prepare`].
    pub fn open(connection: &Connection, output: &'o Output) -> Result<Self, Error> {
        let Prepared { url, tls, signer, session } = connection.prepare(output)?;
        let unable = |source: Box<dyn std::error::Error + Send + Sync>| Error::Tls {
            path: connection.client.clone().unwrap_or_default(),
            source,
        };
        let client = client(tls).map_err(|error| unable(error.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| unable(error.into()))?;
        Ok(Self { runtime, client, base: url, signer, session, timeout: connection.timeout, output })
    }

    /// When a call that starts now must have ended.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Makes a call and returns its answer.
    ///
    /// # Errors
    /// [`Error::Problem`] for an answer of 400 or more, [`Error::Unreachable`] and [`Error::Timeout`] for none.
    pub fn call(&self, call: &Call<'_>) -> Result<Answer, Error> {
        self.call_until(call, self.deadline())
    }

    /// Makes a call that must have ended at `deadline`.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub fn call_until(&self, call: &Call<'_>, deadline: Instant) -> Result<Answer, Error> {
        let mut told = None;
        self.runtime.block_on(async {
            loop {
                let tried = tokio::time::timeout_at(deadline, self.once(call)).await;
                let error = match tried {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error)) => error,
                    // What the server said before the time was up says more than that it was.
                    Err(_) => {
                        let late = Error::Timeout { url: self.base.to_string(), limit: self.timeout };
                        return Err(told.unwrap_or(late));
                    }
                };
                let Some(pause) = pause(&error).filter(|_| call.again) else { return Err(error) };
                let pause = pause.max(SHORTEST_PAUSE);
                if Instant::now() + pause >= deadline {
                    return Err(error);
                }
                self.output.say(&format!("{}; trying again in {} s", error.chain(), pause.as_secs_f32()));
                tokio::time::sleep(pause).await;
                told = Some(error);
            }
        })
    }

    /// Reads a listing page by page, at most `limit` rows: `{"<name>": [...], "next": "<cursor>"}`, the cursor given
    /// back as `after`, absent on the last page.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub fn pages(
        &self,
        name: &str,
        path: &[&str],
        filters: &[(&'static str, Option<String>)],
        limit: usize,
    ) -> Result<Vec<Value>, Error> {
        let mut rows = Vec::new();
        self.each_page(name, path, filters, limit, |page| {
            rows.extend_from_slice(page);
            Ok(())
        })?;
        Ok(rows)
    }

    /// As [`Api::pages`], a page at a time, for listings too long to hold.
    ///
    /// # Errors
    /// As [`Api::call`], and whatever `take` returns.
    pub fn each_page(
        &self,
        name: &str,
        path: &[&str],
        filters: &[(&'static str, Option<String>)],
        limit: usize,
        mut take: impl FnMut(&[Value]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut left = limit;
        let mut after: Option<String> = None;
        while left > 0 {
            let mut call = Call::get(path);
            for (filter, value) in filters {
                call = call.query(filter, value.clone());
            }
            call = call
                .query("after", after.clone())
                .query("limit", Some(left.min(chancery_core::limit::PAGE_ROWS).to_string()));
            let answer = self.call(&call)?;
            let document = answer.json()?;
            let page = answer.rows(&document, name)?;
            let page = page.get(..left.min(page.len())).unwrap_or_default();
            take(page)?;
            left -= page.len();
            let next = document.get("next").and_then(Value::as_str).map(str::to_owned);
            if next.is_none() || page.is_empty() {
                break;
            }
            if next == after {
                return Err(answer.unexpected("names the same page again"));
            }
            after = next;
        }
        Ok(())
    }

    /// Hears the events of a stream for ever, and goes on behind the last one where the stream breaks off.
    ///
    /// # Errors
    /// An answer that trying again does not mend, and whatever `take` returns.
    pub fn listen(
        &self,
        call: &Call<'_>,
        mut take: impl FnMut(&Heard) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut last = None;
        loop {
            let error = match self.runtime.block_on(self.listen_once(call, &mut last, &mut take)) {
                // Every stream has its time, and says where the next one goes on.
                Ok(()) => {
                    self.runtime.block_on(async { tokio::time::sleep(SHORTEST_PAUSE).await });
                    continue;
                }
                Err(error) => error,
            };
            let broke = matches!(error, Error::Unreachable { .. } | Error::Timeout { .. });
            let Some(pause) = pause(&error).or_else(|| (broke && last.is_some()).then_some(PAUSE)) else {
                return Err(error);
            };
            self.output.say(&format!("{}; trying again in {} s", error.chain(), pause.as_secs_f32()));
            self.runtime.block_on(async { tokio::time::sleep(pause.max(SHORTEST_PAUSE)).await });
        }
    }

    async fn listen_once(
        &self,
        call: &Call<'_>,
        last: &mut Option<String>,
        take: &mut impl FnMut(&Heard) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let late = |_| Error::Timeout { url: self.base.to_string(), limit: SILENCE };
        let mut request = self.request(call)?.header(ACCEPT, "text/event-stream");
        if let Some(id) = last.as_deref() {
            request = request.header("last-event-id", id);
        }
        let sent = tokio::time::timeout(SILENCE, request.send()).await.map_err(late)?;
        let mut response = sent.map_err(|error| self.unreachable(error))?;
        if !response.status().is_success() {
            return Err(self.problem(call, response).await);
        }
        let mut parser = Parser::default();
        loop {
            let chunk = tokio::time::timeout(SILENCE, response.chunk()).await.map_err(late)?;
            let Some(chunk) = chunk.map_err(|error| self.unreachable(error))? else { return Ok(()) };
            let heard = parser.take(&chunk).map_err(|_| Error::Answer {
                call: call.name(),
                what: "holds an event without an end".to_owned(),
            })?;
            for heard in heard {
                if !heard.data.is_empty() {
                    take(&heard)?;
                }
                *last = Some(heard.id);
            }
        }
    }

    /// Waits between two looks at the same thing; false when `deadline` comes first.
    #[must_use]
    pub fn wait(&self, deadline: Instant) -> bool {
        let until = Instant::now() + PAUSE;
        let left = until < deadline;
        if left {
            self.runtime.block_on(async { tokio::time::sleep_until(until).await });
        }
        left
    }

    /// The request of a call, with all but how it is answered.
    fn request(&self, call: &Call<'_>) -> Result<reqwest::RequestBuilder, Error> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().push("v1").extend(call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let body = call.body.as_ref().map(Value::to_string);
        let own = if call.signed { Some(self.sign(call, &url, body.as_deref())?) } else { None };
        let mut request = self.client.request(call.method.clone(), url);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        for (name, value) in own.into_iter().flatten() {
            request = request.header(name, value);
        }
        if let Some(key) = call.key {
            request = request.header("idempotency-key", key.as_str());
        }
        if let Some(session) = &self.session {
            request = request.bearer_auth(session.token());
        }
        Ok(request)
    }

    async fn once(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let request = self.request(call)?.header(ACCEPT, "application/json, */*;q=0.1");
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(self.problem(call, response).await);
        }
        let bytes = self.body(call, response).await?;
        Ok(Answer { status: status.as_u16(), bytes, call: call.name() })
    }

    async fn problem(&self, call: &Call<'_>, response: reqwest::Response) -> Error {
        let (status, headers) = (response.status(), response.headers().clone());
        match self.body(call, response).await {
            Ok(bytes) => Error::Problem(Box::new(Problem::read(status, &headers, &bytes))),
            Err(error) => error,
        }
    }

    async fn body(&self, call: &Call<'_>, mut response: reqwest::Response) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            if bytes.len() + chunk.len() > ANSWER_BYTES {
                let what = format!("is longer than {ANSWER_BYTES} bytes");
                return Err(Error::Answer { call: call.name(), what });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The header fields of the client's own signature.
    fn sign(
        &self,
        call: &Call<'_>,
        url: &Url,
        body: Option<&str>,
    ) -> Result<[(&'static str, String); 3], Error> {
        let signer = self.signer.as_ref().ok_or_else(|| Error::Usage {
            detail: "the client's key is neither on P-256 nor Ed25519, so it cannot sign requests".to_owned(),
            hint: "`--unsigned` sends the request without the client's own signature",
        })?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        signer.sign(&Message {
            method: call.method.as_str(),
            authority: &format!("{}{port}", url.host_str().unwrap_or_default()),
            path: url.path(),
            idempotency_key: call.key.map_or("", IdempotencyKey::as_str),
            body: body.unwrap_or_default().as_bytes(),
        })
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        let url = self.base.to_string();
        match alert(&error) {
            Some(alert) => Error::NotAdmitted { url, alert },
            None => Error::Unreachable { url, source: error.without_url() },
        }
    }
}

/// The alert with which the server refused the client's certificate, where it did. In TLS 1.3 it comes after the
/// client's handshake, as an error of the first answer, of which HTTP/2 keeps the text alone.
fn alert(error: &reqwest::Error) -> Option<AlertDescription> {
    let said = causes(error);
    OF_CERTIFICATES.into_iter().find(|alert| said.ends_with(&format!("received fatal alert: {alert:?}")))
}

/// No proxy, no redirect: what answers is what was asked.
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("chancery/", env!("CARGO_PKG_VERSION")))
}

/// A client of the appliance.
///
/// # Errors
/// Where this TLS is not to be had.
pub fn client(tls: rustls::ClientConfig) -> Result<reqwest::Client, reqwest::Error> {
    builder().tls_backend_preconfigured(tls).https_only(true).build()
}

/// A client of any `https` server that this system's authorities vouch for.
///
/// # Errors
/// Where the system has no authorities.
pub fn client_of_anybody() -> Result<reqwest::Client, reqwest::Error> {
    // It may be there already; either way it is there.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    builder().https_only(true).build()
}

/// A client of `http` servers, which needs no authorities on this system.
///
/// # Errors
/// Where the system gives no client.
pub fn client_without_tls() -> Result<reqwest::Client, reqwest::Error> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map(|tls| tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    match tls {
        Ok(tls) => builder().tls_backend_preconfigured(tls).build(),
        Err(_) => builder().build(),
    }
}

/// When the same call makes sense again. A connection that could not be made is for a person to look at; one that
/// broke may be tried again.
pub fn pause(error: &Error) -> Option<Duration> {
    match error {
        Error::Problem(problem) => problem.pause(),
        Error::Unreachable { source, .. } if !source.is_connect() && !source.is_builder() => Some(PAUSE),
        _ => None,
    }
}
