//! Which log this is, how far it has come, and where in it a place lies that a client remembers.
//!
//! Each start of the hub gives the log a new id, and numbers only rise; so two records never have the same cursor,
//! whatever a crash took and whichever copy of the store the hub was started with. The earlier ids are remembered
//! with the last place up to which the log is the same under them.

use secmon_protocol::{
    ids::{Cursor, LogId},
    message::{ErrorCode, Refusal},
};
use serde::{Deserialize, Serialize};

use super::Core;

/// Earlier ids of the log that are remembered, the latest first: one for each start of the hub. Whoever was away
/// for more of them than that gets a gap.
pub const MAX_PREDECESSORS: usize = 1024;

/// An earlier id of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// The id.
    pub log: LogId,
    /// The last place up to which the two logs are the same.
    pub until: u64,
}

/// What is kept of the log beside its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Its id.
    pub id: LogId,
    /// The last number that was given; 0 before the first.
    pub newest: u64,
    /// Its earlier ids, the latest first; at most [`MAX_PREDECESSORS`].
    pub history: Vec<Predecessor>,
}

impl LogRow {
    /// A start of the hub: the log goes on under another id.
    pub fn begin(&mut self, fresh: LogId) {
        self.history.insert(0, Predecessor { log: self.id, until: self.newest });
        self.history.truncate(MAX_PREDECESSORS);
        self.id = fresh;
    }
}

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The place of this log after which it reads.
    pub after: u64,
    /// What lies between the place that was asked for and that one, and why it is missing.
    pub gap: Option<(Cursor, String)>,
}

impl Start {
    /// At a place of this log, with nothing missing.
    #[must_use]
    pub fn at(after: u64) -> Self {
        Self { after, gap: None }
    }
}

/// The log as the core has it.
#[derive(Debug)]
pub(super) struct Log {
    row: LogRow,
    /// The last place at the start.
    started: u64,
}

impl Log {
    pub(super) fn new(row: LogRow) -> Self {
        Self { started: row.newest, row }
    }

    /// What was not written never happened; the start stays where it was.
    pub(super) fn restored(&self, row: LogRow) -> Self {
        Self { row, started: self.started }
    }

    /// The last place.
    pub(super) fn newest(&self) -> Cursor {
        Cursor { log: self.row.id, n: self.row.newest }
    }

    /// Gives the next place.
    pub(super) fn advance(&mut self) -> Cursor {
        self.row.newest += 1;
        self.newest()
    }
}

impl Core {
    /// Where a subscription begins that wants everything after a place which the client remembers. `gone` is
    /// the last place that is no longer held.
    ///
    /// # Errors
    /// The place is one that the log never had.
    pub fn start_after(&self, cursor: Cursor, gone: u64) -> Result<Start, Refusal> {
        let newest = self.newest();
        if cursor.log == newest.log {
            return if cursor.n > newest.n { Err(beyond(cursor, newest.n)) } else { Ok(Start::at(cursor.n)) };
        }
        let (after, reason) = match self.log.row.history.iter().find(|was| was.log == cursor.log) {
            Some(was) if cursor.n <= was.until => return Ok(Start::at(cursor.n)),
            Some(was) => (
                was.until,
                "the hub lost what its log had behind the place where this goes on: a power cut took it, or the hub was \
                 started with an older copy of its store",
            ),
            // Its own store was lost, or is an older copy; what it held before this start the client may have had.
            None => (
                self.log.started,
                "the hub does not know this place any more, and goes on from its last start",
            ),
        };
        Ok(Start { after: after.max(gone), gap: Some((cursor, reason.to_owned())) })
    }
}

fn beyond(cursor: Cursor, newest: u64) -> Refusal {
    let message = format!(
        "the hub's log never came to {cursor}, it stands at {newest}: the cursor is mistyped or another hub's; \
         leave it out to begin with what happens next, or begin with a snapshot"
    );
    Refusal::new(ErrorCode::BadCursor, message)
}
