//! A ceremony's people, played: what `chancery ceremony` asks at standard error is answered at its descriptor 0.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::Stop;
use crate::run::Cmd;

/// Somebody's answer to a question.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This.
    Say(String),
    /// The program is killed where it waits.
    Kill,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The heading of the step, `step 2 of 4: ...`; empty before the first.
    pub step: &'a str,
    /// The question.
    pub text: &'a str,
    /// The process that asks, and waits.
    pub pid: u32,
}

/// How a ceremony's program ended, and what it said.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its exit code; none where it was killed.
    pub code: Option<i32>,
    /// Talk and result.
    pub talk: String,
}

impl Held {
    /// Not what should have come of it.
    #[must_use]
    pub fn unexpected(&self, told: &str) -> Stop {
        Stop::Unmet(format!("the ceremony should be {told}, but ended with {:?}:\n{}", self.code, self.talk))
    }
}

/// Runs a ceremony's program with `answer` for all its people.
///
/// # Errors
/// What `answer` returns, and [`Stop`] where the program cannot be run.
pub fn hold<E: From<Stop>>(
    command: Cmd,
    mut answer: impl FnMut(Question<'_>) -> Result<Reply, E>,
) -> Result<Held, E> {
    let command = command.args(["--answers", "0"]);
    let mut child = command
        .command()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| command.unstarted(source))?;
    let (mut all, mut step, mut last) = (String::new(), String::new(), String::new());
    let (input, output, pid) = (child.stdin.take(), child.stderr.take(), child.id());
    if let (Some(mut input), Some(output)) = (input, output) {
        for line in BufReader::new(output).lines() {
            let line = line.map_err(Stop::file("the ceremony's questions"))?;
            all.push_str(&line);
            all.push('\n');
            if line.starts_with("step ") {
                step.clone_from(&line);
            }
            let Some(text) = line.strip_prefix("? ") else { continue };
            // A new PIN is asked for twice.
            if text != "the same again" {
                match answer(Question { step: &step, text, pid })? {
                    Reply::Say(said) => last = said,
                    Reply::Kill => {
                        child.kill().map_err(Stop::file("the ceremony"))?;
                        break;
                    }
                }
            }
            // A program that has ended asks nothing more.
            let _ = writeln!(input, "{last}");
        }
    }
    let ended = child.wait_with_output().map_err(Stop::file("the ceremony"))?;
    all.push_str(&String::from_utf8_lossy(&ended.stdout));
    Ok(Held { code: ended.status.code(), talk: all })
}
