//! The one way out: results on standard output, talk on standard error. Trusts no text: what came from a server or
//! a file is shown without control or direction-changing characters. If this is wrong, a hostile answer can
//! rewrite what an officer sees on the terminal. A reader that went away (broken pipe) is not an error.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use crate::Error;

type Stdout = io::BufWriter<io::Stdout>;

/// Where one run of the program writes.
pub struct Output {
    json: bool,
    /// `None` once the reader went away: the command goes on to its own exit code.
    stdout: RefCell<Option<Stdout>>,
}

impl Output {
    /// With `json`, results are JSON documents and errors are JSON objects.
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self { json, stdout: RefCell::new(Some(io::BufWriter::new(io::stdout()))) }
    }

    /// Whether results are wanted as JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Bytes to standard output, as they are: only for what this program made itself (completions, exports).
    ///
    /// # Errors
    /// [`Error::Output`] when standard output cannot be written, other than by a reader that went away.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        self.try_write(|stdout| stdout.write_all(bytes))
    }

    /// One line of a result, made safe for a terminal.
    ///
    /// # Errors
    /// As [`Output::bytes`].
    pub fn line(&self, text: &str) -> Result<(), Error> {
        self.bytes(format!("{}\n", visible(text)).as_bytes())
    }

    /// A result as one JSON document, over several lines.
    ///
    /// # Errors
    /// As [`Output::bytes`].
    pub fn document(&self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other).map_err(Error::Output)?;
        self.bytes(format!("{}\n", escaped(&text)).as_bytes())
    }

    /// A result as one line of JSON.
    ///
    /// # Errors
    /// As [`Output::bytes`].
    pub fn json_line(&self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string(value).map_err(io::Error::other).map_err(Error::Output)?;
        self.bytes(format!("{}\n", escaped(&text)).as_bytes())
    }

    /// Rows under a heading, in columns as wide as their widest cell.
    ///
    /// # Errors
    /// As [`Output::bytes`].
    pub fn table<const N: usize>(&self, heading: [&str; N], rows: &[[String; N]]) -> Result<(), Error> {
        let heading = heading.map(str::to_owned);
        let cells: Vec<[String; N]> = std::iter::once(&heading)
            .chain(rows)
            .map(|row| row.each_ref().map(|cell| visible(cell)))
            .collect();
        let mut widths = [0; N];
        for row in &cells {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &cells {
            let line: Vec<String> =
                row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            self.line(line.join("  ").trim_end())?;
        }
        Ok(())
    }

    /// One line of talk. A standard error that cannot be written is nobody's concern.
    pub fn say(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{}", visible(text));
    }

    /// What is asked for, told last: the error, its causes and a hint.
    pub fn fail(&self, error: &Error) {
        if self.json {
            let text = json!({ "error": error.document() }).to_string();
            let _ = writeln!(io::stderr(), "{}", escaped(&text));
            return;
        }
        self.say(&format!("error: {}", error.chain()));
        for note in error.notes() {
            self.say(&format!("  {note}"));
        }
        if let Some(hint) = error.hint() {
            self.say(&format!("hint: {hint}"));
        }
    }

    /// Flushes what is still held back.
    ///
    /// # Errors
    /// As [`Output::bytes`].
    pub fn flush(&self) -> Result<(), Error> {
        self.try_write(io::BufWriter::flush)
    }

    fn try_write(&self, write: impl FnOnce(&mut Stdout) -> io::Result<()>) -> Result<(), Error> {
        let mut stdout = self.stdout.borrow_mut();
        let Some(writer) = stdout.as_mut() else { return Ok(()) };
        match write(writer) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                // Dropping the writer would try the pipe again; its buffer has no reader any more.
                let _ = stdout.take().map(io::BufWriter::into_parts);
                Ok(())
            }
            other => other.map_err(Error::Output),
        }
    }
}

/// True for characters that act on a terminal instead of being seen: controls, line and paragraph separators,
/// and Unicode's direction marks and zero-width characters (UTR 36, "Trojan Source").
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with every character that acts on a terminal written as `\u{..}`. Line breaks stay.
#[must_use]
pub fn visible(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if acts(c) && c != '\n' {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
        out
    })
}

/// JSON text with the same characters as `\uXXXX`: the same document, safe to look at. Outside of strings JSON has
/// none of them but line breaks.
#[must_use]
pub fn escaped(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut out, c| {
        if acts(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
        out
    })
}

/// What stands at `pointer` (RFC 6901) of a JSON document, as one cell of text; `-` where there is nothing.
#[must_use]
pub fn cell(document: &Value, pointer: &str) -> String {
    match document.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(value) => one_line(value),
    }
}

/// A JSON value as one line of text: strings as they are, lists joined by `, `.
#[must_use]
pub fn one_line(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('\n', " "),
        Value::Array(items) => items.iter().map(one_line).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_act_on_the_terminal() {
        let hostile = "ok\u{1b}[2J\u{9b}1m\u{202e}evil\u{7f}\r\u{200b}";
        let shown = visible(hostile);
        assert!(!shown.chars().any(acts), "{shown}");
        assert!(shown.contains("evil") && shown.contains("\\u{1b}"));
    }

    #[test]
    fn escaped_json_is_the_same_document() {
        let document = json!({ "a": "x\u{1b}\u{9b}\u{202e}\u{e0001}\u{7f}\n", "b": ["\u{fffb}"] });
        let text = escaped(&document.to_string());
        assert!(!text.chars().any(acts), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
    }
}
