//! The places of those who have not said their first message yet, shared out by where they come from: one
//! address cannot take them all. No sockets here.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// Most places of one source. A handshake takes milliseconds, so that this is enough for the many servers
/// behind one NAT address when all come back at once; those over it are turned away and try again.
pub(super) const PER_SOURCE: usize = 32;

/// Where somebody comes from, as far as an address costs something: whoever has one IPv6 address has its
/// whole /64, the size of a subnet in RFC 4291 §2.5.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        // A port open for both families sees IPv4 peers as ::ffff:a.b.c.d.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// How many places each source has. Never more sources than there are places.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<Source, usize>>);

/// A place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    source: Source,
}

impl Places {
    /// A place for somebody from this address; none when its source has all that it may have.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let source = Source::from(address);
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(source).or_default();
        if *count >= PER_SOURCE {
            return None;
        }
        *count += 1;
        Some(Place { places: self.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share_and_gets_places_back() {
        let places = Arc::new(Places::default());
        let [one, mapped, other] =
            ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        let mut held: Vec<Place> = (0..PER_SOURCE).map(|_| places.take(one).unwrap()).collect();
        assert!(places.take(one).is_none() && places.take(mapped).is_none());
        drop(places.take(other).unwrap());
        held.pop();
        held.push(places.take(mapped).unwrap());
        assert!(places.take(one).is_none());
        held.clear();
        assert!(places.0.lock().unwrap().is_empty(), "nothing is kept of those who have gone");
    }

    #[test]
    fn a_64_of_ipv6_is_one_source() {
        let places = Arc::new(Places::default());
        let at = |ip: String| ip.parse().unwrap();
        let held: Vec<_> = (0..PER_SOURCE).map(|n| places.take(at(format!("2001:db8::{n:x}")))).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(places.take(at("2001:db8::ffff:1".to_owned())).is_none());
        assert!(places.take(at("2001:db8:0:1::1".to_owned())).is_some());
    }
}
