//! HTTP to others: witnesses, time-stamping authorities, webhooks. No proxy, no redirect, a bound on time and answer. Nothing that
//! comes back is believed here; `audit` verifies every signature, so the way needs no trust.

use std::time::Duration;

/// Why a request or its answer did not arrive.
pub(crate) type PostError = Box<dyn std::error::Error + Send + Sync>;

/// The client for one kind of others, whose answers take so long at most.
pub(crate) fn client(limit_ms: u64) -> reqwest::Result<reqwest::Client> {
    builder(limit_ms).build()
}

pub(crate) fn builder(limit_ms: u64) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_millis(limit_ms))
        .user_agent(concat!("chanceryd/", env!("CARGO_PKG_VERSION")))
}

/// Where requests of one kind go.
pub(crate) struct Post {
    pub(crate) client: reqwest::Client,
    pub(crate) url: String,
    /// `Content-Type`.
    pub(crate) kind: &'static str,
    /// LIMIT: of the answer, in bytes.
    pub(crate) answer_bytes: usize,
}

impl Post {
    /// Sends `body`; answers with the status and what came with it.
    pub(crate) async fn send(&self, body: Vec<u8>) -> Result<(u16, Vec<u8>), PostError> {
        self.send_with([], body).await
    }

    /// The same, with headers.
    pub(crate) async fn send_with<const N: usize>(
        &self,
        headers: [(&'static str, &str); N],
        body: Vec<u8>,
    ) -> Result<(u16, Vec<u8>), PostError> {
        let kind = (reqwest::header::CONTENT_TYPE.as_str(), self.kind);
        let request = self.client.post(&self.url);
        let request = headers
            .into_iter()
            .chain([kind])
            .fold(request, |request, (name, value)| request.header(name, value));
        let mut answer = request.body(body).send().await.map_err(reqwest::Error::without_url)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            if bytes.len() + chunk.len() > self.answer_bytes {
                return Err("the answer is too long".into());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((answer.status().as_u16(), bytes))
    }
}
