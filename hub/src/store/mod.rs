//! What a hub keeps over a restart, in SQLite: nodes, their state as bytes, tokens without their secrets, runs
//! and what jobs printed, and the log. One thread writes; the actor hands it a batch and waits. Another reads the log for subscribers.
//!
//! No rules here: what is written was decided by the core.

mod jobs;
mod log;
mod reader;
mod rows;
mod schema;
mod thread;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, ErrorCode};

use secmon_protocol::time::UnixNanos;

pub(crate) use self::{
    jobs::Printed,
    log::{Keeping, Opening},
    reader::LogReader,
    thread::StoreThread,
};
use self::{log::Log, schema::Sync};
use crate::{
    core::{Hole, Kept, Write},
    files,
    segment::Segment,
};

/// The file, in the state folder.
const FILE: &str = "hub.db";

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made or opened.
    #[error("cannot open {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// SQLite refuses.
    #[error("the database {path} refuses: {source}", path = path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        #[source]
        source: rusqlite::Error,
    },
    /// The file was written by a later secmon.
    #[error(
        "{path} was written by a newer secmon (its form is {found}, this one knows {known}); use that version",
        path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The form found.
        found: i64,
        /// The newest form known.
        known: i64,
    },
    /// The file is no database, or something in it makes no sense.
    #[error(
        "the database {path} is damaged: {reason}; move it and its -wal and -shm files away, then restore it from a backup, or start the hub without: every node must then join again, with a token of `secmon enroll NAME`",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The thread that owns the database has ended.
    #[error("the thread that writes it has ended")]
    Gone,
}

/// What went wrong, where it is not known in which file.
enum Fault {
    Database(rusqlite::Error),
    Newer { found: i64, known: i64 },
    Senseless(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl Fault {
    fn of(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Database(source) if of_damage(&source) => {
                StoreError::Damaged { path, reason: source.to_string() }
            }
            Self::Database(source) => StoreError::Database { path, source },
            Self::Newer { found, known } => StoreError::Newer { path, found, known },
            Self::Senseless(reason) => StoreError::Damaged { path, reason },
        }
    }
}

/// Whether the file is at fault, and not the system or whoever else uses it.
fn of_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
        || matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..))
}

/// What is written at once, whole or not at all.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Changes of the state.
    pub(crate) writes: Vec<Write>,
    /// New records of the log.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The hub's clock: when they were taken.
    pub(crate) now: UnixNanos,
}

/// A batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The last place of the log that is no longer held.
    pub(crate) gone: u64,
}

/// The database.
pub(crate) struct Store {
    db: Connection,
    path: PathBuf,
    log: Log,
    /// As the connection has it.
    sync: Sync,
}

impl Store {
    /// Opens the database of a state folder, or makes it there, and brings it to the newest form.
    ///
    /// # Errors
    /// It cannot be opened, or was written by a later version.
    pub(crate) fn open(state_dir: &Path, keeping: Keeping, opening: &Opening) -> Result<Self, StoreError> {
        let path = state_dir.join(FILE);
        // SQLite gives the files beside it, the log and its index, the same mode.
        files::private(&path).map_err(|source| StoreError::File { path: path.clone(), source })?;
        match prepared(&path, keeping, opening) {
            Ok((db, log)) => Ok(Self { db, path, log, sync: Sync::EachCommit }),
            Err(fault) => Err(fault.of(&path)),
        }
    }

    /// Everything that is kept but the log's records.
    ///
    /// # Errors
    /// The database refuses, or holds what makes no sense.
    pub(crate) fn load(&self) -> Result<Kept, StoreError> {
        rows::load(&self.db).map_err(|fault| fault.of(&self.path))
    }

    /// The numbers of the log that no record has, in order.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub(crate) fn holes(&self) -> Result<Vec<Hole>, StoreError> {
        log::holes(&self.db).map_err(|fault| fault.of(&self.path))
    }

    /// The last place of the log that is no longer held.
    pub(crate) fn gone(&self) -> u64 {
        self.log.gone()
    }

    /// Writes a batch, whole or not at all, and removes what is too old of the log.
    ///
    /// # Errors
    /// The database refuses.
    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<Committed, StoreError> {
        self.try_commit(batch).map_err(|error| Fault::from(error).of(&self.path))
    }

    fn try_commit(&mut self, batch: &Batch) -> rusqlite::Result<Committed> {
        // Who may join, who has joined and who was removed: a power cut must not lock a node out for ever, nor let one in.
        let lasting = |write: &Write| matches!(write, Write::Token(_) | Write::ForgetNode(_));
        let sync = match self.log.syncs() || batch.writes.iter().any(lasting) {
            true => Sync::EachCommit,
            false => Sync::Sometimes,
        };
        if self.sync != sync {
            schema::sync(&self.db, sync)?;
            self.sync = sync;
        }
        let transaction = self.db.transaction()?;
        for write in &batch.writes {
            rows::write(&transaction, write)?;
        }
        let change = self.log.write(&transaction, &batch.segments, batch.now)?;
        transaction.commit()?;
        if let Some(change) = change {
            self.log.apply(change);
        }
        Ok(Committed { gone: self.log.gone() })
    }

    /// Says that the hub ended in order, and brings everything to the disk.
    ///
    /// # Errors
    /// The database refuses.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        let closed = schema::sync(&self.db, Sync::EachCommit)
            .and_then(|()| log::mark_clean(&self.db))
            .and_then(|()| self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
        closed.map_err(|error| Fault::from(error).of(&self.path))
    }
}

fn prepared(path: &Path, keeping: Keeping, opening: &Opening) -> Result<(Connection, Log), Fault> {
    let mut db = Connection::open(path)?;
    schema::prepare(&mut db)?;
    let log = Log::open(&mut db, keeping, opening)?;
    Ok((db, log))
}

#[cfg(test)]
mod tests;
