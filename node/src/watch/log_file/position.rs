//! How far a file has been read, so that another reader can go on there: which file it was, and where in
//! it. A name is not enough, because rotation gives it to another file; nor is an inode, because the
//! kernel gives that to another file once the first is gone.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::Path,
    time::UNIX_EPOCH,
};

use bytes::Bytes;
use secmon_protocol::codec::Value;
use serde::{Deserialize, Serialize};

/// How many of a file's first bytes tell it from another: two or three lines, with their stamps.
const FIRST: usize = 256;
/// How far back the start of a line is looked for; longer than any line of a syslog daemon.
const BACK: u64 = 64 << 10;

/// Device and inode; and when it was made, where the file system says so, for an inode is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
    /// Nanoseconds since 1970, or 0.
    made: i128,
}

impl From<&Metadata> for FileId {
    fn from(meta: &Metadata) -> Self {
        let made = meta.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let made = made.and_then(|since| i128::try_from(since.as_nanos()).ok()).unwrap_or_default();
        Self { device: meta.dev(), inode: meta.ino(), made }
    }
}

/// When a file was written last, in nanoseconds since 1970, as its file system counts.
pub(in crate::watch) fn modified(meta: &Metadata) -> i128 {
    i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())
}

/// A place in a file, at the start of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FilePosition {
    pub(in crate::watch) id: FileId,
    /// Bytes before it.
    pub(in crate::watch) offset: u64,
    /// The file's first bytes, at most [`FIRST`] and none behind the place; none when they could not be read.
    pub(in crate::watch) first: Bytes,
    /// When the file was written last, at the time.
    pub(in crate::watch) modified: i128,
}

impl FilePosition {
    /// The end of what stands at `path` now; none when nothing does.
    pub(crate) fn end_of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        let unread = Self {
            id: FileId::from(&meta),
            offset: meta.len(),
            first: Bytes::new(),
            modified: modified(&meta),
        };
        // Who may not read it now may do so later, and what was there before is old then.
        Some(open(path).and_then(|file| Self::end(&file)).unwrap_or(unread))
    }

    fn end(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let offset = line_start(file, meta.len())?;
        let first = first_bytes(file, offset)?;
        Ok(Self { id: FileId::from(&meta), offset, first, modified: modified(&meta) })
    }

    /// The place behind the first `offset` bytes of `file`.
    pub(in crate::watch) fn of(file: &File, offset: u64) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            id: FileId::from(&meta),
            offset,
            first: first_bytes(file, offset)?,
            modified: modified(&meta),
        })
    }

    /// Whether `file` is the one that the place is in, under whatever name.
    pub(in crate::watch) fn goes_on_in(&self, file: &File) -> bool {
        let same = || file.metadata().is_ok_and(|meta| FileId::from(&meta) == self.id);
        self.is_in(file) && (self.has_face() || same())
    }

    /// Whether this file, or a copy of it that was read no further, has the place in it.
    pub(in crate::watch) fn is_in(&self, file: &File) -> bool {
        file.metadata().is_ok_and(|meta| meta.len() >= self.offset) && starts_with(file, &self.first)
    }

    /// Whether so much of the first bytes is known that a copy can be told by them: a line at the least.
    pub(in crate::watch) fn has_face(&self) -> bool {
        self.offset > 0 && !self.first.is_empty()
    }
}

/// How far a log has been read: which files it is and was, and how far each of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct LogPlace {
    /// Oldest first; the last is the one that stood at the path last. None when the log has never been there.
    pub(in crate::watch) files: Vec<Chained>,
    /// The rotated files that there were when the last file was opened, as they were then, newest first: identity, and
    /// when they were written last.
    pub(in crate::watch) older: Vec<(FileId, i128)>,
}

impl Value for LogPlace {}

/// One file of a log, that is read or was lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::watch) struct Chained {
    pub(in crate::watch) at: FilePosition,
    /// It has been read to its end, and there is a newer one.
    pub(in crate::watch) left: bool,
    /// It is what was saved of a log before that was truncated.
    pub(in crate::watch) copy: bool,
}

impl LogPlace {
    /// The end of the log at `path` now; nothing of one that is not there yet will be left out.
    pub(crate) fn end_of(path: &Path) -> Self {
        let older = super::rotation::beside(path).iter().map(|file| (file.id, file.modified)).collect();
        match FilePosition::end_of(path) {
            Some(at) => Self { files: vec![Chained { at, left: false, copy: false }], older },
            None => Self { files: Vec::new(), older },
        }
    }

    /// Whether there was a log.
    pub(crate) fn is_there(&self) -> bool {
        !self.files.is_empty()
    }
}

/// Opens a log for reading, and nothing that is no regular file.
pub(in crate::watch) fn open(path: &Path) -> io::Result<File> {
    // Not to block on a FIFO that somebody put there.
    let file = OpenOptions::new().read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// The first bytes of a file that has been read up to `offset`.
pub(in crate::watch) fn first_bytes(file: &File, offset: u64) -> io::Result<Bytes> {
    let mut first = vec![0; FIRST.min(usize::try_from(offset).unwrap_or(FIRST))];
    file.read_exact_at(&mut first, 0)?;
    Ok(first.into())
}

/// Whether more of the first bytes can be known of a file that has been read up to `offset`.
pub(in crate::watch) fn wants_more(first: &[u8], offset: u64) -> bool {
    first.len() < FIRST && (first.len() as u64) < offset
}

/// Whether a file begins with these bytes.
pub(in crate::watch) fn starts_with(file: &File, first: &[u8]) -> bool {
    let mut there = [0; FIRST];
    let there = &mut there[..first.len().min(FIRST)];
    file.read_exact_at(there, 0).is_ok() && there == first
}

/// The start of the line that `offset` is in: what is read from the middle of a line on may say anything,
/// for the middle is often what a stranger chose.
pub(in crate::watch) fn line_start(file: &File, offset: u64) -> io::Result<u64> {
    let back = offset.min(BACK);
    let mut before = vec![0; usize::try_from(back).unwrap_or_default()];
    file.read_exact_at(&mut before, offset - back)?;
    Ok(match memchr::memrchr(b'\n', &before) {
        Some(newline) => offset - back + newline as u64 + 1,
        None if back == offset => 0,
        None => offset,
    })
}
