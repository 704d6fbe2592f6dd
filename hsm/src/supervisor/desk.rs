//! The calls between their callers and the worker: waiting, sent, answered. Few are sent at a time, so that the queue
//! stands on this side, where its length and each deadline can be seen.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use chancery_core::config;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::error::HsmError;
use crate::wire::{Class, Fault, Inbox, Reply, Request, encode};

/// Calls sent ahead to each session, so that none idles while an answer is on its way.
const AHEAD: usize = 4;

/// One question and who waits for its answer.
pub(crate) struct Call {
    request: Request,
    caller: Caller,
    deadline: Instant,
}

/// Who waits, and the place in the queue that is held until then.
struct Caller {
    answer: oneshot::Sender<Result<Reply, HsmError>>,
    permit: OwnedSemaphorePermit,
}

impl Call {
    pub(crate) fn new(
        request: Request,
        answer: oneshot::Sender<Result<Reply, HsmError>>,
        deadline: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { request, caller: Caller { answer, permit }, deadline }
    }
}

impl Caller {
    /// ORDER: the place is free before the answer is out, so that whoever has the answer finds room for the next call.
    fn answer(self, answer: Result<Reply, HsmError>) {
        drop(self.permit);
        let _ = self.answer.send(answer);
    }
}

/// A call at the worker. `caller` is gone once it was told that its time is over; the worker's own time runs on.
struct Sent {
    caller: Option<Caller>,
    deadline: Instant,
    kill_at: Instant,
    answered: bool,
}

pub(crate) struct Desk {
    waiting: VecDeque<Call>,
    /// The call with number `first + i` is at place `i`.
    sent: VecDeque<Sent>,
    first: u64,
    window: usize,
    call: Duration,
    out: Vec<u8>,
    written: usize,
    ping: Duration,
    quiet_since: Instant,
}

impl Desk {
    pub(crate) fn new(hsm: &config::Hsm) -> Self {
        Self {
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            first: 0,
            window: hsm.sessions * AHEAD,
            call: Duration::from_millis(hsm.call_ms),
            out: Vec::new(),
            written: 0,
            ping: Duration::MAX,
            quiet_since: Instant::now(),
        }
    }

    /// Makes ready for a new worker: nothing sent, nothing half written.
    pub(crate) fn begin(&mut self, ping_ms: u64) {
        self.out.clear();
        self.written = 0;
        self.ping = Duration::from_millis(ping_ms);
        self.quiet_since = Instant::now();
    }

    pub(crate) fn wait(&mut self, call: Call) {
        self.waiting.push_back(call);
    }

    pub(crate) fn is_clear(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }

    pub(crate) fn has_unsent_bytes(&self) -> bool {
        self.written < self.out.len()
    }

    /// Sends what the window allows, in as few writes as possible.
    pub(crate) fn send(&mut self, stream: &UnixStream) -> Result<(), String> {
        let now = Instant::now();
        while self.sent.len() < self.window
            && let Some(call) = self.waiting.pop_front()
        {
            // A caller that went away needs no signature.
            if !call.caller.answer.is_closed() {
                self.put(&call.request, Some(call.caller), call.deadline, now)?;
            }
        }
        while self.has_unsent_bytes() {
            match stream.try_write(self.out.get(self.written..).unwrap_or_default()) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("the worker does not listen: {error}")),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    fn put(
        &mut self,
        request: &Request,
        caller: Option<Caller>,
        deadline: Instant,
        now: Instant,
    ) -> Result<(), String> {
        let number = self.first + self.sent.len() as u64;
        encode(&(number, request), &mut self.out).map_err(|error| error.to_string())?;
        self.sent.push_back(Sent { caller, deadline, kill_at: now + self.call, answered: false });
        Ok(())
    }

    /// Reads what has come and answers its callers. An error means that the worker must be replaced.
    pub(crate) fn receive(&mut self, stream: &UnixStream, inbox: &mut Inbox) -> Result<(), String> {
        match stream.try_read_buf(inbox.space()) {
            Ok(0) => return Err("the worker ended".to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
        self.quiet_since = Instant::now();
        let mut replace = None;
        while let Some((number, reply)) =
            inbox.take::<(u64, Reply)>().map_err(|_| "the worker sent a malformed frame".to_owned())?
        {
            let place = number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
            let sent = place
                .and_then(|place| self.sent.get_mut(place))
                .filter(|sent| !sent.answered)
                .ok_or("the worker answered a question that was not asked")?;
            sent.answered = true;
            if let Reply::Failed(Fault { class: Class::Reinitialise, what }) = &reply {
                replace = Some(what.clone());
            }
            if let Some(caller) = sent.caller.take() {
                caller.answer(Ok(reply));
            } else if let Reply::Failed(fault) = reply {
                // A ping: nobody waits, but what it found counts.
                replace = replace.or(Some(fault.what));
            }
            while self.sent.front().is_some_and(|sent| sent.answered) {
                self.sent.pop_front();
                self.first += 1;
            }
        }
        replace.map_or(Ok(()), Err)
    }

    /// Tells callers whose time is over, pings a quiet worker, and finds out one that hangs.
    pub(crate) fn keep_time(&mut self, now: Instant) -> Result<(), String> {
        self.expire(now);
        // The oldest call is at the front: calls are sent in order and each has the same time.
        if self.sent.iter().find(|sent| !sent.answered).is_some_and(|sent| now >= sent.kill_at) {
            return Err(format!("the worker did not answer within {} ms", self.call.as_millis()));
        }
        if self.is_clear() && now.duration_since(self.quiet_since) >= self.ping {
            self.put(&Request::Ping, None, now + self.call, now)?;
        }
        Ok(())
    }

    /// Answers every call whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant) {
        let limit_ms = u64::try_from(self.call.as_millis()).unwrap_or(u64::MAX);
        while self.waiting.front().is_some_and(|call| now >= call.deadline) {
            if let Some(call) = self.waiting.pop_front() {
                call.caller.answer(Err(HsmError::Deadline { limit_ms }));
            }
        }
        for sent in self.sent.iter_mut().take_while(|sent| now >= sent.deadline) {
            if let Some(caller) = sent.caller.take() {
                caller.answer(Err(HsmError::Deadline { limit_ms }));
            }
        }
    }

    /// Answers those whose call was at the worker that is lost.
    pub(crate) fn answer_sent(&mut self, reason: &str) {
        let now = Instant::now();
        self.expire(now);
        self.first += self.sent.len() as u64;
        for sent in self.sent.drain(..) {
            if let Some(caller) = sent.caller {
                caller.answer(Err(HsmError::Interrupted { reason: reason.to_owned() }));
            }
        }
    }

    /// Answers everyone.
    pub(crate) fn answer_all(&mut self, error: impl Fn() -> HsmError) {
        self.first += self.sent.len() as u64;
        let sent = self.sent.drain(..).filter_map(|sent| sent.caller);
        for caller in sent.chain(self.waiting.drain(..).map(|call| call.caller)) {
            caller.answer(Err(error()));
        }
    }
}
