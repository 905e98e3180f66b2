//! Which log this is, how far it has come, and where in it a place lies that a client remembers.
//!
//! The id is made once and kept. Numbers only rise. A store that turns out to be an older copy of itself (a
//! client or a node is ahead of it) gets a new id: two records must never have the same cursor.

use secmon_protocol::{
    ids::{Cursor, LogId},
    message::{ErrorCode, Refusal},
    time::UnixNanos,
};
use serde::{Deserialize, Serialize};

use super::{Core, Effect, Effects, Notice, Write};

/// Earlier ids of the log that are remembered, the latest first. One comes with each restored copy.
pub const MAX_PREDECESSORS: usize = 16;

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

/// What a core must know about this start of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot {
    /// A random id that no log has, in case the store turns out to be an older copy.
    pub spare: LogId,
    /// Where the log came from.
    pub origin: LogOrigin,
    /// When, by the hub's clock, the log was last made or found after a machine's sudden end. A node that was
    /// last seen before may have had acknowledgements of what the machine then lost.
    pub unclean: UnixNanos,
}

/// Where a log came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOrigin {
    /// This start made it; it is no copy of anything.
    Made,
    /// It was there.
    Found,
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
    boot: Boot,
    /// The last place at the start: up to there a restored copy is what the original was.
    started: u64,
}

impl Log {
    pub(super) fn new(row: LogRow, boot: Boot) -> Self {
        Self { started: row.newest, row, boot }
    }

    /// What was not written never happened; the start stays where it was.
    pub(super) fn restored(&self, row: LogRow) -> Self {
        Self { row, boot: self.boot, started: self.started }
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

    /// When a machine's sudden end last may have taken something.
    pub(super) fn unclean(&self) -> UnixNanos {
        self.boot.unclean
    }

    /// Whether this start can still find that its store is an older copy: once, and not of a log that it made.
    fn may_be_older(&self) -> bool {
        self.boot.origin == LogOrigin::Found && self.row.id != self.boot.spare
    }

    fn switch(&mut self) {
        let was = Predecessor { log: self.row.id, until: self.started };
        self.row.history.insert(0, was);
        self.row.history.truncate(MAX_PREDECESSORS);
        self.row.id = self.boot.spare;
    }
}

impl Core {
    /// The log goes on under a new id, where that is still to be done.
    pub(super) fn older_copy(&mut self, sign: &str, out: &mut Effects) {
        if self.log.may_be_older() {
            self.log.switch();
            let row = &self.log.row;
            out.push(Effect::Store(Write::Log { id: row.id, history: row.history.clone() }));
            out.push(Effect::NewLog(row.id));
            out.push(Effect::Notice(Notice::OlderCopy { log: row.id, sign: sign.to_owned() }));
        }
    }

    /// Where a subscription begins that wants everything after a place which the client remembers. `gone` is
    /// the last place that is no longer held.
    ///
    /// # Errors
    /// The place is one that the log never had.
    pub fn start_after(&mut self, cursor: Cursor, gone: u64, out: &mut Effects) -> Result<Start, Refusal> {
        let newest = self.newest();
        if cursor.log == newest.log && cursor.n > newest.n {
            self.older_copy("a client has seen more of its log", out);
            if self.log.row.id == newest.log {
                return Err(beyond(cursor, newest.n));
            }
        }
        let row = &self.log.row;
        if cursor.log == row.id {
            return Ok(Start::at(cursor.n));
        }
        Ok(match row.history.iter().find(|was| was.log == cursor.log) {
            Some(was) if cursor.n <= was.until => Start::at(cursor.n),
            Some(was) => {
                let reason = "the hub goes on from an older copy of its log, and what the log had behind \
                              that is lost or comes again";
                Start { after: was.until.max(gone), gap: Some((cursor, reason.to_owned())) }
            }
            None => {
                let reason = "the hub's log is another one now; all that it holds follows";
                Start { after: self.log.started.max(gone), gap: Some((cursor, reason.to_owned())) }
            }
        })
    }
}

fn beyond(cursor: Cursor, newest: u64) -> Refusal {
    let message = format!(
        "the hub's log never came to {cursor}, it stands at {newest}: the cursor is mistyped or another hub's; \
         leave it out to begin with what happens next, or begin with a snapshot"
    );
    Refusal::new(ErrorCode::BadCursor, message)
}
