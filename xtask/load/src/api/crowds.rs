//! The same appliance before crowds of every size, and with wallets of every number: where it bends, and that it does not
//! break. What does not answer with a signature ends the measurement.

use std::path::Path;
use std::time::Instant;

use xtask::appliance::Programs;
use xtask::figures::row::{Bench, Point};
use xtask::talk;

use super::crowd::{Crowd, Gathered};
use super::{Plan, millis, raw};
use crate::Error;
use crate::stage::{self, Stage};

/// Connections of one client stay below the bound on them.
const SHARE: u64 = 128;

/// How far.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The largest crowd; it doubles from 1.
    pub clients: u64,
    /// The most wallets; from 1, ten times as many each step.
    pub wallets: u64,
}

/// Runs it all in `folder` and answers its rows.
///
/// # Errors
/// [`Error`] when something could not be measured, or when a single request was not signed.
pub fn run(
    programs: &Programs,
    hardware_tests: &Path,
    folder: &Path,
    plan: &Plan,
    span: Span,
) -> Result<Vec<Bench>, Error> {
    let state = folder.join("state");
    let mut stage = Stage::set(programs, &state)?;
    let others = span.clients.div_ceil(SHARE).saturating_sub(1);
    let others = (1..=others).map(|number| stage.another_client(number)).collect::<Result<_, _>>()?;
    let mut crowd = Crowd::new(&stage).through(others);
    crowd.send(super::CLIENTS, plan.requests / 4)?;

    let mut crowds = Vec::new();
    let sizes = std::iter::successors(Some(1), |clients| Some(clients * 2));
    for clients in sizes.take_while(|clients| *clients <= span.clients) {
        // A small crowd is slow: it needs fewer requests for the same time.
        let requests = (plan.requests * clients.min(16) / 16).max(4 * clients);
        talk::line(&format!("crowds: {requests} requests of {clients} clients"));
        crowds.push((clients, crowd.send(clients, requests)?));
    }

    let mut wallets = Vec::new();
    let mut names = vec![stage::NAME.to_owned()];
    let numbers = std::iter::successors(Some(1), |wallets| Some(wallets * 10));
    for number in numbers.take_while(|number| *number <= span.wallets) {
        let (first, started) = (names.len() as u64, Instant::now());
        if number > first {
            talk::line(&format!("crowds: making wallets up to {number}"));
        }
        let mut operator = stage.operator.connect().map_err(broken)?;
        for other in first..number {
            let name = format!("load-{other}");
            stage.another_wallet(&mut operator, &name)?;
            names.push(name);
        }
        let made = started.elapsed().as_secs_f64() * 1e3 / (number - first).max(1) as f64;
        crowd.of(names.clone());
        // Each wallet is asked for twice before the clock starts: its key is found in every session then.
        crowd.send(super::CLIENTS, (2 * number).max(plan.requests / 4))?;
        talk::line(&format!("crowds: {} requests over {number} wallets", plan.requests));
        wallets.push((number, made, crowd.send(super::CLIENTS, plan.requests)?));
    }
    stage.appliance.stop()?;
    talk::line("crowds: the same token and disk alone");
    let (token, disk) = (raw::token(hardware_tests, &state, plan.raw)?, raw::disk(&state)?);
    let alone = Alone { token, disk: millis(disk) };
    let of_crowds = crowds.iter().flat_map(|(clients, gathered)| alone.of_crowd(*clients, gathered));
    let of_wallets =
        wallets.iter().flat_map(|(number, made, gathered)| alone.of_wallets(*number, *made, gathered));
    Ok(of_crowds.chain(of_wallets).collect())
}

fn broken(source: std::io::Error) -> Error {
    Error::Connection { call: "POST /v1/wallets".into(), source }
}

/// The machine without us.
struct Alone {
    token: raw::Token,
    /// Milliseconds.
    disk: f64,
}

impl Alone {
    fn of_crowd(&self, clients: u64, gathered: &Gathered) -> [Bench; 3] {
        let at = |plot: &str, line: &str| Point {
            plot: plot.into(),
            line: line.into(),
            of: "clients".into(),
            x: clients,
        };
        // In a closed crowd each waits for all others.
        let floor = (millis(self.token.cpu)).max(clients as f64 / self.token.two_threads * 1e3) + self.disk;
        let latency = |part: &str, quantile| {
            Bench::new(format!("latency {part}, {clients} clients"), "ms", millis(gathered.latency(quantile)))
                .beside(floor)
                .at(at("Latency by clients", part))
        };
        let rate = Bench::new(format!("signatures, {clients} clients"), "1/s", gathered.per_second())
            .beside(if clients == 1 { self.token.one_thread } else { self.token.two_threads })
            .at(at("Signatures a second by clients", "signatures"));
        [rate, latency("p50", 0.5), latency("p99", 0.99)]
    }

    fn of_wallets(&self, wallets: u64, made: f64, gathered: &Gathered) -> Vec<Bench> {
        let at = |plot: &str, line: &str| Point {
            plot: plot.into(),
            line: line.into(),
            of: "wallets".into(),
            x: wallets,
        };
        let mut rows = vec![
            Bench::new(format!("signatures, 64 clients, {wallets} wallets"), "1/s", gathered.per_second())
                .beside(self.token.two_threads)
                .at(at("Signatures a second by wallets", "signatures")),
        ];
        if wallets > 1 {
            let name = format!("making a wallet, up to {wallets}");
            rows.push(Bench::new(name, "ms", made).at(at("Making a wallet by wallets", "making")));
        }
        rows
    }
}
