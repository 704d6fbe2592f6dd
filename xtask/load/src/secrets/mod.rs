//! ASSURANCE line 8: looks for the token's PIN, an officer's password, the secrets of the officer's one-time codes and of a webhook in
//! everything that daemon and worker leave in reach: their memory, their command lines and environments, core dumps, every
//! file they write; for PINs, custodians' identities and seeds while a ceremony is held; and for the seed of a cold wallet there
//! and where it lives. A search that could not find anything proves nothing, so each place holds a canary as well, and a
//! canary that is not found is a broken promise.

mod ceremony;
mod cold;
mod frozen;
mod sealed;
mod search;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use xtask::appliance::{Appliance, Programs};
use xtask::figures::row::Promise;
use xtask::run::Cmd;
use xtask::{http, talk};

use self::search::{Seen, Wanted, cores_in, each_file, may_dump, memory};
use crate::officer::Officer;
use crate::stage::{self, Stage};
use crate::{Error, process};

const PROMISE: &str = "secrets stay where they belong";
const WHAT: &str = "PIN, password, secrets of codes and of a webhook, seed of a cold wallet";
/// How long a process may take to end or to come back.
const WAIT: Duration = Duration::from_secs(30);
/// What the daemon is sent and holds while it is searched.
const CANARY: &str = "canary-5b0e1c7a94d2f386-held-in-a-request";

/// Runs an appliance in `folder`, searches it at each moment, and answers one row a place.
///
/// # Errors
/// [`Error`] when something could not be searched.
pub fn run(programs: &Programs, folder: &Path) -> Result<Vec<Promise>, Error> {
    let state = folder.join("state");
    let appliance = Appliance::init(programs, &state)?;
    let webhook = webhook(&appliance)?;
    let mut stage = Stage::on(appliance, &state)?;
    let path = state.join("hsm/pin");
    let pin = fs::read(&path).map_err(Error::file(&path))?;
    let key = public_key(&stage)?;
    let officer = Officer::enrol(&stage, folder)?;
    let apart = cold::run(&stage, &folder.join("apart"))?;
    let mut secrets = vec![
        &pin[..],
        officer.password.as_bytes(),
        officer.codes.as_bytes(),
        &officer.codes_bytes,
        webhook.text.as_bytes(),
        &webhook.bytes,
    ];
    secrets.extend(apart.secrets.iter().map(Vec::as_slice));
    let mut daemon = Vec::new();
    let mut worker = Vec::new();
    for (nonce, moment) in
        ["after a login", "after a refusal", "after the worker was killed"].iter().enumerate()
    {
        talk::line(&format!("secrets: {moment}"));
        match nonce {
            0 => officer.log_in(&stage)?,
            1 => drop(stage.client.call("POST", "/v1/sign", Some("refused"), Some(b"{}"))?),
            2 => kill_worker(&stage)?,
            _ => {}
        }
        sign(&stage, nonce as u64)?;
        // Half a request: the daemon holds its bytes for as long as we look.
        let mut line = stage.client.connect().map_err(broken)?;
        line.begin(format!("GET /v1/wallets HTTP/1.1\r\nx-canary: {CANARY}\r\n").as_bytes())
            .map_err(broken)?;
        let (parent, child) = both(&stage)?;
        let wanted = Wanted::new(&secrets, CANARY.as_bytes());
        daemon.push(settled(|| memory(parent, &wanted))?);
        // The worker keeps the public key of what it signed with.
        worker.push(settled(|| memory(child, &Wanted::new(&secrets, &key)))?);
    }
    let mut rows = vec![
        of_memory(WHAT, "the daemon's memory", &daemon),
        of_memory(WHAT, "the worker's memory", &worker),
    ];

    let (parent, child) = both(&stage)?;
    let mut starts = Seen::default();
    for pid in [parent, child] {
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{file}");
            // Both are started by the daemon's name, with an argument.
            let wanted = Wanted::new(&secrets, if file == "cmdline" { b"chanceryd" } else { b"PATH=" });
            starts.add(wanted.count(&fs::read(&path).map_err(Error::file(&path))?));
        }
    }
    rows.push(row(WHAT, "command lines and environments", 4, starts, "the program's name"));

    let cores = cores(&mut stage, &state, [parent, child])?;
    let mut files = Seen::default();
    let wanted = Wanted::new(&secrets, stage::NAME.as_bytes());
    each_file(&state, &mut |path| {
        if !path.ends_with("hsm/pin") && !path.ends_with(WEBHOOK) {
            files.add(wanted.count(&fs::read(path).map_err(Error::file(path))?));
        }
        Ok(())
    })?;
    rows.push(row(WHAT, "files, but for those of PIN and webhook", 1, files, "the wallet's name"));
    rows.push(cores);
    rows.extend(apart.rows);
    rows.extend(ceremony::run(programs, &folder.join("ceremony"))?);
    Ok(rows)
}

/// The file of a webhook's secret.
const WEBHOOK: &str = "webhook.secret";

/// A webhook's secret, as it is written and as it signs.
struct Webhook {
    text: String,
    bytes: Vec<u8>,
}

/// Gives the appliance a webhook that nobody answers: what happens is signed for it again and again.
fn webhook(appliance: &Appliance) -> Result<Webhook, Error> {
    let path = appliance.dir.join(WEBHOOK);
    appliance.chancery(None).args(["webhook", "secret", "--out"]).arg(&path).quiet()?;
    let text = fs::read_to_string(&path).map_err(Error::file(&path))?.trim().to_owned();
    let bytes = text.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    let none = || Error::file(&path)(std::io::Error::other("it holds no webhook's secret"));
    let bytes = bytes.ok_or_else(none)?;
    let config = appliance.config();
    let entry = format!(
        "\n[[webhook]]\nname = \"search\"\nurl = \"https://127.0.0.1:9/\"\nsecret = {{ file = \"{WEBHOOK}\" }}\n"
    );
    let whole = fs::read_to_string(&config).map_err(Error::file(&config))? + &entry;
    fs::write(&config, whole).map_err(Error::file(&config))?;
    Ok(Webhook { text, bytes })
}

