//! A line that a person types, read straight into secret memory and not shown on the terminal meanwhile. If this is wrong, a PIN
//! or a password stands on the screen, or in a buffer that nobody wipes.

use std::fs::File;
use std::io::{self, Read};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr};

use crate::SecretBytes;

/// What Ctrl-C sends.
const INTERRUPT: u8 = 3;

/// Reads one line of at most `limit` bytes, without its end, from a terminal that shows nothing of it, or from whatever else
/// `input` is. `ask` says what for, once nothing is shown any more: what is typed before it is not taken. Nothing behind the
/// line is taken either.
///
/// # Errors
/// [`io::ErrorKind::Interrupted`] for Ctrl-C, [`io::ErrorKind::UnexpectedEof`] where the input ends before the line, what the
/// terminal answers, and [`SecretError`](crate::SecretError) within [`io::ErrorKind::Other`].
pub fn typed(input: &File, limit: usize, ask: impl FnOnce() -> io::Result<()>) -> io::Result<SecretBytes> {
    let hidden = Hidden::on(input)?;
    ask()?;
    let mut line = Line { input, end: None };
    let read = SecretBytes::read_to_end(&mut line, limit);
    let end = line.end;
    drop(hidden);
    match end {
        Some(End::Input) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the input has ended")),
        Some(End::Interrupt) => Err(io::Error::new(io::ErrorKind::Interrupted, "given up")),
        Some(End::Line) | None => read.map_err(io::Error::other),
    }
}

/// A terminal that shows nothing, until this is dropped.
struct Hidden<'t>(&'t File, Option<Termios>);

impl<'t> Hidden<'t> {
    fn on(input: &'t File) -> io::Result<Self> {
        if !isatty(input) {
            return Ok(Self(input, None));
        }
        let before = tcgetattr(input)?;
        let mut now = before.clone();
        // Without signals an interrupt ends the line, so that it cannot leave the terminal hidden.
        now.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        now.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(input, OptionalActions::Flush, &now)?;
        Ok(Self(input, Some(before)))
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.1 {
            let _ = tcsetattr(self.0, OptionalActions::Now, before);
        }
    }
}

#[derive(Clone, Copy)]
enum End {
    Line,
    Input,
    Interrupt,
}

/// The bytes up to the end of the line, one at a time.
struct Line<'t> {
    input: &'t File,
    end: Option<End>,
}

impl Read for Line<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(one) = buffer.get_mut(..1).filter(|_| self.end.is_none()) else { return Ok(0) };
        let read = self.input.read(one)?;
        self.end = match (read, &*one) {
            (0, _) => Some(End::Input),
            (_, [b'\n' | b'\r']) => Some(End::Line),
            (_, [INTERRUPT]) => Some(End::Interrupt),
            _ => return Ok(read),
        };
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek as _, Write as _};

    fn given(text: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file.rewind().unwrap();
        file
    }

    fn line(input: &File) -> io::Result<SecretBytes> {
        typed(input, 8, || Ok(()))
    }

    /// Would catch a line that takes a part of the next one, and an answer that was cut and passes for a whole one.
    #[test]
    fn a_line_is_read_and_no_more() {
        let input = given(b"first\n\nlast");
        assert_eq!(line(&input).unwrap().expose(), b"first");
        assert!(line(&input).unwrap().is_empty(), "an empty line is an answer");
        assert_eq!(line(&input).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(line(&given(b"pass\x03word\n")).unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert!(line(&given(b"123456789\n")).is_err(), "longer than the limit");
    }
}
