//! The form of the database and the steps that lead to it; `user_version` counts the steps taken.

use std::time::Duration;

use rusqlite::Connection;

use super::Fault;

/// How long to wait for another process that reads the file, a backup perhaps.
const BUSY: Duration = Duration::from_secs(5);

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
];

/// Sets the connection up and takes the steps that are missing.
pub(super) fn prepare(db: &mut Connection) -> Result<(), Fault> {
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // Safe against a crash of the hub; a power cut may take the last moments, never the file.
    db.pragma_update(None, "synchronous", "NORMAL")?;
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
