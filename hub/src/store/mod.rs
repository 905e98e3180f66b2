//! What a hub keeps over a restart, in SQLite: nodes, their state as bytes, and tokens without their
//! secrets. One thread owns the database; the actor hands it a batch and waits.
//!
//! No rules here: what is written was decided by the core.

mod rows;
mod schema;
mod thread;

use std::path::{Path, PathBuf};

use rusqlite::Connection;

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
    #[error("the database refuses: {0}")]
    Database(#[from] rusqlite::Error),
    /// The file was written by a later secmon.
    #[error(
        "it was written by a newer secmon (its form is {found}, this one knows {known}); use that version"
    )]
    Newer {
        /// The form found.
        found: i64,
        /// The newest form known.
        known: i64,
    },
    /// Something in it makes no sense.
    #[error("the database is damaged: {0}; restore it from a copy, or begin anew in an empty folder")]
    Damaged(String),
    /// The thread that owns the database has ended.
    #[error("the thread that writes it has ended")]
    Gone,
}

/// The database.
pub(crate) struct Store {
    db: Connection,
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
        let mut db = Connection::open(&path)?;
        schema::prepare(&mut db)?;
        Ok(Self { db })
    }

    /// Everything that is kept.
    ///
    /// # Errors
    /// The database refuses, or holds what makes no sense.
    pub(crate) fn load(&self) -> Result<Kept, StoreError> {
        rows::load(&self.db)
    }

    /// Writes a batch, whole or not at all.
    ///
    /// # Errors
    /// The database refuses.
    pub(crate) fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let transaction = self.db.transaction()?;
        for write in writes {
            rows::write(&transaction, write)?;
        }
        Ok(transaction.commit()?)
    }
}

#[cfg(test)]
mod tests;
