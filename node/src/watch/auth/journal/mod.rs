//! The auth log in journald, read through a `journalctl --follow` of our own: it knows every version of
//! the journal's format, follows its rotation, and costs no library. `child` is one such program, `access`
//! says whether there is a journal to be read, `cursor` is a place in it.

mod access;
mod child;
mod cursor;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use jiff::Timestamp;
use secmon_protocol::{codec::Value, facet::Unavailable};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::{access::Access, child::Ended, cursor::Cursor};
use super::{
    marks::Marks,
    report::{Closed, JOURNALD, Report},
};

/// A child that lived this long was well; the next one starts at once.
const STEADY: Duration = Duration::from_secs(60);
/// First wait before another child, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Before a journal that cannot be seen counts as gone it is looked at again: while it is rotated there is
/// none for a moment.
const SECOND_LOOK: Duration = Duration::from_millis(500);

/// How journald is reached, and how far it has been read.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    /// `journalctl`, by name or path.
    program: OsString,
    access: Access,
    position: Position,
}

/// Where the next child begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Position {
    /// With what was logged then.
    Since(UnixMicros),
    /// With what comes after this entry, which was read last.
    After(Cursor),
}

impl Value for Position {}

/// A time as journald has it, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UnixMicros(i64);

impl From<Timestamp> for UnixMicros {
    fn from(time: Timestamp) -> Self {
        Self(time.as_microsecond())
    }
}

/// How following ended.
pub(super) struct Followed {
    /// Why nothing can be read.
    pub(super) why: Unavailable,
    /// Whether something was read, or could have been.
    pub(super) was_ready: bool,
    /// Whether it seemed that the journal could be read, and journalctl ended all the same, soon.
    pub(super) failed: bool,
}

impl Journal {
    /// Children that die young, one after the other, before the journal counts as out of reach.
    pub(super) const PATIENCE: u32 = 5;

    /// This system's journal, from now on. Paths: systemd-journald.service(8).
    pub(super) fn system() -> Self {
        Self::at(
            "journalctl".into(),
            "/run/systemd/journal/socket".into(),
            vec!["/run/log/journal".into(), "/var/log/journal".into()],
        )
    }

    /// A journal in other places, from now on.
    pub(super) fn at(program: OsString, socket: PathBuf, folders: Vec<PathBuf>) -> Self {
        Self {
            program,
            access: Access { socket, folders },
            position: Position::Since(Timestamp::now().into()),
        }
    }

    /// Whether it seems that it can be read.
    pub(super) fn looks_readable(&self) -> bool {
        self.access.check().is_ok()
    }

    /// Goes on where the last process was, if one was.
    pub(super) fn resume(&mut self, report: &mut Report) {
        if let Some(position) = report.kept(JOURNALD) {
            self.position = position;
        }
    }

    /// Begins elsewhere.
    pub(super) fn begin(&mut self, position: Position) {
        self.position = position;
    }

    /// Keeps where the next child begins.
    pub(super) fn keep(&self, report: &mut Report) {
        report.place(JOURNALD, &self.position);
    }

    async fn check_twice(&self) -> Result<access::Places, Unavailable> {
        match self.access.check() {
            Ok(places) => Ok(places),
            Err(_) => {
                tokio::time::sleep(SECOND_LOOK).await;
                self.access.check()
            }
        }
    }

    /// Follows the journal, child after child, as long as it can be read; then tells why it cannot. The first
    /// children have `patience` as [`Self::PATIENCE`]. Where the files stand that would be read instead is
    /// marked whenever all is well.
    pub(super) async fn follow(
        &mut self,
        report: &mut Report,
        marks: &mut Marks,
        recheck: Duration,
        patience: u32,
    ) -> Result<Followed, Closed> {
        self.keep(report);
        marks.keep(report);
        let (mut young, mut patience) = (0_u32, patience);
        let (mut was_ready, mut was_steady) = (false, false);
        loop {
            let started = Instant::now();
            let (ended, ready) = match self.check_twice().await {
                Ok(places) => self.child(places, report, marks, recheck).await?,
                Err(why) => (Ended::Gone(why), false),
            };
            was_ready |= ready;
            if started.elapsed() >= STEADY {
                (was_steady, patience, young) = (true, Self::PATIENCE, 0);
            }
            let why = match ended {
                Ended::Gone(why) => return Ok(Followed { why, was_ready, failed: false }),
                Ended::Replaced(why) => {
                    tracing::debug!(why, "starting another journalctl");
                    continue;
                }
                Ended::Died(why) => why,
            };
            young += 1;
            tracing::warn!(reason = %why.escape_debug(), "journalctl ended; starting another");
            if young >= patience {
                let why = Unavailable { reason: why, remedy: "try journalctl --follow by hand".to_owned() };
                return Ok(Followed { why, was_ready, failed: !was_steady });
            }
            let wait = BACKOFF.0.saturating_mul(1 << young.min(10)).min(BACKOFF.1);
            tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
        }
    }
}
