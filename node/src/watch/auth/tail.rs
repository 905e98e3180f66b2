//! One followed file: which inode stands behind its name, how far it has been read, and what happens
//! when it is rotated. Synchronous: local files never make a reader wait for long, and every call reads
//! one bounded chunk.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use inotify::{WatchDescriptor, WatchMask, Watches};
use secmon_protocol::limits;

use super::lines::Lines;

/// Bytes read in one go, before others have their turn.
const CHUNK: usize = 64 << 10;
/// A rotation leaves a name without a file for a moment; after this long it is gone.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(5);

/// Device and inode.
type FileId = (u64, u64);

/// A followed file.
pub(super) struct Tail {
    path: PathBuf,
    /// What stood at the path when the watcher started, and how long it was: older lines are not news.
    old: Option<(FileId, u64)>,
    current: Option<Open>,
    /// The file that was rotated away. Its writer may not have noticed yet: it is read until the new file
    /// has been written to.
    previous: Option<Open>,
    missing_since: Option<Instant>,
    problem: Option<io::Error>,
    buffer: Vec<u8>,
}

struct Open {
    file: File,
    id: FileId,
    offset: u64,
    lines: Lines,
    watch: Option<WatchDescriptor>,
}

impl Tail {
    /// Follows `path` from its present end, or from its start if it appears later.
    pub(super) fn new(path: &Path) -> Self {
        let old = std::fs::metadata(path).ok().map(|meta| (id(&meta), meta.len()));
        Self {
            path: path.to_owned(),
            old,
            current: None,
            previous: None,
            missing_since: None,
            problem: None,
            buffer: Vec::new(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether lines are being read.
    pub(super) fn is_followed(&self) -> bool {
        self.current.is_some() && self.missing_since.is_none_or(|since| since.elapsed() < GONE_AFTER)
    }

    /// Whether the file has gone so lately that it may be in the middle of a rotation.
    pub(super) fn may_return(&self) -> bool {
        self.is_followed() && self.missing_since.is_some()
    }

    /// Why the file at the path cannot be opened.
    pub(super) fn problem(&self) -> Option<&io::Error> {
        self.problem.as_ref()
    }

    /// Looks at what stands at the path now, and opens it if that is another file than before.
    pub(super) fn refresh(&mut self, watches: &mut Watches) {
        let meta = match std::fs::metadata(&self.path) {
            Ok(meta) => meta,
            Err(error) => {
                self.missing_since.get_or_insert_with(Instant::now);
                self.problem = Some(error);
                return;
            }
        };
        if self.current.as_ref().is_some_and(|open| open.id == id(&meta)) {
            self.missing_since = None;
            self.problem = None;
            return;
        }
        match self.open(watches) {
            Ok(open) => {
                self.missing_since = None;
                self.problem = None;
                if let Some(older) = self.previous.take() {
                    forget_watch(watches, older.watch);
                }
                self.previous = self.current.replace(open);
            }
            Err(error) => {
                // The old file is read on meanwhile, but what is written now cannot be seen.
                self.missing_since.get_or_insert_with(Instant::now);
                self.problem = Some(error);
            }
        }
    }

    fn open(&mut self, watches: &mut Watches) -> io::Result<Open> {
        // Not to block on a FIFO that somebody put there.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
            .open(&self.path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let id = id(&meta);
        let offset = match self.old.take() {
            Some((old, length)) if old == id => length.min(meta.len()),
            _ => 0,
        };
        let mask = WatchMask::MODIFY | WatchMask::ATTRIB | WatchMask::MOVE_SELF | WatchMask::DELETE_SELF;
        // By descriptor, so that it is this very file even if the name is given to another one now.
        let watch = watches
            .add(format!("/proc/self/fd/{}", file.as_raw_fd()), mask)
            .or_else(|_| watches.add(&self.path, mask))
            .inspect_err(|error| tracing::warn!(path = ?self.path, %error, "cannot watch an auth log; reading it late"))
            .ok();
        Ok(Open { file, id, offset, lines: Lines::new(limits::MAX_LINE), watch })
    }

    /// Reads one chunk and gives the lines that end in it. False when there is nothing more for now.
    pub(super) fn read(&mut self, watches: &mut Watches, mut line: impl FnMut(&[u8])) -> bool {
        self.buffer.resize(CHUNK, 0);
        if let Some(previous) = &mut self.previous {
            // Asked before the last read of the old file: a writer that has moved on does not come back.
            let moved_on =
                self.current.as_ref().is_some_and(|open| open.file.metadata().is_ok_and(|m| m.len() > 0));
            if previous.read(&mut self.buffer, &mut line) {
                return true;
            }
            if !moved_on {
                self.buffer = Vec::new();
                return false;
            }
            previous.lines.finish(&mut line);
            let watch = self.previous.take().and_then(|open| open.watch);
            forget_watch(watches, watch);
        }
        let more = self.current.as_mut().is_some_and(|open| open.read(&mut self.buffer, &mut line));
        if !more {
            self.buffer = Vec::new();
        }
        more
    }
}

impl Open {
    fn read(&mut self, buffer: &mut [u8], line: impl FnMut(&[u8])) -> bool {
        // Truncated in place (logrotate's copytruncate): what is there now is new.
        if self.file.metadata().is_ok_and(|meta| meta.len() < self.offset) {
            self.offset = 0;
            self.lines.forget();
        }
        match self.file.read_at(buffer, self.offset) {
            Ok(0) => false,
            Ok(count) => {
                self.offset += count as u64;
                self.lines.push(&buffer[..count], line);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(error) => {
                tracing::warn!(%error, "cannot read an auth log");
                false
            }
        }
    }
}

fn id(meta: &Metadata) -> FileId {
    (meta.dev(), meta.ino())
}

fn forget_watch(watches: &mut Watches, watch: Option<WatchDescriptor>) {
    if let Some(watch) = watch {
        // The kernel has dropped it already if the file was deleted.
        let _ = watches.remove(watch);
    }
}
