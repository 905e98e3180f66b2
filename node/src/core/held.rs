//! What the hub has not acknowledged, without its bytes: enough to know what must go when there is no room.
//!
//! Records beyond the bound go from the front, and one [`Lost`] takes their place, at the place of the last of
//! them; so the numbers never have a hole that is not explained.

use std::collections::VecDeque;

use secmon_protocol::{
    codec,
    record::{Envelope, Lost, RecordKind},
    time::UnixNanos,
};

use super::write::{Entry, Row, Write};

/// What a record costs beside its bytes, on disk and in memory; keeps many small ones within the bound as well.
const ENTRY_OVERHEAD: usize = 64;
/// An empty index keeps room for so many.
const SPARE: usize = 64;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Held {
    entries: VecDeque<Entry>,
    /// Costs of those that count: the ones behind `frozen`.
    cost: usize,
    capacity: usize,
    /// Records up to and with this place lie where nothing can be dropped; 0 usually.
    frozen: u64,
    newest: u64,
}

/// What an append had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub(super) struct Appended {
    /// A snapshot or a diff was dropped to make room, and no snapshot behind it makes up for that. Never so
    /// when what was appended is a snapshot.
    pub(super) state_broken: bool,
}

fn cost(entry: &Entry) -> usize {
    entry.len + ENTRY_OVERHEAD
}

/// The record for `count` places up to and with `place`.
fn lost(place: u64, count: u64, reason: &str, now: UnixNanos) -> Row {
    let envelope = codec::encode(&Envelope::lost(now, &Lost { count, reason: reason.to_owned() }));
    let entry = Entry { place, stands_for: count, kind: RecordKind::LOST, len: envelope.len() };
    Row { entry, envelope }
}

impl Held {
    /// What a shelf holds, within `capacity` bytes once [`Self::make_room`] was called.
    pub(super) fn new(entries: Vec<Entry>, newest: u64, capacity: usize) -> Self {
        let cost = entries.iter().map(cost).sum();
        Self { entries: entries.into(), cost, capacity, frozen: 0, newest }
    }

    pub(super) fn append(&mut self, envelope: &Envelope, now: UnixNanos, out: &mut Vec<Write>) -> Appended {
        let kind = envelope.kind;
        let envelope = codec::encode(envelope);
        let entry = Entry { place: self.newest + 1, stands_for: 1, kind, len: envelope.len() };
        self.push(Row { entry, envelope }, now, out)
    }

    /// Takes `count` places for records that are lost before they were kept.
    pub(super) fn lose(
        &mut self,
        count: u64,
        reason: &str,
        now: UnixNanos,
        out: &mut Vec<Write>,
    ) -> Appended {
        let count = count.max(1);
        self.push(lost(self.newest + count, count, reason, now), now, out)
    }

    /// Appends a record that is made.
    pub(super) fn push(&mut self, row: Row, now: UnixNanos, out: &mut Vec<Write>) -> Appended {
        self.newest = row.entry.place;
        self.cost += cost(&row.entry);
        self.entries.push_back(row.entry);
        out.push(Write::Append(row));
        self.make_room(now, out)
    }

    /// When it is too full, drops from the front until an eighth is free again. The newest record is kept
    /// even if it is larger than the whole.
    pub(super) fn make_room(&mut self, now: UnixNanos, out: &mut Vec<Write>) -> Appended {
        if self.cost <= self.capacity {
            return Appended::default();
        }
        let first = self.entries.partition_point(|entry| entry.place <= self.frozen);
        let (mut through, mut count, mut state, mut last) = (first, 0, false, None);
        while self.cost > self.capacity - self.capacity / 8 && through + 1 < self.entries.len() {
            let Some(entry) = self.entries.get(through) else { break };
            self.cost -= cost(entry);
            count += entry.stands_for;
            state |= matches!(entry.kind, RecordKind::SNAPSHOT | RecordKind::DIFF);
            last = Some(entry.place);
            through += 1;
        }
        let Some(place) = last else { return Appended::default() };
        self.entries.drain(first..through);
        let mended = self.entries.range(first..).any(|entry| entry.kind == RecordKind::SNAPSHOT);
        let row = lost(place, count, "the node's outbox was full", now);
        self.cost += cost(&row.entry);
        self.entries.insert(first, row.entry);
        // Where something is frozen, what goes lies behind it, and alone in memory.
        out.extend([Write::DropThrough(place), Write::Append(row)]);
        Appended { state_broken: state && !mended }
    }

    /// Forgets everything up to and with `place`.
    pub(super) fn forget(&mut self, place: u64) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.place <= place) {
            if entry.place > self.frozen {
                self.cost -= cost(&entry);
            }
        }
        if self.entries.is_empty() {
            self.entries.shrink_to(SPARE);
        }
    }

    /// What is held up to and with `place` stays as it is; what comes behind it has `capacity` bytes.
    pub(super) fn freeze(&mut self, place: u64, capacity: usize) {
        (self.frozen, self.capacity) = (place, capacity);
        self.cost = self.entries.iter().filter(|entry| entry.place > place).map(cost).sum();
    }

    /// Everything counts again.
    pub(super) fn thaw(&mut self, capacity: usize) {
        self.freeze(0, capacity);
    }

    /// The frozen ones go, and what they were for is one record, lost; none where there were none.
    pub(super) fn lose_frozen(&mut self, reason: &str, now: UnixNanos) -> (Option<Row>, Appended) {
        let through = self.entries.partition_point(|entry| entry.place <= self.frozen);
        let gone: Vec<Entry> = self.entries.drain(..through).collect();
        let Some(last) = gone.last() else { return (None, Appended::default()) };
        let row = lost(last.place, gone.iter().map(|entry| entry.stands_for).sum(), reason, now);
        self.entries.push_front(row.entry);
        let state = gone.iter().any(|entry| matches!(entry.kind, RecordKind::SNAPSHOT | RecordKind::DIFF));
        let mended = self.entries.iter().any(|entry| entry.kind == RecordKind::SNAPSHOT);
        (Some(row), Appended { state_broken: state && !mended })
    }

    /// The entries after `after`, at least one, until `bytes` or `most` are reached.
    pub(super) fn next(&self, after: u64, bytes: usize, most: usize) -> impl Iterator<Item = &Entry> {
        let start = self.entries.partition_point(|entry| entry.place <= after);
        let mut sum = 0;
        self.entries.range(start..).take(most).take_while(move |entry| {
            let first = sum == 0;
            sum += entry.len;
            first || sum <= bytes
        })
    }

    /// The place before the oldest that it accounts for; the newest when it is empty.
    pub(super) fn before_oldest(&self) -> u64 {
        self.entries.front().map_or(self.newest, |entry| entry.place - entry.stands_for)
    }

    /// The newest place; 0 before the first.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    pub(super) fn frozen(&self) -> u64 {
        self.frozen
    }

    pub(super) fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }
}
