//! The form of the database, and how it is opened.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::StoreError;

/// How long to wait for another process that has the file: `secmon notify`, or a backup.
const BUSY: Duration = Duration::from_secs(5);
/// SQLite's own memory for pages, in KiB: what one batch needs; the system keeps the rest.
const CACHE_KIB: i64 = 512;
/// The log beside the database is cut back to this many bytes after it had to be larger.
const LOG_LIMIT: i64 = 4 << 20;
/// Statements that are kept ready; one of each kind.
const STATEMENTS: usize = 48;

/// Each brings the database from the form of its index to the next. A released step never changes.
///
/// `queue.version` counts the editions that took one another's place in a row: who sent one of them knows by it whether
/// another has come since. `dropped` is how many notices a row stands for that had no room.
const STEPS: &[&str] = &["
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE seen (key INTEGER PRIMARY KEY, at INTEGER NOT NULL);
    CREATE TABLE queue (
        id INTEGER PRIMARY KEY AUTOINCREMENT, destination TEXT NOT NULL, thread TEXT, last INTEGER NOT NULL,
        critical INTEGER NOT NULL, time INTEGER NOT NULL, notice TEXT NOT NULL, version INTEGER NOT NULL DEFAULT 0,
        tries INTEGER NOT NULL DEFAULT 0, refusals INTEGER NOT NULL DEFAULT 0, dropped INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX queue_in_order ON queue (destination, id);
    CREATE INDEX queue_threads ON queue (destination, thread) WHERE thread IS NOT NULL;
    CREATE TABLE threads (
        destination TEXT NOT NULL, thread TEXT NOT NULL, receipt TEXT NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (destination, thread)
    ) WITHOUT ROWID;
    CREATE INDEX threads_by_age ON threads (at);
    CREATE TABLE pauses (destination TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE failed (
        id INTEGER PRIMARY KEY AUTOINCREMENT, destination TEXT NOT NULL, thread TEXT, critical INTEGER NOT NULL,
        time INTEGER NOT NULL, notice TEXT NOT NULL, tries INTEGER NOT NULL, reason TEXT NOT NULL, since INTEGER NOT NULL
    );
"];

/// Opens the database at `path`, or makes it there (mode 0600), and brings it to the newest form.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    // SQLite gives the files beside it, the log and its index, the same mode.
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| StoreError::Refused(error.to_string()))?;
    let mut db = prepare(Connection::open(path)?)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(StoreError::Damaged(verdict));
    }
    let (found, known) = (form(&db)?, STEPS.len() as i64);
    let Some(missing) = usize::try_from(found).ok().and_then(|taken| STEPS.get(taken..)) else {
        return Err(StoreError::Newer { found, known });
    };
    if !missing.is_empty() {
        let transaction = db.transaction()?;
        for step in missing {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", known)?;
        transaction.commit()?;
    }
    Ok(db)
}

/// Opens what a role made, beside it; never makes one.
pub(super) fn open_beside(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = prepare(Connection::open_with_flags(path, flags)?)?;
    let (found, known) = (form(&db)?, STEPS.len() as i64);
    match found {
        found if found == known => Ok(db),
        found if found < known => Err(StoreError::Refused(
            "an older secmon wrote it, and its role was not started since; start that first".to_owned(),
        )),
        found => Err(StoreError::Newer { found, known }),
    }
}

fn prepare(db: Connection) -> Result<Connection, StoreError> {
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "journal_size_limit", LOG_LIMIT)?;
    Ok(db)
}

fn form(db: &Connection) -> Result<i64, StoreError> {
    Ok(db.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}
