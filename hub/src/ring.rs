//! The newest part of the log, in memory: every record encoded once, for all subscribers.
//!
//! A subscriber is a place in the log and nothing more; one that is slow costs the others nothing. What
//! falls out at the old end is gone for whoever has not read it, and is told so by a gap.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use secmon_protocol::{
    codec,
    ids::{Cursor, LogId, NodeId, NodeName},
    record::LogRecord,
};
use tokio::sync::watch;

/// Memory for the records of the ring, in bytes.
pub(crate) const RING_BYTES: usize = 16 << 20;
/// What an entry costs beside its record: names, types and the structure itself, by estimate.
const ENTRY_COST: usize = 256;

/// One record.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its place.
    pub(crate) cursor: Cursor,
    /// The node that it is from or about.
    pub(crate) node: NodeId,
    /// That node's name.
    pub(crate) name: NodeName,
    /// Its types.
    pub(crate) types: Vec<String>,
    /// The record, encoded.
    pub(crate) record: Bytes,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Read {
    /// The last place that is gone, where the reader was behind it.
    pub(crate) gone: Option<u64>,
    /// What follows.
    pub(crate) entries: Vec<Arc<Entry>>,
}

/// The ring.
#[derive(Debug)]
pub(crate) struct Ring {
    log: LogId,
    limit: usize,
    inner: Mutex<Inner>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    newest: u64,
}

impl Inner {
    /// The last place that is no longer held.
    fn gone(&self) -> u64 {
        self.newest - self.entries.len() as u64
    }
}

impl Ring {
    /// An empty log, of which `limit` bytes are held.
    pub(crate) fn new(log: LogId, limit: usize) -> Self {
        Self { log, limit, inner: Mutex::default(), newest: watch::Sender::new(0) }
    }

    /// The log's id.
    pub(crate) fn log(&self) -> LogId {
        self.log
    }

    /// A place of this log.
    pub(crate) fn cursor(&self, n: u64) -> Cursor {
        Cursor { log: self.log, n }
    }

    /// The newest place.
    pub(crate) fn newest(&self) -> u64 {
        self.inner().newest
    }

    /// The last place that is no longer held.
    pub(crate) fn gone(&self) -> u64 {
        self.inner().gone()
    }

    /// Wakes whoever waits for the log to grow.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Appends a record; its place must be the one after the newest.
    pub(crate) fn push(&self, record: LogRecord) {
        let bytes = codec::encode(&record);
        let entry = Entry {
            cursor: record.cursor,
            node: record.node,
            name: record.name,
            types: record.envelope.types,
            record: bytes,
        };
        let mut inner = self.inner();
        inner.newest = entry.cursor.n;
        inner.bytes += cost(&entry);
        inner.entries.push_back(Arc::new(entry));
        // The newest record stays whatever its size.
        while inner.bytes > self.limit && inner.entries.len() > 1 {
            if let Some(old) = inner.entries.pop_front() {
                inner.bytes -= cost(&old);
            }
        }
    }

    /// Tells the subscribers of what was appended.
    pub(crate) fn announce(&self) {
        self.newest.send_replace(self.newest());
    }

    /// Records after a place: at most `most`, and no more once they have `bytes` bytes.
    pub(crate) fn read(&self, after: u64, most: usize, bytes: usize) -> Read {
        let inner = self.inner();
        let gone = inner.gone();
        let skip = usize::try_from(after.saturating_sub(gone)).unwrap_or(usize::MAX);
        let mut sum = 0;
        let room = |entry: &&Arc<Entry>| {
            let fits = sum < bytes;
            sum += entry.record.len();
            fits
        };
        Read {
            gone: (after < gone).then_some(gone),
            entries: inner.entries.iter().skip(skip).take(most).take_while(room).cloned().collect(),
        }
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
    use secmon_protocol::{
        record::{Envelope, Origin, RecordKind},
        time::UnixNanos,
    };

    use super::*;

    fn record(n: u64, size: usize) -> LogRecord {
        LogRecord {
            cursor: Cursor { log: LogId(7), n },
            node: NodeId([1; 16]),
            name: "a".parse().unwrap(),
            origin: Origin::Hub,
            envelope: Envelope {
                kind: RecordKind::AUTH,
                version: 1,
                time: UnixNanos(0),
                types: vec![],
                body: vec![0; size].into(),
            },
        }
    }

    #[test]
    fn a_reader_gets_everything_in_order_or_is_told_what_is_gone() {
        let ring = Ring::new(LogId(7), 4000);
        for n in 1..=20 {
            ring.push(record(n, 100));
        }
        let gone = ring.gone();
        assert!(gone > 0 && ring.newest() == 20);
        let read = ring.read(0, 100, 4000);
        assert_eq!(read.gone, Some(gone));
        assert_eq!(
            read.entries.iter().map(|e| e.cursor.n).collect::<Vec<_>>(),
            (gone + 1..=20).collect::<Vec<_>>()
        );
        let read = ring.read(18, 9, 1);
        assert_eq!((read.gone, read.entries.len(), read.entries[0].cursor.n), (None, 1, 19));
        assert!(ring.read(20, 9, 9).entries.is_empty() && ring.read(99, 9, 9).entries.is_empty());
        ring.push(record(21, 9000));
        assert_eq!((ring.gone(), ring.read(20, 9, 9).entries.len()), (20, 1));
    }
}
