//! How many connections there are, in all and of each address. No sockets here.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::access::{origin::Proxies, pace::source};

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum From {
    /// A machine.
    Address(IpAddr),
    /// A user of this one, by a Unix socket.
    User(u32),
}

/// The connections there may be.
#[derive(Debug)]
pub(super) struct Places {
    all: usize,
    per_address: usize,
    proxies: Proxies,
    taken: Mutex<Count>,
}

#[derive(Debug, Default)]
struct Count {
    all: usize,
    of: HashMap<From, usize>,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    places: Arc<Places>,
    of: From,
}

impl Places {
    pub(super) fn new(all: usize, per_address: usize, proxies: Proxies) -> Self {
        Self { all, per_address, proxies, taken: Mutex::default() }
    }

    /// Whether that is a proxy that is believed.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.trusts(address)
    }

    /// A place for one who comes from there; nothing where there is none. A proxy brings many, and people of this machine share
    /// one address: neither may have all places, and both more than an address far away. By a Unix socket anybody may come who
    /// can open its file, so that one user has half of them at most.
    pub(super) fn take(self: &Arc<Self>, from: From) -> Option<Taken> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, most) = match from {
            From::User(_) => (from, (self.all / 2).max(1)),
            From::Address(from) => {
                let near = from.to_canonical().is_loopback() || self.proxies.trusts(from);
                let most =
                    if near { (self.all - self.all / 8).max(1) } else { self.per_address.min(self.all) };
                (From::Address(source(from)), most)
            }
        };
        let have = taken.of.get(&of).copied().unwrap_or(0);
        if taken.all >= self.all || have >= most {
            return None;
        }
        taken.all += 1;
        *taken.of.entry(of).or_default() += 1;
        Some(Taken { places: self.clone(), of })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Entry::Occupied(mut count) = taken.of.entry(self.of) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_the_places_of_others() {
        let trusted = vec!["10.0.0.1/32".parse().unwrap()];
        let places = Arc::new(Places::new(16, 2, Proxies { trusted, ..Proxies::default() }));
        let address = |text: &str| From::Address(text.parse().unwrap());
        let of = |text, times: usize| -> Vec<Taken> {
            (0..times).filter_map(|_| places.take(address(text))).collect()
        };
        assert_eq!(of("192.0.2.1", 5).len(), 2);
        assert_eq!(of("127.0.0.1", 20).len(), 14);
        let proxy = of("10.0.0.1", 20);
        assert_eq!(proxy.len(), 14);
        let subnet = [of("2001:db8::1", 1), of("2001:db8::2", 1)];
        assert_eq!(subnet.iter().flatten().count(), 2);
        assert!(
            places.take(address("192.0.2.1")).is_none() && places.take(From::User(1)).is_none(),
            "all are taken"
        );
        drop((proxy, subnet));
        assert!(places.taken.lock().unwrap().of.is_empty());
        // Whoever could open the socket's file had all places, and nobody else one.
        let user = |uid, times: usize| -> Vec<Taken> {
            (0..times).filter_map(|_| places.take(From::User(uid))).collect()
        };
        let stranger = user(4_100_001, 20);
        assert_eq!(stranger.len(), 8);
        assert!(places.take(address("192.0.2.1")).is_some() && places.take(From::User(0)).is_some());
    }
}
