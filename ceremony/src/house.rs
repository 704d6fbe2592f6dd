//! What is done to the house rather than to the token: `chanceryd` does it in a process of its own, which has the store only
//! while no daemon serves. It gets the PIN at its standard input and answers a JSON document.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::error::CeremonyError;
use crate::run::Stage;

/// LIMIT: an answer, in bytes.
const ANSWER_BYTES: u64 = 256 * 1024;
/// LIMIT: what is kept of what it says of a failure, in bytes.
const TALK_BYTES: u64 = 4 * 1024;

impl Stage {
    /// Has `chanceryd house` do something, and answers what it tells.
    pub(crate) async fn house(&mut self, words: &[String]) -> Result<Value, CeremonyError> {
        let pin = self.user_pin()?;
        let program = self.room.worker.clone();
        let failed = CeremonyError::file(&program);
        let run = async {
            let mut child = Command::new(&program)
                .arg("house")
                .arg("--config")
                .arg(&self.room.config)
                .args(words)
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .env("LANG", "C.UTF-8")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            if let Some(mut input) = child.stdin.take() {
                // One that has ended already says why on its standard error.
                let _ = input.write_all(pin.expose()).await;
            }
            let (mut answer, mut talk) = (Vec::new(), Vec::new());
            if let (Some(output), Some(said)) = (child.stdout.take(), child.stderr.take()) {
                let (mut output, mut said) = (output.take(ANSWER_BYTES), said.take(TALK_BYTES));
                let both = tokio::join!(output.read_to_end(&mut answer), said.read_to_end(&mut talk));
                both.0?;
                both.1?;
            }
            Ok((child.wait().await?, answer, talk))
        };
        let (status, answer, talk) = run.await.map_err(failed)?;
        if !status.success() {
            let talk = String::from_utf8_lossy(&talk);
            let said = talk.lines().last().unwrap_or_default().trim_start_matches("chanceryd: ");
            return Err(CeremonyError::House(format!("{said} ({status})")));
        }
        serde_json::from_slice(&answer)
            .map_err(|error| CeremonyError::House(format!("its answer does not parse: {error}")))
    }
}
