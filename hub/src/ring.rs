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
    segment::{ENTRY_COST, Entry},
};

/// Memory for the records of the ring, in bytes.
pub(crate) const RING_BYTES: usize = 16 << 20;

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
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    newest: u64,
}

impl Inner {
    fn shelf(&self) -> Shelf {
        Shelf { gone: self.newest - self.entries.len() as u64, newest: self.newest }
    }
}

impl Ring {
    /// An empty ring behind the newest place of a log, of which `limit` bytes will be held.
    pub(crate) fn new(newest: Cursor, limit: usize) -> Self {
        let Cursor { log, n: newest } = newest;
        let inner = Mutex::new(Inner { log, entries: VecDeque::new(), bytes: 0, newest });
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

    /// Appends records; the place of each must be the one after that of the one before.
    pub(crate) fn push(&self, entries: impl IntoIterator<Item = Arc<Entry>>) {
        let mut inner = self.inner();
        for entry in entries {
            inner.newest = entry.cursor.n;
            inner.bytes += cost(&entry);
            inner.entries.push_back(entry);
        }
        // The newest record stays whatever its size.
        while inner.bytes > self.limit && inner.entries.len() > 1 {
            if let Some(old) = inner.entries.pop_front() {
                inner.bytes -= cost(&old);
            }
        }
    }

    /// Tells the subscribers of what was appended.
    pub(crate) fn announce(&self) {
        self.newest.send_replace(self.newest().n);
    }

    /// Records after a place: at most `most`, and no more once they have `bytes` bytes. None where the ring no
    /// longer holds the first of them.
    pub(crate) fn read(&self, after: u64, most: usize, bytes: usize) -> Option<Vec<Arc<Entry>>> {
        let inner = self.inner();
        let skip = usize::try_from(after.checked_sub(inner.shelf().gone)?).unwrap_or(usize::MAX);
        let mut sum = 0;
        let room = |entry: &&Arc<Entry>| {
            let fits = sum < bytes;
            sum += entry.record.len();
            fits
        };
        let (start, len) = (skip.min(inner.entries.len()), inner.entries.len());
        Some(inner.entries.range(start..len).take(most).take_while(room).cloned().collect())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock; if it ever did, the entries are still whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(entry: &Entry) -> usize {
    entry.record.len() + ENTRY_COST
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::tests::{packed, record};

    #[test]
    fn a_reader_gets_everything_in_order_or_is_told_that_it_is_behind() {
        let ring = Ring::new(Cursor { log: LogId(7), n: 5 }, 4000);
        assert_eq!(ring.shelf(), Shelf { gone: 5, newest: 5 });
        ring.push(packed((6..=25).map(|n| record(n, 100))).1);
        let Shelf { gone, newest } = ring.shelf();
        assert!(gone > 5 && newest == 25);
        assert!(ring.read(gone - 1, 100, 4000).is_none());
        let numbers = |after, most, bytes| -> Vec<u64> {
            ring.read(after, most, bytes).unwrap().iter().map(|entry| entry.cursor.n).collect()
        };
        assert_eq!(numbers(gone, 100, 4000), (gone + 1..=25).collect::<Vec<_>>());
        assert_eq!(numbers(23, 9, 1), [24]);
        assert!(numbers(25, 9, 9).is_empty() && numbers(99, 9, 9).is_empty());
        ring.push(packed([record(26, 9000)]).1);
        assert_eq!((ring.shelf().gone, numbers(25, 9, 9)), (25, vec![26]));
    }
}
