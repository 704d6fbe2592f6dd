//! The worker's end of the socket to its parent, and the queue between the thread that reads it and the sessions.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use chancery_secret::{PIN_BYTES, Pin, SecretBytes};
use serde::Serialize;
use serde::de::DeserializeOwned;

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
        let fault = |what: &str| Fault { class: Class::Refused, what: what.to_owned() };
        let len =
            self.read_len().ok().filter(|len| *len <= PIN_BYTES).ok_or_else(|| fault("no PIN was sent"))?;
        let secret = SecretBytes::read_exact(&self.stream, len).map_err(|error| fault(&error.to_string()))?;
        Pin::new(secret).map_err(|error| fault(&error.to_string()))
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

    /// Waits for the next frames: at least one, and all that have come. An error means that the parent is gone.
    pub(super) fn read<T: DeserializeOwned>(&mut self) -> io::Result<Vec<T>> {
        let mut batch = Vec::new();
        let mut chunk = [0; 16 * 1024];
        while batch.is_empty() {
            let read = match self.stream.read(&mut chunk) {
                // A module's own signal handlers are no reason to leave.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let bytes =
                chunk.get(..read).filter(|bytes| !bytes.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
            self.inbox.space().extend_from_slice(bytes);
            while let Some(value) = self.inbox.next().map_err(io::Error::other)? {
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

/// Questions that no session has taken yet. The parent bounds their number.
#[derive(Default)]
pub(super) struct Jobs {
    queue: Mutex<VecDeque<(u64, Request)>>,
    ready: Condvar,
}

impl Jobs {
    pub(super) fn put(&self, batch: Vec<(u64, Request)>) {
        let wanted = batch.len();
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).extend(batch);
        for _ in 0..wanted {
            self.ready.notify_one();
        }
    }

    /// The next question, or `None` after [`IDLE`].
    pub(super) fn take(&self) -> Option<(u64, Request)> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut queue, _) = self
            .ready
            .wait_timeout_while(queue, IDLE, |queue| queue.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    }
}
