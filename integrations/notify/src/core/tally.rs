//! Counting what is without number in a bounded room: how many different ones there are, and which are the most frequent.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD as BASE64};
use secmon_protocol::text::printable;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{seen::fingerprint, text::thousands};

/// Most different ones that are told apart in one place; behind it stands a `+`.
pub(super) const MAX_DISTINCT: usize = 1_000;
/// Names that are counted each: the three that a title has, and as many that compete for it.
const KEPT: usize = 6;
/// Longest name, in bytes of JSON, in which quotes and backslashes take two: more than a node's name has.
const MAX_NAME: usize = 80;
/// Bits of a fingerprint: two of a thousand are the same in one of 500 million cases.
const BITS: u32 = 48;
/// Most that is counted of one: what fits beside a fingerprint.
const MAX_COUNT: u64 = (1 << 24) - 1;
/// Bytes of a fingerprint and its count, and characters of those in base64.
const PACKED: usize = 9;
const CHARACTERS: usize = 12;

/// What all tallies share, so that the memory of a restart stays bounded however many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Fingerprints that may still be taken.
    pub(super) fingerprints: usize,
    /// Bytes of lines that may still be taken.
    pub(super) lines: usize,
}

/// Counts names: exactly, as long as there is room to tell all of them apart; then whoever comes anew takes the place, and the count, of the
/// least frequent (space-saving: Metwally et al., "Efficient computation of frequent and top-k elements in data streams", 2005). Names are kept of
/// the most frequent alone.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Tally {
    /// The most frequent: fingerprint, name and count.
    top: Vec<(u64, String, u64)>,
    /// By fingerprint.
    #[serde(serialize_with = "pack", deserialize_with = "unpack")]
    counts: BTreeMap<u64, u64>,
    /// How much of each count may be another's.
    slack: u64,
    /// Whether there were more than could be told apart.
    more: bool,
}

impl Tally {
    pub(super) fn add(&mut self, name: &str, count: u64, room: &mut Room) {
        let print = fingerprint(name) >> (64 - BITS);
        let total = self.count(print, count.min(MAX_COUNT), room);
        if let Some(kept) = self.top.iter_mut().find(|(kept, ..)| *kept == print) {
            kept.2 = total;
        } else if self.top.len() < KEPT {
            self.top.push((print, short(name), total));
        } else if let Some(least) = self.top.iter_mut().min_by_key(|(.., count)| *count)
            && least.2 < total
        {
            *least = (print, short(name), total);
        }
    }

    /// Counts it, and how much that is in all.
    fn count(&mut self, print: u64, count: u64, room: &mut Room) -> u64 {
        if let Some(known) = self.counts.get_mut(&print) {
            *known = (*known + count).min(MAX_COUNT);
            return *known;
        }
        if self.counts.len() < MAX_DISTINCT && room.fingerprints > 0 {
            room.fingerprints -= 1;
            self.counts.insert(print, count);
            return count;
        }
        self.more = true;
        let least =
            self.counts.iter().min_by_key(|(_, count)| **count).map(|(least, count)| (*least, *count));
        let Some((least, before)) = least.filter(|_| self.counts.len() >= KEPT) else {
            // Other digests have all the room: then there are the places of those that are named.
            let known = self.top.iter().find(|(kept, ..)| *kept == print).map(|(.., known)| *known);
            let full = self.top.iter().map(|(.., count)| *count).min().filter(|_| self.top.len() >= KEPT);
            if known.is_none() {
                self.slack = self.slack.max(full.unwrap_or_default());
            }
            return (known.or(full).unwrap_or_default() + count).min(MAX_COUNT);
        };
        self.counts.remove(&least);
        self.top.retain(|(kept, ..)| *kept != least);
        self.slack = self.slack.max(before);
        let total = (before + count).min(MAX_COUNT);
        self.counts.insert(print, total);
        total
    }

    pub(super) fn is_empty(&self) -> bool {
        self.top.is_empty()
    }

    /// What is given back when the tally goes.
    pub(super) fn fingerprints(&self) -> usize {
        self.counts.len()
    }

    /// The name, where there is one alone.
    pub(super) fn only(&self) -> Option<&str> {
        match self.top.as_slice() {
            [(_, name, _)] if self.counts.len() <= 1 && !self.more => Some(name),
            _ => None,
        }
    }

    /// How many different ones: `3`, `1,000+`.
    pub(super) fn distinct(&self) -> String {
        format!("{}{}", thousands(self.counts.len() as u64), if self.more { "+" } else { "" })
    }

    /// How many different ones, at least, and whether there are more.
    pub(super) fn number(&self) -> (usize, bool) {
        (self.counts.len(), self.more)
    }

