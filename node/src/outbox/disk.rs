//! The shelf on disk: one SQLite database. A commit is in the system's hands, so a crash of the node loses
//! nothing of it; a power cut may take the last moments, never the file, and the next boot is a new epoch.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, params};
use secmon_protocol::{
    codec,
    facet::{FacetId, FacetStatus},
    ids::Epoch,
    record::{Envelope, RecordKind},
    state::{NodeState, Op},
};

use super::{Shelf, ShelfError};
use crate::core::{Entry, Loaded, Meta, Row, Write};

/// The database, in the node's state folder.
pub const FILE: &str = "node.db";
/// How long to wait for another process that has the file, a backup perhaps.
const BUSY: Duration = Duration::from_secs(2);
/// SQLite's own memory for pages, in KiB: what one batch needs; the system keeps the rest.
const CACHE_KIB: i64 = 256;
/// The log beside the database is cut back to this many bytes after it had to be larger.
const LOG_LIMIT: i64 = 4 << 20;
/// Pages of 4 KiB in the log after which they go into the database: 2 MiB, so that it and the largest usual commit
/// find room in what is kept by [`Disk::keep_room`].
const CHECKPOINT: i64 = 512;
/// What the database keeps free in itself, and its log has written once, in bytes: for hours of a usual server's
/// records while the hub takes them, without a byte from a disk that others have filled.
const ROOM: u64 = 3 << 20;
/// Room is kept where the disk has this many times as much to spare: on a smaller one it would be what is lacking.
const PLENTY: u64 = 8;
/// Statements that are kept ready; one of each kind.
const STATEMENTS: usize = 16;

/// Each brings the database from the form of its index to the next. A released step never changes.
const STEPS: &[&str] = &["
    CREATE TABLE records (
        place INTEGER PRIMARY KEY, stands_for INTEGER NOT NULL, kind INTEGER NOT NULL, envelope BLOB NOT NULL
    );
    CREATE TABLE numbering (
        one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL, base INTEGER NOT NULL, boot TEXT,
        owed INTEGER NOT NULL
    );
    CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE places (source TEXT PRIMARY KEY, at BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE facets (facet INTEGER PRIMARY KEY, status BLOB NOT NULL);
    CREATE TABLE entries (
        facet INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (facet, key)
    ) WITHOUT ROWID;
"];

/// No node comes as far; a greater place is damage, and would leave no room to count on.
const LAST_PLACE: u64 = 1 << 60;
/// The greatest place that was dropped; with it the numbers go on when no record is left.
const DROPPED_THROUGH: &str = "dropped_through";
/// See [`Write::Dropped`].
const DROPPED: &str = "dropped_events";

impl From<rusqlite::Error> for ShelfError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
        let strange = matches!(
            error,
            FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..)
        );
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged(error.to_string()),
            _ if strange => Self::Damaged(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Disk {
    db: Connection,
}

impl Disk {
    /// Opens the database at `path`, or makes it there (mode 0600), and brings it to the newest form.
    ///
    /// # Errors
    /// It cannot be opened or is damaged, or a later version wrote it.
    pub fn open(path: &Path) -> Result<Self, ShelfError> {
        // SQLite gives the files beside it, the log and its index, the same mode.
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| ShelfError::Refused(error.to_string()))?;
        let mut db = Connection::open(path)?;
        db.busy_timeout(BUSY)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS);
        db.pragma_update(None, "cache_size", -CACHE_KIB)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        db.pragma_update(None, "journal_size_limit", LOG_LIMIT)?;
        db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
        let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(ShelfError::Damaged(verdict));
        }
        let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let known = STEPS.len() as i64;
        let Some(missing) = usize::try_from(found).ok().and_then(|taken| STEPS.get(taken..)) else {
            return Err(ShelfError::Newer { found, known });
        };
        if !missing.is_empty() {
            let transaction = db.transaction()?;
            for step in missing {
                transaction.execute_batch(step)?;
            }
            transaction.pragma_update(None, "user_version", known)?;
            transaction.commit()?;
        }
        Ok(Self { db })
    }

    /// Has room for what comes also when the disk is full: free pages in the database, and a log that was as long
    /// once, both of which SQLite overwrites. Does nothing on a disk that is small or nearly full.
    ///
    /// # Errors
    /// The disk's. The database is as it was.
    pub fn keep_room(&mut self) -> Result<(), ShelfError> {
        let Some(path) = self.db.path().filter(|path| !path.is_empty()).map(str::to_owned) else {
            return Ok(());
        };
        let refused = |error: nix::Error| ShelfError::Refused(error.to_string());
        let disk = nix::sys::statvfs::statvfs(path.as_str()).map_err(refused)?;
        let spare = disk.blocks_available().saturating_mul(disk.fragment_size());
        let pragma =
            |name: &str| self.db.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, u64>(0));
        let free = pragma("freelist_count")?.saturating_mul(pragma("page_size")?);
        let log = std::fs::metadata(format!("{path}-wal")).map_or(0, |log| log.len());
        if (free >= ROOM / 2 && log >= ROOM) || spare < ROOM * PLENTY {
            return Ok(());
        }
        // Written, copied from the log to its place, and given free there.
        self.db.execute_batch(&format!(
            "DROP TABLE IF EXISTS room; CREATE TABLE room AS SELECT zeroblob({ROOM}) AS zeros;
             PRAGMA wal_checkpoint; DROP TABLE room"
        ))?;
        Ok(())
    }

    fn count(&self, name: &str) -> Result<u64, ShelfError> {
        let value: Option<i64> = self
            .db
            .query_row("SELECT value FROM counts WHERE name = ?1", [name], |row| row.get(0))
            .optional()?;
        Ok(value.unwrap_or_default().cast_unsigned())
    }

    fn meta(&self) -> Result<Option<Meta>, ShelfError> {
        let meta = self.db.query_row("SELECT epoch, base, boot, owed FROM numbering", [], |row| {
            Ok(Meta {
                epoch: Epoch(row.get::<_, i64>(0)?.cast_unsigned()),
                base: row.get::<_, i64>(1)?.cast_unsigned(),
                boot: row.get(2)?,
                owed: row.get(3)?,
            })
        });
        Ok(meta.optional()?)
    }

    fn state(&self) -> Result<NodeState, ShelfError> {
        let mut ops = Vec::new();
        let mut statuses = self.db.prepare("SELECT facet, status FROM facets")?;
        let mut rows = statuses.query([])?;
        while let Some(row) = rows.next()? {
            let status: Vec<u8> = row.get(1)?;
            let new: FacetStatus = codec::decode(&status).map_err(damaged)?;
            ops.push(Op::Status { facet: FacetId(row.get(0)?), old: FacetStatus::Pending, new });
        }
        let mut entries = self.db.prepare("SELECT facet, key, value FROM entries")?;
        let mut rows = entries.query([])?;
        while let Some(row) = rows.next()? {
            let (key, new) = (Bytes::from(row.get::<_, Vec<u8>>(1)?), Bytes::from(row.get::<_, Vec<u8>>(2)?));
            ops.push(Op::Added { facet: FacetId(row.get(0)?), key, new });
        }
        NodeState::from_snapshot(&ops).map_err(|misfit| ShelfError::Damaged(misfit.to_string()))
    }
}

