//! What the hub has not acknowledged: a bounded queue of encoded records, in memory.
//!
//! When it is full the oldest records go, and one [`Lost`] takes their place, at the seq of the last of
//! them; so the numbers never have a hole that is not explained.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use secmon_protocol::{
    codec,
    ids::Seq,
    record::{Envelope, Lost, NodeRecord, RecordKind},
    time::UnixNanos,
};

/// Memory that an entry costs beside its bytes; keeps many small records within the bound as well.
const ENTRY_OVERHEAD: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Outbox {
    entries: VecDeque<Entry>,
    bytes: usize,
    capacity: usize,
    newest: Seq,
}

#[derive(Debug)]
struct Entry {
    seq: Seq,
    /// How many seqs it stands for, itself included: 1, or what was lost.
    stands_for: u64,
    kind: RecordKind,
    record: Bytes,
}

impl Entry {
    fn cost(&self) -> usize {
        self.record.len() + ENTRY_OVERHEAD
    }
}

/// What an append had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Appended {
    /// A snapshot or a diff was dropped to make room, and no snapshot behind it makes up for that. Never so
    /// when what was appended is a snapshot.
    pub state_broken: bool,
}

/// Records on their way: a list, and the seq of its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// A list of [`NodeRecord`]; see [`codec::encode_list`].
    pub list: Bytes,
    /// The seq of its last record.
    pub last: Seq,
}

impl Outbox {
    /// An empty outbox for `capacity` bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, capacity, newest: Seq(0) }
    }

    /// Appends a record at the next seq, and drops the oldest ones when there is no room.
    pub fn append(&mut self, envelope: Envelope, now: UnixNanos) -> Appended {
        self.newest = self.newest.next();
        let kind = envelope.kind;
        let record = codec::encode(&NodeRecord { seq: self.newest, envelope });
        self.push_back(Entry { seq: self.newest, stands_for: 1, kind, record });
        self.make_room(now)
    }

    /// Takes a seq for a record that is lost before it was kept.
    pub fn lose(&mut self, reason: &str, now: UnixNanos) -> Appended {
        self.newest = self.newest.next();
        let entry = lost(self.newest, 1, reason, now);
        self.push_back(entry);
        self.make_room(now)
    }

    /// When it is too full, drops from the front until an eighth is free again. The newest record is kept
    /// even if it is larger than the outbox.
    fn make_room(&mut self, now: UnixNanos) -> Appended {
        if self.bytes <= self.capacity {
            return Appended { state_broken: false };
        }
        let (mut count, mut last, mut state) = (0, None, false);
        while self.bytes > self.capacity - self.capacity / 8 && self.entries.len() > 1 {
            let Some(entry) = self.entries.pop_front() else { break };
            self.bytes -= entry.cost();
            count += entry.stands_for;
            state |= matches!(entry.kind, RecordKind::SNAPSHOT | RecordKind::DIFF);
            last = Some(entry.seq);
        }
        let mended = || self.entries.iter().any(|entry| entry.kind == RecordKind::SNAPSHOT);
        let state_broken = state && !mended();
        if let Some(seq) = last {
            let entry = lost(seq, count, "the node's outbox was full", now);
            self.bytes += entry.cost();
            self.entries.push_front(entry);
        }
        Appended { state_broken }
    }

    fn push_back(&mut self, entry: Entry) {
        self.bytes += entry.cost();
        self.entries.push_back(entry);
    }

    /// Forgets everything up to and with `seq`.
    pub fn ack(&mut self, seq: Seq) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.seq <= seq) {
            self.bytes -= entry.cost();
        }
        if self.entries.is_empty() {
            self.entries.shrink_to(64);
        }
    }

    /// The records after `after`, at least one, until `target` bytes are reached.
    #[must_use]
    pub fn batch(&self, after: Seq, target: usize) -> Option<Batch> {
        let start = self.entries.partition_point(|entry| entry.seq <= after);
        let mut list = BytesMut::new();
        let mut last = None;
        for entry in self.entries.range(start..) {
            if last.is_some() && list.len() + entry.record.len() > target {
                break;
            }
            codec::push_item(&mut list, &entry.record);
            last = Some(entry.seq);
        }
        last.map(|last| Batch { list: list.freeze(), last })
    }

    /// The oldest seq that the outbox can account for; `newest + 1` when it is empty.
    #[must_use]
    pub fn oldest(&self) -> Seq {
        match self.entries.front() {
            Some(entry) => Seq(entry.seq.0 + 1 - entry.stands_for),
            None => self.newest.next(),
        }
    }

    /// The newest seq; 0 before the first.
    #[must_use]
    pub fn newest(&self) -> Seq {
        self.newest
    }

    /// The records held, oldest first.
    pub fn held(&self) -> impl Iterator<Item = &Bytes> {
        self.entries.iter().map(|entry| &entry.record)
    }
}

fn lost(seq: Seq, count: u64, reason: &str, now: UnixNanos) -> Entry {
    let envelope = Envelope::lost(now, &Lost { count, reason: reason.to_owned() });
    Entry {
        seq,
        stands_for: count,
        kind: RecordKind::LOST,
        record: codec::encode(&NodeRecord { seq, envelope }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secmon_protocol::{
        auth::{AuthAction, AuthEvent},
        record::Body,
    };

    use super::*;

    const NOW: UnixNanos = UnixNanos(1);

    fn event(len: usize) -> Envelope {
        Envelope::auth(&AuthEvent::new(NOW, "sshd", None, AuthAction::Failed, &"x".repeat(len)))
    }

    proptest! {
        #[test]
        fn every_seq_is_held_or_accounted_for_as_lost(
            steps in prop::collection::vec((0_usize..400, 0_u64..40), 1..200),
        ) {
            let mut outbox = Outbox::new(3_000);
            for (len, ack) in steps {
                let _ = outbox.append(event(len), NOW);
                if ack == 0 {
                    let acked = outbox.newest().0 / 2;
                    outbox.ack(Seq(acked));
                }
                prop_assert!(outbox.bytes <= 3_000 + 1_000);
                let mut expected = outbox.oldest().0;
                for record in outbox.held() {
                    let record: NodeRecord = codec::decode(record).unwrap();
                    let covers = match record.envelope.decode().unwrap() {
                        Body::Lost(lost) => lost.count,
                        _ => 1,
                    };
                    prop_assert_eq!(record.seq.0, expected + covers - 1);
                    expected = record.seq.0 + 1;
                }
                prop_assert_eq!(expected, outbox.newest().0 + 1);
            }
        }
    }

    #[test]
    fn a_batch_ends_at_its_target_but_has_at_least_one_record() {
        let mut outbox = Outbox::new(1 << 20);
        for _ in 0..4 {
            let _ = outbox.append(event(170), NOW);
        }
        assert_eq!(outbox.batch(Seq(0), 1).unwrap().last, Seq(1));
        assert_eq!(outbox.batch(Seq(1), 500).unwrap().last, Seq(3));
        assert_eq!(outbox.batch(Seq(4), 500), None);
    }
}
