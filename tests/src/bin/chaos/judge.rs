//! The verdict: what each subscriber saw, held against what must be. Pure.
//!
//! The numbers of a node's lines rise by one. For every subscriber and node each number comes once, in order, or a
//! gap before the next one that came stands for it. A gap that counts may stand for as many numbers as it counts.
//! Cursors rise by their numbers, also from one start of the hub to the next, each of which gives the log another id:
//! what is read again may show another id, and never another number.

use std::{collections::HashMap, fmt, ops::RangeInclusive};

use secmon_protocol::ids::Cursor;

/// What a subscriber was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It began with what happens next, so that nothing can be said of what was before.
    Fresh,
    /// A line of a node's.
    Number { cursor: Cursor, node: usize, number: u64 },
    /// A node's records are missing: as many as `count`, or nobody knows how many.
    Missing { cursor: Cursor, node: usize, count: Option<u64>, reason: String },
    /// A part of the log is missing.
    Gap { after: Cursor, to: Cursor, reason: String },
    /// Any other record.
    Other { cursor: Cursor },
    /// Nothing that was wanted up to here.
    Progress { cursor: Cursor },
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Breach {
    /// The subscriber.
    pub(crate) watch: usize,
    /// The node and the first of its numbers that it is about.
    pub(crate) number: Option<(usize, u64)>,
    /// When it showed, in milliseconds since the start.
    pub(crate) at: u64,
    pub(crate) kind: BreachKind,
}

/// What was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BreachKind {
    /// Numbers are missing and no gap stands for them.
    Silent { missing: u64, told: u64 },
    /// A number came again, at another cursor.
    Repeat { cursor: Cursor },
    /// A number came after a later one.
    Late { cursor: Cursor },
    /// A cursor did not rise.
    Back { from: Cursor, to: Cursor },
    /// A later place of the log, without a gap that leads there.
    Jump { from: Cursor, to: Cursor },
    /// Two subscribers saw different things at one cursor.
    Differs { cursor: Cursor, other: (usize, u64) },
    /// What a subscriber printed cannot be read.
    Unreadable { text: String },
    /// The last number never came.
    Unfinished { last: u64, seen: Option<u64> },
}

impl fmt::Display for BreachKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent { missing, told } => write!(f, "{missing} missing, of which gaps told {told}"),
            Self::Repeat { cursor } => write!(f, "came again, at {cursor}"),
            Self::Late { cursor } => write!(f, "came late, at {cursor}"),
            Self::Back { from, to } => write!(f, "cursor {to} after {from}"),
            Self::Jump { from, to } => write!(f, "from cursor {from} to {to} without a gap"),
            Self::Differs { cursor, other: (node, number) } => {
                write!(f, "is at {cursor}, where another saw {number} of n{node}")
            }
            Self::Unreadable { text } => write!(f, "cannot be read: {text}"),
            Self::Unfinished { last, seen: Some(seen) } => write!(f, "the last is {last}, seen is {seen}"),
            Self::Unfinished { last, seen: None } => write!(f, "the last is {last}, seen is nothing"),
        }
    }
}

/// How many missing numbers the gaps since the last one that came can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Count(u64),
    Any,
}

impl Told {
    fn add(&mut self, count: Option<u64>) {
        *self = match (*self, count) {
            (Self::Count(told), Some(count)) => Self::Count(told.saturating_add(count)),
            _ => Self::Any,
        };
    }
}

/// What one subscriber saw of one node.
#[derive(Debug, Clone)]
struct Sight {
    /// Whether its filter lets the node through.
    wanted: bool,
    /// The number that comes next; none until one came, for who began with what happens next.
    next: Option<u64>,
    told: Told,
    /// Bits of the numbers that came.
    came: Vec<u64>,
}

impl Sight {
    /// Whether the number came before; it has now.
    fn again(&mut self, number: u64) -> bool {
        let (word, bit) = (usize::try_from(number / 64).unwrap_or(usize::MAX), 1 << (number % 64));
        if self.came.len() <= word {
            self.came.resize(word + 1, 0);
        }
        let again = self.came[word] & bit != 0;
        self.came[word] |= bit;
        again
    }
}

