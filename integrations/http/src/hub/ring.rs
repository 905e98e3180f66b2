//! The newest part of the hub's log, rendered, for all listeners: each is a place in it and nothing more, so that one
//! which is slow costs the others nothing. No I/O and no clock.
//!
//! A place is a count of the entries that were ever pushed. A cursor is found in it in one of two ways. One under the id that the
//! hub's log has now is a number, and numbers have one order. One under an earlier id (each start of the hub makes a new one,
//! and a record keeps the one of its time) is only known where its very record is held: what else it may mean the hub alone knows.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use secmon_protocol::ids::{Cursor, LogId};
use tokio::sync::watch;

use super::entry::Entry;

/// Where in the ring a cursor lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// What follows it is at this place.
    At(u64),
    /// The ring has not come so far yet.
    Ahead,
    /// It is not known here.
    Unknown,
}

/// What follows a place.
#[derive(Debug)]
pub(crate) struct Portion {
    /// The entries.
    pub(crate) entries: Vec<Arc<Entry>>,
    /// The place behind them.
    pub(crate) next: u64,
    /// The cursor up to which everything was told then.
    pub(crate) at: Cursor,
}

/// The ring.
#[derive(Debug)]
pub(crate) struct Ring {
    limit: usize,
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The id of the hub's log.
    log: Option<LogId>,
    entries: VecDeque<Arc<Entry>>,
    /// The place of the first entry.
    front: u64,
    /// The number after which everything is here.
    begin: u64,
    bytes: usize,
    /// The cursor up to which everything was pushed.
    newest: Option<Cursor>,
    changes: u64,
}

impl Inner {
    fn end(&self) -> u64 {
        self.front + self.entries.len() as u64
    }

    fn forget_all(&mut self, begin: u64) {
        self.front = self.end();
        self.entries.clear();
        (self.bytes, self.begin) = (0, begin);
    }
}

impl Ring {
    /// An empty ring that will hold `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, inner: Mutex::default(), changed: watch::Sender::new(0) }
    }

    /// It begins after this place, which is one of the hub's log as it is called now; or it goes on.
    pub(crate) fn begin(&self, after: Cursor, log: Option<LogId>) {
        let mut inner = self.inner();
        if inner.newest.is_none() {
            (inner.newest, inner.begin) = (Some(after), after.n);
        }
        inner.log = log;
    }

    /// The hub was reached again, and calls its log so.
    pub(crate) fn resumed(&self, log: Option<LogId>) {
        self.inner().log = log;
    }

    /// Everything up to `cursor` has come, and it was this.
    pub(crate) fn push(&self, cursor: Cursor, entry: Option<Arc<Entry>>) {
        let mut inner = self.inner();
        let back = inner.newest.is_some_and(|newest| match entry {
            Some(_) => cursor.n <= newest.n,
            None => cursor.n < newest.n,
        });
        if back {
            // Numbers come a second time, as other records: what is here is found by number no more.
            inner.forget_all(cursor.n);
        }
        inner.newest = Some(cursor);
        inner.changes += 1;
        let Some(entry) = entry else { return };
        inner.bytes += entry.cost();
        inner.entries.push_back(entry);
        // The newest one stays whatever its size.
        while inner.bytes > self.limit && inner.entries.len() > 1 {
            if let Some(old) = inner.entries.pop_front() {
                inner.bytes -= old.cost();
                inner.front += 1;
                inner.begin = old.cursor.n;
            }
        }
    }

    /// Wakes whoever waits, after any number of changes.
    pub(crate) fn announce(&self) {
        let changes = self.inner().changes;
        self.changed.send_replace(changes);
    }

    /// Wakes whoever waits for a change.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How often it has changed: as long as that is the same, nothing has happened.
    pub(crate) fn changes(&self) -> u64 {
        self.inner().changes
    }

    /// The end; none before it began.
    pub(crate) fn end(&self) -> Option<(u64, Cursor)> {
        let inner = self.inner();
        Some((inner.end(), inner.newest?))
    }

    /// Bytes and entries.
    pub(crate) fn size(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.bytes, inner.entries.len())
    }

    /// What follows a place, at most `many` entries; none where it is no longer held.
    pub(crate) fn read(&self, place: u64, many: usize) -> Option<Portion> {
        let inner = self.inner();
        let skip = usize::try_from(place.checked_sub(inner.front)?).ok()?;
        let entries: Vec<_> = inner.entries.iter().skip(skip).take(many).cloned().collect();
        let next = place + entries.len() as u64;
        let at = match entries.last() {
            Some(last) if next < inner.end() => last.cursor,
            _ => inner.newest?,
        };
        Some(Portion { entries, next, at })
    }

    /// Where a cursor lies.
    pub(crate) fn find(&self, cursor: Cursor) -> Found {
        let inner = self.inner();
        let Some(newest) = inner.newest else { return Found::Unknown };
        let before = inner.entries.partition_point(|entry| entry.cursor.n <= cursor.n);
        let place = inner.front + before as u64;
        if inner.log == Some(cursor.log) {
            return match cursor.n {
                n if n > newest.n => Found::Ahead,
                n if n < inner.begin => Found::Unknown,
                _ => Found::At(place),
            };
        }
        let last = before.checked_sub(1).and_then(|last| inner.entries.get(last));
        match last {
            Some(entry) if entry.cursor == cursor => Found::At(place),
            _ if newest == cursor => Found::At(inner.end()),
            _ => Found::Unknown,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock; if it ever did, the entries are still whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
