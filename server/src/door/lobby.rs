//! Who waits before the door: connections in their TLS handshake, and how many each client has inside.
//!
//! Strangers are not turned away when the lobby is full, the one that has waited longest makes room: an honest
//! handshake takes milliseconds, a stalled one seconds. If this is wrong, stalled sockets starve honest clients.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chancery_core::limit;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// An IPv4 address, or the /64 of an IPv6 address: what one holder can vary freely counts once.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

/// The connections whose handshake is not done.
#[derive(Debug)]
pub(crate) struct Lobby {
    state: Mutex<Waiting>,
    most: usize,
    most_per_source: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// By order of arrival. Dropping the sender tells the one who waits to go.
    all: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
    /// Each source's own, oldest first. An id that is no longer in `all` has left.
    by_source: HashMap<IpAddr, VecDeque<u64>>,
}

impl Waiting {
    fn remove(&mut self, id: u64) {
        let Some((source, _)) = self.all.remove(&id) else { return };
        if let Some(ids) = self.by_source.get_mut(&source) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_source.remove(&source);
            }
        }
    }

    fn oldest_of(&self, source: &IpAddr) -> Option<u64> {
        self.by_source.get(source).and_then(|ids| ids.front().copied())
    }

    fn oldest_of_largest(&self) -> Option<u64> {
        let largest = self.by_source.values().max_by_key(|ids| ids.len())?;
        largest.front().copied()
    }
}

impl Lobby {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(limit::HANDSHAKES, limit::HANDSHAKES_PER_SOURCE)
    }

    fn with(most: usize, most_per_source: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), most, most_per_source })
    }

    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in. If its source or the lobby is full, the oldest of that source, or of the source with the
    /// most, has to go.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> (Seat, oneshot::Receiver<()>) {
        let source = source_of(address);
        let (stay, told_to_go) = oneshot::channel();
        let mut state = self.state();
        if state.by_source.get(&source).is_some_and(|ids| ids.len() >= self.most_per_source)
            && let Some(oldest) = state.oldest_of(&source)
        {
            state.remove(oldest);
        }
        if state.all.len() >= self.most
            && let Some(oldest) = state.oldest_of_largest()
        {
            state.remove(oldest);
        }
        let id = state.next;
        state.next = state.next.wrapping_add(1);
        state.all.insert(id, (source, stay));
        state.by_source.entry(source).or_default().push_back(id);
        drop(state);
        (Seat { lobby: Arc::clone(self), id }, told_to_go)
    }

    /// Sends the oldest away; true if there was one.
    pub(crate) fn make_room(&self) -> bool {
        let mut state = self.state();
        let oldest = state.oldest_of_largest();
        if let Some(oldest) = oldest {
            state.remove(oldest);
        }
        oldest.is_some()
    }

    /// Sends everyone away.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        state.all.clear();
        state.by_source.clear();
    }
}

/// A place in the lobby, given up when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    lobby: Arc<Lobby>,
    id: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.lobby.state().remove(self.id);
    }
}

/// How many connections each client holds, and what its requests may hold together.
#[derive(Debug)]
pub(crate) struct Crowd {
    state: Mutex<Counts>,
    all: Shares,
    most_per_client: usize,
    most_refused: usize,
    most_remembered: usize,
}

#[derive(Debug, Default)]
struct Counts {
    admitted: HashMap<String, (usize, Arc<Shares>)>,
    refused: usize,
}

/// What requests take while they are with us: memory for bodies, and places for work.
#[derive(Debug)]
struct Shares {
    body_bytes: Arc<Semaphore>,
    in_flight: Arc<Semaphore>,
}

impl Shares {
    fn of(part: usize) -> Self {
        Self {
            body_bytes: Arc::new(Semaphore::new(limit::BODIES_BYTES / part)),
            in_flight: Arc::new(Semaphore::new(limit::IN_FLIGHT / part)),
        }
    }

    fn is_in_use(&self, part: usize) -> bool {
        self.body_bytes.available_permits() < limit::BODIES_BYTES / part
            || self.in_flight.available_permits() < limit::IN_FLIGHT / part
    }
}

/// Taken from the client's share and from the whole; given back when dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    own: OwnedSemaphorePermit,
    whole: OwnedSemaphorePermit,
}

impl Taken {
    fn take(own: &Arc<Semaphore>, whole: &Arc<Semaphore>, amount: u32) -> Option<Self> {
        let own = Arc::clone(own).try_acquire_many_owned(amount).ok()?;
        let whole = Arc::clone(whole).try_acquire_many_owned(amount).ok()?;
        Some(Self { own, whole })
    }

    /// One for both.
    pub(crate) fn merge(&mut self, other: Self) {
        self.own.merge(other.own);
        self.whole.merge(other.whole);
    }
}

impl Crowd {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(limit::CONNECTIONS_PER_CLIENT, limit::CONNECTIONS_REFUSED, limit::RATE_KEYS)
    }

    fn with(most_per_client: usize, most_refused: usize, most_remembered: usize) -> Arc<Self> {
        let (state, all) = (Mutex::default(), Shares::of(1));
        Arc::new(Self { state, all, most_per_client, most_refused, most_remembered })
    }

    fn state(&self) -> MutexGuard<'_, Counts> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection of `client`; `None` if even those to be refused are too many.
    pub(crate) fn admit(self: &Arc<Self>, client: String) -> Option<Place> {
        let mut state = self.state();
        if state.admitted.len() >= self.most_remembered {
            state.admitted.retain(|_, (count, own)| *count > 0 || own.is_in_use(limit::CLIENT_PART));
        }
        let crowd = Arc::clone(self);
        let (count, own) = state
            .admitted
            .entry(client.clone())
            .or_insert_with(|| (0, Arc::new(Shares::of(limit::CLIENT_PART))));
        let own = Arc::clone(own);
        if *count < self.most_per_client {
            *count += 1;
            return Some(Place { crowd, own, client: Some(client) });
        }
        if state.refused < self.most_refused {
            state.refused += 1;
            return Some(Place { crowd, own, client: None });
        }
        None
    }
}