/// One subscriber.
#[derive(Debug)]
struct Watch {
    /// Sees every record of the log, so that its cursors rise by one.
    whole: bool,
    /// The last cursor.
    last: Option<Cursor>,
    nodes: Vec<Sight>,
}

/// Numbers for the end of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Lines seen, by all subscribers together.
    pub(crate) seen: u64,
    /// Numbers that gaps stood for.
    pub(crate) told: u64,
    /// Gaps.
    pub(crate) gaps: u64,
    /// Numbers that came again at another cursor.
    pub(crate) repeats: u64,
    /// Those of them that may: see [`Judge::excuse`].
    pub(crate) excused: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    watches: Vec<Watch>,
    /// What stands at each number of the log, by whoever saw it first.
    places: HashMap<u64, (usize, u64)>,
    /// Numbers of nodes that may come again.
    excused: Vec<(usize, RangeInclusive<u64>)>,
    pub(crate) breaches: Vec<Breach>,
    pub(crate) tally: Tally,
    /// The reasons of gaps, and how often they were told.
    pub(crate) reasons: HashMap<String, u64>,
}

/// Breaches that are kept; a run that breaks more promises than that is broken.
const MAX_BREACHES: usize = 200;
/// Places that are compared between subscribers: some hours of a run.
const MAX_PLACES: usize = 4 << 20;

impl Judge {
    /// Adds a subscriber that sees these nodes; its number.
    pub(crate) fn watch(&mut self, wanted: &[bool], whole: bool) -> usize {
        let sight = |&wanted: &bool| Sight { wanted, next: Some(1), told: Told::Count(0), came: Vec::new() };
        self.watches.push(Watch { whole, last: None, nodes: wanted.iter().map(sight).collect() });
        self.watches.len() - 1
    }

    /// The place up to which a subscriber has seen everything.
    pub(crate) fn last(&self, watch: usize) -> Option<Cursor> {
        self.watches[watch].last
    }

    /// A subscriber stands at this place, and was shown nothing yet.
    pub(crate) fn begin(&mut self, watch: usize, at: Cursor) {
        self.watches[watch].last.get_or_insert(at);
    }

    /// These numbers of a node may come again: what it did without a disk, before it was killed, is promised at
    /// least once, not once.
    pub(crate) fn excuse(&mut self, node: usize, numbers: RangeInclusive<u64>) {
        self.excused.push((node, numbers));
    }

    /// The greatest number of a node that any subscriber has seen.
    pub(crate) fn newest(&self, node: usize) -> u64 {
        let next = |watch: &Watch| watch.nodes[node].next.unwrap_or(1) - 1;
        self.watches.iter().map(next).max().unwrap_or(0)
    }

    /// Whether every subscriber has seen up to these last numbers of the nodes, or beyond.
    pub(crate) fn all_saw(&self, last: &[u64]) -> bool {
        self.watches.iter().all(|watch| behind(watch, last).is_none())
    }

    /// The end: who has not seen the last numbers has not seen everything.
    pub(crate) fn finish(&mut self, at: u64, last: &[u64]) {
        for watch in 0..self.watches.len() {
            if let Some(node) = behind(&self.watches[watch], last) {
                let next = self.watches[watch].nodes[node].next;
                let kind = BreachKind::Unfinished { last: last[node], seen: next.map(|next| next - 1) };
                self.breach(Breach { watch, number: next.map(|next| (node, next)), at, kind });
            }
        }
    }

    /// A subscriber printed what nobody can read.
    pub(crate) fn unreadable(&mut self, watch: usize, at: u64, text: &str) {
        let text = text.chars().take(300).collect();
        self.breach(Breach { watch, number: None, at, kind: BreachKind::Unreadable { text } });
    }

