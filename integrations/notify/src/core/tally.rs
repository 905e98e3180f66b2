//! Counting what is without number in a bounded room: how many different ones there are, and which are the most frequent.

use std::collections::BTreeSet;

use secmon_protocol::text::printable;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{seen::fingerprint, text::thousands};

/// Most different ones that are told apart in one place; behind it stands a `+`.
pub(super) const MAX_DISTINCT: usize = 1_000;
/// Names that are counted each: the three that a title has, and as many that compete for it.
const KEPT: usize = 6;
/// Longest name, in bytes of JSON, in which quotes and backslashes take two: more than a node's name has. Names that begin alike for that
/// long are counted as one, and still told apart.
const MAX_NAME: usize = 80;
/// Bits of a fingerprint: two of a thousand are the same in one of 500 million cases.
const BITS: u32 = 48;
/// Hexadecimal digits of those.
const DIGITS: usize = 12;

/// What all tallies share, so that the memory of a restart stays bounded however many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Fingerprints that may still be taken.
    pub(super) fingerprints: usize,
    /// Bytes of lines that may still be taken.
    pub(super) lines: usize,
}

/// Counts names.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Tally {
    /// The most frequent, each with its count and how much of that may be another's (space-saving: Metwally et al., "Efficient
    /// computation of frequent and top-k elements in data streams", 2005).
    kept: Vec<(String, u64, u64)>,
    #[serde(serialize_with = "pack", deserialize_with = "unpack")]
    different: BTreeSet<u64>,
    /// Whether there were more than could be told apart.
    more: bool,
}

impl Tally {
    pub(super) fn add(&mut self, name: &str, count: u64, room: &mut Room) {
        let print = fingerprint(name) >> (64 - BITS);
        if !self.different.contains(&print) {
            if self.different.len() < MAX_DISTINCT && room.fingerprints > 0 {
                room.fingerprints -= 1;
                self.different.insert(print);
            } else {
                self.more = true;
            }
        }
        // Made safe a text is never shorter.
        let name = printable(&name[..name.floor_char_boundary(MAX_NAME)]);
        let mut cost = 0;
        let fits = name.char_indices().find(|(_, c)| {
            cost += c.len_utf8() + usize::from(matches!(c, '"' | '\\'));
            cost > MAX_NAME
        });
        let name = &name[..fits.map_or(name.len(), |(end, _)| end)];
        if let Some(kept) = self.kept.iter_mut().find(|(kept, ..)| kept == name) {
            kept.1 = kept.1.saturating_add(count);
        } else if self.kept.len() < KEPT {
            self.kept.push((name.to_owned(), count, 0));
        } else if let Some(least) = self.kept.iter_mut().min_by_key(|(_, count, _)| *count) {
            *least = (name.to_owned(), least.1.saturating_add(count), least.1);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// What is given back when the tally goes.
    pub(super) fn fingerprints(&self) -> usize {
        self.different.len()
    }

    /// The name, where there is one alone.
    pub(super) fn only(&self) -> Option<&str> {
        match self.kept.as_slice() {
            [(name, ..)] if self.different.len() <= 1 && !self.more => Some(name),
            _ => None,
        }
    }

    /// How many different ones: `3`, `1,000+`.
    pub(super) fn distinct(&self) -> String {
        format!("{}{}", thousands(self.different.len() as u64), if self.more { "+" } else { "" })
    }

    /// How many different ones, at least, and whether there are more.
    pub(super) fn number(&self) -> (usize, bool) {
        (self.different.len(), self.more)
    }

    /// The most frequent first, with what is certain of their counts.
    pub(super) fn top(&self) -> Vec<(&str, u64)> {
        let mut top: Vec<_> =
            self.kept.iter().map(|(name, count, other)| (name.as_str(), count - other)).collect();
        top.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        top
    }

    /// Whether the counts are more than a lower bound.
    pub(super) fn exact(&self) -> bool {
        self.kept.iter().all(|(_, _, other)| *other == 0)
    }
}

fn pack<S: Serializer>(different: &BTreeSet<u64>, to: S) -> Result<S::Ok, S::Error> {
    let text: String = different.iter().map(|print| format!("{print:0DIGITS$x}")).collect();
    to.serialize_str(&text)
}

fn unpack<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<u64>, D::Error> {
    let text = String::deserialize(from)?;
    let prints = text.as_bytes().chunks(DIGITS).map(|digits| {
        let digits = std::str::from_utf8(digits).map_err(serde::de::Error::custom)?;
        u64::from_str_radix(digits, 16).map_err(serde::de::Error::custom)
    });
    prints.take(MAX_DISTINCT).collect()
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
        assert_eq!(tally.top()[0], ("root", 1_000));
        assert!(!tally.exact() && tally.only().is_none());
        let json = serde_json::to_string(&tally).unwrap();
        let back: Tally = serde_json::from_str(&json).unwrap();
        assert_eq!((back.different, back.kept), (tally.different, tally.kept));
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
    }
}
