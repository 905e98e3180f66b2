//! The same line in two sources: a syslog daemon often writes what journald keeps as well, and one line into
//! two files. Pure.
//!
//! A line is known by its program, its message and its time, to two seconds. The first source that brings it
//! is believed; the same from another source is that line again, once for each time the first brought it.
//! Within one source nothing is ever taken for a repetition.

use std::collections::{HashMap, VecDeque};

use secmon_protocol::{auth::AuthEvent, codec::Value};
use serde::{Deserialize, Serialize};

use super::key::HashKey;

/// How far the times of one line may be apart: RFC 3164 has whole seconds, and a syslog daemon may take its
/// own time.
const APART_NS: i64 = 2_000_000_000;
/// Events that are remembered. It must hold what comes between two looks at a source, in a flood of guessed
/// passwords too: a thousand a second. At its largest it takes half a megabyte, and little while it is quiet.
const REMEMBERED: usize = 16_384;

/// Lines that are kept one by one before all are kept anew, beside a share of all: it bounds what one line costs.
const CHANGES: usize = 64;
/// How many of all lines may be kept one by one, in parts of them.
const SHARE: usize = 32;
/// Lines that are kept, the newest: of 27 bytes at the most each, they fit [`MAX_PLACE`](crate::watch::MAX_PLACE).
const KEPT: usize = 9_500;

/// A source, as a bit of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SourceId(u64);

impl SourceId {
    /// journald.
    pub(super) const JOURNALD: Self = Self(1);

    /// A file by its number; all from the 63rd on count as one source.
    pub(super) fn file(number: usize) -> Self {
        Self(1 << (number + 1).min(63))
    }
}

struct Seen {
    time: i64,
    /// The sources that brought it.
    by: u64,
}

/// The lines that came lately.
pub(super) struct Twins {
    hash: HashKey,
    /// By a hash of program and message that nobody outside can aim at.
    seen: HashMap<u64, Vec<Seen>>,
    order: VecDeque<u64>,
    limit: usize,
    forgotten: u64,
    /// The lines since all were kept last; empty when there are too many of them.
    changes: Vec<Line>,
    all_changed: bool,
}

/// A line as a source brought it: its hash, its time, the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line(u64, i64, SourceId);

/// All lines that are remembered, oldest first, as they are kept for the next process: the hash, how much later than
/// the one before, and the sources that brought it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Lines(Vec<(u64, i64, u64)>);

impl Value for Lines {}

impl Default for Twins {
    fn default() -> Self {
        Self::new(REMEMBERED)
    }
}

impl Twins {
    fn new(limit: usize) -> Self {
        Self {
            hash: HashKey::random(),
            seen: HashMap::new(),
            order: VecDeque::new(),
            limit,
            forgotten: 0,
            changes: Vec::new(),
            all_changed: false,
        }
    }

    /// What another process remembered: all of it at some time, and what came since.
    pub(super) fn restore(hash: HashKey, all: &Lines, changes: Vec<Line>) -> Self {
        let mut twins = Self { hash, ..Self::default() };
        let mut time = 0_i64;
        for (line, later, by) in &all.0 {
            time = time.wrapping_add(*later);
            twins.seen.entry(*line).or_default().push(Seen { time, by: *by });
            twins.order.push_back(*line);
        }
        for Line(line, time, source) in changes {
            twins.is_new_line(source, line, time);
        }
        twins
    }

    /// The key of the hashes.
    pub(super) fn key(&self) -> HashKey {
        self.hash
    }

    /// What came since all was kept last; none when all is to be kept.
    pub(super) fn changes(&self) -> Option<&[Line]> {
        (!self.all_changed).then_some(&self.changes)
    }

    /// All that is remembered, to be kept.
    pub(super) fn keep_all(&mut self) -> Lines {
        (self.changes, self.all_changed) = (Vec::new(), false);
        let mut at: HashMap<u64, usize> = HashMap::new();
        let mut before = 0_i64;
        let skipped = self.order.len().saturating_sub(KEPT);
        let lines = self.order.iter().enumerate().filter_map(|(number, line)| {
            let nth = at.entry(*line).or_default();
            let seen = self.seen.get(line)?.get(*nth)?;
            *nth += 1;
            if number < skipped {
                return None;
            }
            let later = seen.time.wrapping_sub(before);
            before = seen.time;
            Some((*line, later, seen.by))
        });
        Lines(lines.collect())
    }

    /// Whether an event is news, or another source has brought it already.
    pub(super) fn is_news(&mut self, source: SourceId, event: &AuthEvent) -> bool {
        // Not the process: a line of a file may lack it where journald knows it.
        self.is_new_line(source, self.hash.hash(&[&event.program, &event.message]), event.time.0)
    }

