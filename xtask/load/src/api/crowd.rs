//! A crowd of clients, each on a connection of its own that stays open, each sending the next request when the last is
//! answered. Requests are made before the clock starts, so that the crowd costs little while it runs.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Error;
use crate::door::{Door, unexpected};
use crate::stage::{self, Stage, sign_body};

/// Requests that are made before they are sent.
const BATCH: u64 = 50_000;

/// The crowd. Nonces and keys go on from one sending to the next: no request is sent twice.
#[derive(Debug)]
pub struct Crowd {
    doors: Vec<Door>,
    wallets: Vec<String>,
    nonce: u64,
}

/// What one sending gave.
#[derive(Debug)]
pub struct Gathered {
    took: Duration,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Gathered {
    /// How many were signed.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.latencies.len() as u64
    }

    /// Signatures a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    /// The latency that the part `quantile` of all requests did not exceed.
    #[must_use]
    pub fn latency(&self, quantile: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * quantile).round() as usize;
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

impl Crowd {
    /// A crowd before the door of `stage`, with its one client and one wallet.
    #[must_use]
    pub fn new(stage: &Stage) -> Self {
        Self { doors: vec![stage.client.clone()], wallets: vec![stage::NAME.to_owned()], nonce: 0 }
    }

    /// Further clients, among whom the connections are spread: the appliance bounds those of each.
    #[must_use]
    pub fn through(mut self, doors: Vec<Door>) -> Self {
        self.doors.extend(doors);
        self
    }

    /// Asks for these wallets from now on, one after the other.
    pub fn of(&mut self, wallets: Vec<String>) {
        self.wallets = wallets;
    }

    /// As [`Crowd::send`] until all of very many are signed; answers the last sending.
    ///
    /// # Errors
    /// As there.
    pub fn send_all(&mut self, clients: u64, requests: u64) -> Result<Gathered, Error> {
        let (batches, rest) = (requests.saturating_sub(1) / BATCH, requests.saturating_sub(1) % BATCH + 1);
        for _ in 0..batches {
            self.send(clients, BATCH)?;
        }
        self.send(clients, rest)
    }

    /// Sends `requests` from `clients` at once.
    ///
    /// # Errors
    /// [`Error::Answer`] for the first request that was not signed, or [`Error::Connection`].
    pub fn send(&mut self, clients: u64, requests: u64) -> Result<Gathered, Error> {
        let requests: Vec<Vec<u8>> = (0..requests.max(clients)).filter_map(|_| self.next()).collect();
        let work = Work { doors: &self.doors, requests: &requests, taken: AtomicUsize::new(0) };
        let clients = usize::try_from(clients).map_err(|_| Error::Option("too many clients".into()))?;
        let start = Barrier::new(clients + 1);
        let (results, took) = std::thread::scope(|scope| {
            let threads: Vec<_> = work
                .doors
                .iter()
                .cycle()
                .take(clients)
                .map(|door| scope.spawn(|| work.client(door, &start)))
                .collect();
            start.wait();
            let started = Instant::now();
            let results: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            (results, started.elapsed())
        });
        let mut latencies = Vec::new();
        for result in results {
            let result = result.unwrap_or_else(|_| Err(Error::Option("a client panicked".into())));
            latencies.extend(result?);
        }
        latencies.sort_unstable();
        Ok(Gathered { took, latencies })
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        self.nonce += 1;
        let wallet = self.wallets.iter().cycle().nth(self.nonce as usize % self.wallets.len().max(1))?;
        let (key, body) = (format!("load-{}", self.nonce), sign_body(wallet, self.nonce));
        Some(self.doors.first()?.request("POST", "/v1/sign", Some(&key), Some(&body)))
    }
}

/// What the crowd has to send. Each takes the next one, so that all are busy to the end.
struct Work<'a> {
    doors: &'a [Door],
    requests: &'a [Vec<u8>],
    taken: AtomicUsize,
}

impl Work<'_> {
    fn client(&self, door: &Door, start: &Barrier) -> Result<Vec<Duration>, Error> {
        let broken = |source| Error::Connection { call: "POST /v1/sign".into(), source };
        // The handshake belongs to the connection, not to its first request.
        let opened = door.connect().and_then(|mut line| {
            line.call(&door.request("GET", "/v1/wallets", None, None))?;
            Ok(line)
        });
        start.wait();
        let mut line = opened.map_err(broken)?;
        let mut latencies = Vec::new();
        while let Some(request) = self.requests.get(self.taken.fetch_add(1, Ordering::Relaxed)) {
            let sent = Instant::now();
            let answer = line.call(request).map_err(broken)?;
            latencies.push(sent.elapsed());
            if answer.status != 200 {
                return Err(unexpected("POST /v1/sign", &answer));
            }
        }
        Ok(latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_measured() {
        let latencies = (1..=100).map(Duration::from_millis).collect();
        let gathered = Gathered { took: Duration::from_secs(2), latencies };
        assert_eq!(gathered.latency(0.0), Duration::from_millis(1));
        assert_eq!(gathered.latency(0.99), Duration::from_millis(99));
        assert_eq!(gathered.latency(1.0), Duration::from_millis(100));
        assert!((gathered.per_second() - 50.0).abs() < f64::EPSILON);
    }
}