/// One counted connection, and its way to its client's share.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    own: Arc<Shares>,
    /// `None` above the client's share of connections.
    client: Option<String>,
}

impl Place {
    /// True above the client's share: the connection is answered `overloaded` and closed.
    pub(crate) fn is_refused(&self) -> bool {
        self.client.is_none()
    }

    /// Memory for so many bytes of a body; `None` if the client's share or the whole is spent.
    pub(crate) fn body_bytes(&self, bytes: u32) -> Option<Taken> {
        Taken::take(&self.own.body_bytes, &self.crowd.all.body_bytes, bytes)
    }

    /// A place for one request at work; `None` if the client's share or the whole is spent.
    pub(crate) fn work(&self) -> Option<Taken> {
        Taken::take(&self.own.in_flight, &self.crowd.all.in_flight, 1)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.crowd.state();
        let Some(client) = self.client.take() else {
            state.refused = state.refused.saturating_sub(1);
            return;
        };
        if let Some((count, _)) = state.admitted.get_mut(&client) {
            // The entry stays: requests may be at work after their connection, and count against the next one.
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(told: &mut oneshot::Receiver<()>) -> bool {
        matches!(told.try_recv(), Err(oneshot::error::TryRecvError::Closed))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_oldest_of_a_crowded_source_goes_first() {
        let lobby = Lobby::with(10, 2);
        let (_a, mut a) = lobby.enter(ip("10.0.0.1"));
        let (_b, mut b) = lobby.enter(ip("10.0.0.1"));
        let (_other, mut other) = lobby.enter(ip("10.0.0.2"));
        let (_c, mut c) = lobby.enter(ip("10.0.0.1"));
        assert!(gone(&mut a), "the oldest of the source");
        assert!(!gone(&mut b) && !gone(&mut c) && !gone(&mut other), "nobody else");
    }

    #[test]
    fn a_full_lobby_takes_from_the_source_with_the_most() {
        let lobby = Lobby::with(4, 10);
        let (_old, mut old) = lobby.enter(ip("10.0.0.9"));
        let mut many: Vec<_> = (0..3).map(|_| lobby.enter(ip("10.0.0.1"))).collect();
        let (_new, mut new) = lobby.enter(ip("10.0.0.7"));
        assert!(gone(&mut many[0].1));
        assert!(!gone(&mut old) && !gone(&mut new) && !gone(&mut many[1].1));
    }

    #[test]
    fn who_left_cannot_be_sent_away_and_leaves_nothing_behind() {
        let lobby = Lobby::with(4, 1);
        drop(lobby.enter(ip("10.0.0.1")));
        let (seat, mut told) = lobby.enter(ip("10.0.0.1"));
        assert!(!gone(&mut told));
        drop(seat);
        assert!(lobby.state().all.is_empty() && lobby.state().by_source.is_empty());
        assert!(!lobby.make_room());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_source() {
        let lobby = Lobby::with(10, 1);
        let (_a, mut a) = lobby.enter(ip("2001:db8::1"));
        let (_b, _told) = lobby.enter(ip("2001:db8::ffff"));
        assert!(gone(&mut a));
        assert_eq!(source_of(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
    }

    #[test]
    fn a_client_above_its_share_is_refused_and_then_dropped() {
        let crowd = Crowd::with(1, 1, 10);
        let first = crowd.admit("a".into());
        assert!(!first.as_ref().unwrap().is_refused());
        let refused = crowd.admit("a".into());
        assert!(refused.as_ref().unwrap().is_refused());
        assert!(crowd.admit("a".into()).is_none());
        assert!(!crowd.admit("b".into()).unwrap().is_refused(), "others are not touched");
        drop((first, refused));
        assert!(!crowd.admit("a".into()).unwrap().is_refused());
        assert_eq!(crowd.state().refused, 0);
    }
    #[test]
    fn one_client_cannot_take_the_whole() {
        let crowd = Crowd::with(2, 0, 10);
        let (greedy, same, other) =
            (crowd.admit("a".into()), crowd.admit("a".into()), crowd.admit("b".into()));
        let (greedy, same, other) = (greedy.unwrap(), same.unwrap(), other.unwrap());
        let mut held: Vec<_> = std::iter::from_fn(|| greedy.work()).collect();
        assert_eq!(held.len(), limit::IN_FLIGHT / limit::CLIENT_PART);
        assert!(same.work().is_none(), "a second connection has no second share");
        assert!(other.work().is_some());
        held.pop();
        assert!(same.work().is_some(), "what is given back can be taken again");
        let most = u32::try_from(limit::BODIES_BYTES / limit::CLIENT_PART).unwrap();
        assert!(greedy.body_bytes(most + 1).is_none() && greedy.body_bytes(most).is_some());
    }
    #[test]
    fn leaving_and_coming_back_does_not_renew_a_share() {
        let crowd = Crowd::with(1, 0, 1);
        let first = crowd.admit("a".into()).unwrap();
        let at_work: Vec<_> = std::iter::from_fn(|| first.work()).collect();
        drop(first);
        let again = crowd.admit("a".into()).unwrap();
        assert!(again.work().is_none(), "work of the first connection still counts");
        drop((again, at_work));
        drop(crowd.admit("b".into()));
        assert_eq!(
            crowd.state().admitted.len(),
            1,
            "who left and has nothing at work is forgotten when it gets crowded"
        );
    }
}
