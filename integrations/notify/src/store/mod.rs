//! What a notifier keeps over a restart, in one SQLite database: where it stands in the hub's log, what the core remembers, what
//! waits for each destination, and what no service took. One thread has it ([`StoreThread`]); `secmon notify` opens it beside.
//!
//! No rules here: what is told was decided by the core, and what becomes of a notice by [`deliver`](crate::deliver). What belongs
//! together is written in one transaction: a commit is on the disk (`synchronous = FULL`), whatever happens next.

mod aside;
mod batch;
mod failed;
mod queue;
mod schema;
mod thread;

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _};
use secmon_protocol::{ids::Cursor, time::UnixNanos};

pub(crate) use self::{
    batch::{Batch, Tell},
    failed::Shelf,
    queue::{Entry, Taken},
    thread::StoreThread,
};
use crate::{
    core::Memory,
    run::{NotifyError, file},
};

/// The places of `meta`.
mod key {
    /// The place in the hub's log up to which everything was dealt with.
    pub(super) const CURSOR: &str = "cursor";
    /// The place up to which there is nothing to be told, while that has not been reached.
    pub(super) const PAST: &str = "past_through";
    /// What the core remembers, as JSON.
    pub(super) const MEMORY: &str = "memory";
}

/// What the store holds at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Notices that wait for one destination: a day of one every nine seconds, some 20 MB. Twice as many where they are critical.
    pub(crate) queue: u64,
    /// Notices that were set aside: more than anybody looks through.
    pub(crate) failed: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { queue: 10_000, failed: 1_000 }
    }
}

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The file is no database, or something in it makes no sense.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// A later secmon wrote it.
    #[error(
        "it was written by a newer secmon (its form is {found}, this one knows {known}); use that version"
    )]
    Newer {
        /// The form found.
        found: i64,
        /// The newest form known.
        known: i64,
    },
    /// A disk that is full, or another process that has it: it may go better in a moment.
    #[error("{0}")]
    Passing(String),
    /// Anything else.
    #[error("{0}")]
    Refused(String),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
        let strange = matches!(
            error,
            FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..)
        );
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged(error.to_string()),
            _ if strange => Self::Damaged(error.to_string()),
            Some(
                ErrorCode::DiskFull
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::SystemIoFailure,
            ) => Self::Passing(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl StoreError {
    /// The same for whoever started the notifier.
    pub(crate) fn at(&self, what: &'static str, path: &Path) -> NotifyError {
        NotifyError::Store { what, path: path.to_owned(), reason: self.to_string() }
    }
}

/// What an earlier run left.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Where it stood in the hub's log; none on the first start.
    pub(crate) cursor: Option<Cursor>,
    /// See [`key::PAST`].
    pub(crate) past: Option<Cursor>,
    /// What the core remembered.
    pub(crate) memory: Memory,
    /// What was seen.
    pub(crate) seen: Vec<(u64, UnixNanos)>,
    /// Whether a damaged database was set aside, so that something may be missing; where it is now.
    pub(crate) anew: Option<PathBuf>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Store {
    db: Connection,
    path: PathBuf,
    limits: Limits,
    /// How many notices wait, by destination; nobody but us adds any, apart from `secmon notify retry`.
    waiting: HashMap<String, u64>,
    /// SQLite's number of the state that another process left; another one when one wrote since.
    version: i64,
    /// Its drop gives the lock back.
    _lock: File,
}

impl Store {
    /// Opens the store in its folder, which is made if it is not there, and locks it. What waits for destinations that are not in
    /// `names` is set aside.
    ///
    /// # Errors
    /// It is another process's, cannot be opened, or a later version wrote it.
    pub(crate) fn open(
        state_dir: &Path,
        limits: Limits,
        names: &[String],
        now: UnixNanos,
    ) -> Result<(Self, Loaded), NotifyError> {
        folder(state_dir)?;
        let path = file(state_dir);
        let lock = lock(&path)?;
        let failed = |error: StoreError| error.at("open", &path);
        let (db, mut loaded) = match Self::load(&path) {
            Err(StoreError::Damaged(reason)) => {
                let to = aside::set_aside(&path)
                    .map_err(|error| StoreError::Refused(error.to_string()).at("set aside", &path))?;
                tracing::error!(
                    file = %path.display(), %reason, aside = %to.display(),
                    "the store was damaged and was set aside; it begins anew: what waited in it is not told"
                );
                let (db, mut loaded) = Self::load(&path).map_err(failed)?;
                loaded.anew = Some(to);
                (db, loaded)
            }
            other => other.map_err(failed)?,
        };
        loaded.seen.sort_unstable();
        let mut store =
            Self { db, path: path.clone(), limits, waiting: HashMap::new(), version: 0, _lock: lock };
        store.leave_only(names, now).map_err(failed)?;
        store.recount().map_err(failed)?;
        Ok((store, loaded))
    }

    fn load(path: &Path) -> Result<(Connection, Loaded), StoreError> {
        let db = schema::open(path)?;
        let text = |key: &str| {
            let select = "SELECT value FROM meta WHERE key = ?1";
            db.query_row(select, [key], |row| row.get::<_, String>(0)).optional()
        };
        let cursor = |key: &str| -> Result<Option<Cursor>, StoreError> {
            let text = text(key)?;
            text.map(|text| text.parse().map_err(|_| StoreError::Damaged(format!("{key} is no place"))))
                .transpose()
        };
        let memory = match text(key::MEMORY)? {
            Some(json) => serde_json::from_str(&json)
                .map_err(|error| StoreError::Damaged(format!("what it remembers makes no sense: {error}")))?,
            None => Memory::default(),
        };
        let (cursor, past) = (cursor(key::CURSOR)?, cursor(key::PAST)?);
        let seen = db
            .prepare("SELECT key, at FROM seen")?
            .query_map([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), UnixNanos(row.get(1)?))))?
            .collect::<Result<Vec<_>, _>>()?;
        Ok((db, Loaded { cursor, past, memory, seen, anew: None }))
    }

    /// Counts what waits.
    pub(crate) fn recount(&mut self) -> Result<(), StoreError> {
        self.version = self.data_version()?;
        let mut select =
            self.db.prepare_cached("SELECT destination, count(*) FROM queue GROUP BY destination")?;
        let counted = select
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))?
            .collect::<Result<_, _>>()?;
        drop(select);
        self.waiting = counted;
        Ok(())
    }

    /// Whether another process wrote since this was asked last: `secmon notify retry`. Costs a look at shared memory.
    pub(crate) fn written_elsewhere(&mut self) -> Result<bool, StoreError> {
        let changed = self.data_version()? != self.version;
        if changed {
            self.recount()?;
        }
        Ok(changed)
    }

    fn data_version(&self) -> Result<i64, StoreError> {
        Ok(self.db.query_row("PRAGMA data_version", [], |row| row.get(0))?)
    }
}

/// Makes the folder for its owner alone. One that is there already is left as it is.
fn folder(path: &Path) -> Result<(), NotifyError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
        .map_err(|error| StoreError::Refused(error.to_string()).at("make the folder", path))
}

/// Keeps a second process away, by flock(2), which the kernel takes back however its holder ends.
fn lock(db: &Path) -> Result<File, NotifyError> {
    let mut path = db.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let refused = |reason: String| StoreError::Refused(reason).at("lock", &path);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(&path)
        .map_err(|error| refused(error.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(refused(
            "another process works in this folder; give each a folder of its own with --state-dir".to_owned(),
        )),
        Err(TryLockError::Error(error)) => Err(refused(error.to_string())),
    }
}

#[cfg(test)]
mod tests;
