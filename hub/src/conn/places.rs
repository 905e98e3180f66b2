//! The places of those who have not said their first message yet, and the queue for them, both shared out by where
//! people come from. No sockets and no clock here.
//!
//! A source may have as many places as are free, and as many waiting as still may: one source alone gets half of
//! either, two get a third each, and however many are greedy, something is left for the next. Whoever waits gets
//! a place in turn, source by source.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

/// Where somebody comes from, as far as an address costs something: whoever has one IPv6 address has its
/// whole /64, the size of a subnet in RFC 4291 §2.5.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
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

/// What becomes of somebody who has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival<T> {
    /// There is a place; it is taken until [`Places::leave`].
    Enter(T),
    /// It waits.
    Waits,
    /// As many of its source wait as may.
    Full(T),
}

/// Who has places, and who waits for one. Never more sources than have either.
#[derive(Debug)]
pub(super) struct Places<T> {
    /// Places that nobody has.
    free: usize,
    /// How many more may wait.
    room: usize,
    sources: HashMap<Source, Held<T>>,
    /// The sources that somebody waits of, the one whose turn it is first; each once.
    turns: VecDeque<Source>,
}

#[derive(Debug)]
struct Held<T> {
    places: usize,
    /// Since when, and who; the first came first.
    waiting: VecDeque<(Duration, T)>,
}

impl<T> Places<T> {
    /// So many places, and so many who may wait.
    pub(super) fn new(places: usize, waiting: usize) -> Self {
        Self { free: places, room: waiting, sources: HashMap::new(), turns: VecDeque::new() }
    }

    /// Somebody has come.
    pub(super) fn arrive(&mut self, now: Duration, source: Source, who: T) -> Arrival<T> {
        let held = self.sources.entry(source).or_insert(Held { places: 0, waiting: VecDeque::new() });
        if held.waiting.is_empty() && held.places < self.free {
            held.places += 1;
            self.free -= 1;
            return Arrival::Enter(who);
        }
        if held.waiting.len() >= self.room {
            self.forget(source);
            return Arrival::Full(who);
        }
        if held.waiting.is_empty() {
            self.turns.push_back(source);
        }
        held.waiting.push_back((now, who));
        self.room -= 1;
        Arrival::Waits
    }

    /// A place is given back.
    pub(super) fn leave(&mut self, source: Source) {
        if let Some(held) = self.sources.get_mut(&source) {
            held.places -= 1;
            self.free += 1;
            self.forget(source);
        }
    }

    /// Who waits and has a place now.
    pub(super) fn next(&mut self) -> Option<(Source, T)> {
        let sources = &self.sources;
        let may = |source: &Source| sources.get(source).is_some_and(|held| held.places < self.free);
        let turn = self.turns.iter().position(may)?;
        let source = self.turns.remove(turn)?;
        let held = self.sources.get_mut(&source)?;
        let (_, who) = held.waiting.pop_front()?;
        held.places += 1;
        (self.free, self.room) = (self.free - 1, self.room + 1);
        if !held.waiting.is_empty() {
            self.turns.push_back(source);
        }
        Some((source, who))
    }

    /// Those who have waited since `before`, or longer.
    pub(super) fn overdue(&mut self, before: Duration) -> Vec<T> {
        let mut overdue = Vec::new();
        for source in std::mem::take(&mut self.turns) {
            let Some(held) = self.sources.get_mut(&source) else { continue };
            while let Some((_, who)) = held.waiting.pop_front_if(|(since, _)| *since <= before) {
                overdue.push(who);
                self.room += 1;
            }
            if held.waiting.is_empty() {
                self.forget(source);
            } else {
                self.turns.push_back(source);
            }
        }
        overdue
    }

    /// Whether nobody waits.
    pub(super) fn nobody_waits(&self) -> bool {
        self.turns.is_empty()
    }

    /// Nothing is kept of a source that has nothing.
    fn forget(&mut self, source: Source) {
        if self.sources.get(&source).is_some_and(|held| held.places == 0 && held.waiting.is_empty()) {
            self.sources.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn source(ip: &str) -> Source {
        Source::from(ip.parse::<IpAddr>().unwrap())
    }

    fn comes(places: &mut Places<u32>, ip: &str, times: u32) -> (u32, u32, u32) {
        let (mut in_, mut waits, mut full) = (0, 0, 0);
        for number in 0..times {
            match places.arrive(NOW, source(ip), number) {
                Arrival::Enter(_) => in_ += 1,
                Arrival::Waits => waits += 1,
                Arrival::Full(_) => full += 1,
            }
        }
        (in_, waits, full)
    }

    #[test]
    fn however_many_one_source_sends_the_next_gets_in_at_once() {
        let mut places = Places::new(512, 1000);
        assert_eq!(comes(&mut places, "192.0.2.1", 5000), (256, 500, 4244));
        assert_eq!(comes(&mut places, "::ffff:192.0.2.1", 1), (0, 0, 1), "the same in IPv6's clothes");
        assert_eq!(comes(&mut places, "192.0.2.2", 5000), (128, 250, 4622));
        for other in 3..20 {
            let (in_, waits, _) = comes(&mut places, &format!("192.0.2.{other}"), 1);
            assert_eq!((in_, waits), (1, 0));
        }
    }

    #[test]
    fn places_go_to_sources_in_turn_and_to_each_in_the_order_of_coming() {
        let mut places = Places::new(2, 100);
        assert_eq!(comes(&mut places, "192.0.2.1", 4), (1, 3, 0));
        assert_eq!(comes(&mut places, "192.0.2.2", 3), (1, 2, 0));
        assert!(places.next().is_none(), "nothing is free");
        let (one, other) = (source("192.0.2.1"), source("192.0.2.2"));
        let mut order = vec![];
        while !places.nobody_waits() {
            places.leave(one);
            places.leave(other);
            while let Some((source, number)) = places.next() {
                order.push((source == one, number));
            }
        }
        assert_eq!(order, [(true, 1), (false, 1), (true, 2), (false, 2), (true, 3)]);
        places.leave(one);
        assert!(places.sources.is_empty() && places.free == 2 && places.room == 100, "{places:?}");
    }

    #[test]
    fn who_waited_too_long_is_found_and_nothing_is_kept_of_those_who_have_gone() {
        let mut places = Places::new(1, 100);
        let sources = [source("192.0.2.1"), source("192.0.2.2")];
        let at = Duration::from_secs;
        assert_eq!(places.arrive(at(0), sources[0], 0), Arrival::Enter(0));
        for second in 1..=4 {
            assert_eq!(places.arrive(at(second), sources[second as usize % 2], second), Arrival::Waits);
        }
        let mut overdue = places.overdue(at(3));
        overdue.sort_unstable();
        assert_eq!((overdue, places.overdue(at(3))), (vec![1, 2, 3], vec![]));
        places.leave(sources[0]);
        assert_eq!(places.next(), Some((sources[0], 4)));
        places.leave(sources[0]);
        assert!(places.sources.is_empty() && places.nobody_waits() && places.room == 100, "{places:?}");
    }

    #[test]
    fn a_64_of_ipv6_is_one_source() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    }
}
