//! The clocks of one connection. They run while the other side owes us something and stand while we owe it something.
//!
//! Three clocks: *idle* (no whole request is with us), *response* (an answer is ready and not taken) and *write* (the
//! socket takes nothing). Progress below `limit::PACE_BYTES` in a stall's time counts as none, so dripping a byte a
//! second does not help. If this is wrong, the door can be held open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chancery_core::{Code, limit};
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) const STALL: Duration = Duration::from_millis(limit::STALL_MS);
pub(crate) const GRACE: Duration = Duration::from_millis(limit::GRACE_MS);
/// An idle connection is asked to end this long before it is cut, so that a client about to use it learns in time.
const NOTICE: Duration = Duration::from_millis(2 * limit::GRACE_MS);
/// What a connection that is to be refused has: time to ask once.
pub(crate) const ONE_QUESTION: Duration = Duration::from_millis(3 * limit::GRACE_MS);

/// What a connection's clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing before this time.
    Wait(Instant),
    /// Ask the other side to end, then look again at this time.
    Drain(Instant),
    /// Close now.
    Cut(Stall),
}

/// Why a connection was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stall {
    /// No whole request arrived.
    Idle,
    /// An answer was not taken.
    Response,
    /// The socket took no bytes.
    Write,
}

impl Stall {
    pub(crate) const ALL: [Self; 3] = [Self::Idle, Self::Response, Self::Write];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Response => "response",
            Self::Write => "write",
        }
    }
}

/// One connection's clocks.
#[derive(Debug)]
pub(crate) struct Pulse {
    state: Mutex<State>,
    hang_up: Notify,
}

#[derive(Debug)]
struct State {
    idle_until: Instant,
    /// Set once the connection is to end, with what later requests are told. Nothing then prolongs the idle clock.
    leaving: Option<Code>,
    /// Requests with us (`None`) and answers the other side has to take by a time.
    visits: HashMap<u64, Option<Instant>>,
    next: u64,
    blocked_until: Option<Instant>,
    reset: bool,
}

impl Pulse {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                idle_until: Instant::now() + STALL,
                leaving: None,
                visits: HashMap::new(),
                next: 0,
                blocked_until: None,
                reset: false,
            }),
            hang_up: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the idle clock at `allowance`: the handshake is done.
    pub(crate) fn greeted(&self, allowance: Duration) {
        self.state().idle_until = Instant::now() + allowance;
    }

    /// Ends the connection after what is with us now; `why` is what later requests are told. Once nothing is with us,
    /// the other side has `limit::GRACE_MS` from now to end.
    pub(crate) fn hang_up(&self, why: Code) {
        let mut state = self.state();
        state.idle_until = Instant::now() + GRACE;
        state.leaving.get_or_insert(why);
        drop(state);
        self.hang_up.notify_one();
    }

    /// Why nothing new is taken on this connection, once it is to end.
    pub(crate) fn leaving(&self) -> Option<Code> {
        self.state().leaving
    }

    /// Resolves when `hang_up` was called.
    pub(crate) async fn hung_up(&self) {
        self.hang_up.notified().await;
    }

    /// A whole request head arrived.
    pub(crate) fn visit(self: &Arc<Self>) -> Visit {
        let mut state = self.state();
        let id = state.next;
        state.next = state.next.wrapping_add(1);
        state.visits.insert(id, None);
        drop(state);
        Visit { pulse: Arc::clone(self), id }
    }

    /// The socket takes nothing now.
    pub(crate) fn blocked(&self) {
        let mut state = self.state();
        if state.blocked_until.is_none() {
            state.blocked_until = Some(Instant::now() + STALL);
        }
    }

    /// The socket took `PACE_BYTES` since it was blocked, and is blocked still.
    pub(crate) fn moving(&self) {
        self.state().blocked_until = Some(Instant::now() + STALL);
    }

    /// The socket took all there was.
    pub(crate) fn flowing(&self) {
        self.state().blocked_until = None;
    }

    /// True if the socket should be reset: what the kernel still holds for it will not be read.
    pub(crate) fn is_reset(&self) -> bool {
        self.state().reset
    }

    /// What the clocks say at `now`.
    pub(crate) fn verdict(&self, now: Instant) -> Verdict {
        let mut state = self.state();
        let blocked = state.blocked_until;
        let response = state.visits.values().flatten().min().copied();
        for (until, stall) in [(blocked, Stall::Write), (response, Stall::Response)] {
            if until.is_some_and(|until| until <= now) {
                state.reset = true;
                return Verdict::Cut(stall);
            }
        }
        // Clocks that start later end later than this: looking again by then misses none of them.
        let next = [blocked, response].into_iter().flatten().fold(now + STALL, Instant::min);
        if !state.visits.is_empty() {
            // The idle clock of one that leaves is short: it is not to be found run out only a stall later.
            let soon = if state.leaving.is_some() { now + GRACE / 4 } else { next };
            return Verdict::Wait(next.min(soon));
        }
        if state.idle_until <= now {
            return Verdict::Cut(Stall::Idle);
        }
        let notice = state.idle_until - NOTICE;
        if state.leaving.is_some() || notice <= now {
            return Verdict::Drain(next.min(state.idle_until));
        }
        Verdict::Wait(next.min(notice))
    }
}

