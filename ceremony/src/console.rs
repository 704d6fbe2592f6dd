//! How a ceremony talks to the people in the room: questions and answers on the terminal, secrets read without echo, straight
//! into secret memory. A test answers over an inherited descriptor; nothing is ever an argument or in the environment.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use chancery_secret::{Pin, SecretBytes, inherited, typed};

use crate::error::CeremonyError;

/// LIMIT: an age identity, in bytes.
pub const IDENTITY_BYTES: usize = 256;
/// LIMIT: an answer, in bytes.
const ANSWER_BYTES: usize = 64;
/// How often a question is put again.
const TRIES: usize = 3;

/// The people's end.
pub struct Console {
    input: File,
    output: Box<dyn Write>,
}

fn mute(error: &dyn std::fmt::Display) -> CeremonyError {
    CeremonyError::NoAnswer(error.to_string())
}

impl Console {
    /// The terminal of this process.
    ///
    /// # Errors
    /// [`CeremonyError::NoAnswer`] where it has none.
    pub fn terminal() -> Result<Self, CeremonyError> {
        let open = || File::options().read(true).write(true).open("/dev/tty");
        let (input, output) = open()
            .and_then(|input| Ok((input, open()?)))
            .map_err(|error| mute(&format!("no terminal: {error}")))?;
        Ok(Self { input, output: Box::new(output) })
    }

    /// Answers from an inherited descriptor, talk to standard error.
    ///
    /// # Errors
    /// [`CeremonyError::NoAnswer`] for a number that was not inherited.
    pub fn descriptor(fd: i32) -> Result<Self, CeremonyError> {
        let input: OwnedFd = inherited(fd).map_err(|error| mute(&format!("descriptor {fd}: {error}")))?;
        let output = io::stderr().as_fd().try_clone_to_owned().map_err(|error| mute(&error))?;
        Ok(Self { input: File::from(input), output: Box::new(File::from(output)) })
    }

    /// Says something to everybody.
    ///
    /// # Errors
    /// [`CeremonyError::NoAnswer`] where nobody can be reached.
    pub fn say(&mut self, text: &str) -> Result<(), CeremonyError> {
        self.output
            .write_all(format!("{text}\n").as_bytes())
            .and_then(|()| self.output.flush())
            .map_err(|error| mute(&error))
    }

    /// Asks a question to which the answer is `yes` or `no`.
    pub(crate) fn agrees(&mut self, question: &str) -> Result<bool, CeremonyError> {
        for _ in 0..TRIES {
            let answer = self.line(&format!("{question} (`yes` or `no`)"), ANSWER_BYTES)?;
            match std::str::from_utf8(answer.expose()).map(str::trim) {
                Ok("yes") => return Ok(true),
                Ok("no") => return Ok(false),
                _ => {}
            }
        }
        Err(mute(&"neither `yes` nor `no`"))
    }

    /// Asks for a secret of at most `limit` bytes. An empty line is an answer too.
    pub(crate) fn secret(&mut self, question: &str, limit: usize) -> Result<SecretBytes, CeremonyError> {
        self.line(question, limit)
    }

    /// Asks for a PIN that there is.
    pub(crate) fn pin(&mut self, question: &str) -> Result<Pin, CeremonyError> {
        Ok(Pin::new(self.secret(question, chancery_secret::PIN_BYTES)?)?)
    }

    /// Asks for a PIN that is to be, twice: one that was mistyped locks everybody out.
    pub(crate) fn new_pin(&mut self, question: &str) -> Result<Pin, CeremonyError> {
        let first = self.pin(question)?;
        if self.pin("the same again")? == first { Ok(first) } else { Err(mute(&"the two are not the same")) }
    }

    fn line(&mut self, question: &str, limit: usize) -> Result<SecretBytes, CeremonyError> {
        let Self { input, output } = self;
        let ask = || output.write_all(format!("? {question}\n").as_bytes()).and_then(|()| output.flush());
        typed(input, limit, ask).map_err(|error| mute(&error))
    }
}
