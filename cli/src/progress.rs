//! Talk about long work: at most a line a second on standard error, and none where nobody looks.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::Output;

const EVERY: Duration = Duration::from_secs(1);

/// Long work, told of while it goes on.
pub struct Progress<'o> {
    output: &'o Output,
    verb: &'static str,
    shown: bool,
    told: Option<Instant>,
}

impl<'o> Progress<'o> {
    /// Work begins; it is told of where standard error is a terminal.
    pub fn start(output: &'o Output, verb: &'static str) -> Self {
        Self { output, verb, shown: std::io::stderr().is_terminal(), told: None }
    }

    /// The same, told of wherever standard error leads.
    #[must_use]
    pub fn shown(mut self, always: bool) -> Self {
        self.shown |= always;
        self
    }

    /// `done` steps of `total` are done; of none where nobody knows how many there are.
    pub fn at(&mut self, done: u64, total: Option<u64>) {
        let ended = total == Some(done);
        let due = self.told.is_none_or(|told| told.elapsed() >= EVERY);
        if self.shown && (due || ended) {
            self.output.say(&match total {
                Some(total) => format!("{} {done} of {total}", self.verb),
                None => format!("{} {done}", self.verb),
            });
            self.told = Some(Instant::now());
        }
    }
}