    /// A subscriber was shown this.
    pub(crate) fn take(&mut self, watch: usize, at: u64, seen: Seen) {
        match seen {
            Seen::Fresh => {
                for sight in &mut self.watches[watch].nodes {
                    (sight.next, sight.told) = (None, Told::Count(0));
                }
                // Where it begins is anybody's guess; that it does not go back is told by its numbers.
                self.watches[watch].last = None;
            }
            Seen::Number { cursor, node, number } => {
                self.rise(watch, at, cursor, 1);
                self.number(watch, at, cursor, node, number);
            }
            Seen::Missing { cursor, node, count, reason } => {
                self.rise(watch, at, cursor, 1);
                // What a reader could not see nobody can count: such a gap is a loss of one record, and says so.
                let count = count.filter(|_| !reason.contains("may be missing"));
                self.watches[watch].nodes[node].told.add(count);
                self.gap(reason);
            }
            Seen::Gap { after, to, reason } => self.hole(watch, at, after, to, reason),
            Seen::Other { cursor } => self.rise(watch, at, cursor, 1),
            // It may say again where the subscriber stands.
            Seen::Progress { cursor } => self.rise(watch, at, cursor, 0),
        }
    }

    fn hole(&mut self, watch: usize, at: u64, after: Cursor, to: Cursor, reason: String) {
        let last = self.watches[watch].last;
        let count = Some(to.n.saturating_sub(after.n));
        if let Some(last) = last
            && (after.n < last.n || to.n < after.n)
        {
            self.breach(Breach { watch, number: None, at, kind: BreachKind::Back { from: last, to: after } });
        }
        if let Some(last) = last
            && self.watches[watch].whole
            && after.n > last.n
        {
            self.breach(Breach { watch, number: None, at, kind: BreachKind::Jump { from: last, to: after } });
        }
        for sight in &mut self.watches[watch].nodes {
            sight.told.add(count);
        }
        self.watches[watch].last = Some(to);
        self.gap(reason);
    }

    fn gap(&mut self, reason: String) {
        self.tally.gaps += 1;
        *self.reasons.entry(reason).or_default() += 1;
    }

    /// A record stands at `cursor`, at least `least` further than the one before.
    fn rise(&mut self, watch: usize, at: u64, cursor: Cursor, least: u64) {
        let Watch { whole, last, .. } = &mut self.watches[watch];
        let whole = *whole && least > 0;
        if let Some(from) = last.replace(cursor) {
            let kind = if cursor.n < from.n + least {
                Some(BreachKind::Back { from, to: cursor })
            } else if whole && cursor.n > from.n + 1 {
                Some(BreachKind::Jump { from, to: cursor })
            } else {
                None
            };
            if let Some(kind) = kind {
                self.breach(Breach { watch, number: None, at, kind });
            }
        }
    }

    fn number(&mut self, watch: usize, at: u64, cursor: Cursor, node: usize, number: u64) {
        self.tally.seen += 1;
        let here = (node, number);
        if self.places.len() < MAX_PLACES || self.places.contains_key(&cursor.n) {
            let other = *self.places.entry(cursor.n).or_insert(here);
            if other != here {
                let kind = BreachKind::Differs { cursor, other };
                self.breach(Breach { watch, number: Some(here), at, kind });
            }
        }
        let sight = &mut self.watches[watch].nodes[node];
        let again = sight.again(number);
        let next = sight.next.unwrap_or(number);
        let kind = if again {
            self.tally.repeats += 1;
            let excused = self.excused.iter().any(|(of, numbers)| *of == node && numbers.contains(&number));
            self.tally.excused += u64::from(excused);
            (!excused).then_some((number, BreachKind::Repeat { cursor }))
        } else if number < next {
            Some((number, BreachKind::Late { cursor }))
        } else {
            let missing = number - next;
            let told = std::mem::replace(&mut sight.told, Told::Count(0));
            sight.next = Some(number + 1);
            match told {
                Told::Count(told) if told < missing => Some((next, BreachKind::Silent { missing, told })),
                _ => {
                    self.tally.told += missing;
                    None
                }
            }
        };
        if let Some((first, kind)) = kind {
            self.breach(Breach { watch, number: Some((node, first)), at, kind });
        }
    }

    fn breach(&mut self, breach: Breach) {
        if self.breaches.len() < MAX_BREACHES {
            self.breaches.push(breach);
        }
    }
}

/// The first node of which a subscriber has not seen the last number.
fn behind(watch: &Watch, last: &[u64]) -> Option<usize> {
    let behind = |(sight, last): (&Sight, &u64)| {
        sight.wanted && *last > 0 && sight.next.is_none_or(|next| next <= *last)
    };
    watch.nodes.iter().zip(last).position(behind)
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
