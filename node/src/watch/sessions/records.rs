//! Follows a log of records of utmp's form, wtmp or btmp, from its end or from where another process was: rotation,
//! truncation, half a record.
//!
//! What must not live here: what a record means.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use nix::fcntl::OFlag;
use secmon_protocol::{
    codec::{Value, decode_value, encode_value},
    time::UnixNanos,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::utmp::{Entry, Layout, entries};
use crate::watch::{
    Place,
    log_file::{position::FilePosition, rotation},
    path_watch::{Expect, PathWatch},
};

/// Bytes read in one go: records of both layouts fit it without a rest.
const CHUNK: usize = 8 * 9_600;
/// Before inotify is tried again when the system refused it.
const WATCH_RETRY: Duration = Duration::from_secs(30);

/// How much of a log is read again before the place where another process was, in bytes: some thousand logins.
const BEFORE: u64 = 1 << 20;
/// How much earlier than the last writing that was seen an entry of a log may be that is not known again, in nanoseconds.
const SLACK: i128 = 60_000_000_000;

/// A place in a log of records; none where there was no log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordsPlace(Option<FilePosition>);

impl Value for RecordsPlace {}

/// What was logged since the last time.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) entries: Vec<Entry>,
    /// Whether that was while the node did not run.
    pub(super) unwatched: bool,
    /// Some may be missing, and why.
    pub(super) missed: Option<String>,
    /// How far the log has been read, where that has changed.
    pub(super) place: Option<Place>,
}

