//! What all destinations share: the outputs, room for digests, and names that nothing else has.

use std::collections::VecDeque;

use secmon_protocol::time::UnixNanos;

use super::{
    Output, Thread,
    digest::{Digest, Why},
    tally::Room,
};
use crate::Notice;

/// Most digests of rules that are open, in all destinations together; each destination has two more, for what is held back and for what
/// is over its limit, which takes what would open a further one.
pub(super) const MAX_OPEN: usize = 40;
/// What may be taken by all digests together: enough for eight of them to tell a thousand apart.
const ROOM: Room = Room { fingerprints: 8_000, lines: 96 << 10 };

/// Shared by the destinations of a core.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) room: Room,
    /// Digests of rules that are open.
    pub(super) open: usize,
    /// Counts up for ever.
    pub(super) counter: u64,
    pub(super) out: VecDeque<Output>,
}

impl Shared {
    /// `digests` are those that are open.
    pub(super) fn new<'a>(counter: u64, digests: impl Iterator<Item = &'a Digest>) -> Self {
        let mut shared = Self { room: ROOM, open: 0, counter, out: VecDeque::new() };
        for digest in digests {
            let taken = digest.takes();
            shared.room.fingerprints = shared.room.fingerprints.saturating_sub(taken.fingerprints);
            shared.room.lines = shared.room.lines.saturating_sub(taken.lines);
            shared.open += usize::from(digest.why == Why::Rule);
        }
        shared
    }

    /// A part of an id that no other has, not even one of an earlier life whose memory is lost.
    pub(super) fn unique(&mut self, now: UnixNanos) -> String {
        self.counter += 1;
        format!("{:x}-{:x}", now.0, self.counter)
    }

    pub(super) fn tell(&mut self, destination: &str, notice: Notice, thread: Option<Thread>) {
        let notice = Box::new(notice);
        self.out.push_back(Output::Tell { destination: destination.to_owned(), notice, thread });
    }

    /// A digest is over, and gives back what it took.
    pub(super) fn close(&mut self, digest: &Digest) {
        let taken = digest.takes();
        self.room.fingerprints += taken.fingerprints;
        self.room.lines += taken.lines;
        self.open -= usize::from(digest.why == Why::Rule);
    }
}