    fn is_new_line(&mut self, source: SourceId, line: u64, time: i64) -> bool {
        if !self.all_changed && self.changes.len() < CHANGES + self.order.len() / SHARE {
            self.changes.push(Line(line, time, source));
        } else {
            (self.changes, self.all_changed) = (Vec::new(), true);
        }
        let seen = self.seen.entry(line).or_default();
        let twin = seen
            .iter_mut()
            .filter(|seen| seen.by & source.0 == 0 && seen.time.abs_diff(time) <= APART_NS.unsigned_abs())
            .min_by_key(|seen| seen.time.abs_diff(time));
        if let Some(twin) = twin {
            twin.by |= source.0;
            return false;
        }
        seen.push(Seen { time, by: source.0 });
        self.order.push_back(line);
        if self.order.len() > self.limit {
            self.forget_oldest();
        }
        true
    }

    fn forget_oldest(&mut self) {
        let Some(line) = self.order.pop_front() else { return };
        self.forgotten += 1;
        if let Some(seen) = self.seen.get_mut(&line) {
            seen.remove(0);
            if seen.is_empty() {
                self.seen.remove(&line);
            }
        }
    }

    /// How many lines have been forgotten because there were too many, or would be with the process.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten + self.order.len().saturating_sub(KEPT) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_line_is_news_once_whichever_source_brings_it_first() {
        let mut twins = Twins::default();
        assert!(twins.is_new_line(SourceId::JOURNALD, 7, 10 * SECOND + 5));
        assert!(!twins.is_new_line(SourceId::file(0), 7, 10 * SECOND));
        assert!(!twins.is_new_line(SourceId::file(1), 7, 10 * SECOND));
        assert!(twins.is_new_line(SourceId::file(1), 8, 10 * SECOND));
        assert!(!twins.is_new_line(SourceId::file(0), 8, 10 * SECOND));
    }

    #[test]
    fn the_same_words_at_another_time_are_another_line() {
        let mut twins = Twins::default();
        assert!(twins.is_new_line(SourceId::JOURNALD, 7, 10 * SECOND));
        assert!(twins.is_new_line(SourceId::file(0), 7, 13 * SECOND));
    }

    #[test]
    fn what_is_forgotten_is_counted_and_the_memory_is_bounded() {
        let mut twins = Twins::new(3);
        for line in 0..10 {
            assert!(twins.is_new_line(SourceId::JOURNALD, line % 4, 0));
        }
        assert_eq!((twins.forgotten(), twins.order.len()), (7, 3));
        assert_eq!(twins.seen.values().map(Vec::len).sum::<usize>(), 3);
        assert!(twins.seen.len() <= 3);
    }

    #[test]
    fn what_is_kept_fits_a_place_and_knows_every_line_again() {
        let mut twins = Twins::default();
        let mut all = twins.keep_all();
        let line = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n as i64 * 1_000_000_007);
        for n in 0..20_000 {
            let (hash, time) = line(n);
            assert!(twins.is_new_line(SourceId::file(40), hash, time));
            if twins.changes().is_none() {
                all = twins.keep_all();
            }
        }
        let size = secmon_protocol::codec::encode_value(&all).len();
        assert!(size < crate::watch::MAX_PLACE, "{size}");
        let mut twins = Twins::restore(twins.key(), &all, twins.changes().unwrap().to_vec());
        for n in 12_000..20_000 {
            let (hash, time) = line(n);
            assert!(!twins.is_new_line(SourceId::JOURNALD, hash, time), "{n}");
        }
    }

    proptest! {
        #[test]
        fn two_sources_that_hold_the_same_lines_give_each_line_once(
            lines in proptest::collection::vec((0_u64..3, 0_i64..5), 0..40), turns in proptest::collection::vec(any::<bool>(), 80),
        ) {
            // In each source the lines are in order; the sources take turns in any way.
            let mut lines = lines;
            lines.sort_by_key(|(_, time)| *time);
            let mut twins = Twins::default();
            let (mut left, mut news) = ([0, 0], 0);
            for turn in turns.into_iter().chain([true, false].into_iter().cycle()) {
                let which = usize::from(turn);
                if left == [lines.len(); 2] {
                    break;
                }
                let Some((line, time)) = lines.get(left[which]) else { continue };
                left[which] += 1;
                news += usize::from(twins.is_new_line(SourceId::file(which), *line, time * SECOND));
            }
            prop_assert_eq!(news, lines.len());
        }
    }
}
