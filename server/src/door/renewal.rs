//! Certificates while the door serves: a good set of files on disk replaces the one in force, a bad one does not.
//!
//! New handshakes use the new set at once, and every open connection is proved again under it. What the appliance itself issued
//! or took back holds at once too, whatever becomes of the files. If this is wrong, a revoked client stays, or a mistake in a
//! file closes the door.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chancery_core::{Clock, Mode, UnixMillis, causes, config, limit};
use chancery_enclave::Issued;
use chancery_identity::Dates;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::credentials::{Credentials, Digested};
use super::tls::Threshold;
use crate::ServerError;

const LOOK_EVERY: Duration = Duration::from_millis(limit::CERTIFICATES_MS);
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// A refused set is judged again after this, unchanged: a date may have come.
const AGAIN_MS: i64 = 60_000;
/// A warning comes when a fifth of a lifetime is left, at most this much.
const SOON_MS: i64 = 30 * DAY_MS;

/// The set in force, and how the files on disk stand to it.
pub struct Certificates {
    tls: config::Tls,
    mode: Mode,
    clock: Arc<dyn Clock>,
    in_force: watch::Sender<Arc<Threshold>>,
    issued: watch::Receiver<Arc<Vec<Issued>>>,
    files: Mutex<Files>,
    asked: Notify,
}

struct Files {
    /// The last good ones, and what of the appliance's own is in force beside them.
    good: Credentials,
    issued: Arc<Vec<Issued>>,
    in_force: Digested,
    /// The state of the files that was refused last (`None`: they could not be read), when, and why.
    refused: Option<(Option<Digested>, UnixMillis, String)>,
    renewed: u64,
    refusals: u64,
    /// When each thing was last warned of, and whether it had ended then.
    warned: HashMap<String, (UnixMillis, bool)>,
}

impl Certificates {
    pub(crate) fn open(
        tls: config::Tls,
        mode: Mode,
        clock: Arc<dyn Clock>,
        issued: watch::Receiver<Arc<Vec<Issued>>>,
    ) -> Result<Arc<Self>, ServerError> {
        let good = Credentials::read(&tls)?;
        let now = clock.now().map_err(ServerError::Clock)?;
        let own = Arc::clone(&issued.borrow());
        let threshold = good.lay(&tls, mode, &own, Some(now))?;
        let files = Files {
            in_force: good.digest(),
            good,
            issued: own,
            refused: None,
            renewed: 0,
            refusals: 0,
            warned: HashMap::new(),
        };
        Ok(Arc::new(Self {
            tls,
            mode,
            clock,
            in_force: watch::Sender::new(Arc::new(threshold)),
            issued,
            files: Mutex::new(files),
            asked: Notify::new(),
        }))
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn threshold(&self) -> Arc<Threshold> {
        Arc::clone(&self.in_force.borrow())
    }

    /// Hears of every set that comes into force from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Threshold>> {
        self.in_force.subscribe()
    }

    /// Has the files looked at now, and judged again even if they were refused before: SIGHUP.
    pub fn renew(&self) {
        self.asked.notify_one();
    }

    /// Whether strangers can be told who we are and clients can be admitted, and what an operator should know.
    #[must_use]
    pub fn standing(&self) -> (bool, String) {
        let Ok(now) = self.clock.now() else { return (false, "the clock is not to be trusted".to_owned()) };
        let threshold = self.threshold();
        let ended = threshold.authority.in_force(now).err().map(|error| causes(&error)).or_else(|| {
            (!threshold.server.hold(now)).then(|| "the server's certificate has ended".to_owned())
        });
        let mut detail = ended.clone().unwrap_or_else(|| "in date".to_owned());
        if let Some((_, _, why)) = &self.files().refused {
            let _ = write!(detail, "; the files on disk are refused: {why}");
        }
        (ended.is_none(), detail)
    }

    /// Looks at the files for as long as the door is open, and hears what the appliance issues and takes back.
    pub(crate) async fn keep(self: Arc<Self>) -> Infallible {
        let mut issued = self.issued.clone();
        loop {
            let asked = tokio::select! {
                () = self.asked.notified() => true,
                Ok(()) = issued.changed() => false,
                () = sleep(LOOK_EVERY) => false,
            };
            let looking = Arc::clone(&self);
            // Files may lie on a slow disk. A panic in there would end the looking in silence otherwise.
            if let Err(error) = tokio::task::spawn_blocking(move || looking.look(asked)).await {
                tracing::error!(target: "door", reason = causes(&error), "the certificates could not be looked at");
            }
        }
    }

