//! What must hold after a death, as a client, an auditor and the command line's offline verifier see it:
//! a signature that was seen has a receipt that verifies and stays what it was; one that was not seen can be had by a
//! retry; either way it is released once and counted once, and the log is never shorter than anybody saw it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::http::Answer;

use super::lane::is_signature;
use crate::Error;
use crate::stage::{self, COUNTED, Stage};

/// How long a retry may be answered with "not yet".
const PATIENCE: Duration = Duration::from_secs(30);
/// Newest requests looked at: more than one run can leave.
const NEWEST: usize = 20;

/// The account of one lane.
#[derive(Debug)]
pub struct Verdict {
    folder: PathBuf,
    /// The wallet that the requests are of.
    wallet: &'static str,
    /// Requests that must be released by now.
    released: u64,
    /// The newest request of the runs before.
    newest: Option<String>,
    /// The largest log anybody saw.
    log_size: u64,
    checkpoint: Option<PathBuf>,
}

impl Verdict {
    /// An account with nothing in it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn new(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(Error::file(folder))?;
        Ok(Self {
            folder: folder.into(),
            wallet: stage::NAME,
            released: 0,
            newest: None,
            log_size: 0,
            checkpoint: None,
        })
    }

    /// From now on requests are of another wallet, of which nothing was released.
    pub fn turn_to(&mut self, wallet: &'static str) {
        (self.wallet, self.released) = (wallet, 0);
    }

    /// Looks at everything after one run whose client sent `body` under `key` and saw `answer`. Answers what is broken.
    ///
    /// # Errors
    /// [`Error`] when the appliance does not answer at all.
    pub fn settle(
        &mut self,
        stage: &mut Stage,
        key: &str,
        body: &[u8],
        answer: Option<&Answer>,
    ) -> Result<Vec<String>, Error> {
        let released = self.released;
        self.look(stage, key, body, answer).inspect_err(|_| self.released = released)
    }

    fn look(
        &mut self,
        stage: &mut Stage,
        key: &str,
        body: &[u8],
        answer: Option<&Answer>,
    ) -> Result<Vec<String>, Error> {
        let mut broken = Vec::new();
        let first = answer.map(Answer::json).filter(is_signature);
        if let Some(seen) = &first {
            self.look_at_receipt(stage, seen, &mut broken)?;
        }
        // A signature that was seen before must be the one that the same key answers now.
        match self.retry(stage, key, body)? {
            Ok(again) => {
                match &first {
                    None => self.look_at_receipt(stage, &again, &mut broken)?,
                    Some(seen) => {
                        for pointer in ["/request_id", "/signature/bytes", "/signing_digest"] {
                            if seen.pointer(pointer) != again.pointer(pointer) {
                                broken.push(format!("a retry of `{key}` has another {pointer}"));
                            }
                        }
                    }
                }
                self.released += 1;
                self.look_at_requests(stage, &again, &mut broken)?;
            }
            Err(refusal) => broken.push(format!("a retry of `{key}` is refused: {refusal}")),
        }
        self.look_at_count(stage, &mut broken)?;
        broken.extend(self.look_at_log(stage)?);
        Ok(broken)
    }

    /// Looks at everything after one run in which an administrator's word was to make `wallet`: the change goes on to its end
    /// or fails whole, and either way the wallet is made once, with a receipt.
    ///
    /// # Errors
    /// [`Error`] when the appliance does not answer at all.
    pub fn settle_change(&mut self, stage: &Stage, wallet: &str, id: &str) -> Result<Vec<String>, Error> {
        let mut broken = Vec::new();
        let (mut id, started) = (id.to_owned(), Instant::now());
        let there = |stage: &Stage| {
            let path = format!("/v1/wallets/{wallet}");
            stage.operator.call("GET", &path, None, None).map(|answer| answer.status == 200)
        };
        loop {
            let request = stage.operator.read_document(&format!("/v1/requests/{id}"))?.json();
            let state = request.get("state").and_then(Value::as_str).unwrap_or_default();
            if state != "released" && there(stage)? {
                broken.push(format!("`{wallet}` is there, and its change is {state}"));
                return Ok(broken);
            }
            match state {
                "released" => break,
                // The last word was lost with the process.
                "pending" => {
                    if let Err(error) = stage.agree(&id).or_else(|_| stage.agree(&id)) {
                        broken.push(format!("the administrator's word is refused: {error}"));
                        return Ok(broken);
                    }
                }
                "failed" => id = stage.ask_for_wallet(wallet)?,
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
            if started.elapsed() > PATIENCE {
                broken.push(format!("the change of `{wallet}` is left as {state}"));
                return Ok(broken);
            }
        }
        if !there(stage)? {
            broken.push(format!("the change of `{wallet}` was released, and it is not there"));
        }
        let receipt = stage.operator.read_document(&format!("/v1/requests/{id}/receipt"))?.json();
        self.look_at_receipt(stage, &serde_json::json!({ "receipt": receipt }), &mut broken)?;
        broken.extend(self.look_at_wallets(stage, wallet)?);
        broken.extend(self.look_at_log(stage)?);
        Ok(broken)
    }

    /// The log says once that the wallet was made.
    fn look_at_wallets(&self, stage: &Stage, wallet: &str) -> Result<Option<String>, Error> {
        let (mut made, mut after) = (0_u32, self.log_size.checked_sub(1).map(|last| last.to_string()));
        loop {
            let from = after.map(|after| format!("&after={after}")).unwrap_or_default();
            let page = stage.operator.read_document(&format!("/v1/events?limit=500{from}"))?.json();
            let events = page.get("events").and_then(Value::as_array).into_iter().flatten();
            made += events
                .filter(|event| event.get("type").and_then(Value::as_str) == Some("wallet.created"))
                .filter(|event| event.pointer("/data/record/wallet").and_then(Value::as_str) == Some(wallet))
                .map(|_| 1)
                .sum::<u32>();
            after = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if after.is_none() {
                return Ok((made != 1).then(|| format!("the log says {made} times that `{wallet}` was made")));
            }
        }
    }

    /// Sends the request again until it is answered for good: the signature, or why not.
    fn retry(&self, stage: &mut Stage, key: &str, body: &[u8]) -> Result<Result<Value, String>, Error> {
        let started = Instant::now();
        loop {
            let answer = stage.client.call("POST", "/v1/sign", Some(key), Some(body))?;
            let document = answer.json();
            if answer.status == 200 && is_signature(&document) {
                return Ok(Ok(document));
            }
            // The last word was lost with the process, or the request that it was about failed: it is said again.
            if let (202, Some(id)) = (answer.status, document.get("request_id").and_then(Value::as_str)) {
                let go_on = || match self.wallet {
                    stage::COLD => stage.bring(id, &stage.sign_apart(id)?).map(drop),
                    _ => stage.approve(id),
                };
                if let Err(error) = go_on().or_else(|_| go_on()) {
                    return Ok(Err(format!(
                        "the officer's word, or what was signed apart, is refused: {error}"
                    )));
                }
                continue;
            }
            let code = document.get("code").and_then(Value::as_str).unwrap_or_default();
            let not_yet = matches!(answer.status, 429 | 503) || code == "request-in-progress";
            if !not_yet || started.elapsed() > PATIENCE {
                return Ok(Err(format!("status {}: {document}", answer.status)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The receipt verifies offline, under the keys fetched before anything happened.
    fn look_at_receipt(&self, stage: &Stage, seen: &Value, broken: &mut Vec<String>) -> Result<(), Error> {
        let Some(receipt) = seen.get("receipt").filter(|receipt| !receipt.is_null()) else {
            broken.push("a signature came without a receipt".into());
            return Ok(());
        };
        let path = self.folder.join("receipt.json");
        fs::write(&path, receipt.to_string()).map_err(Error::file(&path))?;
        let verified = stage
            .appliance
            .chancery(None)
            .args(["receipt", "verify", "--trust"])
            .arg(&stage.trust)
            .arg(&path)
            .quiet();
        if let Err(stop) = verified {
            broken.push(format!("a receipt does not verify: {stop}"));
        }
        Ok(())
    }

    /// Since the run before, exactly one request was released; others can only have failed.
    fn look_at_requests(
        &mut self,
        stage: &Stage,
        again: &Value,
        broken: &mut Vec<String>,
    ) -> Result<(), Error> {
        let document = stage.client.read_document(&format!("/v1/requests?limit={NEWEST}"))?.json();
        let rows = document.get("requests").and_then(Value::as_array).cloned().unwrap_or_default();
        let text =
            |row: &Value, name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let new: Vec<&Value> = rows
            .iter()
            .take_while(|row| self.newest.as_deref() != Some(text(row, "request_id").as_str()))
            .collect();
        let released: Vec<String> = new
            .iter()
            .filter(|row| text(row, "state") == "released")
            .map(|row| text(row, "request_id"))
            .collect();
        if released != [text(again, "request_id")] {
            broken.push(format!("one request should be released, but these are: {released:?}"));
        }
        for row in new.iter().filter(|row| !matches!(text(row, "state").as_str(), "released" | "failed")) {
            broken.push(format!("request {} is left as `{}`", text(row, "request_id"), text(row, "state")));
        }
        self.newest = rows.first().map(|row| text(row, "request_id"));
        Ok(())
    }

    /// The limit counted every release once, as a preview tells it (which counts itself too).
    fn look_at_count(&self, stage: &Stage, broken: &mut Vec<String>) -> Result<(), Error> {
        let answer =
            stage.client.call("POST", "/v1/preview", None, Some(&stage::sign_body(self.wallet, 0)))?;
        let Some(total) = total_of(&answer.json(), COUNTED) else {
            return Err(crate::door::unexpected("POST /v1/preview (no total of a limit)", &answer));
        };
        if total != self.released + 1 {
            broken.push(format!(
                "the limit counted {} requests, but {} were released",
                total - 1,
                self.released
            ));
        }
        Ok(())
    }

    /// The log verifies, has only grown since it was last seen, and is not shorter than ever seen.
    ///
    /// # Errors
    /// [`Error`] when it cannot be read.
    pub fn look_at_log(&mut self, stage: &Stage) -> Result<Vec<String>, Error> {
        let mut broken = Vec::new();
        let checkpoint = stage.operator.read_document("/v1/log/checkpoint")?.body;
        let size = size_of(&String::from_utf8_lossy(&checkpoint));
        match size {
            Some(size) if size >= self.log_size => self.log_size = size,
            Some(size) => broken.push(format!("the log has {size} entries, but had {}", self.log_size)),
            None => broken.push("the checkpoint is none".into()),
        }
        let mut verify =
            stage.appliance.chancery(Some("operator")).args(["audit", "verify", "--trust"]).arg(&stage.trust);
        if let Some(before) = &self.checkpoint {
            verify = verify.arg("--since").arg(before);
        }
        if let Err(stop) = verify.quiet() {
            broken.push(format!("the log does not verify: {stop}"));
        }
        let path = self.folder.join("checkpoint");
        fs::write(&path, checkpoint).map_err(Error::file(&path))?;
        self.checkpoint = Some(path);
        Ok(broken)
    }
}

/// The second line of a checkpoint. Source: C2SP tlog-checkpoint.
fn size_of(checkpoint: &str) -> Option<u64> {
    checkpoint.lines().nth(1)?.parse().ok()
}

/// The total of a limit, wherever the answer holds `{"limit": <name>, "total": n}`.
fn total_of(document: &Value, limit: &str) -> Option<u64> {
    match document {
        Value::Object(members) => {
            if members.get("limit").and_then(Value::as_str) == Some(limit) {
                return members.get("total").and_then(Value::as_u64);
            }
            members.values().find_map(|value| total_of(value, limit))
        }
        Value::Array(values) => values.iter().find_map(|value| total_of(value, limit)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn totals_are_found_where_they_are() {
        let answer = json!({ "decision": { "effects": [{ "limits": [
            { "limit": "ether_day", "total": 5 }, { "limit": "requests_day", "total": 3 }
        ] }] } });
        assert_eq!(total_of(&answer, "requests_day"), Some(3));
        assert_eq!(total_of(&answer, "none"), None);
    }

    #[test]
    fn a_checkpoint_tells_its_size() {
        assert_eq!(size_of("localhost/chancery\n42\nroot=\n\n— sig\n"), Some(42));
        assert_eq!(size_of("localhost/chancery\nforty\n"), None);
        assert_eq!(size_of(""), None);
    }
}
