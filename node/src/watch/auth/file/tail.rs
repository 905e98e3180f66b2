//! One followed log: which files stand, and stood, behind its name, how far they have been read, and what
//! happens when it is rotated. Synchronous: local files never make a reader wait for long, and every call
//! reads one bounded chunk.
//!
//! The rule: the files are read one after the other, oldest first, each to its end. Every whole line is
//! given once, or a loss is.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::{self, File},
    io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use inotify::Watches;

use super::opened::{Got, Opened, Role};
use crate::watch::log_file::{
    position::{self, Chained, FileId, FilePosition, LogPlace},
    rotation::{self, Rotated},
};

/// A rotation leaves a name without a file for a moment; after this long it is gone.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(5);
/// How long a file that was rotated away is still read after something was written to the next one: a
/// writer with several threads may write a last line late.
pub(super) const LINGER: Duration = Duration::from_secs(30);
/// Most files that are read one after the other. Reached only after as many rotations in one standstill.
const MAX_FILES: usize = 64;

/// Most rotated files that are kept by identity for the next process: more than any rotation keeps that is about.
const MAX_OLDER: usize = 128;

/// A followed log.
pub(super) struct Tail {
    path: PathBuf,
    /// Where to begin, until something has been opened.
    start: Option<LogPlace>,
    /// Oldest first; the last is the one that stands at the path, or stood there last.
    files: VecDeque<Opened>,
    /// The rotated files that there were when the last file was opened, as they were then.
    older: BTreeSet<(FileId, i128)>,
    missing_since: Option<Instant>,
    problem: Option<io::Error>,
    losses: Vec<String>,
}

