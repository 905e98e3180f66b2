//! The log in the database: a row per commit and not per record, what was skipped, and one row about it all.
//!
//! Each start gives the log another id, which is on the disk before it is used: a machine that ends without notice
//! may take the last commits with it, and their numbers are then given again, under the new id.

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, OptionalExtension as _, params};
use secmon_protocol::{codec, ids::LogId, time::UnixNanos};

use super::Fault;
use crate::{
    config::Durability,
    core::{Hole, LogRow},
    segment::Segment,
};

/// Most rows that one commit removes, so that none takes long; they are at least as large as what a commit
/// adds unless rows have become very much larger, and then the next commits catch up.
const TRIM: usize = 4096;
/// What a row costs beside its records, by estimate: its numbers, its place in two trees.
const ROW_COST: u64 = 64;
/// SQLite's page, in which a larger row is rounded up; see [`super::schema`].
const PAGE: u64 = 4096;

/// What is kept of the log, and how sure it is.
#[derive(Debug, Clone)]
pub(crate) struct Keeping {
    /// Bytes on the disk.
    pub(crate) size: u64,
    /// How long.
    pub(crate) age: Duration,
    /// What a power cut may take.
    pub(crate) durability: Durability,
}

/// This start of the hub, as far as the log must know it.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    /// The kernel's id of this boot (random(4), `boot_id`); none where it cannot be read.
    pub(crate) boot_id: Option<String>,
    /// A random id that the log has from this start on.
    pub(crate) fresh: LogId,
}

/// What the thread that writes knows of the log without asking the database.
#[derive(Debug)]
pub(super) struct Log {
    keeping: Keeping,
    newest: u64,
    held: u64,
    /// The oldest row: its first record, and when it was taken.
    oldest: Option<(u64, i64)>,
    gone_taken: i64,
}

/// What one commit changes of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    newest: u64,
    held: u64,
    oldest: Option<(u64, i64)>,
    gone_taken: i64,
}

impl Log {
    /// Finds or makes the log, and says in the database that this boot of the machine is using it. The
    /// connection must have `synchronous = FULL`.
    pub(super) fn open(db: &mut Connection, keeping: Keeping, opening: &Opening) -> Result<Self, Fault> {
        let transaction = db.transaction()?;
        enter(&transaction, &keeping, opening)?;
        let (newest, held, gone_taken) =
            transaction.query_row("SELECT newest, held, gone_taken FROM meta", [], |row| {
                Ok((number(row.get(0)?), number(row.get(1)?), row.get(2)?))
            })?;
        let oldest = oldest(&transaction)?;
        transaction.commit()?;
        Ok(Self { keeping, newest, held, oldest, gone_taken })
    }

    /// The last place that is no longer held.
    pub(super) fn gone(&self) -> u64 {
        self.oldest.map_or(self.newest, |(first, _)| first - 1)
    }

    /// Whether every commit must be on the disk before it counts.
    pub(super) fn syncs(&self) -> bool {
        self.keeping.durability == Durability::Power
    }

    /// Appends, removes what is too old or too much, and gives what has changed by it, to be handed to
    /// [`Log::apply`] once it is committed.
    pub(super) fn write(
        &self,
        db: &Connection,
        segments: &[Arc<Segment>],
        now: UnixNanos,
    ) -> rusqlite::Result<Option<Change>> {
        let mut change =
            Change { newest: self.newest, held: self.held, oldest: self.oldest, gone_taken: self.gone_taken };
        for segment in segments {
            let bytes = cost(segment.list.len());
            db.prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
                segment.first.n.cast_signed(),
                segment.last().cast_signed(),
                now.0,
                bytes.cast_signed(),
                segment.list.as_ref()
            ])?;
            change.newest = segment.last();
            change.held += bytes;
            change.oldest = change.oldest.or(Some((segment.first.n, now.0)));
        }
        let too_old = UnixNanos(now.0.saturating_sub(nanos(self.keeping.age)));
        let aged = change.oldest.is_some_and(|(_, taken)| taken < too_old.0);
        if aged || change.held > self.keeping.size {
            self.trim(db, &mut change, too_old)?;
        } else if segments.is_empty() {
            return Ok(None);
        }
        db.prepare_cached("UPDATE meta SET newest = ?1, held = ?2, gone_taken = ?3")?.execute(params![
            change.newest.cast_signed(),
            change.held.cast_signed(),
            change.gone_taken
        ])?;
        Ok(Some(change))
    }

    fn trim(&self, db: &Connection, change: &mut Change, too_old: UnixNanos) -> rusqlite::Result<()> {
        let (mut cut, mut count) = (None, 0);
        change.oldest = None;
        let mut select = db.prepare_cached("SELECT first, last, taken, bytes FROM log ORDER BY first")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (first, last, taken): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            // The newest row stays whatever its size, but not whatever its age.
            let too_much = change.held > self.keeping.size && number(last) < change.newest;
            if count == TRIM || !(too_much || taken < too_old.0) {
                change.oldest = Some((number(first), taken));
                break;
            }
            change.held = change.held.saturating_sub(number(row.get(3)?));
            change.gone_taken = taken;
            (cut, count) = (Some(last), count + 1);
        }
        drop(rows);
        if let Some(last) = cut {
            db.prepare_cached("DELETE FROM log WHERE first <= ?1")?.execute([last])?;
            db.prepare_cached("DELETE FROM holes WHERE until <= ?1")?.execute([last])?;
        }
        Ok(())
    }

    /// A change was committed.
    pub(super) fn apply(&mut self, change: Change) {
        let Change { newest, held, oldest, gone_taken } = change;
        *self = Self { newest, held, oldest, gone_taken, keeping: self.keeping.clone() };
    }
}