    /// The most frequent first, with what is certain of their counts.
    pub(super) fn top(&self) -> Vec<(&str, u64)> {
        let sure = |count: u64| count.saturating_sub(self.slack);
        let mut top: Vec<_> = self.top.iter().map(|(_, name, count)| (name.as_str(), sure(*count))).collect();
        top.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        top
    }

    /// Whether the counts are more than a lower bound.
    pub(super) fn exact(&self) -> bool {
        self.slack == 0 && self.top.iter().all(|(.., count)| *count < MAX_COUNT)
    }
}

/// What is shown of a name.
fn short(name: &str) -> String {
    // Made safe a text is never shorter.
    let mut name = printable(&name[..name.floor_char_boundary(MAX_NAME)]);
    let mut cost = 0;
    let fits = name.char_indices().find(|(_, c)| {
        cost += c.len_utf8() + usize::from(matches!(c, '"' | '\\'));
        cost > MAX_NAME
    });
    if let Some((end, _)) = fits {
        name.truncate(end);
    }
    name
}

fn pack<S: Serializer>(counts: &BTreeMap<u64, u64>, to: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(counts.len() * PACKED);
    for (print, count) in counts {
        bytes.extend_from_slice(&print.to_be_bytes()[2..]);
        bytes.extend_from_slice(&count.to_be_bytes()[5..]);
    }
    to.serialize_str(&BASE64.encode(bytes))
}

fn unpack<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u64, u64>, D::Error> {
    let text = String::deserialize(from)?;
    let bytes = BASE64.decode(&text[..text.floor_char_boundary(MAX_DISTINCT * CHARACTERS)]);
    let bytes = bytes.map_err(serde::de::Error::custom)?;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Ok(bytes.chunks_exact(PACKED).map(|one| (number(&one[..6]), number(&one[6..]))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_ones_are_counted_exactly_up_to_a_limit_and_the_frequent_found_among_many() {
        let mut room = Room { fingerprints: 10_000, lines: 0 };
        let mut tally = Tally::default();
        for i in 0..MAX_DISTINCT {
            tally.add(&format!("user{i}"), 1, &mut room);
            tally.add("root", 1, &mut room);
        }
        assert_eq!((tally.distinct().as_str(), tally.number()), ("1,000+", (MAX_DISTINCT, true)));
        assert_eq!(tally.top()[0], ("root", 999));
        assert!(!tally.exact() && tally.only().is_none());
        let json = serde_json::to_string(&tally).unwrap();
        let back: Tally = serde_json::from_str(&json).unwrap();
        assert_eq!((back.counts, back.top), (tally.counts, tally.top));
    }

    /// Who came 200 times among 750 addresses of five tries each was not among the top: six counters of a kind were overrun.
    #[test]
    fn the_most_frequent_are_found_and_counted_however_many_others_come_between() {
        let mut room = Room { fingerprints: 10_000, lines: 0 };
        let mut tally = Tally::default();
        for i in 0..200 {
            (0..20).for_each(|j| tally.add(&format!("198.51.100.{}", (i * 20 + j) % 750), 1, &mut room));
            tally.add("203.0.113.9", 1, &mut room);
        }
        assert_eq!((tally.top()[0], tally.top()[1].1, tally.exact()), (("203.0.113.9", 200), 6, true));
        // Far more than there is room for: what is certain is still nearly all.
        for i in 0..10_000 {
            tally.add(&format!("2001:db8::{i:x}"), 1, &mut room);
        }
        let (name, count) = tally.top()[0];
        assert!(name == "203.0.113.9" && (180..=200).contains(&count), "{name} {count}");
        assert!(!tally.exact());
    }

    #[test]
    fn what_all_share_is_not_overdrawn_and_hostile_names_are_short_and_printable() {
        let mut room = Room { fingerprints: 1, lines: 0 };
        let mut tally = Tally::default();
        tally.add(&"\u{1b}[2J".repeat(100), 3, &mut room);
        let name = tally.only().unwrap();
        assert!(
            name.starts_with("\\x1b[2J\\x1b") && serde_json::to_string(name).unwrap().len() <= MAX_NAME + 2
        );
        tally.add("b", 1, &mut room);
        assert_eq!((tally.distinct().as_str(), room.fingerprints), ("1+", 0));
        // Where there is no room, those that are named are still counted.
        tally.add("c", 1, &mut room);
        tally.add("b", 1, &mut room);
        assert_eq!(tally.top()[1..], [("b", 2), ("c", 1)]);
        assert!(tally.top()[0].1 == 3 && tally.exact());
        ["d", "e", "f", "g", "g"].iter().for_each(|name| tally.add(name, 1, &mut room));
        assert!(tally.top().len() == KEPT && !tally.exact());
    }
}
