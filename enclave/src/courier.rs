//! The way to a witness: one client for all of them.

use std::sync::Arc;

use chancery_audit::{Carrying, Courier, NoteError, Reply, Witness};
use chancery_core::{config, limit};

use crate::post::{self, Post};

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
    let client = post::client(limit::WITNESS_MS).map_err(WitnessError::Client)?;
    let one = |witness: &config::Witness| {
        let url = witness.url.clone();
        let key = witness.key.parse().map_err(|source| WitnessError::Key { url: url.clone(), source })?;
        let post = Post {
            client: client.clone(),
            url: format!("{}/add-checkpoint", url.trim_end_matches('/')),
            kind: "text/plain; charset=utf-8",
            answer_bytes: limit::WITNESS_BYTES,
        };
        Ok(Witness { key, courier: Arc::new(Http(post)) })
    };
    configured.iter().map(one).collect()
}

struct Http(Post);

impl Courier for Http {
    fn add_checkpoint<'a>(&'a self, body: &'a str) -> Carrying<'a> {
        Box::pin(async move {
            let (status, body) = self.0.send(body.as_bytes().to_vec()).await?;
            Ok(Reply { status, body })
        })
    }
}
