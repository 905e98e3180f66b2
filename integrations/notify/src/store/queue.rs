//! The queue of a destination, from its head on: what is sent next, and what became of it.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use secmon_protocol::time::UnixNanos;

use super::{Store, StoreError};
use crate::{Notice, Receipt};

/// The first in the queue of a destination.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    id: i64,
    version: i64,
    /// Where it is to go.
    pub(crate) destination: String,
    /// What it says.
    pub(crate) notice: Notice,
    /// The message that it is an edition of.
    thread: Option<String>,
    /// Whether it is the last edition.
    last: bool,
    /// What the service gave for an earlier edition.
    pub(crate) receipt: Option<Receipt>,
    /// How often the service failed over it.
    pub(crate) tries: u32,
    /// How often the service refused it.
    pub(crate) refusals: u32,
}

/// How a queue stands.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// What is sent next.
    pub(crate) entry: Option<Entry>,
    /// Nothing is sent before this.
    pub(crate) not_before: Option<UnixNanos>,
}

/// How a service took a notice.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Taken<'a> {
    /// As a message of its own.
    Sent(&'a Receipt),
    /// As a newer edition of one.
    Edited,
}

/// The queue of a destination, in the order of [`entry`].
const ENTRY: &str = "SELECT q.id, q.notice, q.version, q.thread, q.last, t.receipt, q.tries, q.refusals
    FROM queue AS q LEFT JOIN threads AS t ON t.destination = q.destination AND t.thread = q.thread
    WHERE q.destination = ?1 ORDER BY q.id";

/// What waits without a text that can be read: of a later version perhaps.
fn notice(json: &str) -> Option<Notice> {
    serde_json::from_str(json).ok()
}

/// A row, and its text where that is no notice.
fn entry(row: &Row<'_>, destination: &str) -> rusqlite::Result<Result<Entry, i64>> {
    let (id, json): (i64, String) = (row.get(0)?, row.get(1)?);
    let Some(notice) = notice(&json) else { return Ok(Err(id)) };
    let receipt: Option<String> = row.get(5)?;
    Ok(Ok(Entry {
        id,
        version: row.get(2)?,
        destination: destination.to_owned(),
        notice,
        thread: row.get(3)?,
        last: row.get(4)?,
        receipt: receipt.map(Receipt),
        tries: row.get(6)?,
        refusals: row.get(7)?,
    }))
}

impl Store {
    /// How the queue of a destination stands.
    pub(crate) fn head(&mut self, destination: &str, now: UnixNanos) -> Result<Head, StoreError> {
        let not_before = self
            .db
            .prepare_cached("SELECT until FROM pauses WHERE destination = ?1")?
            .query_row([destination], |row| row.get(0).map(UnixNanos))
            .optional()?;
        loop {
            let found = self
                .db
                .prepare_cached(&format!("{ENTRY} LIMIT 1"))?
                .query_row([destination], |row| entry(row, destination))
                .optional()?;
            match found.transpose() {
                Ok(entry) => return Ok(Head { entry, not_before }),
                Err(id) => {
                    let transaction = self.db.transaction()?;
                    let reason = "what waited cannot be read; a newer secmon may have written it";
                    Self::row_aside(&transaction, id, reason, self.limits.failed, now)?;
                    transaction.commit()?;
                    self.fewer(destination);
                }
            }
        }
    }

    /// What stands behind the head of the queue of a destination; none where there is nothing, or nothing that can be read.
    pub(crate) fn behind(&self, destination: &str) -> Result<Option<Entry>, StoreError> {
        let found = self
            .db
            .prepare_cached(&format!("{ENTRY} LIMIT 1 OFFSET 1"))?
            .query_row([destination], |row| entry(row, destination))
            .optional()?;
        Ok(found.and_then(Result::ok))
    }

