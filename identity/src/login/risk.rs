//! What is unusual about a login, from what is known of the officer's logins before. Any sign asks for more: the authenticator
//! and a one-time code, both. Nothing here refuses by itself.

use std::collections::VecDeque;
use std::net::IpAddr;

use chancery_core::UnixMillis;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::opaque::LoginError;
use super::setup::Setup;
use crate::webauthn::Base64Url;

/// LIMIT: devices and networks that are remembered of one officer; the oldest makes room.
const REMEMBERED: usize = 16;
/// Logins after which there is a usual time.
const LOGINS_BEFORE_USUAL: u32 = 10;
/// How far from an hour of a login before an hour is usual.
const HOURS_AROUND: usize = 2;
const DAY_HOURS: usize = 24;
const HOUR_MS: i64 = 3_600_000;

/// Something unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// An authenticator that did not log in before.
    NewDevice,
    /// From a network that nobody of this name came from before: /24 of IPv4, /48 of IPv6.
    NewNetwork,
    /// More than two hours from any hour of the day (UTC) of a login before, where there were ten.
    UnusualTime,
}

/// Names a device or a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark(Base64Url);

impl Mark {
    /// That of a credential.
    #[must_use]
    pub fn of_device(credential: &Base64Url) -> Self {
        Self(Base64Url(Sha256::digest(&credential.0).to_vec()))
    }

    /// That of the network of an address, which it does not give away.
    ///
    /// # Errors
    /// [`LoginError::Unable`].
    pub fn of_network(setup: &Setup, address: IpAddr) -> Result<Self, LoginError> {
        let network = match address.to_canonical() {
            IpAddr::V4(address) => address.octets().get(..3).unwrap_or_default().to_vec(),
            IpAddr::V6(address) => address.octets().get(..6).unwrap_or_default().to_vec(),
        };
        Ok(Self(Base64Url(setup.mark(&network)?)))
    }
}

/// What is known of an officer's logins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    devices: VecDeque<Mark>,
    networks: VecDeque<Mark>,
    /// The hours of the day that somebody logged in at, one bit each.
    hours: u32,
    logins: u32,
}

impl Known {
    /// What is unusual about a login with this device, where there is one, from this network, now.
    #[must_use]
    pub fn signs(&self, device: Option<&Mark>, network: &Mark, now: UnixMillis) -> Vec<Sign> {
        let new_device = device.is_some_and(|device| !self.devices.contains(device));
        let usual = |around: usize| {
            let hour = (hour_of(now) + DAY_HOURS + around - HOURS_AROUND) % DAY_HOURS;
            self.hours & (1 << hour) != 0
        };
        let unusual = self.logins >= LOGINS_BEFORE_USUAL && !(0..=2 * HOURS_AROUND).any(usual);
        [
            new_device.then_some(Sign::NewDevice),
            (!self.networks.contains(network)).then_some(Sign::NewNetwork),
            unusual.then_some(Sign::UnusualTime),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Remembers a login.
    pub fn remember(&mut self, device: Option<Mark>, network: Mark, now: UnixMillis) {
        if let Some(device) = device {
            newest(&mut self.devices, device);
        }
        newest(&mut self.networks, network);
        self.hours |= 1 << hour_of(now);
        self.logins = self.logins.saturating_add(1);
    }
}

fn hour_of(at: UnixMillis) -> usize {
    usize::try_from(at.0.div_euclid(HOUR_MS).rem_euclid(24)).unwrap_or(0)
}

fn newest(marks: &mut VecDeque<Mark>, mark: Mark) {
    marks.retain(|known| *known != mark);
    marks.push_back(mark);
    if marks.len() > REMEMBERED {
        marks.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(n: u8) -> Mark {
        Mark(Base64Url(vec![n]))
    }

    fn at(day: i64, hour: i64) -> UnixMillis {
        UnixMillis((day * 24 + hour) * HOUR_MS + 59)
    }

    /// Would catch a login from elsewhere that passes for the usual, and a usual one that is asked for more.
    #[test]
    fn what_was_there_before_is_usual_and_nothing_else() {
        let mut known = Known::default();
        let (key, office) = (mark(1), mark(2));
        assert_eq!(known.signs(Some(&key), &office, at(0, 9)), [Sign::NewDevice, Sign::NewNetwork]);
        for day in 0..10 {
            known.remember(Some(key.clone()), office.clone(), at(day, 23));
            assert_eq!(known.signs(Some(&key), &office, at(day, 23)), []);
            let noon = known.signs(Some(&key), &office, at(day, 12));
            assert_eq!(noon, if day < 9 { vec![] } else { vec![Sign::UnusualTime] }, "login {day}");
        }
        for (hour, usual) in [(20, false), (21, true), (23, true), (0, true), (1, true), (2, false)] {
            assert_eq!(known.signs(Some(&key), &office, at(20, hour)).is_empty(), usual, "{hour} o'clock");
        }
        assert_eq!(known.signs(Some(&mark(3)), &office, at(20, 23)), [Sign::NewDevice]);
        assert_eq!(known.signs(None, &mark(4), at(20, 23)), [Sign::NewNetwork], "without an authenticator");
    }

    #[test]
    fn the_oldest_network_makes_room() {
        let mut known = Known::default();
        for n in 0..=16 {
            known.remember(None, mark(n), at(0, 0));
        }
        assert_eq!(known.signs(None, &mark(0), at(0, 0)), [Sign::NewNetwork]);
        assert_eq!(known.signs(None, &mark(1), at(0, 0)), []);
    }

    /// Would catch marks that let somebody who reads the store tell where an officer works.
    #[test]
    fn a_network_is_its_prefix_under_a_secret() {
        let [ours, theirs] = [(); 2].map(|()| Setup::new(Setup::fresh().unwrap()).unwrap());
        let mark = |setup, address: &str| Mark::of_network(setup, address.parse().unwrap()).unwrap();
        assert_eq!(mark(&ours, "192.0.2.7"), mark(&ours, "192.0.2.9"));
        assert_eq!(mark(&ours, "192.0.2.7"), mark(&ours, "::ffff:192.0.2.7"));
        assert_ne!(mark(&ours, "192.0.2.7"), mark(&ours, "192.0.3.7"));
        assert_eq!(mark(&ours, "2001:db8:1:2::1"), mark(&ours, "2001:db8:1:3::1"));
        assert_ne!(mark(&ours, "2001:db8:1::1"), mark(&ours, "2001:db8:2::1"));
        assert_ne!(mark(&ours, "192.0.2.7"), mark(&theirs, "192.0.2.7"));
    }
}
