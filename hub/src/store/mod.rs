//! What a hub keeps over a restart, in SQLite: nodes, their state as bytes, and tokens without their
//! secrets. One thread owns the database; the actor hands it a batch and waits.
//!
//! No rules here: what is written was decided by the core.

mod rows;
mod schema;
mod thread;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

pub(crate) use self::thread::StoreThread;
use crate::{
    core::{Kept, Write},
    files,
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

/// The database.
pub(crate) struct Store {
    db: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens the database of a state folder, or makes it there, and brings it to the newest form.
    ///
    /// # Errors
    /// It cannot be opened, or was written by a later version.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join(FILE);
        // SQLite gives the files beside it, the log and its index, the same mode.
        files::private(&path).map_err(|source| StoreError::File { path: path.clone(), source })?;
        match prepared(&path) {
            Ok(db) => Ok(Self { db, path }),
            Err(fault) => Err(fault.of(&path)),
        }
    }

    /// Everything that is kept.
    ///
    /// # Errors
    /// The database refuses, or holds what makes no sense.
    pub(crate) fn load(&self) -> Result<Kept, StoreError> {
        rows::load(&self.db).map_err(|fault| fault.of(&self.path))
    }

    /// Writes a batch, whole or not at all.
    ///
    /// # Errors
    /// The database refuses.
    pub(crate) fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.try_commit(writes).map_err(|error| Fault::from(error).of(&self.path))
    }

    fn try_commit(&mut self, writes: &[Write]) -> rusqlite::Result<()> {
        let transaction = self.db.transaction()?;
        for write in writes {
            rows::write(&transaction, write)?;
        }
        transaction.commit()
    }
}

fn prepared(path: &Path) -> Result<Connection, Fault> {
    let mut db = Connection::open(path)?;
    schema::prepare(&mut db)?;
    Ok(db)
}

#[cfg(test)]
mod tests;
