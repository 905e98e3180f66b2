//! How many connections there are, in all and of each address. No sockets here.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::access::{origin::Proxies, pace::source};

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
    of: HashMap<IpAddr, usize>,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    places: Arc<Places>,
    of: Option<IpAddr>,
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
    /// one address: neither may have all places, and both more than an address far away.
    pub(super) fn take(self: &Arc<Self>, from: Option<IpAddr>) -> Option<Taken> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let near = from.is_none_or(|from| from.to_canonical().is_loopback() || self.proxies.trusts(from));
        let most = if near { (self.all - self.all / 8).max(1) } else { self.per_address.min(self.all) };
        let of = from.map(source);
        let have = of.and_then(|of| taken.of.get(&of).copied()).unwrap_or(0);
        if taken.all >= self.all || have >= most {
            return None;
        }
        taken.all += 1;
        if let Some(of) = of {
            *taken.of.entry(of).or_default() += 1;
        }
        Some(Taken { places: self.clone(), of })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(of) = self.of
            && let Entry::Occupied(mut count) = taken.of.entry(of)
        {
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
        let address = |text: &str| Some(text.parse().unwrap());
        let of = |text, times: usize| -> Vec<Taken> {
            (0..times).filter_map(|_| places.take(address(text))).collect()
        };
        assert_eq!(of("192.0.2.1", 5).len(), 2);
        assert_eq!(of("127.0.0.1", 20).len(), 14);
        let proxy = of("10.0.0.1", 20);
        assert_eq!(proxy.len(), 14);
        let subnet = [of("2001:db8::1", 1), of("2001:db8::2", 1)];
        assert_eq!(subnet.iter().flatten().count(), 2);
        assert!(places.take(address("192.0.2.1")).is_none() && places.take(None).is_none(), "all are taken");
        drop((proxy, subnet));
        assert!(places.taken.lock().unwrap().of.is_empty() && places.take(None).is_some());
    }
}