impl Tail {
    /// Follows `path` from `start` on. Where there was no log then, it is read from its start when it appears.
    pub(super) fn new(path: &Path, start: LogPlace) -> Self {
        Self {
            path: path.to_owned(),
            older: start.older.iter().copied().collect(),
            start: Some(start),
            files: VecDeque::new(),
            missing_since: None,
            problem: None,
            losses: Vec::new(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself, where the path is a symbolic link; for a dangling one, where it will be.
    pub(super) fn target(&self) -> PathBuf {
        fs::canonicalize(&self.path)
            .or_else(|_| {
                fs::read_link(&self.path).map(|link| self.path.parent().unwrap_or(Path::new("")).join(link))
            })
            .unwrap_or_else(|_| self.path.clone())
    }

    /// Whether lines are being read.
    pub(super) fn is_followed(&self) -> bool {
        !self.files.is_empty() && self.missing_since.is_none_or(|since| since.elapsed() < GONE_AFTER)
    }

    /// When something should be looked at though nothing has happened.
    pub(super) fn look_again(&self) -> Option<Duration> {
        let returns = (self.is_followed() && self.missing_since.is_some()).then_some(GONE_AFTER);
        let left = self.files.front().is_some_and(|file| file.left_since.is_some());
        returns.or(left.then_some(LINGER))
    }

    /// Why the file at the path cannot be opened.
    pub(super) fn problem(&self) -> Option<&io::Error> {
        self.problem.as_ref()
    }

    /// What may have been lost since this was last asked, and why.
    pub(super) fn losses(&mut self) -> Vec<String> {
        std::mem::take(&mut self.losses)
    }

    /// How far the log has been read.
    pub(super) fn place(&self) -> LogPlace {
        if let Some(start) = &self.start {
            return start.clone();
        }
        let files = self.files.iter().map(|file| Chained {
            at: file.position(),
            left: file.left_since.is_some(),
            copy: file.role == Role::Copy,
        });
        let mut older: Vec<_> = self.older.iter().copied().collect();
        older.sort_by_key(|(_, modified)| std::cmp::Reverse(*modified));
        older.truncate(MAX_OLDER);
        LogPlace { files: files.collect(), older }
    }

    /// Looks at what stands at the path now, and opens it if that is another file than before.
    pub(super) fn refresh(&mut self, watches: &mut Watches) {
        let at_path = fs::metadata(&self.path).map(|meta| FileId::from(&meta));
        let opened = match at_path {
            Ok(id) if self.files.back().is_some_and(|last| last.id == id) => Ok(()),
            Ok(_) => position::open(&self.path).and_then(|file| self.take_up(file, watches)),
            Err(error) => Err(error),
        };
        match opened {
            Ok(()) => (self.missing_since, self.problem) = (None, None),
            // The last file is read on meanwhile, but what is written now cannot be seen.
            Err(error) => {
                self.missing_since.get_or_insert_with(Instant::now);
                self.problem = Some(error);
            }
        }
    }

    /// Reads on from where the last file was left to `new`, which stands at the path now.
    fn take_up(&mut self, new: File, watches: &mut Watches) -> io::Result<()> {
        let id = FileId::from(&new.metadata()?);
        let beside = rotation::beside(&self.target());
        let mut offset = 0;
        if self.files.back().is_some_and(|last| !last.is_what_it_was(0)) {
            self.truncated(self.files.len() - 1, id, &beside, watches);
        }
        self.look_before_new(&beside, watches);
        if let Some(last) = self.files.back() {
            let (after, modified, removed) = (last.modified(), last.modified_now(), last.is_removed());
            let found = self.take_up_between(self.files.len(), after..=i128::MAX, id, &beside, watches);
            // Old files are removed in turn, so newer ones may have been as well. One that was compressed
            // lives on in a file of its time.
            let lives_on = || beside.iter().any(|f| f.compressed && f.modified == modified);
            if removed && found > 0 && !lives_on() {
                self.lose("it was rotated, and what was rotated removed, before it was read");
            }
        } else if let Some(LogPlace { files: mut before, .. }) = self.start.take() {
            match before.pop() {
                None => {
                    // It came, and may have been rotated, while nobody looked.
                    self.take_up_between(0, i128::MIN..=i128::MAX, id, &beside, watches);
                }
                Some(last) => {
                    // What was empty has nothing to be known by but an inode, which is used again.
                    for chained in before.into_iter().filter(|file| file.at.has_face() || !file.left) {
                        self.find_again(&chained, id, &beside, watches);
                    }
                    offset = self.find_last(&last, &new, &beside, watches)?;
                }
            }
        }
        self.add(new, offset, Role::Log, self.files.len(), watches);
        self.note_older(&beside, i128::MAX);
        Ok(())
    }

    /// Goes on in a file that had been rotated already.
    fn find_again(&mut self, was: &Chained, at_path: FileId, beside: &[Rotated], watches: &mut Watches) {
        let open = |by_face: bool| {
            let same = |other: &&Rotated| {
                !other.compressed && other.id != at_path && (by_face || other.id == was.at.id)
            };
            let open = |other: &Rotated| position::open(&other.path).ok();
            let files = beside.iter().filter(same).filter_map(open);
            files.into_iter().find(|file| was.at.is_in(file) && (!by_face || was.at.has_face()))
        };
        match open(false).or_else(|| open(true)) {
            Some(file) => {
                let role = if was.copy { Role::Copy } else { Role::Log };
                let before = self.files.len();
                self.add(file, was.at.offset, role, before, watches);
                if was.left
                    && let Some(file) = self.files.get_mut(before)
                {
                    // It is read for another while: a writer may have been as late as we are.
                    file.left_since = Some(Instant::now());
                }
            }
            // Compressed as it was read, nothing of it is missing.
            None if was.left && beside.iter().any(|f| f.compressed && f.modified == was.at.modified) => {}
            None => {
                self.lose("it was rotated, and what was rotated removed or compressed, before it was read")
            }
        }
    }

    /// Finds the file that stood at the path last. Gives where to go on in `new`, which stands there now.
    fn find_last(
        &mut self,
        last: &Chained,
        new: &File,
        beside: &[Rotated],
        watches: &mut Watches,
    ) -> io::Result<u64> {
        let (start, id) = (&last.at, FileId::from(&new.metadata()?));
        if !start.is_in(new) || !(start.has_face() || start.id == id) {
            self.find_start(start, id, beside, watches);
            return Ok(0);
        }
        let offset = position::line_start(new, start.offset)?;
        if offset == 0 {
            // Nothing in it shows whether it was rotated by copying and truncating since.
            let index = self.files.len();
            self.take_up_between(index, start.modified..=i128::MAX, id, beside, watches);
        }
        Ok(offset)
    }

    /// Finds the file that `start` is in, which has been rotated since, and those after it.
    fn find_start(
        &mut self,
        start: &FilePosition,
        at_path: FileId,
        beside: &[Rotated],
        watches: &mut Watches,
    ) {
        // Where nothing was read yet there is nothing to go on in, and all that was written since is found.
        let worth = |other: &&Rotated| start.offset > 0 && !other.compressed && other.id != at_path;
        let by_name = beside.iter().filter(worth);
        let found = by_name
            .filter_map(|other| Some((other, position::open(&other.path).ok()?)))
            .find(|(other, file)| start.is_in(file) && (start.has_face() || start.id == other.id));
        let after = match found {
            Some((other, file)) => {
                self.add(file, start.offset, Role::Log, self.files.len(), watches);
                other.modified
            }
            None => {
                let mut since = beside.iter().filter(|other| other.modified >= start.modified).peekable();
                // Of one that nothing was read of, all is found that was written since; if it is there.
                let is_gone = since.peek().is_some() && !since.any(|other| other.id == start.id);
                if start.offset > 0 || is_gone {
                    self.lose("it was rotated or truncated, and the file that was read last is gone");
                }
                start.modified
            }
        };
        self.take_up_between(self.files.len(), after..=i128::MAX, at_path, beside, watches);
    }

    /// Opens the files that were the log for a while and are no longer, none of which has been seen, as the
    /// ones before `index`; how many there were.
    fn take_up_between(
        &mut self,
        index: usize,
        times: RangeInclusive<i128>,
        at_path: FileId,
        beside: &[Rotated],
        watches: &mut Watches,
    ) -> usize {
        let mut known: Vec<_> = self.files.iter().map(|file| file.id).collect();
        known.push(at_path);
        let ours: Vec<_> = self.files.iter().map(Opened::compressible).collect();
        let (between, unreadable) = rotation::between(beside, &times, &known, &ours, &self.older);
        if unreadable {
            self.lose("it was rotated and compressed before it was read");
        }
        let (mut at, mut found) = (index, 0);
        for missed in &between {
            match position::open(&missed.path) {
                Ok(file) => {
                    let added = usize::from(self.add(file, 0, Role::Log, at, watches));
                    (at, found) = (at + added, found + added);
                }
                Err(_) => self.lose("a rotated file cannot be read"),
            }
        }
        found
    }

    /// Reads `file` as the one at `index`. False when it takes the place of another, of which it is a copy,
    /// as editors make it: the lines so far are in both.
    fn add(&mut self, file: File, offset: u64, role: Role, index: usize, watches: &mut Watches) -> bool {
        let index = index.min(self.files.len());
        let copied = self.files.iter().rposition(|other| other.is_copied_to(&file));
        let offset = copied.map_or(offset, |other| self.files[other].position().offset);
        match Opened::new(file, offset, role) {
            Ok(mut opened) => {
                opened.watch(watches);
                self.files.insert(index, opened);
                let copied = copied.map(|other| if other < index { other } else { other + 1 });
                if let Some(mut replaced) = copied.and_then(|other| self.files.remove(other)) {
                    replaced.forget_watch(watches);
                }
            }
            Err(_) => self.lose("it cannot be read"),
        }
        while self.files.len() > MAX_FILES {
            if let Some(mut oldest) = self.files.pop_front() {
                oldest.forget_watch(watches);
            }
            self.lose("it was rotated more often than can be followed");
        }
        copied.is_none()
    }

    /// The rotated files that were written last at `until` or before need not be looked for again; but for those that
    /// are being read, which another process may have to look for.
    fn note_older(&mut self, beside: &[Rotated], until: i128) {
        let is_read = |file: &Rotated| self.files.iter().any(|read| read.id == file.id);
        let older = beside.iter().filter(|file| file.modified <= until && !is_read(file));
        self.older = older.map(|file| (file.id, file.modified)).collect();
    }

    fn lose(&mut self, why: &str) {
        let loss = format!("lines of {} may be missing: {why}", self.path.display());
        if !self.losses.contains(&loss) {
            self.losses.push(loss);
        }
    }

    /// Reads one chunk and gives the lines that end in it. False when there is nothing more for now.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        watches: &mut Watches,
        mut line: impl FnMut(&[u8]),
    ) -> bool {
        if let Some(until) = self.files.back().filter(|last| last.is_new()).map(Opened::modified_now) {
            let beside = rotation::beside(&self.target());
            self.look_before_new(&beside, watches);
            self.note_older(&beside, until);
        }
        let mut at = 0;
        while at < self.files.len() {
            // Asked before the reading: a writer that has moved on does not come back.
            let moved_on = self.files.iter().skip(at + 1).any(|newer| !newer.is_empty());
            let is_last = at + 1 == self.files.len();
            match self.files[at].read(buffer, &mut line) {
                Got::Some => return true,
                Got::Truncated => {
                    let at_path = self.files[self.files.len() - 1].id;
                    let beside = rotation::beside(&self.target());
                    let until = self.truncated(at, at_path, &beside, watches);
                    self.note_older(&beside, until);
                    return true;
                }
                Got::Nothing if is_last => return false,
                Got::Nothing => {}
            }
            let file = &mut self.files[at];
            match file.role {
                Role::Log if !moved_on && file.left_since.is_none() => return false,
                Role::Log if file.left_since.get_or_insert_with(Instant::now).elapsed() < LINGER => at += 1,
                Role::Log | Role::Copy => {
                    file.lines.finish(&mut line);
                    file.forget_watch(watches);
                    self.older.insert((file.id, file.modified_now()));
                    self.files.remove(at);
                }
            }
        }
        false
    }

    /// Before the first reading of a file: it may have been rotated by copying and truncating since it was
    /// opened, which nothing in it would show.
    fn look_before_new(&mut self, beside: &[Rotated], watches: &mut Watches) {
        let Some(last) = self.files.back().filter(|last| last.is_new()) else { return };
        let (id, times) = (last.id, last.modified()..=last.modified_now());
        self.take_up_between(self.files.len() - 1, times, id, beside, watches);
    }

    /// Reads on in what was saved of a file before it was truncated (logrotate's copytruncate), if that can
    /// be found, and then the file from its start. Gives the time up to which that was looked for.
    fn truncated(&mut self, at: usize, at_path: FileId, beside: &[Rotated], watches: &mut Watches) -> i128 {
        let was = self.files[at].position();
        let unfinished = self.files[at].rewind().open();
        let known: Vec<_> = self.files.iter().map(|file| file.id).chain([at_path]).collect();
        let copy = beside
            .iter()
            .filter(|other| !other.compressed && !known.contains(&other.id) && was.has_face())
            .filter_map(|other| Some((position::open(&other.path).ok()?, other.modified)))
            .find(|(file, _)| was.is_in(file));
        let (index, after) = match copy {
            Some((file, modified)) => {
                // What is held of an unfinished line is read again, from the copy.
                self.add(file, was.offset, Role::Copy, at, watches);
                (at + 1, modified)
            }
            None => {
                if was.offset + unfinished > 0 {
                    self.lose("it was truncated, and what it held just before was not saved beside it");
                }
                (at, was.modified)
            }
        };
        // What is younger than the file itself comes after it.
        let until = self.files.iter().find(|file| file.id == was.id).map_or(i128::MAX, Opened::modified);
        self.take_up_between(index, after..=until, at_path, beside, watches);
        until
    }
}
