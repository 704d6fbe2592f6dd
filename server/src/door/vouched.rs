//! Whether the client signed its request itself. A signature that is there is checked, on every path, and one that does not
//! hold is refused: all refusals are the same, and the reason is in the log. If this is wrong, somebody who only forwards
//! requests asks in a client's name.

use chancery_core::{Code, UnixMillis, causes};
use chancery_identity::{Fields, Message, Peer, Vouched, authority_of, is_named_by};
use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::tls::Threshold;
use crate::problem::Problem;

const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What the client signed of this request; `None` where it signed nothing.
///
/// # Errors
/// `request-signature-invalid`.
pub(crate) fn vouched(
    peer: &Peer,
    parts: &Parts,
    body: &[u8],
    threshold: &Threshold,
    now: UnixMillis,
) -> Result<Option<Vouched>, Problem> {
    let headers = &parts.headers;
    if !headers.contains_key(SIGNATURE) && !headers.contains_key(SIGNATURE_INPUT) {
        return Ok(None);
    }
    verified(peer, parts, body, threshold, now).map(Some).map_err(|reason| {
        tracing::info!(target: "door", %peer, reason, "a request's signature was refused");
        Problem::new(Code::RequestSignatureInvalid).detail(Code::RequestSignatureInvalid.title())
    })
}

fn verified(
    peer: &Peer,
    parts: &Parts,
    body: &[u8],
    threshold: &Threshold,
    now: UnixMillis,
) -> Result<Vouched, String> {
    let Peer::Client(client) = peer else { return Err("only clients sign requests".to_owned()) };
    let fields = Fields {
        signature_input: only(&parts.headers, &SIGNATURE_INPUT)?,
        signature: only(&parts.headers, &SIGNATURE)?,
        content_digest: only(&parts.headers, &CONTENT_DIGEST)?,
    };
    let authority = authority(parts).ok_or("the request says not, or twice, whom it is for")?;
    if !is_named_by(&threshold.certificate, &authority) {
        return Err("the request is for another server".to_owned());
    }
    if parts.uri.query().is_some() {
        return Err("the request has a query, which no signature covers".to_owned());
    }
    let message = Message {
        method: parts.method.as_str(),
        authority: &authority,
        path: parts.uri.path(),
        idempotency_key: only(&parts.headers, &IDEMPOTENCY_KEY)?,
        body,
    };
    client.vouch(message, &fields, now).map_err(|error| causes(&error))
}

/// The one value of a header that must be there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, String> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (Some(Ok(text)), None) => Ok(text),
        _ => Err(format!("`{name}` is missing, there twice or not ASCII")),
    }
}

/// Host and port that the request is for: `:authority` in HTTP/2, `Host` in HTTP/1.1. Two that differ are none.
fn authority(parts: &Parts) -> Option<String> {
    let target = parts.uri.authority().map(|authority| authority_of(authority.as_str()));
    let host = parts.headers.contains_key(HOST).then(|| authority_of(only(&parts.headers, &HOST).ok()?));
    match (target, host) {
        (Some(target), Some(host)) if target != host => None,
        (target, host) => target.or(host).flatten(),
    }
}
