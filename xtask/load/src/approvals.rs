//! From an officer's last word to the release, through the API. The challenge is made from docs/approvals.md.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use xtask::appliance::Programs;
use xtask::figures::row::Bench;
use xtask::talk;

use crate::api::{millis, raw};
use crate::door::{Door, Line, unexpected};
use crate::person::Person;
use crate::stage::{NAME, Stage, large_body};
use crate::{Error, logins, officer};

/// The approver group of the stage's bundle, which asks for one word.
const GROUP: &str = "officers";

/// Releases `runs` requests, each by its last approval.
///
/// # Errors
/// [`Error`] when a single one was not released.
pub fn run(programs: &Programs, suite: &Path, folder: &Path, runs: u64) -> Result<Vec<Bench>, Error> {
    let state = folder.join("state");
    let mut stage = Stage::set(programs, &state)?;
    let person = Person::new(0)?;
    officer::into_bundle(&stage, &person.entry(&format!("roles = [\"approver\"]\ngroups = [\"{GROUP}\"]")))?;
    stage.appliance.issue(&person.name, "officer")?;
    let door = Door::read(&stage.appliance.client(&person.name))?;
    let (mut officer, mut client) =
        (door.connect().map_err(broken)?, stage.client.connect().map_err(broken)?);
    talk::line(&format!("approvals: {runs} requests, each released by its last approval"));
    let mut times = Vec::new();
    for run in 0..runs {
        let body = large_body(NAME, run);
        let request = stage.client.request("POST", "/v1/sign", Some(&format!("run-{run}")), Some(&body));
        let pending = call(&mut client, "POST /v1/sign", &request, 202)?;
        let id = pending.get("request_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let path = format!("/v1/approvals/{id}");
        let sheet = call(&mut officer, "GET /v1/approvals", &door.request("GET", &path, None, None), 200)?;
        let word = word(&person, &sheet)?.to_string();
        let request = door.request("POST", &path, None, Some(word.as_bytes()));
        let began = Instant::now();
        let spoke = call(&mut officer, "POST /v1/approvals", &request, 200)?;
        times.push(began.elapsed());
        if spoke.get("state") != Some(&"released".into()) {
            return Err(xtask::Stop::answer("a released request", spoke).into());
        }
    }
    stage.appliance.stop()?;
    talk::line("approvals: token, assertion and disk alone");
    let token = raw::token(suite, &state, Duration::from_secs(2))?;
    let (disk, assertion) = (raw::disk(&state)?, logins::assertion_alone()?);
    let signature = Duration::from_secs_f64(1.0 / token.one_thread);
    times.sort_unstable();
    let at = |part: usize| times.get(times.len().saturating_sub(1) * part / 100).copied().unwrap_or_default();
    // The word, the decision after it and the outcome are each on disk before the answer; wallet and checkpoint are signed.
    let alone = assertion + disk * 3 + signature * 2;
    Ok(vec![
        Bench::new("from the last approval to the release, p50", "ms", millis(at(50))).beside(millis(alone)),
        Bench::new("from the last approval to the release, p99", "ms", millis(at(99))).beside(millis(alone)),
    ])
}

/// The officer's approval of what the sheet shows.
fn word(person: &Person, sheet: &Value) -> Result<Value, Error> {
    let of = |name: &str| sheet.get(name).cloned().unwrap_or_default();
    let matter = json!({
        "v": 1, "act": "approve", "tenant": "default", "group": GROUP, "request_id": of("request_id"),
        "client": of("client"), "wallet": of("wallet"), "intent": of("intent"), "bundle": of("bundle"),
    });
    let matter = serde_json_canonicalizer::to_vec(&matter);
    let matter = matter.map_err(|error| xtask::Stop::answer("canonical JSON", error))?;
    let challenge = Sha256::new().chain_update("chancery approval v1\n").chain_update(matter);
    let assertion = person.assertion(&challenge.finalize().into())?;
    Ok(json!({ "act": "approve", "group": GROUP, "bundle": of("bundle"), "assertion": assertion }))
}

fn call(line: &mut Line, what: &str, request: &[u8], status: u16) -> Result<Value, Error> {
    let answer = line.call(request).map_err(broken)?;
    if answer.status == status { Ok(answer.json()) } else { Err(unexpected(what, &answer)) }
}

fn broken(source: std::io::Error) -> Error {
    Error::Connection { call: "an approval".into(), source }
}
