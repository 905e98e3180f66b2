//! The auth log in files, as rsyslog and others write them: followed by inotify through rotation,
//! truncation and absence. `tail` is one log, `opened` one file of it.

mod opened;
mod tail;
#[cfg(test)]
mod tail_tests;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use inotify::{EventStream, Inotify, WatchMask};
use jiff::{Timestamp, tz::TimeZone};
use secmon_protocol::facet::Unavailable;

use self::{opened::CHUNK, tail::Tail};
use super::{
    parse::{Context, Parsed, parse_line},
    report::{Closed, Report},
    twins::SourceId,
};
pub(in crate::watch) use crate::watch::log_file::position::LogPlace;

/// Room for a few dozen inotify events.
const EVENT_BUFFER: usize = 4 << 10;
/// Most inotify events that are taken as one: a busy log must be read in between.
const COALESCE: usize = 1_000;

/// The followed files.
pub(super) struct Files {
    events: EventStream<Vec<u8>>,
    tails: Vec<Tail>,
    names: BTreeSet<OsString>,
}

/// How far each of the files has been read, in their order.
pub(super) type Positions = Vec<LogPlace>;

/// The ends of `paths` now.
pub(super) fn ends_of(paths: &[PathBuf]) -> Positions {
    paths.iter().map(|path| LogPlace::end_of(path)).collect()
}

/// What the place in a file is called.
pub(super) fn place_name(path: &Path) -> String {
    format!("file:{}", path.display())
}

impl Files {
    /// Follows `paths` from `starts` on, whether they exist or not.
    ///
    /// # Errors
    ///
    /// When the kernel gives no inotify instance.
    pub(super) fn new(paths: &[PathBuf], starts: &Positions) -> io::Result<Self> {
        let events = Inotify::init()?.into_event_stream(vec![0; EVENT_BUFFER])?;
        let starts = starts.iter().cloned().chain(std::iter::repeat(LogPlace::default()));
        let mut files = Self {
            events,
            tails: paths.iter().zip(starts).map(|(path, start)| Tail::new(path, start)).collect(),
            names: BTreeSet::new(),
        };
        files.refresh();
        Ok(files)
    }

    /// How far they have been read.
    pub(super) fn positions(&self) -> Positions {
        self.tails.iter().map(Tail::place).collect()
    }

    /// Watches first, looks afterwards: what changes in between is seen twice rather than never.
    fn refresh(&mut self) {
        let mut watches = self.events.watches();
        let mask = WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::ONLYDIR;
        let paths: BTreeSet<PathBuf> =
            self.tails.iter().flat_map(|tail| [tail.path().to_owned(), tail.target()]).collect();
        for folder in paths.iter().filter_map(|path| path.parent()).collect::<BTreeSet<_>>() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            if let Err(error) = watches.add(folder, mask) {
                tracing::debug!(path = ?folder, %error, "cannot watch a folder of auth logs; looking now and then");
            }
        }
        self.names = paths.iter().filter_map(|path| path.file_name()).map(ToOwned::to_owned).collect();
        for tail in &mut self.tails {
            tail.refresh(&mut watches);
        }
    }

    /// Reads all there is, a chunk of each log in turn, and reports the events in it.
    pub(super) async fn read(&mut self, report: &mut Report) -> Result<(), Closed> {
        let mut watches = self.events.watches();
        let mut buffer = vec![0; CHUNK];
        let mut more = true;
        while more {
            more = false;
            let context = Context::new(Timestamp::now(), TimeZone::system());
            for (number, tail) in self.tails.iter_mut().enumerate() {
                let source = SourceId::file(number);
                more |= tail.read(&mut buffer, &mut watches, |line| match parse_line(line, &context) {
                    Parsed::Unknown => {}
                    parsed => report.parsed(parsed, source),
                });
                for loss in tail.losses() {
                    report.missed(loss);
                }
                report.place(&place_name(tail.path()), &tail.place());
                report.flush().await?;
            }
            tokio::task::yield_now().await;
        }
        report.pause().await
    }

    /// Waits until something may have happened to one of the files, but no longer than `recheck`, and
    /// looks at what stands at their paths then.
    pub(super) async fn changed(&mut self, recheck: Duration) {
        let wait = self.tails.iter().filter_map(Tail::look_again).fold(recheck, Duration::min);
        let _ = tokio::time::timeout(wait, self.event()).await;
        // One wake-up for all that has come meanwhile.
        for _ in 0..COALESCE {
            if self.events.next().now_or_never().flatten().is_none() {
                break;
            }
        }
        self.refresh();
    }

    async fn event(&mut self) {
        while let Some(event) = self.events.next().await {
            match event {
                // Without a name it is about a followed file itself, or inotify's queue has overflowed.
                Ok(event) if event.name.as_ref().is_none_or(|name| self.names.contains(name)) => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot read inotify events; looking now and then");
                    break;
                }
            }
        }
        std::future::pending().await
    }

    /// The paths that are being followed, separated by a space; none when there are none.
    pub(super) fn followed(&self) -> Option<String> {
        let paths: Vec<_> =
            self.tails.iter().filter(|t| t.is_followed()).map(|t| t.path().to_string_lossy()).collect();
        (!paths.is_empty()).then(|| paths.join(" "))
    }

    /// Why nothing is followed.
    pub(super) fn problem(&self) -> Unavailable {
        let mut reasons = Vec::new();
        let mut denied = false;
        for tail in &self.tails {
            let why = match tail.problem() {
                Some(error) if error.kind() == io::ErrorKind::NotFound => "no such file".to_owned(),
                Some(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    denied = true;
                    "permission denied".to_owned()
                }
                Some(error) => error.to_string(),
                None => "not open".to_owned(),
            };
            reasons.push(format!("cannot read {}: {why}", tail.path().display()));
        }
        if reasons.is_empty() {
            reasons.push("auth.files names no file".to_owned());
        }
        let remedy = if denied {
            "run the node as root, or add its user to group adm"
        } else {
            "install rsyslog, or set auth.files to the auth log of this system"
        };
        Unavailable { reason: reasons.join("; "), remedy: remedy.to_owned() }
    }
}
