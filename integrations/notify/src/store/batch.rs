//! What the actor writes at once: what is to be told, what the core remembers, and the place in the hub's log behind it.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{OptionalExtension as _, Transaction, params};
use secmon_protocol::{ids::Cursor, time::UnixNanos};

use super::{Store, StoreError, key};
use crate::{Notice, Severity, core::Thread, own};

/// Receipts of messages that nobody edits any more are forgotten after this long: no digest is open for a week.
const THREADS_KEPT: i64 = 7 * 24 * 3600 * 1_000_000_000;

/// A notice for a destination.
#[derive(Debug, Clone)]
pub(crate) struct Tell {
    /// Which.
    pub(crate) destination: String,
    /// What.
    pub(crate) notice: Notice,
    /// Which message it is an edition of.
    pub(crate) thread: Option<Thread>,
    /// Whether what was sent there can be edited.
    pub(crate) edits: bool,
}

/// Written whole or not at all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    /// In the order in which they are to be sent.
    pub(crate) tells: Vec<Tell>,
    /// Keys that were seen, and when; those that need not be remembered have no time. In order.
    pub(crate) seen: Vec<(u64, Option<UnixNanos>)>,
    /// What the core remembers, as JSON.
    pub(crate) memory: Option<String>,
    /// Everything up to here was dealt with.
    pub(crate) cursor: Option<Cursor>,
    /// Everything up to here is only learned from; `Some(None)` once that was.
    pub(crate) past: Option<Option<Cursor>>,
}

impl Store {
    /// Writes a batch. The destinations for which something new waits.
    pub(crate) fn commit(&mut self, batch: &Batch, now: UnixNanos) -> Result<BTreeSet<String>, StoreError> {
        let limit = self.limits.queue;
        let mut waiting = std::mem::take(&mut self.waiting);
        let written = (|| {
            // Dropped without a commit, by any error, it is rolled back.
            let transaction = self.db.transaction()?;
            let mut new = BTreeSet::new();
            for tell in &batch.tells {
                if queue(&transaction, tell, limit, &mut waiting, now)? {
                    new.insert(tell.destination.clone());
                }
            }
            remember(&transaction, batch)?;
            transaction.commit()?;
            Ok(new)
        })();
        match written {
            Ok(new) => {
                self.waiting = waiting;
                Ok(new)
            }
            Err(error) => {
                // Where even that fails, it is counted when something is told again.
                if self.recount().is_err() {
                    self.waiting.clear();
                }
                Err(error)
            }
        }
    }
}

fn remember(db: &Transaction<'_>, batch: &Batch) -> Result<(), StoreError> {
    for (seen, at) in &batch.seen {
        let seen = seen.cast_signed();
        match at {
            Some(at) => db
                .prepare_cached("INSERT OR REPLACE INTO seen VALUES (?1, ?2)")?
                .execute(params![seen, at.0])?,
            None => db.prepare_cached("DELETE FROM seen WHERE key = ?1")?.execute([seen])?,
        };
    }
    let put = |key: &str, value: &str| -> rusqlite::Result<()> {
        let insert = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)";
        db.prepare_cached(insert)?.execute([key, value]).map(drop)
    };
    if let Some(memory) = &batch.memory {
        put(key::MEMORY, memory)?;
    }
    if let Some(cursor) = &batch.cursor {
        put(key::CURSOR, &cursor.to_string())?;
    }
    match &batch.past {
        None => {}
        Some(Some(past)) => put(key::PAST, &past.to_string())?,
        Some(None) => {
            db.execute("DELETE FROM meta WHERE key = ?1", [key::PAST])?;
        }
    }
    Ok(())
}

