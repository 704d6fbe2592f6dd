//! Telling others by HTTP, as Standard Webhooks has it: each event is posted, signed, until it is taken. What a receiver was
//! told of is remembered, so a crash of either side loses nothing and may tell something twice: `webhook-id`, which is the
//! leaf's hash, is then the same. If this is wrong, a ledger misses a release.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chancery_audit::{EVENTS, aside};
use chancery_core::{Tenant, UnixMillis, causes, config, limit};
use chancery_secret::{Pin, PinError, SecretBytes, SecretError};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::{Audience, Event, read};
use crate::house::House;
use crate::post::{self, Post, PostError};
use crate::refusal::Refusal;

/// LIMIT: events under way to one receiver at once. Those of a round may arrive in any order; `data.index` has it.
const ROUND: usize = 32;
/// Before an event is posted again; doubled each time, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often it is remembered that a receiver was passed over.
const REMEMBERED: Duration = Duration::from_secs(1);
/// The place of a webhook before the store was asked for it.
const UNKNOWN: u64 = u64::MAX;
/// A secret's bytes (Standard Webhooks).
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Why a configured webhook cannot be told anything.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Its secret cannot be read.
    #[error("the secret of webhook `{name}` cannot be read")]
    Secret {
        /// The webhook.
        name: String,
        /// Why.
        #[source]
        source: PinError,
    },
    /// Its secret is none.
    #[error(
        "the secret of webhook `{name}` must be `whsec_` and base64 of 24 to 64 bytes: `chancery webhook secret` makes one"
    )]
    Form {
        /// The webhook.
        name: String,
    },
    /// There is no memory for it.
    #[error("no memory for the secret of webhook `{name}`")]
    Memory {
        /// The webhook.
        name: String,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// It asks for an event that there is not.
    #[error("webhook `{name}` asks for `{event}`, which is none of: {}", EVENTS.join(", "))]
    Event {
        /// The webhook.
        name: String,
        /// What it asks for.
        event: String,
    },
    /// Its roots cannot be read.
    #[error("cannot read `{path}`")]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The HTTP client.
    #[error("webhook `{name}` cannot be reached")]
    Client {
        /// The webhook.
        name: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
enum Untaken {
    #[error("it cannot be reached: {0}")]
    Away(#[source] PostError),
    #[error("it answered {0}")]
    Status(u16),
    #[error("this machine's time is not known: {0}")]
    Clock(#[from] chancery_core::ClockError),
}

/// Somebody who is told what happens.
pub(crate) struct Webhook {
    name: String,
    audience: Audience,
    /// The names of events it is told; all where there are none.
    events: Vec<String>,
    post: Post,
    secret: SecretBytes,
    /// The log index it is to be told of next.
    next: AtomicU64,
    fails: AtomicBool,
}

/// How the webhooks stand, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Log entries that the one furthest behind was not told of yet.
    pub behind: u64,
    /// Those that did not take what they were last told.
    pub failing: u64,
}

/// How they stand, where so many entries can be told.
pub(crate) fn standing(webhooks: &[Webhook], entries: u64) -> Delivered {
    let behind = |webhook: &Webhook| entries.saturating_sub(webhook.next.load(Ordering::Acquire));
    Delivered {
        behind: webhooks.iter().map(behind).max().unwrap_or(0),
        failing: webhooks.iter().filter(|webhook| webhook.fails.load(Ordering::Acquire)).count() as u64,
    }
}

/// The configured webhooks, none of them told anything yet.
pub(crate) fn open(configured: &[config::Webhook], tenant: &Tenant) -> Result<Vec<Webhook>, WebhookError> {
    configured.iter().map(|webhook| Webhook::open(webhook, tenant)).collect()
}

impl Webhook {
    fn open(configured: &config::Webhook, tenant: &Tenant) -> Result<Self, WebhookError> {
        let name = || configured.name.clone();
        if let Some(event) = configured.events.iter().find(|event| !EVENTS.contains(&event.as_str())) {
            return Err(WebhookError::Event { name: name(), event: event.clone() });
        }
        let client = |source| WebhookError::Client { name: name(), source };
        let mut builder = post::builder(limit::WEBHOOK_MS);
        if let Some(path) = &configured.ca {
            let pem = fs::read(path).map_err(|source| WebhookError::Ca { path: path.clone(), source })?;
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem).map_err(client)?);
        }
        let text = Pin::read(&configured.secret);
        let text = text.map_err(|source| WebhookError::Secret { name: name(), source })?;
        let mut bytes = secret_bytes(text.expose()).ok_or_else(|| WebhookError::Form { name: name() })?;
        let secret = SecretBytes::take(&mut bytes);
        Ok(Self {
            name: name(),
            audience: Audience { tenant: tenant.clone(), client: configured.client.clone() },
            events: configured.events.clone(),
            post: Post {
                client: builder.build().map_err(client)?,
                url: configured.url.clone(),
                kind: "application/json",
                answer_bytes: limit::WEBHOOK_BYTES,
            },
            secret: secret.map_err(|source| WebhookError::Memory { name: name(), source })?,
            next: AtomicU64::new(UNKNOWN),
            fails: AtomicBool::new(false),
        })
    }

    fn wants(&self, event: &Event) -> bool {
        self.events.is_empty() || self.events.iter().any(|name| name == event.name)
    }

    /// Posts one event once.
    async fn post(&self, event: &Event, now: UnixMillis) -> Result<(), Untaken> {
        let id = event.leaf.to_string();
        let timestamp = now.0.div_euclid(1_000).to_string();
        let signature = signature(self.secret.expose(), &id, &timestamp, &event.body);
        let headers = [
            ("webhook-id", id.as_str()),
            ("webhook-timestamp", timestamp.as_str()),
            ("webhook-signature", signature.as_str()),
        ];
        let (status, _) =
            self.post.send_with(headers, event.body.clone().into_bytes()).await.map_err(Untaken::Away)?;
        if (200..300).contains(&status) { Ok(()) } else { Err(Untaken::Status(status)) }
    }
}

fn secret_bytes(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = Zeroizing::new(BASE64.decode(text.strip_prefix(b"whsec_")?).ok()?);
    SECRET_BYTES.contains(&bytes.len()).then_some(bytes)
}

/// The value of `webhook-signature`: HMAC-SHA-256 over id, time and body.
fn signature(secret: &[u8], id: &str, timestamp: &str, body: &str) -> String {
    // HMAC takes a key of any length; without one nothing is signed, and nobody believes it.
    let Ok(mac) = <Hmac<Sha256> as Mac>::new_from_slice(secret) else { return String::new() };
    let mac = mac.chain_update(format!("{id}.{timestamp}.{body}"));
    format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
}

/// Tells each webhook what happens, from where it was left off.
pub(crate) fn tell_for_ever(house: &Arc<House>, behind: &mut JoinSet<()>) {
    for at in 0..house.webhooks.len() {
        let house = Arc::clone(house);
        behind.spawn(async move {
            while let Err(refusal) = tell(&house, at).await {
                tracing::warn!(%refusal, "the webhooks rest a moment");
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
}

/// Ends where the log has stopped.
async fn tell(house: &Arc<House>, at: usize) -> Result<(), Refusal> {
    let Some(webhook) = house.webhooks.get(at) else { return Ok(()) };
    let mut next =
        match (webhook.next.load(Ordering::Acquire), house.store.read(|rows| rows.told(&webhook.name))?) {
            (UNKNOWN, Some(next)) => next,
            // A new one is told what happens from now on.
            (UNKNOWN, None) => remember(house, webhook, house.log.standing().cosigned).await?,
            // The store refused to remember: what was taken is not told again for that.
            (next, _) => next,
        };
    let mut remembered = Instant::now();
    loop {
        webhook.next.store(next, Ordering::Release);
        if house.log.grown_beyond(next).await.is_err() {
            return Ok(());
        }
        let there = Arc::clone(house);
        let audience = webhook.audience.clone();
        let told = aside(move || read(&there, &audience, next, ROUND)).await;
        let told =
            told.unwrap_or_else(|| Err(Refusal::new(chancery_core::Code::ShuttingDown, "stopping")))?;
        let mut round = JoinSet::new();
        for event in told.events.into_iter().filter(|event| webhook.wants(event)) {
            round.spawn(insist(Arc::clone(house), at, event));
        }
        let some = !round.is_empty();
        while round.join_next().await.is_some() {}
        next = told.next;
        webhook.next.store(next, Ordering::Release);
        if some || remembered.elapsed() >= REMEMBERED {
            remember(house, webhook, next).await?;
            remembered = Instant::now();
        }
    }
}

async fn remember(house: &House, webhook: &Webhook, next: u64) -> Result<u64, Refusal> {
    let name = webhook.name.clone();
    house.store.write(move |tx| Ok::<_, Refusal>(tx.put_told(&name, next)?)).await?;
    Ok(next)
}

/// Posts an event until it is taken.
async fn insist(house: Arc<House>, at: usize, event: Event) {
    let Some(webhook) = house.webhooks.get(at) else { return };
    let mut pause = PAUSE;
    loop {
        let posted = match house.clock.now() {
            Ok(now) => webhook.post(&event, now).await,
            Err(error) => Err(error.into()),
        };
        webhook.fails.store(posted.is_err(), Ordering::Release);
        let Err(error) = posted else { return };
        let error = causes(&error);
        tracing::warn!(webhook = webhook.name, index = event.index, error, "an event was not taken");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks libraries.
    #[test]
    fn a_delivery_is_signed_as_the_standard_says() {
        let secret = secret_bytes(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed =
            signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_of_the_standards_form() {
        for bad in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8G", "whsec_!!!!"] {
            assert!(secret_bytes(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