/// Makes the row about the log, or finds it, gives the log its id for this start, and notices that the machine ended
/// without notice.
fn enter(db: &Connection, keeping: &Keeping, opening: &Opening) -> Result<(), Fault> {
    let synced = keeping.durability == Durability::Power;
    let fresh = opening.fresh.0.cast_signed();
    let found = db
        .query_row("SELECT boot, clean, synced FROM meta", [], |row| {
            Ok((row.get::<_, Option<String>>(0)?, row.get::<_, bool>(1)?, row.get::<_, bool>(2)?))
        })
        .optional()?;
    let Some((boot_id, clean, was_synced)) = found else {
        db.execute(
            "INSERT INTO meta VALUES (1, ?1, x'', 0, ?2, 0, ?3, 0, ?4)",
            params![fresh, opening.boot_id, synced, i64::MIN],
        )?;
        return Ok(());
    };
    let mut row = load(db)?;
    row.begin(opening.fresh);
    let same_boot = boot_id.is_some() && boot_id == opening.boot_id;
    if !(clean || same_boot || was_synced) {
        // The number stands for whatever the machine took with it.
        db.execute(
            "INSERT INTO holes VALUES (?1, ?2, ?3)",
            params![
                row.newest.cast_signed(),
                (row.newest + 1).cast_signed(),
                "the hub's machine ended without notice, and the last moments before it may be lost"
            ],
        )?;
        row.newest += 1;
    }
    db.execute(
        "UPDATE meta SET id = ?1, history = ?2, newest = ?3, boot = ?4, clean = 0, synced = ?5",
        params![
            fresh,
            codec::encode_list(&row.history).as_ref(),
            row.newest.cast_signed(),
            opening.boot_id,
            synced
        ],
    )?;
    Ok(())
}

/// An orderly end: whatever becomes of the machine now, nothing is lost.
pub(super) fn mark_clean(db: &Connection) -> rusqlite::Result<()> {
    db.execute("UPDATE meta SET clean = 1", []).map(drop)
}

/// The log, without its records.
pub(super) fn load(db: &Connection) -> Result<LogRow, Fault> {
    let (id, newest, history): (i64, i64, Vec<u8>) =
        db.query_row("SELECT id, newest, history FROM meta", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    Ok(LogRow {
        id: LogId(id.cast_unsigned()),
        newest: number(newest),
        history: codec::decode_list(&history)?,
    })
}

/// What was skipped, in order.
pub(super) fn holes(db: &Connection) -> Result<Vec<Hole>, Fault> {
    let mut select = db.prepare("SELECT after, until, reason FROM holes ORDER BY after")?;
    let rows = select.query_map([], |row| {
        Ok(Hole { after: number(row.get(0)?), to: number(row.get(1)?), reason: row.get(2)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn oldest(db: &Connection) -> rusqlite::Result<Option<(u64, i64)>> {
    db.query_row("SELECT first, taken FROM log ORDER BY first LIMIT 1", [], |row| {
        Ok((number(row.get(0)?), row.get(1)?))
    })
    .optional()
}

/// SQLite's integers have a sign; the numbers of the log need no more than 63 bits.
pub(super) fn number(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// What a row of so many bytes takes on the disk, by estimate.
fn cost(len: usize) -> u64 {
    match len as u64 + ROW_COST {
        small if small < PAGE => small,
        large => large.next_multiple_of(PAGE),
    }
}