/// Queues a notice; whether there is something new to send. An edition that nobody sent yet is replaced where it stands.
fn queue(
    db: &Transaction<'_>,
    tell: &Tell,
    limit: u64,
    waiting: &mut HashMap<String, u64>,
    now: UnixNanos,
) -> Result<bool, StoreError> {
    let Tell { destination, notice, thread, edits } = tell;
    let critical = notice.severity == Severity::Critical;
    let json = serde_json::to_string(notice).map_err(|error| StoreError::Refused(error.to_string()))?;
    if let Some(thread) = thread {
        let replaced = db
            .prepare_cached(
                "UPDATE queue SET notice = ?3, last = ?4, critical = max(critical, ?5), time = ?6, version = version + 1,
                 tries = 0, refusals = 0 WHERE destination = ?1 AND thread = ?2",
            )?
            .execute(params![destination, thread.id, json, thread.last, critical, notice.time.0])?;
        if replaced > 0 {
            return Ok(true);
        }
        // A service that edits nothing is sent the first edition and the last.
        if !edits && !thread.last {
            let sent = db
                .prepare_cached("SELECT 1 FROM threads WHERE destination = ?1 AND thread = ?2")?
                .exists([destination, &thread.id])?;
            if sent {
                return Ok(false);
            }
        }
    }
    let (id, last) = thread.as_ref().map_or((None, false), |thread| (Some(&thread.id), thread.last));
    db.prepare_cached(
        "INSERT INTO queue (destination, thread, last, critical, time, notice) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![destination, id, last, critical, notice.time.0, json])?;
    let waiting = waiting.entry(destination.clone()).or_default();
    *waiting += 1;
    while *waiting > limit && make_room(db, destination, *waiting > 2 * limit, now)? {
        *waiting -= 1;
    }
    Ok(true)
}

/// Puts the oldest notice that is not critical into the one that says how many were dropped; a critical one only where `all` is
/// said. The first in the queue, which may be on its way, stays. Whether one row fewer waits.
fn make_room(db: &Transaction<'_>, destination: &str, all: bool, now: UnixNanos) -> Result<bool, StoreError> {
    let mut oldest = db.prepare_cached(
        "SELECT id, time FROM queue WHERE destination = ?1 AND (critical = 0 OR ?2) AND dropped = 0
         AND id > (SELECT min(id) FROM queue WHERE destination = ?1) ORDER BY id LIMIT 1",
    )?;
    let mut next = |all: bool| {
        oldest.query_row(params![destination, all], |row| Ok((row.get(0)?, row.get(1)?))).optional()
    };
    let found: Option<(i64, i64)> = match next(false)? {
        None if all => next(true)?,
        found => found,
    };
    let Some((id, time)) = found else { return Ok(false) };
    let said: Option<(i64, i64, i64)> = db
        .prepare_cached(
            "SELECT id, dropped, time FROM queue WHERE destination = ?1 AND dropped > 0
             AND id > (SELECT min(id) FROM queue WHERE destination = ?1) ORDER BY id LIMIT 1",
        )?
        .query_row([destination], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    // `time` of that row is when the first of them happened.
    let (row, count, since) =
        said.map_or((id, 1, time), |(row, count, since)| (row, count + 1, since.min(time)));
    let notice = own::dropped(destination, row, count, (UnixNanos(since), UnixNanos(time)), now);
    let json = serde_json::to_string(&notice).map_err(|error| StoreError::Refused(error.to_string()))?;
    db.prepare_cached(
        "UPDATE queue SET notice = ?2, dropped = ?3, time = ?4, thread = NULL, last = 0, critical = 1, version = version + 1,
         tries = 0, refusals = 0 WHERE id = ?1",
    )?
    .execute(params![row, json, count, since])?;
    if row == id {
        tracing::warn!(
            destination,
            "too much waits: the oldest messages that are not critical are dropped and counted"
        );
        // It became the notice itself; the next one makes the room.
        return make_room(db, destination, all, now);
    }
    db.prepare_cached("DELETE FROM queue WHERE id = ?1")?.execute([id])?;
    Ok(true)
}

impl Store {
    /// Forgets receipts that are of no use any more.
    pub(super) fn forget_threads(db: &Transaction<'_>, now: UnixNanos) -> Result<(), StoreError> {
        let old = now.0.saturating_sub(THREADS_KEPT);
        db.prepare_cached("DELETE FROM threads WHERE at < ?1")?.execute([old])?;
        Ok(())
    }
}
