//! An appliance that grows old: every figure again when it has recorded ten times as many decisions. It grows through its
//! own door, so that what is measured is what a customer will have.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::appliance::Programs;
use xtask::figures::row::{Bench, Point};
use xtask::talk;

use super::crowd::{Crowd, Gathered};
use super::{CLIENTS, FEW, millis, resident, spent};
use crate::Error;
use crate::door::{Door, unexpected};
use crate::stage::{self, Stage};

/// Reads of one kind that are timed.
const READS: usize = 51;
/// What noise may add to a figure that is flat.
const NOISE: f64 = 1.25;

/// How far it grows.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Decisions at the first measurement.
    pub from: u64,
    /// Decisions at the last.
    pub to: u64,
    /// Requests of each measured crowd.
    pub requests: u64,
}

/// What was seen at one age.
struct Age {
    decisions: u64,
    many: Gathered,
    few: Gathered,
    cpu: Duration,
    page: Duration,
    receipt: Duration,
    start: Duration,
    memory: u64,
    disk: u64,
}

/// Runs it all in `folder` and answers its rows.
///
/// # Errors
/// [`Error`] when something could not be measured, or when a single request was not signed.
pub fn run(programs: &Programs, folder: &Path, span: Span) -> Result<Vec<Bench>, Error> {
    let state = folder.join("state");
    let mut stage = Stage::set(programs, &state)?;
    let first = first_receipt(&stage.client)?;
    let mut crowd = Crowd::new(&stage);
    let mut ages: Vec<Age> = Vec::new();
    let mut recorded = 1;
    for decisions in steps(span) {
        let few = span.requests / 8;
        let filled = decisions.saturating_sub(recorded + span.requests + few);
        talk::line(&format!("growth: to {decisions} decisions"));
        if filled > 0 {
            crowd.send_all(CLIENTS, filled)?;
        }
        let before = spent(&stage)?;
        let many = crowd.send(CLIENTS, span.requests)?;
        let cpu = spent(&stage)?.saturating_sub(before);
        let few = crowd.send(FEW, few)?;
        recorded += filled + many.signed() + few.signed();
        let page = read(&stage.operator, "/v1/audit/decisions?limit=50")?;
        let receipt = read(&stage.client, &first)?;
        let memory = resident(&stage)?;
        stage.appliance.stop()?;
        let disk = bytes(&state)?;
        let stopped = Instant::now();
        stage.appliance.start()?;
        let start = stopped.elapsed();
        ages.push(Age { decisions: recorded, many, few, cpu, page, receipt, start, memory, disk });
    }
    Ok(ages.first().map_or_else(Vec::new, |young| ages.iter().flat_map(|age| age.rows(young)).collect()))
}

/// 10,000, 100,000 and so on, and the last.
fn steps(span: Span) -> impl Iterator<Item = u64> {
    let tens = std::iter::successors(Some(span.from), |decisions| Some(decisions * 10));
    tens.take_while(move |decisions| *decisions < span.to).chain([span.to])
}

/// Signs the first request of all and answers where its receipt is.
fn first_receipt(door: &Door) -> Result<String, Error> {
    let answer = door.call("POST", "/v1/sign", Some("first"), Some(&stage::sign_body(stage::NAME, 0)))?;
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let id = body.as_ref().and_then(|body| body.get("request_id")?.as_str());
    let id = id.ok_or_else(|| unexpected("POST /v1/sign", &answer))?;
    Ok(format!("/v1/requests/{id}/receipt"))
}

/// The median time of one read, the connection already open.
fn read(door: &Door, path: &str) -> Result<Duration, Error> {
    let call = format!("GET {path}");
    let broken = |source| Error::Connection { call: call.clone(), source };
    let request = door.request("GET", path, None, None);
    let mut line = door.connect().map_err(broken)?;
    let mut times = Vec::with_capacity(READS);
    for _ in 0..READS {
        let asked = Instant::now();
        let answer = line.call(&request).map_err(broken)?;
        times.push(asked.elapsed());
        if answer.status != 200 {
            return Err(unexpected(&call, &answer));
        }
    }
    times.sort_unstable();
    Ok(times.get(READS / 2).copied().unwrap_or_default())
}

/// What a folder holds, in bytes.
fn bytes(folder: &Path) -> Result<u64, Error> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).map_err(Error::file(folder))? {
        let entry = entry.map_err(Error::file(folder))?;
        let about = entry.metadata().map_err(Error::file(entry.path()))?;
        sum += if about.is_dir() { bytes(&entry.path())? } else { about.len() };
    }
    Ok(sum)
}

impl Age {
    fn rows(&self, young: &Self) -> Vec<Bench> {
        let per_request = |age: &Self| age.cpu.as_secs_f64() * 1e6 / age.many.signed() as f64;
        let disk = |age: &Self| age.disk as f64 / age.decisions as f64;
        let figures: [(&str, &str, f64, f64); 8] = [
            (
                "a signature's time, 64 clients",
                "us",
                1e6 / self.many.per_second(),
                1e6 / young.many.per_second(),
            ),
            ("CPU per request, C_Sign included", "us", per_request(self), per_request(young)),
            ("latency p50, 2 clients", "ms", millis(self.few.latency(0.5)), millis(young.few.latency(0.5))),
            ("a page of decisions", "ms", millis(self.page), millis(young.page)),
            ("the first receipt of all", "ms", millis(self.receipt), millis(young.receipt)),
            ("from start to ready", "ms", millis(self.start), millis(young.start)),
            ("memory", "MiB", mebi(self.memory), mebi(young.memory)),
            ("disk per decision", "B", disk(self), disk(young)),
        ];
        // Flat but for log n.
        let most = (self.decisions as f64).ln() / (young.decisions as f64).ln() * NOISE;
        let rows = figures.into_iter().map(|(figure, unit, now, then)| {
            let point = Point {
                plot: format!("{figure} ({unit})"),
                line: figure.into(),
                of: "recorded decisions".into(),
                x: self.decisions,
            };
            let row = Bench::new(format!("{figure}, at {} decisions", self.decisions), unit, now).at(point);
            if self.decisions == young.decisions {
                return row;
            }
            let goal = format!("<= {most:.2} of at {}: flat but for log n", young.decisions);
            row.beside(then).asked(&goal, now / then <= most)
        });
        rows.collect()
    }
}

fn mebi(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_by_tens_and_ends_where_it_shall() {
        let steps = |from, to| steps(Span { from, to, requests: 1 }).collect::<Vec<_>>();
        assert_eq!(steps(10, 1_000), [10, 100, 1_000]);
        assert_eq!(steps(10, 500), [10, 100, 500]);
        assert_eq!(steps(10, 10), [10]);
    }
}
