//! The form of the database and the steps that lead to it; `user_version` counts the steps taken.

use std::time::Duration;

use rusqlite::Connection;

use super::Fault;

/// How long to wait for another process that reads the file, a backup perhaps.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// Pages of the write-ahead log after which they are copied into the file: 16 MiB. Each time costs two syncs.
const CHECKPOINT: i64 = 4096;
/// What the write-ahead log keeps of the disk, in bytes, when it once had to be larger.
const WAL_LIMIT: i64 = 64 << 20;

/// Each brings the database from the form of its index to the next. A released step never changes.
const STEPS: &[&str] = &[
    "
    CREATE TABLE nodes (
        id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, papers BLOB NOT NULL UNIQUE, seen INTEGER NOT NULL,
        agent TEXT NOT NULL, address TEXT NOT NULL, facts BLOB NOT NULL, clock_offset INTEGER NOT NULL,
        epoch INTEGER, log_epoch INTEGER NOT NULL, last INTEGER NOT NULL, stale INTEGER NOT NULL,
        commands BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE facets (
        node BLOB NOT NULL, facet INTEGER NOT NULL, status BLOB NOT NULL,
        PRIMARY KEY (node, facet)
    ) WITHOUT ROWID;
    CREATE TABLE entries (
        node BLOB NOT NULL, facet INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (node, facet, key)
    ) WITHOUT ROWID;
    CREATE TABLE tokens (
        secret BLOB PRIMARY KEY, node BLOB NOT NULL, name TEXT NOT NULL, made INTEGER NOT NULL,
        expires INTEGER NOT NULL, replace_known INTEGER NOT NULL, used INTEGER
    ) WITHOUT ROWID;
",
    "ALTER TABLE nodes ADD COLUMN others BLOB NOT NULL DEFAULT x''",
    // The log: one row per commit. `taken` is the hub's clock, which may jump; the order is that of `first`.
    "
    CREATE TABLE log (
        first INTEGER PRIMARY KEY, last INTEGER NOT NULL, taken INTEGER NOT NULL, bytes INTEGER NOT NULL,
        records BLOB NOT NULL
    );
    CREATE INDEX log_taken ON log (taken);
    CREATE TABLE holes (after INTEGER PRIMARY KEY, until INTEGER NOT NULL, reason TEXT NOT NULL);
    CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL, history BLOB NOT NULL,
        newest INTEGER NOT NULL, boot TEXT, clean INTEGER NOT NULL, synced INTEGER NOT NULL,
        held INTEGER NOT NULL, gone_taken INTEGER NOT NULL
    );
",
    "ALTER TABLE nodes ADD COLUMN connected INTEGER NOT NULL DEFAULT 0",
    // Runs, of which attached ones are there only while they are open, and what jobs printed. A node says anew what it
    // runs when it comes; what older versions kept of that has another form.
    "
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY, job INTEGER NOT NULL UNIQUE, over INTEGER NOT NULL, summary BLOB NOT NULL,
        until INTEGER, cancelled INTEGER NOT NULL, output INTEGER NOT NULL, dropped INTEGER NOT NULL
    );
    CREATE TABLE job_output (
        job INTEGER NOT NULL, at INTEGER NOT NULL, stderr INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (job, at)
    );
    UPDATE nodes SET commands = x'';
",
];

/// When commits are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    /// Now and then: safe against a crash of the hub; a power cut may take the last moments, never the file.
    Sometimes,
    /// Before each of them counts.
    EachCommit,
}

/// Sets when commits are on the disk; not within a transaction.
pub(super) fn sync(db: &Connection, sync: Sync) -> rusqlite::Result<()> {
    let mode = match sync {
        Sync::Sometimes => "NORMAL",
        Sync::EachCommit => "FULL",
    };
    db.pragma_update(None, "synchronous", mode)
}

/// Sets the connection up and takes the steps that are missing.
pub(super) fn prepare(db: &mut Connection) -> Result<(), Fault> {
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
    db.pragma_update(None, "journal_size_limit", WAL_LIMIT)?;
    sync(db, Sync::EachCommit)?;
    let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = STEPS.len() as i64;
    let Some(missing) = usize::try_from(found).ok().and_then(|taken| STEPS.get(taken..)) else {
        return Err(Fault::Newer { found, known });
    };
    if !missing.is_empty() {
        let transaction = db.transaction()?;
        for step in missing {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", known)?;
        transaction.commit()?;
    }
    Ok(())
}
