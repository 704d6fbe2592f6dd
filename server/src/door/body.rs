//! Takes a request's body whole before anyone looks at it: bounded in bytes, in time and in memory over all requests.
//! If this is wrong, half a body holds a handler, or bodies fill the memory.

use std::time::Duration;

use axum::body::Bytes;
use chancery_core::{Code, limit};
use http::Method;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

use super::lobby::{Place, Taken};

/// Each `limit::BODY_BYTES` of a body has this long; the rest of a stall's time is left to say so.
const BODY_TIME: Duration = Duration::from_millis(limit::STALL_MS - limit::GRACE_MS);

/// How large a body may be: `limit::BODY_BYTES`, but for the paths that say otherwise.
#[derive(Clone, Debug, Default)]
pub struct BodyLimits {
    larger: Vec<(Method, &'static str, usize)>,
}

impl BodyLimits {
    /// `limit::BODY_BYTES` everywhere.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `method` on exactly this `path` carry up to `bytes`.
    #[must_use]
    pub fn larger(mut self, method: Method, path: &'static str, bytes: usize) -> Self {
        self.larger.push((method, path, bytes));
        self
    }

    pub(crate) fn bytes(&self, method: &Method, path: &str) -> usize {
        let own = self.larger.iter().find(|(m, p, _)| m == method && *p == path);
        own.map_or(limit::BODY_BYTES, |(_, _, bytes)| *bytes)
    }
}

/// A body in memory, and its share of the memory for bodies.
pub(crate) struct Gathered {
    pub(crate) bytes: Bytes,
    pub(crate) share: Option<Taken>,
}

/// Reads a body of at most `limit_bytes` to its end.
///
/// # Errors
/// `body-too-large`, `request-timeout`, `overloaded` (the memory for bodies is spent) or `bad-request` (it broke off).
pub(crate) async fn gather(body: Incoming, limit_bytes: usize, place: &Place) -> Result<Gathered, Code> {
    if body.size_hint().lower() > u64::try_from(limit_bytes).unwrap_or(u64::MAX) {
        return Err(Code::BodyTooLarge);
    }
    let mut body = body;
    let mut gathered = Vec::new();
    let mut share: Option<Taken> = None;
    let mut deadline = Instant::now() + BODY_TIME;
    let mut since_deadline = 0_usize;
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(Code::RequestTimeout),
            Ok(None) => return Ok(Gathered { bytes: gathered.into(), share }),
            Ok(Some(Err(_))) => return Err(Code::BadRequest),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if gathered.len().saturating_add(data.len()) > limit_bytes {
            return Err(Code::BodyTooLarge);
        }
        let bytes = u32::try_from(data.len()).map_err(|_| Code::BodyTooLarge)?;
        let more = place.body_bytes(bytes).ok_or(Code::Overloaded)?;
        match &mut share {
            Some(share) => share.merge(more),
            None => share = Some(more),
        }
        gathered.extend_from_slice(&data);
        since_deadline = since_deadline.saturating_add(data.len());
        if since_deadline >= limit::BODY_BYTES {
            since_deadline -= limit::BODY_BYTES;
            deadline = Instant::now() + BODY_TIME;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_path_may_be_larger() {
        let limits = BodyLimits::new().larger(Method::PUT, "/v1/policy", 9_000_000);
        assert_eq!(limits.bytes(&Method::PUT, "/v1/policy"), 9_000_000);
        for (method, path) in
            [(Method::POST, "/v1/policy"), (Method::PUT, "/v1/policy/"), (Method::PUT, "/v1/sign")]
        {
            assert_eq!(limits.bytes(&method, path), limit::BODY_BYTES);
        }
    }
}
