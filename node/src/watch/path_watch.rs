//! Waiting until something happens to a path, which need not exist yet: inotify(7) on the path itself and
//! on the directory above it, or on the nearest ancestor that exists. No timer.
//!
//! What must not live here: reading what is at the path.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use futures::{FutureExt as _, StreamExt as _};
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask};

/// Room for one read of the inotify queue: at least 15 events with the longest names (inotify(7)).
const EVENT_BUFFER: usize = 4 << 10;

/// Events taken from the queue for one wake-up; what is left makes the next one. It keeps a flood of
/// events from holding the task.
const EVENTS_PER_WAKE: usize = 256;

/// How often watching starts over because the path grew while it was being looked at.
const ARM_TRIES: usize = 16;

/// Changes inside a directory that can make a path appear, disappear or change hands.
const ABOVE: WatchMask = WatchMask::CREATE
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::DELETE)
    .union(WatchMask::ATTRIB)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR);

/// Changes of a file. `ATTRIB` stands for `DELETE_SELF` while somebody holds the file open: the link count
/// changes at once, the inode goes later.
const FILE: WatchMask = WatchMask::MODIFY
    .union(WatchMask::CLOSE_WRITE)
    .union(WatchMask::ATTRIB)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF);

/// What is expected at the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// A file: its contents count.
    File,
    /// A directory: its entries count.
    Directory,
}

/// A path under watch.
///
/// Call order: [`arm`](Self::arm), read what is at the path, [`changed`](Self::changed), and again. A
/// change between `arm` and the reading wakes `changed`, so none is missed.
pub(crate) struct PathWatch {
    stream: EventStream<Vec<u8>>,
    path: PathBuf,
    expect: Expect,
    /// The watch on the path itself, when there is something that may be watched.
    target: Option<WatchDescriptor>,
    /// The watch above it, and the name there that leads to the path.
    above: Option<(WatchDescriptor, OsString)>,
}

impl PathWatch {
    /// Prepares to watch `path`; nothing is watched before [`arm`](Self::arm).
    ///
    /// # Errors
    /// When the user has no inotify instance left, or the process no file descriptor.
    pub(crate) fn new(path: &Path, expect: Expect) -> io::Result<Self> {
        let stream = Inotify::init()?.into_event_stream(vec![0; EVENT_BUFFER])?;
        Ok(Self { stream, path: path.to_owned(), expect, target: None, above: None })
    }

    /// Watches what the path leads to now. Cheap when nothing moved: the kernel hands out the same
    /// watches again.
    ///
    /// # Errors
    /// When the user has no inotify watch left (`fs.inotify.max_user_watches`), or nothing on the way to
    /// the path may be watched.
    pub(crate) fn arm(&mut self) -> io::Result<()> {
        let old = (self.target.take(), self.above.take());
        // Above first: what is created between the two calls makes an event there.
        self.above = Some(self.watch_above()?);
        let mask = match self.expect {
            Expect::File => FILE,
            Expect::Directory => ABOVE,
        };
        self.target = match self.stream.watches().add(&self.path, mask) {
            Ok(wd) => Some(wd),
            Err(e) if is_in_the_way(&e) => None,
            Err(e) => return Err(e),
        };
        for wd in old.0.into_iter().chain(old.1.map(|(wd, _)| wd)) {
            if self.target.as_ref() != Some(&wd) && self.above.as_ref().is_none_or(|(above, _)| *above != wd)
            {
                // It is gone already when its inode is.
                let _ = self.stream.watches().remove(wd);
            }
        }
        Ok(())
    }

    fn watch_above(&self) -> io::Result<(WatchDescriptor, OsString)> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        'again: for _ in 0..ARM_TRIES {
            let mut below = self.path.as_path();
            let mut absent = false;
            while let (Some(parent), Some(name)) = (below.parent(), below.file_name()) {
                let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                match self.stream.watches().add(directory, ABOVE) {
                    // The directory below was missing a moment ago; if it is there now, watch that.
                    Ok(_) if absent && below.exists() => continue 'again,
                    Ok(wd) => return Ok((wd, name.to_owned())),
                    Err(e) if is_in_the_way(&e) => {
                        absent = e.kind() == io::ErrorKind::NotFound;
                        last = e;
                    }
                    Err(e) => return Err(e),
                }
                below = parent;
            }
            break;
        }
        Err(last)
    }

    /// Waits until something happened to the path; a burst is one wake-up. Dropping the future loses
    /// nothing but events that ask for the same reading.
    ///
    /// # Errors
    /// When the inotify queue cannot be read; it does not happen on a sound system.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut concerns = false;
            let mut next = Some(self.stream.next().await);
            for _ in 0..EVENTS_PER_WAKE {
                let Some(event) = next.flatten() else { break };
                concerns |= self.concerns(&event?);
                next = self.stream.next().now_or_never();
            }
            if concerns {
                return Ok(());
            }
        }
    }

    fn concerns(&self, event: &EventOwned) -> bool {
        if event.mask.contains(EventMask::Q_OVERFLOW) || self.target.as_ref() == Some(&event.wd) {
            return true;
        }
        match &self.above {
            Some((wd, name)) if *wd == event.wd => {
                event.name.as_deref().is_none_or(|n: &OsStr| n == name.as_os_str())
            }
            _ => false,
        }
    }
}

/// Whether the error says that this place cannot be watched, and that another may.
fn is_in_the_way(e: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(e.kind(), NotFound | NotADirectory | PermissionDenied)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    async fn wakes(watch: &mut PathWatch) {
        tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.unwrap().unwrap();
        watch.arm().unwrap();
    }

    #[tokio::test]
    async fn a_path_is_seen_as_it_grows_is_written_replaced_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        let mut watch = PathWatch::new(&path, Expect::File).unwrap();
        watch.arm().unwrap();

        fs::create_dir(dir.path().join("a")).unwrap();
        wakes(&mut watch).await;
        fs::create_dir(dir.path().join("a/b")).unwrap();
        wakes(&mut watch).await;
        fs::write(&path, "1").unwrap();
        wakes(&mut watch).await;
        fs::write(&path, "2").unwrap();
        wakes(&mut watch).await;
        fs::write(dir.path().join("a/b/new"), "3").unwrap();
        fs::rename(dir.path().join("a/b/new"), &path).unwrap();
        wakes(&mut watch).await;
        fs::remove_dir_all(dir.path().join("a")).unwrap();
        wakes(&mut watch).await;
        while watch.changed().now_or_never().is_some() {
            watch.arm().unwrap();
        }
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        wakes(&mut watch).await;
    }

    #[tokio::test]
    async fn a_neighbour_wakes_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = PathWatch::new(&dir.path().join("utmp"), Expect::File).unwrap();
        watch.arm().unwrap();
        fs::write(dir.path().join("utmp.lock"), "").unwrap();
        assert!(watch.changed().now_or_never().is_none());
    }
}
