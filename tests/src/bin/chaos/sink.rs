//! Where a subscriber puts what it sees: before the judge, with the time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secmon_protocol::ids::Cursor;

use crate::{
    judge::{Judge, Seen},
    timeline::Timeline,
};

/// One subscriber's.
#[derive(Clone)]
pub(crate) struct Sink {
    judge: Arc<Mutex<Judge>>,
    timeline: Arc<Timeline>,
    watch: usize,
}

impl Sink {
    /// That of a new subscriber, which sees these nodes.
    pub(crate) fn new(
        judge: &Arc<Mutex<Judge>>,
        timeline: &Arc<Timeline>,
        wanted: &[bool],
        whole: bool,
    ) -> Self {
        let watch = lock(judge).watch(wanted, whole);
        Self { judge: Arc::clone(judge), timeline: Arc::clone(timeline), watch }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> String {
        format!("w{}", self.watch)
    }

    pub(crate) fn take(&self, seen: Seen) {
        if let Seen::Gap { after, to, reason } = &seen {
            self.timeline.note(format!("{}: gap from {after} to {to}: {reason}", self.name()));
        } else if let Seen::Missing { node, count, reason, .. } = &seen {
            self.timeline.note(format!("{}: gap of n{node}, {count:?} records: {reason}", self.name()));
        }
        let now = self.timeline.now();
        lock(&self.judge).take(self.watch, now, seen);
    }

    pub(crate) fn begin(&self, at: Cursor) {
        lock(&self.judge).begin(self.watch, at);
    }

    pub(crate) fn unreadable(&self, text: &str) {
        let now = self.timeline.now();
        lock(&self.judge).unreadable(self.watch, now, text);
    }

    /// The place up to which it has seen everything.
    pub(crate) fn last(&self) -> Option<Cursor> {
        lock(&self.judge).last(self.watch)
    }

    pub(crate) fn note(&self, what: &str) {
        self.timeline.note(format!("{}: {what}", self.name()));
    }
}

/// The judge, also after somebody panicked before it.
pub(crate) fn lock(judge: &Mutex<Judge>) -> MutexGuard<'_, Judge> {
    judge.lock().unwrap_or_else(PoisonError::into_inner)
}