/// Tells `out` what `says` makes of what is logged from where `log` is, for ever; ends only when nobody takes
/// it. A missing file may come.
pub(super) async fn follow<T>(mut log: Log, out: mpsc::Sender<T>, mut says: impl FnMut(Read) -> Option<T>) {
    let path = log.path.clone();
    loop {
        match PathWatch::new(&path, Expect::File) {
            Ok(mut watch) => loop {
                if let Err(error) = watch.arm() {
                    warn!(path = %path.display(), %error, "cannot watch a log of logins");
                    break;
                }
                loop {
                    // Room first: what is cut off here is neither read nor lost.
                    let Ok(room) = out.reserve().await else { return };
                    let (read, more) = log.read_on();
                    if let Some(news) = says(read) {
                        room.send(news);
                    }
                    if !more {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                if watch.changed().await.is_err() {
                    break;
                }
            },
            Err(error) => warn!(path = %path.display(), %error, "cannot watch a log of logins"),
        }
        tokio::time::sleep(WATCH_RETRY).await;
    }
}

/// The log as far as it was read.
pub(super) struct Log {
    path: PathBuf,
    /// What its place is called.
    name: String,
    file: Option<File>,
    offset: u64,
    /// Whether what comes next was logged while the node did not run.
    unwatched: bool,
    /// What is older than this is known: in a log that is not known again.
    not_before: Option<UnixNanos>,
    missed: Option<String>,
    /// The place that was told last.
    told: Option<RecordsPlace>,
}

impl Log {
    /// The log at `path`, of this `kind` (`wtmp`): from the place in `places` on, or where there is none from its end.
    pub(super) fn new(kind: &str, path: &Path, places: &BTreeMap<String, Bytes>) -> Self {
        let name = format!("{kind}:{}", path.display());
        let place = places.get(&name).map(|at| decode_value::<RecordsPlace>(at));
        let mut log = Self::at_end(path);
        log.name = name;
        match place {
            None => {}
            Some(Ok(place)) => log.resume(place),
            Some(Err(error)) => {
                log.missed = Some(format!(
                    "what was kept of {} cannot be read ({error}); logins while the node was down may be missing",
                    log.name
                ));
            }
        }
        log
    }

    fn at_end(path: &Path) -> Self {
        let file = open(path);
        let offset = file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.len());
        Self {
            path: path.to_owned(),
            name: String::new(),
            file,
            offset,
            unwatched: false,
            not_before: None,
            missed: None,
            told: None,
        }
    }

    fn resume(&mut self, RecordsPlace(place): RecordsPlace) {
        (self.unwatched, self.offset) = (true, 0);
        let Some(at) = place else { return };
        if self.file.as_ref().is_some_and(|file| at.goes_on_in(file)) {
            self.offset = at.offset;
            return;
        }
        // It was rotated: the rest of what it was comes first.
        let beside = rotation::beside(&self.path);
        let plain = beside.iter().filter(|other| !other.compressed && at.offset > 0);
        let mut opened = plain.filter_map(|other| Some((other, open(&other.path)?)));
        let after = match opened.find(|(_, file)| at.goes_on_in(file)) {
            Some((other, file)) => {
                (self.file, self.offset) = (Some(file), at.offset);
                other.modified
            }
            None => {
                self.not_before = i64::try_from(at.modified - SLACK).ok().map(UnixNanos);
                if at.offset > 0 { i128::MIN } else { at.modified }
            }
        };
        if beside.iter().any(|other| other.modified > after) || after == i128::MIN {
            self.missed = Some(format!(
                "logins in {} may be missing: it was rotated or truncated before it was read",
                self.path.display()
            ));
        }
    }

    /// What stands before the place, newest last; at most [`BEFORE`] bytes of it.
    pub(super) fn before(&self) -> Vec<Entry> {
        let Some(file) = self.file.as_ref().filter(|_| self.unwatched) else { return Vec::new() };
        let mut start = [0; 9_600];
        let Ok(length) = file.read_at(&mut start, 0) else { return Vec::new() };
        let layout = Layout::of(&start[..length]);
        let size = layout.size() as u64;
        let length = self.offset.min(BEFORE) / size * size;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        match file.read_exact_at(&mut bytes, self.offset - length) {
            Ok(()) => entries(&bytes, layout).0.collect(),
            Err(_) => Vec::new(),
        }
    }

    /// What was logged since, at most a chunk of it, and whether there is more.
    fn read_on(&mut self) -> (Read, bool) {
        let unwatched = self.unwatched;
        let path = self.path.clone();
        let (mut entries, more) = self.read(&path);
        self.unwatched &= more;
        if let Some(from) = self.not_before.filter(|_| unwatched) {
            entries.retain(|entry| match entry {
                Entry::Login(login) | Entry::Prompt(login) => login.since >= from,
                _ => true,
            });
        }
        let at = self.file.as_ref().and_then(|file| FilePosition::of(file, self.offset).ok());
        let place = RecordsPlace(at);
        let is_told = self.told.as_ref() == Some(&place);
        let at = (!is_told).then(|| Place { source: self.name.clone(), at: encode_value(&place) });
        self.told = Some(place);
        (Read { entries, unwatched, missed: self.missed.take(), place: at }, more)
    }

    /// What was logged since, at most a chunk of it, and whether there is more. A log that was moved away is read
    /// to its end, and then the one in its place from the start.
    fn read(&mut self, path: &Path) -> (Vec<Entry>, bool) {
        if self.file.is_none() {
            (self.file, self.offset) = (open(path), 0);
        }
        let Some(file) = &self.file else { return (Vec::new(), false) };
        match self.chunk(file) {
            Ok(bytes) if !bytes.is_empty() => {
                let layout = Layout::of(&bytes);
                let (entries, partial) = entries(&bytes, layout);
                let found = entries.collect();
                let whole = bytes.len() - partial;
                self.offset += whole as u64;
                if whole > 0 {
                    return (found, true);
                }
            }
            Ok(_) => {}
            Err(error) => debug!(path = %path.display(), %error, "cannot read a log of logins"),
        }
        let here = file.metadata().ok();
        let there = std::fs::metadata(path).ok();
        let replaced = match (&here, &there) {
            (Some(here), Some(there)) => (here.dev(), here.ino()) != (there.dev(), there.ino()),
            _ => false,
        };
        if replaced {
            (self.file, self.offset) = (open(path), 0);
            return (Vec::new(), self.file.is_some());
        }
        if here.is_some_and(|here| here.len() < self.offset) {
            // Truncated in place: what stands there now is new.
            self.offset = 0;
            return (Vec::new(), true);
        }
        (Vec::new(), false)
    }

    fn chunk(&self, file: &File) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; CHUNK];
        let mut filled = 0;
        while filled < CHUNK {
            match file.read_at(&mut bytes[filled..], self.offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

fn open(path: &Path) -> Option<File> {
    // O_NONBLOCK, so that a fifo in place of the file cannot hold the node.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    const LOGGED_IN: &[u8] = include_bytes!("../../../tests/fixtures/utmp-x86_64-two-sshd-logins");

    /// The login of the fixture on terminal `n`, and its end as sshd writes it: without a name.
    fn login(n: u8) -> Vec<u8> {
        let mut record = LOGGED_IN[..384].to_vec();
        record[12] = b'0' + n;
        record
    }

    fn logout(n: u8) -> Vec<u8> {
        let mut record = login(n);
        record[0] = 8; // DEAD_PROCESS
        record[4..8].copy_from_slice(&7_i32.to_ne_bytes());
        record[44..332].fill(0);
        record
    }

    fn append(path: &Path, bytes: &[u8]) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
    }

    /// The lines of what is read, and whether it is an end.
    fn read_all(log: &mut Log, path: &Path) -> Vec<(String, bool)> {
        let mut all = Vec::new();
        loop {
            let (found, more) = log.read(path);
            all.extend(found.into_iter().map(|entry| match entry {
                Entry::Login(login) => (login.line, false),
                Entry::Logout { line, .. } => (line, true),
                other => panic!("{other:?}"),
            }));
            if !more {
                return all;
            }
        }
    }

    fn pairs(expected: &[(&str, bool)]) -> Vec<(String, bool)> {
        expected.iter().map(|(tty, ended)| ((*tty).to_owned(), *ended)).collect()
    }

    #[test]
    fn only_what_is_logged_from_now_on_counts_and_half_a_record_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wtmp");
        append(&path, &login(0));
        let mut log = Log::at_end(&path);
        assert!(read_all(&mut log, &path).is_empty());
        append(&path, &[login(1), logout(1)[..100].to_vec()].concat());
        assert_eq!(read_all(&mut log, &path), pairs(&[("pts/1", false)]));
        append(&path, &logout(1)[100..]);
        assert_eq!(read_all(&mut log, &path), pairs(&[("pts/1", true)]));
    }

    #[test]
    fn a_log_that_is_moved_away_is_read_to_its_end_and_its_successor_from_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wtmp");
        append(&path, &login(0));
        let mut log = Log::at_end(&path);
        append(&path, &login(1));
        fs::rename(&path, dir.path().join("wtmp.1")).unwrap();
        append(&dir.path().join("wtmp.1"), &login(2));
        append(&path, &[logout(1), login(3)].concat());
        assert_eq!(
            read_all(&mut log, &path),
            pairs(&[("pts/1", false), ("pts/2", false), ("pts/1", true), ("pts/3", false)])
        );
    }

    #[test]
    fn a_log_that_is_emptied_is_read_from_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wtmp");
        append(&path, &[login(0), login(1)].concat());
        let mut log = Log::at_end(&path);
        fs::write(&path, login(2)).unwrap();
        assert_eq!(read_all(&mut log, &path), pairs(&[("pts/2", false)]));
    }

    #[test]
    fn a_log_that_comes_later_is_read_from_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wtmp");
        let mut log = Log::at_end(&path);
        assert!(read_all(&mut log, &path).is_empty());
        append(&path, &login(0));
        assert_eq!(read_all(&mut log, &path), pairs(&[("pts/0", false)]));
    }
}
