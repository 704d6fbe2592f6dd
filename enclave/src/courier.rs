//! The way to a witness: HTTP, one client for all of them. Nothing that comes back is believed here; `audit` verifies every
//! cosignature under the witness's own key, so the way needs no trust.

use std::sync::Arc;

use chancery_audit::{Carrying, Courier, CourierError, NoteError, Reply, Witness};
use chancery_core::{config, limit};

/// Why the configured witnesses cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// A witness's key.
    #[error("the key of the witness at `{url}` is {source}")]
    Key {
        /// The witness.
        url: String,
        /// What is wrong with it.
        #[source]
        source: NoteError,
    },
    /// The HTTP client.
    #[error("the witnesses cannot be reached")]
    Client(#[source] reqwest::Error),
}

/// The configured witnesses, none of them asked yet.
pub(crate) fn witnesses(configured: &[config::Witness]) -> Result<Vec<Witness>, WitnessError> {
    if configured.is_empty() {
        return Ok(Vec::new());
    }
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(std::time::Duration::from_millis(limit::WITNESS_MS))
        .user_agent(concat!("chanceryd/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(WitnessError::Client)?;
    let one = |witness: &config::Witness| {
        let url = witness.url.clone();
        let key = witness.key.parse().map_err(|source| WitnessError::Key { url: url.clone(), source })?;
        let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
        Ok(Witness { key, courier: Arc::new(Http { client: client.clone(), url }) })
    };
    configured.iter().map(one).collect()
}

struct Http {
    client: reqwest::Client,
    url: String,
}

impl Courier for Http {
    fn add_checkpoint<'a>(&'a self, body: &'a str) -> Carrying<'a> {
        Box::pin(async move {
            let mut answer = self.client.post(&self.url).body(body.to_owned()).send().await?;
            let (status, mut body) = (answer.status().as_u16(), Vec::new());
            while let Some(chunk) = answer.chunk().await? {
                if body.len() + chunk.len() > limit::WITNESS_BYTES {
                    return Err(CourierError::from("the answer is too long"));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Reply { status, body })
        })
    }
}
