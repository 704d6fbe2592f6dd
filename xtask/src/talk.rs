//! What a task says while it works: always on stderr, so that stdout stays data.

use std::io::{IsTerminal, Write};
use std::time::Duration;

/// One line.
pub fn line(text: &str) {
    // A closed stderr must not end the task.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The heading of a step.
pub fn heading(text: &str) {
    if std::io::stderr().is_terminal() {
        line(&format!("\n\x1b[1m== {text}\x1b[0m"));
    } else {
        line(&format!("\n== {text}"));
    }
}

/// Data on stdout.
pub fn data(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// `75.2 s`, `310 ms`.
#[must_use]
pub fn span(time: Duration) -> String {
    if time.as_secs() == 0 {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}
