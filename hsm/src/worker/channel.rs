//! The worker's end of the socket to its parent. The sessions read it themselves, one at a time: whoever finds nothing
//! to do reads, takes the first question, and hands on the others with the reading.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chancery_secret::{PIN_BYTES, Pin, SecretBytes};
use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;

use crate::wire::{Class, FRAME_BYTES, Fault, Inbox, Reply, Request, Start, encode, frame_len};

/// How long a session may idle before it looks whether it is alive.
const IDLE: Duration = Duration::from_secs(3);

pub(super) struct Channel {
    stream: UnixStream,
    line: Arc<Line>,
    inbox: Inbox,
}

/// The writing half; one frame at a time.
pub(super) struct Line(Mutex<UnixStream>);

impl Channel {
    /// Takes the socket out of standard input, so that the vendor's module finds nothing there.
    pub(super) fn take() -> io::Result<Self> {
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        stream.peer_addr()?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        let line = Arc::new(Line(Mutex::new(stream.try_clone()?)));
        Ok(Self { stream, line, inbox: Inbox::default() })
    }

    /// Reads the first frame and not a byte more: the PIN that follows must not pass through a buffer.
    pub(super) fn read_start(&mut self) -> io::Result<Start> {
        let len = self.read_len()?;
        let mut frame = vec![0; len];
        self.stream.read_exact(&mut frame)?;
        postcard::from_bytes(&frame).map_err(io::Error::other)
    }

    /// Reads a PIN straight into secret memory.
    pub(super) fn read_pin(&mut self) -> Result<Pin, Fault> {
        let secret = self.read_secret(PIN_BYTES)?;
        Pin::new(secret).map_err(|error| Fault::new(Class::Refused, error.to_string()))
    }

    /// Reads a secret straight into secret memory.
    pub(super) fn read_secret(&mut self, most: usize) -> Result<SecretBytes, Fault> {
        let fault = |what: String| Fault::new(Class::Refused, what);
        let len = self.read_len().ok().filter(|len| *len <= most);
        let len = len.ok_or_else(|| fault("no secret was sent".to_owned()))?;
        SecretBytes::read_exact(&self.stream, len).map_err(|error| fault(error.to_string()))
    }

    /// Hands a secret over, once the parent has said that it is ready for it.
    pub(super) fn hand_over(&mut self, secret: &SecretBytes) -> io::Result<()> {
        if self.read_len()? != 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let len = u32::try_from(secret.len()).map_err(io::Error::other)?;
        self.stream.write_all(&len.to_le_bytes())?;
        self.stream.write_all(secret.expose())
    }

    fn read_len(&mut self) -> io::Result<usize> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix)?;
        frame_len(prefix).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    pub(super) fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    /// Writes one frame.
    pub(super) fn tell(&self, value: &impl Serialize) -> io::Result<()> {
        self.line.write(value)
    }

    /// From here on the sessions read.
    pub(super) fn into_jobs(self) -> io::Result<Jobs> {
        self.stream.set_read_timeout(Some(IDLE))?;
        let watched = self.stream.try_clone()?;
        let reading = Some(Reading { stream: self.stream, inbox: self.inbox });
        Ok(Jobs {
            watched,
            queue: Mutex::new(Queue { waiting: VecDeque::new(), reading }),
            changed: Condvar::new(),
        })
    }
}

/// The reading half, held by the session that reads.
struct Reading {
    stream: UnixStream,
    inbox: Inbox,
}

impl Reading {
    /// Waits for the next questions: at least one and all that have come, or none after [`IDLE`]. An error means that the
    /// parent is gone.
    fn read(&mut self) -> io::Result<Vec<(u64, Request)>> {
        let mut batch = Vec::new();
        let mut chunk = [0; 16 * 1024];
        while batch.is_empty() {
            let read = match self.stream.read(&mut chunk) {
                // A module's own signal handlers are no reason to leave.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(batch),
                read => read?,
            };
            let bytes =
                chunk.get(..read).filter(|bytes| !bytes.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
            self.inbox.space().extend_from_slice(bytes);
            while let Some(value) = self.inbox.take().map_err(io::Error::other)? {
                batch.push(value);
            }
        }
        Ok(batch)
    }
}

impl Line {
    /// Answers one question.
    pub(super) fn answer(&self, number: u64, reply: &Reply) -> io::Result<()> {
        self.write(&(number, reply))
    }

    fn write(&self, value: &impl Serialize) -> io::Result<()> {
        let mut frame = Vec::with_capacity(128);
        encode(value, &mut frame).map_err(io::Error::other)?;
        debug_assert!(frame.len() <= FRAME_BYTES);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&frame)
    }
}

/// Questions that no session has taken yet; the parent bounds their number. And the way to more of them.
pub(super) struct Jobs {
    watched: UnixStream,
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    waiting: VecDeque<(u64, Request)>,
    /// `None` while a session reads.
    reading: Option<Reading>,
}

impl Jobs {
    /// The next question, or `None` after [`IDLE`].
    ///
    /// # Errors
    /// The parent is gone.
    pub(super) fn take(&self) -> io::Result<Option<(u64, Request)>> {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.waiting.pop_front() {
                // Before the work: another session reads meanwhile, or takes what else has come.
                if queue.reading.is_some() || !queue.waiting.is_empty() {
                    self.changed.notify_one();
                }
                return Ok(Some(job));
            }
            let Some(mut reading) = queue.reading.take() else {
                let (woken, waited) =
                    self.changed.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
                if waited.timed_out() {
                    return Ok(None);
                }
                queue = woken;
                continue;
            };
            drop(queue);
            let batch = reading.read()?;
            queue = self.queue();
            queue.reading = Some(reading);
            if batch.is_empty() {
                self.changed.notify_one();
                return Ok(None);
            }
            queue.waiting.extend(batch);
        }
    }

    /// Waits for the parent's end to close, whatever the sessions are doing.
    pub(super) fn outlive_parent(&self) {
        let mut end = [PollFd::new(&self.watched, PollFlags::RDHUP)];
        while poll(&mut end, None) == Err(rustix::io::Errno::INTR) {}
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