    /// A service took it. What came into its place meanwhile is sent next time round.
    pub(crate) fn taken(
        &mut self,
        entry: &Entry,
        edits: bool,
        how: Taken<'_>,
        now: UnixNanos,
    ) -> Result<(), StoreError> {
        let transaction = self.db.transaction()?;
        let newer: Option<(i64, bool)> = transaction
            .prepare_cached("SELECT version, last FROM queue WHERE id = ?1")?
            .query_row([entry.id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let done = match newer {
            Some((version, last)) if version != entry.version && (edits || last) => {
                to_the_end(&transaction, entry.id)?;
                false
            }
            _ => transaction.prepare_cached("DELETE FROM queue WHERE id = ?1")?.execute([entry.id])? > 0,
        };
        if let Some(thread) = &entry.thread {
            let at = params![entry.destination, thread, now.0];
            match how {
                _ if entry.last => transaction
                    .prepare_cached("DELETE FROM threads WHERE destination = ?1 AND thread = ?2")?
                    .execute(params![entry.destination, thread])?,
                Taken::Sent(receipt) => transaction
                    .prepare_cached("INSERT OR REPLACE INTO threads VALUES (?1, ?2, ?4, ?3)")?
                    .execute(params![entry.destination, thread, now.0, receipt.0])?,
                Taken::Edited => transaction
                    .prepare_cached("UPDATE threads SET at = ?3 WHERE destination = ?1 AND thread = ?2")?
                    .execute(at)?,
            };
            Self::forget_threads(&transaction, now)?;
        }
        pause(&transaction, &entry.destination, None)?;
        transaction.commit()?;
        if done {
            self.fewer(&entry.destination);
        }
        Ok(())
    }

    /// It is tried again, not before `until`.
    pub(crate) fn later(
        &mut self,
        entry: &Entry,
        tries: u32,
        refusals: u32,
        until: UnixNanos,
    ) -> Result<(), StoreError> {
        let transaction = self.db.transaction()?;
        transaction
            .prepare_cached("UPDATE queue SET tries = ?3, refusals = ?4 WHERE id = ?1 AND version = ?2")?
            .execute(params![entry.id, entry.version, tries, refusals])?;
        pause(&transaction, &entry.destination, Some(until))?;
        Ok(transaction.commit()?)
    }

    /// It is not tried again unless somebody asks for it, and the next is not before `until`. Where a newer edition came into its place,
    /// that is what is tried.
    pub(crate) fn set_aside(
        &mut self,
        entry: &Entry,
        reason: &str,
        now: UnixNanos,
        until: UnixNanos,
    ) -> Result<(), StoreError> {
        let transaction = self.db.transaction()?;
        let version: Option<i64> = transaction
            .prepare_cached("SELECT version FROM queue WHERE id = ?1")?
            .query_row([entry.id], |row| row.get(0))
            .optional()?;
        let same = version == Some(entry.version);
        if same {
            // With the last try, which `later` did not write.
            transaction
                .prepare_cached("UPDATE queue SET tries = ?2 WHERE id = ?1")?
                .execute(params![entry.id, entry.tries.saturating_add(1)])?;
            Self::row_aside(&transaction, entry.id, reason, self.limits.failed, now)?;
        } else if version.is_some() {
            to_the_end(&transaction, entry.id)?;
        }
        pause(&transaction, &entry.destination, Some(until))?;
        transaction.commit()?;
        if same {
            self.fewer(&entry.destination);
        }
        Ok(())
    }

    fn fewer(&mut self, destination: &str) {
        if let Some(waiting) = self.waiting.get_mut(destination) {
            *waiting = waiting.saturating_sub(1);
        }
    }
}

/// A newer edition that came while an older one was sent waits behind what came before it.
fn to_the_end(db: &Transaction<'_>, id: i64) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE queue SET id = (SELECT max(id) + 1 FROM queue), tries = 0, refusals = 0 WHERE id = ?1",
    )?
    .execute([id])?;
    Ok(())
}

fn pause(db: &Transaction<'_>, destination: &str, until: Option<UnixNanos>) -> Result<(), StoreError> {
    match until {
        Some(until) => db
            .prepare_cached("INSERT OR REPLACE INTO pauses VALUES (?1, ?2)")?
            .execute(params![destination, until.0])?,
        None => db.prepare_cached("DELETE FROM pauses WHERE destination = ?1")?.execute([destination])?,
    };
    Ok(())
}
