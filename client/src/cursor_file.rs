//! A place in a hub's log, kept in a small file: for programs that go on where they were after a restart.
//!
//! The file is one line, `secmon-cursor 1 CURSOR`. It is replaced whole (a temporary file, fsync, rename, fsync
//! of the folder), so that a crash leaves the old place or the new one. A second process is kept away by a lock
//! on `FILE.lock` (flock(2)), which the kernel takes back when the holder dies, however it dies. (A child of the
//! holder has it too until it has become its program.)

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::fcntl::OFlag;
use secmon_protocol::ids::Cursor;

/// Before the cursor; the number is that of the form.
const HEAD: &str = "secmon-cursor 1 ";
/// Longest file that is read: no line of ours is half as long.
const MAX_FILE: u64 = 128;
/// Owner only.
const MODE: u32 = 0o600;

/// Why a place cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CursorFileError {
    /// Another process has it.
    #[error(
        "{} is in use by another process: one program keeps its place in it at a time; give the other one a file of its own",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// What is in it is no place.
    #[error(
        "{} holds no place of a hub's log: {reason}; remove it to begin anew (what happened since it was written \
         is then not delivered)",
        path.display()
    )]
    Garbage {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system did not let us.
    #[error("cannot {what} {}: {reason}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
}

/// A file that holds a place, and the lock on it.
#[derive(Debug)]
pub struct CursorFile {
    stored: Option<Cursor>,
    writer: Arc<Writer>,
    /// Its drop gives the lock back.
    _lock: File,
}

/// Writes the file; apart from the lock, so that a write that waits for its thread does not keep that.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    temporary: PathBuf,
    /// Numbers writes in the order in which they were asked for.
    tickets: AtomicU64,
    /// The ticket of the newest write that was begun; held while one is made.
    newest: Mutex<u64>,
}

impl CursorFile {
    /// Locks the file at `path` and reads it. It need not be there; its folder must.
    ///
    /// # Errors
    /// Another process has it, it holds something else than a place, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, CursorFileError> {
        let beside = |end: &str| {
            let mut name = path.file_name().map(OsString::from).unwrap_or_default();
            name.push(end);
            path.with_file_name(name)
        };
        let lock_path = beside(".lock");
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(&lock_path)
            .map_err(|error| failed("create", &lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CursorFileError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &lock_path, &error)),
        }
        let writer = Writer {
            path: path.to_owned(),
            temporary: beside(".new"),
            tickets: AtomicU64::new(1),
            newest: Mutex::new(0),
        };
        Ok(Self { stored: read(path)?, writer: Arc::new(writer), _lock: lock })
    }

    /// The place that it held when it was opened; none where there was no file.
    #[must_use]
    pub fn stored(&self) -> Option<Cursor> {
        self.stored
    }

    /// Replaces what it holds. When this returns, it is on disk. Blocks for as long as that takes.
    ///
    /// # Errors
    /// The system refuses; it then holds what it held.
    pub fn save(&self, cursor: Cursor) -> Result<(), CursorFileError> {
        self.writer.write(self.writer.ticket(), cursor)
    }

    pub(crate) fn writer(&self) -> &Arc<Writer> {
        &self.writer
    }
}

impl Writer {
    /// A number for a write: one that comes after a write with a higher number does nothing.
    pub(crate) fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn write(&self, ticket: u64, cursor: Cursor) -> Result<(), CursorFileError> {
        // A write that panicked has left a temporary file at most.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if *newest > ticket {
            return Ok(());
        }
        // A failure as well: after the last write, which may fail, the file may be another process's.
        *newest = ticket;
        self.replace(cursor)
    }

    fn replace(&self, cursor: Cursor) -> Result<(), CursorFileError> {
        let new = &self.temporary;
        // Left by a crash, or put there by somebody else: never written through.
        match fs::remove_file(new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", new, &error));
            }
            _ => {}
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(new)
            .and_then(|mut file| {
                file.write_all(format!("{HEAD}{cursor}\n").as_bytes())?;
                file.sync_all()
            })
            .map_err(|error| failed("write", new, &error))?;
        fs::rename(new, &self.path).map_err(|error| failed("replace", &self.path, &error))?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| failed("sync", folder, &error))
    }
}

fn read(path: &Path) -> Result<Option<Cursor>, CursorFileError> {
    let garbage =
        |reason: &str| CursorFileError::Garbage { path: path.to_owned(), reason: reason.to_owned() };
    // A pipe or a device would be waited for.
    let open = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path, &error)),
    };
    if !file.metadata().map_err(|error| failed("read", path, &error))?.is_file() {
        return Err(garbage("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| failed("read", path, &error))?;
    if bytes.is_empty() {
        return Err(garbage("it is empty"));
    }
    if bytes.len() as u64 > MAX_FILE {
        return Err(garbage("it is too long"));
    }
    let text = str::from_utf8(&bytes).ok();
    let cursor = text.and_then(|text| text.strip_prefix(HEAD)?.strip_suffix('\n')?.parse().ok());
    cursor.map(Some).ok_or_else(|| garbage("it does not read `secmon-cursor 1 CURSOR`"))
}

fn failed(what: &'static str, path: &Path, error: &io::Error) -> CursorFileError {
    CursorFileError::Io { what, path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
#[path = "cursor_file_tests.rs"]
mod tests;