fn damaged(error: codec::CodecError) -> ShelfError {
    ShelfError::Damaged(error.to_string())
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        place: row.get::<_, i64>(0)?.cast_unsigned(),
        stands_for: row.get::<_, i64>(1)?.cast_unsigned(),
        kind: RecordKind(row.get(2)?),
        len: row.get(3)?,
    })
}

impl Shelf for Disk {
    fn load(&mut self) -> Result<Loaded, ShelfError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut select = self
            .db
            .prepare("SELECT place, stands_for, kind, length(envelope) FROM records ORDER BY place")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let entry = entry(row)?;
            let before = entries.last().map(|last: &Entry| last.place);
            let fits = entry.stands_for > 0
                && entry.place >= entry.stands_for
                && before.is_none_or(|before| before == entry.place - entry.stands_for);
            if !fits {
                return Err(ShelfError::Damaged(format!(
                    "record {} does not follow the one before",
                    entry.place
                )));
            }
            entries.push(entry);
        }
        let newest = entries.last().map_or(0, |entry| entry.place).max(self.count(DROPPED_THROUGH)?);
        let mut places = std::collections::BTreeMap::new();
        let mut select = self.db.prepare("SELECT source, at FROM places")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            places.insert(row.get::<_, String>(0)?, Bytes::from(row.get::<_, Vec<u8>>(1)?));
        }
        let (meta, dropped, state) = (self.meta()?, self.count(DROPPED)?, self.state()?);
        // A base behind what is held would give records the number 0, which the hub refuses again and again.
        let before_oldest = entries.first().map_or(newest, |entry| entry.place - entry.stands_for);
        if newest > LAST_PLACE || meta.as_ref().is_some_and(|meta| meta.base > before_oldest) {
            return Err(ShelfError::Damaged("its numbers cannot be".to_owned()));
        }
        Ok(Loaded { meta, entries, newest, dropped, places, state })
    }

    fn apply(&mut self, writes: &[Write]) -> Result<(), ShelfError> {
        // Dropped without a commit, by any error, it is rolled back.
        let transaction = self.db.transaction()?;
        for write in writes {
            one(&transaction, write)?;
        }
        Ok(transaction.commit()?)
    }

    fn read(&mut self, from: u64, to: u64) -> Result<Vec<Row>, ShelfError> {
        let mut select = self.db.prepare_cached(
            "SELECT place, stands_for, kind, length(envelope), envelope FROM records
             WHERE place BETWEEN ?1 AND ?2 ORDER BY place",
        )?;
        let mut found = select.query([from.cast_signed(), to.cast_signed()])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let (entry, envelope) = (entry(row)?, Bytes::from(row.get::<_, Vec<u8>>(4)?));
            // What a bad disk has changed must not go to the hub, which would refuse it again and again.
            match codec::decode::<Envelope>(&envelope) {
                Ok(decoded) if decoded.kind == entry.kind => rows.push(Row { entry, envelope }),
                Ok(_) => {
                    return Err(ShelfError::Damaged(format!("record {} is of another kind", entry.place)));
                }
                Err(error) => return Err(damaged(error)),
            }
        }
        Ok(rows)
    }
}

