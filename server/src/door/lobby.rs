//! Who waits before the door: connections in their TLS handshake, and how many each client has inside.
//!
//! Strangers are not turned away when the lobby is full, the one that has waited longest makes room: an honest
//! handshake takes milliseconds, a stalled one seconds. If this is wrong, stalled sockets starve honest clients.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chancery_core::limit;
use tokio::sync::oneshot;

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

/// How many connections each client holds.
#[derive(Debug)]
pub(crate) struct Crowd {
    state: Mutex<Counts>,
    most_per_client: usize,
    most_refused: usize,
}

#[derive(Debug, Default)]
struct Counts {
    admitted: HashMap<String, usize>,
    refused: usize,
}

impl Crowd {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(limit::CONNECTIONS_PER_CLIENT, limit::CONNECTIONS_REFUSED)
    }

    fn with(most_per_client: usize, most_refused: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), most_per_client, most_refused })
    }

    fn state(&self) -> MutexGuard<'_, Counts> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection of `client`; `None` if even those to be refused are too many.
    pub(crate) fn admit(self: &Arc<Self>, client: String) -> Option<Place> {
        let mut state = self.state();
        let count = state.admitted.entry(client.clone()).or_default();
        if *count < self.most_per_client {
            *count += 1;
            return Some(Place { crowd: Arc::clone(self), client: Some(client) });
        }
        if state.refused < self.most_refused {
            state.refused += 1;
            return Some(Place { crowd: Arc::clone(self), client: None });
        }
        None
    }
}

/// One counted connection.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    /// `None` above the client's share.
    client: Option<String>,
}

impl Place {
    /// True above the client's share: the connection is answered `overloaded` and closed.
    pub(crate) fn is_refused(&self) -> bool {
        self.client.is_none()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.crowd.state();
        let Some(client) = self.client.take() else {
            state.refused = state.refused.saturating_sub(1);
            return;
        };
        if let Some(count) = state.admitted.get_mut(&client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.admitted.remove(&client);
            }
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
        let crowd = Crowd::with(1, 1);
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
}