    fn look(&self, asked: bool) {
        let Ok(now) = self.clock.now() else { return };
        let read = Credentials::read(&self.tls);
        let digest = read.as_ref().ok().map(Credentials::digest);
        let mut files = self.files();
        self.hear(&mut files);
        if digest == Some(files.in_force) {
            if files.refused.take().is_some() || asked {
                tracing::info!(target: "door", "the certificates on disk are those in force");
            }
        } else if asked || files.is_news(digest, now) {
            let laid = read.and_then(|new| {
                let threshold = new.lay(&self.tls, self.mode, &files.issued, Some(now))?;
                Ok((new, threshold))
            });
            match laid {
                Ok((new, threshold)) => {
                    files.good = new;
                    files.in_force = digest.unwrap_or_default();
                    files.refused = None;
                    files.renewed = files.renewed.saturating_add(1);
                    self.in_force.send_replace(Arc::new(threshold));
                    tracing::info!(target: "door", "new certificates are in force");
                }
                Err(error) => files.refuse(digest, now, causes(&error)),
            }
        }
        let threshold = self.threshold();
        for (kind, dates) in threshold.dated() {
            files.warn(kind, dates, now);
        }
    }
}

impl Certificates {
    /// Puts what the appliance issued or took back in force beside the files that are.
    fn hear(&self, files: &mut Files) {
        let issued = Arc::clone(&self.issued.borrow());
        if Arc::ptr_eq(&issued, &files.issued) {
            return;
        }
        match files.good.lay(&self.tls, self.mode, &issued, None) {
            Ok(threshold) => {
                files.issued = issued;
                self.in_force.send_replace(Arc::new(threshold));
            }
            Err(error) => {
                let reason = causes(&error);
                tracing::error!(target: "door", reason, "what the appliance took back is not in force");
            }
        }
    }
}

impl Files {
    fn is_news(&self, digest: Option<Digested>, now: UnixMillis) -> bool {
        self.refused.as_ref().is_none_or(|(last, at, _)| *last != digest || now > at.plus_ms(AGAIN_MS))
    }

    fn refuse(&mut self, digest: Option<Digested>, now: UnixMillis, why: String) {
        let last = self.refused.replace((digest, now, why.clone()));
        if last.is_none_or(|(_, _, before)| before != why) {
            self.refusals = self.refusals.saturating_add(1);
            tracing::error!(target: "door", reason = why, "new certificates are refused, the last good ones stay");
        }
    }

    /// Once a day, and once more when it has ended.
    fn warn(&mut self, kind: &'static str, dates: &Dates, now: UnixMillis) {
        let left_ms = dates.left_ms(now);
        let life_ms = dates.until.0.saturating_sub(dates.from.0);
        if left_ms > SOON_MS.min(life_ms / 5) {
            return;
        }
        let key = format!("{kind} {} {}", dates.until, dates.name);
        let ended = left_ms < 0;
        if self.warned.get(&key).is_some_and(|(at, then)| *then == ended && now < at.plus_ms(DAY_MS)) {
            return;
        }
        self.warned.retain(|_, (at, _)| now < at.plus_ms(2 * DAY_MS));
        self.warned.insert(key, (now, ended));
        let (name, hours_left) = (&dates.name, left_ms / 3_600_000);
        if ended {
            tracing::error!(target: "door", kind, name, "a certificate or revocation list has ended");
        } else {
            tracing::warn!(target: "door", kind, name, hours_left, "a certificate or revocation list ends soon");
        }
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// The gauges of the metrics page.
#[derive(Debug)]
pub(crate) struct Gauges(pub(crate) Arc<Certificates>);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Ok(now) = self.0.clock.now() {
            let threshold = self.0.threshold();
            let gauge = ConstGauge::new(0_i64);
            let help = "Seconds until a certificate or revocation list in force ends; negative once it has";
            let mut metric =
                encoder.encode_descriptor("certificate_seconds_left", help, None, gauge.metric_type())?;
            for (index, (kind, dates)) in threshold.dated().enumerate() {
                let labels =
                    [("kind", kind.to_owned()), ("index", index.to_string()), ("name", dates.name.clone())];
                let left = ConstGauge::new(dates.left_ms(now).div_euclid(1_000));
                left.encode(metric.encode_family(&labels)?)?;
            }
        }
        let (refused, renewed, refusals) = {
            let files = self.0.files();
            (files.refused.is_some(), files.renewed, files.refusals)
        };
        let gauge = ConstGauge::new(i64::from(refused));
        let help = "1 while the files on disk are refused and older ones serve";
        gauge.encode(encoder.encode_descriptor(
            "certificates_refused",
            help,
            None,
            gauge.metric_type(),
        )?)?;
        for (name, help, value) in [
            ("certificates_renewals", "Sets of certificates that came into force while serving", renewed),
            ("certificates_refusals", "Sets of certificates that were refused while serving", refusals),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let (ready, _) = self.0.standing();
        let gauge = ConstGauge::new(i64::from(ready));
        gauge.encode(encoder.encode_descriptor(
            "certificates_ready",
            "1 where this part serves",
            None,
            gauge.metric_type(),
        )?)
    }
}
