//! The bytes that are signed (RFC 9421 section 2.5): one line for each covered component, in one order, and the signature's
//! own parameters last. What is covered is fixed here: nobody who asks can leave something out.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::audience::authority_of;
use super::refused;
use crate::IdentityError;

/// What is covered, in this order: where the request goes, what it does there, and under which key it does so once.
pub(crate) const COMPONENTS: [&str; 5] =
    ["@method", "@authority", "@path", "content-digest", "idempotency-key"];

/// An HTTP request, as far as its client signs it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The method, such as `POST`.
    pub method: &'a str,
    /// Host and port as [`authority_of`] writes them.
    pub authority: &'a str,
    /// The path, as it stands in the request. A query is not covered, so there must be none.
    pub path: &'a str,
    /// The value of `Idempotency-Key`.
    pub idempotency_key: &'a str,
    /// The body.
    pub body: &'a [u8],
}

impl Message<'_> {
    /// Each component with its value.
    ///
    /// # Errors
    /// [`IdentityError::RequestSignature`] where a value could not stand on a line of its own.
    pub(crate) fn values(&self) -> Result<[(&'static str, String); 5], IdentityError> {
        let [method, authority, path, digest, key] = COMPONENTS;
        let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if ![self.method, self.path, self.idempotency_key].into_iter().all(visible) {
            return Err(refused("a covered component is not of visible ASCII"));
        }
        if authority_of(self.authority).as_deref() != Some(self.authority) {
            return Err(refused("the authority is not written as it must be"));
        }
        Ok([
            (method, self.method.to_owned()),
            (authority, self.authority.to_owned()),
            (path, self.path.to_owned()),
            (digest, content_digest(self.body)),
            (key, self.idempotency_key.to_owned()),
        ])
    }
}

/// The signature base.
pub(crate) fn base<'a, N: AsRef<str> + 'a>(values: &[(N, String)], parameters: &str) -> String {
    let mut base = String::new();
    for (name, value) in values {
        base.extend(["\"", name.as_ref(), "\": ", value, "\n"]);
    }
    base.extend(["\"@signature-params\": ", parameters]);
    base
}

/// The one value of `Content-Digest` (RFC 9530) for this body.
pub(crate) fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}
