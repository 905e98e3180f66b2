//! The newest part of the log, in memory: every record encoded once, for all subscribers.
//!
//! A subscriber is a place in the log and nothing more; one that is slow costs the others nothing. What
//! falls out at the old end is read from the store.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use secmon_protocol::ids::{Cursor, LogId};
use tokio::sync::watch;

use crate::{
    core::Shelf,
    segment::{Run, Segment},
};

/// Memory for the newest part of the log, in bytes: enough that subscribers that hang for a moment in a flood of some
/// 100,000 records a second need nothing of the disk.
pub(crate) const RING_BYTES: usize = 32 << 20;

/// The ring.
#[derive(Debug)]
pub(crate) struct Ring {
    limit: usize,
    inner: Mutex<Inner>,
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    log: LogId,
    segments: VecDeque<Arc<Segment>>,
    bytes: usize,
    newest: u64,
}

impl Inner {
    fn shelf(&self) -> Shelf {
        let gone = self.segments.front().map_or(self.newest, |oldest| oldest.first.n - 1);
        Shelf { gone, newest: self.newest }
    }
}

impl Ring {
    /// An empty ring behind the newest place of a log, of which `limit` bytes will be held.
    pub(crate) fn new(newest: Cursor, limit: usize) -> Self {
        let Cursor { log, n: newest } = newest;
        let inner = Mutex::new(Inner { log, segments: VecDeque::new(), bytes: 0, newest });
        Self { limit, inner, newest: watch::Sender::new(newest) }
    }

    /// The log's id.
    pub(crate) fn log(&self) -> LogId {
        self.inner().log
    }

    /// A place of this log.
    pub(crate) fn cursor(&self, n: u64) -> Cursor {
        Cursor { log: self.log(), n }
    }

    /// The newest place.
    pub(crate) fn newest(&self) -> Cursor {
        let inner = self.inner();
        Cursor { log: inner.log, n: inner.newest }
    }

    /// Which part of the log is here.
    pub(crate) fn shelf(&self) -> Shelf {
        self.inner().shelf()
    }

    /// Wakes whoever waits for the log to grow.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Appends segments; each must begin behind the end of the one before.
    pub(crate) fn push(&self, segments: impl IntoIterator<Item = Arc<Segment>>) {
        let mut inner = self.inner();
        for segment in segments {
            inner.newest = segment.last();
            inner.bytes += segment.cost();
            inner.segments.push_back(segment);
        }
        // The newest records stay whatever their size.
        while inner.bytes > self.limit && inner.segments.len() > 1 {
            if let Some(old) = inner.segments.pop_front() {
                inner.bytes -= old.cost();
            }
        }
    }

    /// Tells the subscribers of what was appended.
    pub(crate) fn announce(&self) {
        self.newest.send_replace(self.newest().n);
    }

    /// Records after a place: one at least where there is one, and no more once they have `bytes` bytes. None where
    /// the ring no longer holds the first of them.
    pub(crate) fn read(&self, after: u64, bytes: usize) -> Option<Vec<Run>> {
        let inner = self.inner();
        if after < inner.shelf().gone {
            return None;
        }
        let (mut runs, mut sum) = (vec![], 0);
        let begin = inner.segments.partition_point(|segment| segment.last() <= after);
        for segment in inner.segments.range(begin..) {
            let Some(mut run) = segment.behind(after).filter(|_| sum < bytes) else { break };
            run.cut(bytes - sum);
            sum += run.bytes();
            runs.push(run);
        }
        Some(runs)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock; if it ever did, the entries are still whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::tests::{numbers, packed, record};

    #[test]
    fn a_reader_gets_everything_in_order_or_is_told_that_it_is_behind() {
        let ring = Ring::new(Cursor { log: LogId(7), n: 5 }, 9000);
        assert_eq!(ring.shelf(), Shelf { gone: 5, newest: 5 });
        for commit in 1..=10 {
            ring.push(packed((commit * 4 + 2..commit * 4 + 6).map(|n| record(n, 100))));
        }
        let Shelf { gone, newest } = ring.shelf();
        assert!(gone > 5 && newest == 45);
        assert!(ring.read(gone - 1, 4000).is_none());
        let read = |after, bytes| numbers(&ring.read(after, bytes).unwrap());
        assert_eq!(read(gone, 1 << 20), (gone + 1..=45).collect::<Vec<_>>());
        assert_eq!(read(gone + 1, 1 << 20), (gone + 2..=45).collect::<Vec<_>>());
        assert_eq!((read(43, 1), read(41, 600)), (vec![44], vec![42, 43, 44, 45]));
        assert!(read(45, 9).is_empty() && read(99, 9).is_empty());
        ring.push(packed([record(46, 9000)]));
        assert_eq!((ring.shelf().gone, read(45, 9)), (45, vec![46]));
    }
}