fn one(db: &Transaction<'_>, write: &Write) -> rusqlite::Result<()> {
    match write {
        Write::Append(Row { entry, envelope }) => db
            .prepare_cached("INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                entry.place.cast_signed(),
                entry.stands_for.cast_signed(),
                entry.kind.0,
                &envelope[..]
            ])
            .map(drop),
        Write::DropThrough(place) => {
            db.prepare_cached("DELETE FROM records WHERE place <= ?1")?.execute([place.cast_signed()])?;
            db.prepare_cached(
                "INSERT INTO counts VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
            )?
            .execute(params![DROPPED_THROUGH, place.cast_signed()])
            .map(drop)
        }
        Write::Source { source, at } if at.is_empty() => {
            db.prepare_cached("DELETE FROM places WHERE source = ?1")?.execute([source]).map(drop)
        }
        Write::Source { source, at } => db
            .prepare_cached("INSERT OR REPLACE INTO places VALUES (?1, ?2)")?
            .execute(params![source, &at[..]])
            .map(drop),
        Write::State(ops) => ops.iter().try_for_each(|op| change(db, op)),
        Write::Meta(Meta { epoch, base, boot, owed }) => db
            .prepare_cached("INSERT OR REPLACE INTO numbering VALUES (1, ?1, ?2, ?3, ?4)")?
            .execute(params![epoch.0.cast_signed(), base.cast_signed(), boot, owed])
            .map(drop),
        Write::Dropped(count) => db
            .prepare_cached("INSERT OR REPLACE INTO counts VALUES (?1, ?2)")?
            .execute(params![DROPPED, count.cast_signed()])
            .map(drop),
    }
}

fn change(db: &Transaction<'_>, op: &Op) -> rusqlite::Result<()> {
    match op {
        Op::Status { facet, new, .. } => {
            db.prepare_cached("DELETE FROM entries WHERE facet = ?1")?.execute([facet.0])?;
            match new {
                FacetStatus::Pending => {
                    db.prepare_cached("DELETE FROM facets WHERE facet = ?1")?.execute([facet.0])
                }
                new => db
                    .prepare_cached("INSERT OR REPLACE INTO facets VALUES (?1, ?2)")?
                    .execute(params![facet.0, &codec::encode(new)[..]]),
            }
        }
        Op::Added { facet, key, new } | Op::Changed { facet, key, new, .. } => db
            .prepare_cached("INSERT OR REPLACE INTO entries VALUES (?1, ?2, ?3)")?
            .execute(params![facet.0, &key[..], &new[..]]),
        Op::Removed { facet, key, .. } => db
            .prepare_cached("DELETE FROM entries WHERE facet = ?1 AND key = ?2")?
            .execute(params![facet.0, &key[..]]),
    }
    .map(drop)
}

#[cfg(test)]
impl Disk {
    pub(super) fn limit_pages(&self, pages: u32) {
        self.db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    }

    /// And forgets what it has in memory.
    pub(super) fn checkpoint(&self) {
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        self.db.execute_batch("PRAGMA shrink_memory").unwrap();
    }
}