/// One request, from its head to the last byte of its answer.
#[derive(Debug)]
pub(crate) struct Visit {
    pulse: Arc<Pulse>,
    id: u64,
}

impl Visit {
    /// The other side has to take what is ready: the response clock runs.
    pub(crate) fn theirs(&self) {
        self.set(Some(Instant::now() + STALL));
    }

    /// We have nothing ready: the response clock stands.
    pub(crate) fn ours(&self) {
        self.set(None);
    }

    fn set(&self, until: Option<Instant>) {
        self.pulse.state().visits.insert(self.id, until);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = self.pulse.state();
        state.visits.remove(&self.id);
        if state.leaving.is_none() {
            state.idle_until = Instant::now() + STALL;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_within(pulse: &Pulse) -> (Option<Stall>, Duration) {
        let began = Instant::now();
        let mut now = began;
        loop {
            match pulse.verdict(now) {
                Verdict::Cut(stall) => return (Some(stall), now - began),
                Verdict::Wait(at) | Verdict::Drain(at) if at <= began + 4 * STALL => now = at.max(now),
                _ => return (None, now - began),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_cut_after_a_stall() {
        let pulse = Pulse::new();
        assert_eq!(cut_within(&pulse), (Some(Stall::Idle), STALL));
    }

    #[tokio::test(start_paused = true)]
    async fn our_own_slowness_is_not_the_clients() {
        let pulse = Pulse::new();
        let visit = pulse.visit();
        assert_eq!(cut_within(&pulse).0, None, "a request with us is not a stall");
        visit.theirs();
        assert_eq!(cut_within(&pulse), (Some(Stall::Response), STALL));
        visit.ours();
        tokio::time::advance(STALL * 3).await;
        drop(visit);
        assert_eq!(
            cut_within(&pulse),
            (Some(Stall::Idle), STALL),
            "the idle clock starts again after an answer"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn other_requests_do_not_prolong_a_blocked_socket() {
        let pulse = Pulse::new();
        pulse.blocked();
        tokio::time::advance(STALL / 2).await;
        let _visit = pulse.visit();
        pulse.blocked();
        assert_eq!(cut_within(&pulse), (Some(Stall::Write), STALL / 2));
        assert!(pulse.is_reset());
    }

    #[tokio::test(start_paused = true)]
    async fn one_answer_not_taken_ends_the_connection_of_a_busy_client() {
        let pulse = Pulse::new();
        let stalled = pulse.visit();
        stalled.theirs();
        for _ in 0..3 {
            tokio::time::advance(STALL / 4).await;
            drop(pulse.visit());
        }
        assert_eq!(cut_within(&pulse), (Some(Stall::Response), STALL / 4));
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_up_leaves_a_moment_and_no_more() {
        let pulse = Pulse::new();
        let visit = pulse.visit();
        pulse.hang_up(Code::Overloaded);
        let look = pulse.verdict(Instant::now());
        assert!(
            matches!(look, Verdict::Wait(at) if at <= Instant::now() + GRACE),
            "its end must be seen soon"
        );
        assert_eq!(pulse.leaving(), Some(Code::Overloaded));
        drop(visit);
        drop(pulse.visit());
        assert_eq!(cut_within(&pulse), (Some(Stall::Idle), GRACE), "a later request does not prolong it");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_client_gets_notice_before_it_is_cut() {
        let pulse = Pulse::new();
        assert_eq!(pulse.verdict(Instant::now()), Verdict::Wait(Instant::now() + STALL - NOTICE));
        tokio::time::advance(STALL - NOTICE).await;
        assert_eq!(pulse.verdict(Instant::now()), Verdict::Drain(Instant::now() + NOTICE));
    }
}
