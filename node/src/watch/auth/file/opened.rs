//! One open file of a log: how far it has been read, and whether it is still the file that it was. Knows
//! nothing of names and rotation.

use std::{
    fs::File,
    io,
    ops::RangeInclusive,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt},
    },
    time::Instant,
};

use bytes::Bytes;
use inotify::{WatchDescriptor, WatchMask, Watches};
use secmon_protocol::limits;

use super::super::lines::Lines;
use crate::watch::log_file::position::{self, FileId, FilePosition};

/// Bytes read in one go, before others have their turn.
pub(super) const CHUNK: usize = 64 << 10;

/// What becomes of a file when it is read to its end, and there is a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It was the log; its writer may not have noticed that it is no longer.
    Log,
    /// It is what was saved of a log before that was truncated: nobody writes to it.
    Copy,
}

/// An open file.
pub(super) struct Opened {
    file: File,
    pub(super) id: FileId,
    offset: u64,
    /// See [`FilePosition`].
    first: Bytes,
    /// When it was written last, as of the last look.
    modified: i128,
    pub(super) lines: Lines,
    watch: Option<WatchDescriptor>,
    pub(super) role: Role,
    /// Since when there has been nothing more in it, and something in a newer one.
    pub(super) left_since: Option<Instant>,
}

/// What a reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Got {
    /// A chunk; there may be more.
    Some,
    /// Nothing more for now.
    Nothing,
    /// The file does not hold what was read from it: it has been truncated, and may have been written since.
    Truncated,
}

impl Opened {
    /// Reads `file` from `offset`, the start of a line, on.
    pub(super) fn new(file: File, offset: u64, role: Role) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            id: FileId::from(&meta),
            offset,
            first: position::first_bytes(&file, offset)?,
            modified: position::modified(&meta),
            lines: Lines::new(limits::MAX_LINE),
            watch: None,
            role,
            left_since: None,
            file,
        })
    }

    /// Has inotify tell when it changes: this very file, whatever it is called.
    pub(super) fn watch(&mut self, watches: &mut Watches) {
        let mask = WatchMask::MODIFY | WatchMask::ATTRIB | WatchMask::MOVE_SELF | WatchMask::DELETE_SELF;
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        self.watch = watches
            .add(path, mask)
            .inspect_err(|error| tracing::warn!(%error, "cannot watch an auth log; reading it late"))
            .ok();
    }

    pub(super) fn forget_watch(&mut self, watches: &mut Watches) {
        if let Some(watch) = self.watch.take() {
            // The kernel has dropped it already if the file was deleted.
            let _ = watches.remove(watch);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.file.metadata().map_or(true, |meta| meta.len() == 0)
    }

    /// Whether nothing has been read of it yet.
    pub(super) fn is_new(&self) -> bool {
        self.offset == 0 && self.first.is_empty()
    }

    /// Behind the last line that was read whole.
    pub(super) fn position(&self) -> FilePosition {
        let offset = self.offset - self.lines.open();
        // No byte that may be written anew: of an unfinished line, or one that an editor takes away.
        let known = self.first.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        FilePosition { id: self.id, offset, first: self.first.slice(..known), modified: self.modified }
    }

    /// Whether `other` is a copy of it, that holds at least what was read of it so far.
    pub(super) fn is_copied_to(&self, other: &File) -> bool {
        let Ok(length) = self.file.metadata().map(|meta| meta.len()) else { return false };
        let face = position::first_bytes(&self.file, length).unwrap_or_default();
        let long_enough = other.metadata().is_ok_and(|meta| meta.len() >= self.offset);
        // A line at the least: less than that many logs have in common.
        face.contains(&b'\n') && long_enough && position::starts_with(other, &face)
    }

    /// Goes back to the start of the file. What was held of an unfinished line is the caller's.
    pub(super) fn rewind(&mut self) -> Lines {
        self.offset = 0;
        self.first = Bytes::new();
        self.modified = self.modified_now();
        std::mem::replace(&mut self.lines, Lines::new(limits::MAX_LINE))
    }

    /// Reads one chunk into `buffer`, and gives the lines that end in it.
    pub(super) fn read(&mut self, buffer: &mut [u8], mut line: impl FnMut(&[u8])) -> Got {
        let count = match self.file.read_at(buffer, self.offset) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Got::Some,
            Err(error) => {
                tracing::warn!(%error, "cannot read an auth log");
                return Got::Nothing;
            }
        };
        // Asked after the reading: what was read before a truncation, and only that, is what it seems to be.
        if !self.is_what_it_was(count as u64) {
            return Got::Truncated;
        }
        // Of a file that nothing was read of, it stays that of its opening: what was rotated since is news.
        if count > 0 || !self.is_new() {
            self.modified = self.modified_now();
        }
        if count == 0 {
            return Got::Nothing;
        }
        let end = self.offset + count as u64;
        if position::wants_more(&self.first, end) {
            // If it is truncated this moment, the next reading sees that nothing fits.
            self.first = position::first_bytes(&self.file, end).unwrap_or_default();
        }
        self.offset = end;
        self.lines.push(&buffer[..count], |text, _| line(text));
        Got::Some
    }

    /// When it was written last, when it was read last.
    pub(super) fn modified(&self) -> i128 {
        self.modified
    }

    /// When it was written last, now.
    pub(super) fn modified_now(&self) -> i128 {
        self.file.metadata().map_or(self.modified, |meta| position::modified(&meta))
    }

    /// The times of which a compressed copy of it can be: that of now; or, where its writer has gone on after it
    /// was removed, an earlier one.
    pub(super) fn compressible(&self) -> RangeInclusive<i128> {
        let now = self.modified_now();
        let went_on = self.is_removed() && !self.is_new() && self.is_what_it_was(0);
        let from = if went_on { self.modified } else { now };
        from..=now
    }

    /// Whether it has no name any more.
    pub(super) fn is_removed(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.nlink() == 0)
    }

    /// Whether it still holds what was read from it, and `more` bytes.
    pub(super) fn is_what_it_was(&self, more: u64) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.len() >= self.offset + more)
            && position::starts_with(&self.file, &self.first)
    }
}