fn row(what: &str, place: &str, runs: usize, seen: Seen, canary: &str) -> Promise {
    let blind = seen.canaries == 0;
    let closed = match seen.closed {
        0 => String::new(),
        bytes => format!(", {} KiB closed to root", bytes / 1024),
    };
    Promise {
        promise: PROMISE.into(),
        test: format!("{what} in {place}"),
        runs: runs as u64,
        failures: seen.secrets + u64::from(blind),
        figure: format!(
            "{} secrets in {:.1} MiB{closed}; canary ({canary}) {} times",
            seen.secrets,
            seen.bytes as f64 / (1024.0 * 1024.0),
            seen.canaries
        ),
        goal: "0 hits, the canary found".into(),
        met: seen.secrets == 0 && !blind,
    }
}

/// A moment at which nothing could be read was closed to this user altogether.
fn of_memory(what: &str, place: &str, moments: &[Option<Seen>]) -> Promise {
    let mut all = Seen::default();
    moments.iter().flatten().for_each(|seen| all.add(*seen));
    let found = row(what, place, moments.len(), all, "of each moment");
    if moments.iter().all(Option::is_none) {
        let figure = "not readable by this user at all; root scans it".to_owned();
        return Promise { figure, failures: 0, met: true, ..found };
    }
    let blind = moments.iter().flatten().filter(|seen| seen.canaries == 0).count() as u64;
    Promise { failures: all.secrets + blind, met: all.secrets + blind == 0, ..found }
}

/// Searches until the canary is there: a request that was sent is not yet one that was read.
fn settled(look: impl Fn() -> Result<Option<Seen>, Error>) -> Result<Option<Seen>, Error> {
    let started = Instant::now();
    loop {
        let seen = look()?;
        if seen.is_none_or(|seen| seen.canaries > 0) || started.elapsed() > WAIT / 3 {
            return Ok(seen);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Has both processes abort: neither may leave a core. (A SIGSEGV from outside is survived once: the runtime takes it for a full stack.)
fn cores(stage: &mut Stage, state: &Path, pids: [u32; 2]) -> Result<Promise, Error> {
    let allowed = u64::from(may_dump(pids[0])?) + u64::from(may_dump(pids[1])?);
    for pid in [pids[1], pids[0]] {
        Cmd::new("kill").args(["-ABRT", &pid.to_string()]).run()?;
    }
    let started = Instant::now();
    while stage.appliance.is_running() && started.elapsed() < WAIT {
        std::thread::sleep(Duration::from_millis(10));
    }
    if stage.appliance.is_running() {
        return Err(Error::Process { pid: pids[0], what: "it lives after SIGABRT".into() });
    }
    let left = cores_in(state)?;
    Ok(Promise {
        promise: PROMISE.into(),
        test: "core dumps of daemon and worker".into(),
        runs: 2,
        failures: allowed + left,
        figure: format!("{left} cores after SIGABRT; {allowed} of 2 processes may write one"),
        goal: "0".into(),
        met: allowed + left == 0,
    })
}

fn both(stage: &Stage) -> Result<(u32, u32), Error> {
    let daemon = stage.appliance.pid().ok_or_else(|| Error::Process { pid: 0, what: "no daemon".into() })?;
    let started = Instant::now();
    loop {
        if let [worker] = process::workers(daemon)?[..] {
            return Ok((daemon, worker));
        }
        if started.elapsed() > WAIT {
            return Err(Error::Process { pid: daemon, what: "it has no worker".into() });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Kills the worker and waits until the next one signs.
fn kill_worker(stage: &Stage) -> Result<(), Error> {
    let (_, worker) = both(stage)?;
    Cmd::new("kill").args(["-KILL", &worker.to_string()]).run()?;
    let started = Instant::now();
    while !(both(stage)?.1 != worker && stage.appliance.is_ready()) {
        if started.elapsed() > WAIT {
            return Err(Error::Process { pid: worker, what: "no worker took its place".into() });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn sign(stage: &Stage, nonce: u64) -> Result<(), Error> {
    // Every session of the worker has used the key after so many.
    for at in 0..8 {
        let nonce = nonce * 8 + at;
        let (key, body) = (format!("secret-{nonce}"), stage::sign_body(stage::NAME, nonce));
        let answer = stage.client.call("POST", "/v1/sign", Some(&key), Some(&body))?;
        if answer.status != 200 {
            return Err(crate::door::unexpected("POST /v1/sign", &answer));
        }
    }
    Ok(())
}

/// The wallet's public key, as its bytes.
fn public_key(stage: &Stage) -> Result<Vec<u8>, Error> {
    let answer: http::Answer = stage.client.read_document(&format!("/v1/wallets/{}", stage::NAME))?;
    let wallet: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    let key = wallet.as_ref().and_then(|wallet| wallet.get("public_key")?.as_str());
    let key = key.and_then(|key| hex::decode(key.trim_start_matches("0x")).ok());
    key.ok_or_else(|| crate::door::unexpected("GET /v1/wallets", &answer))
}

fn broken(source: std::io::Error) -> Error {
    Error::Connection { call: "a request left half sent".into(), source }
}
