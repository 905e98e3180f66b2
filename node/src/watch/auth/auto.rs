//! `source = "auto"`: journald as long as it can be read, else the files, and journald again once it is back.
//!
//! Going over, nothing is lost and nothing doubled as far as that can be known: the files are read from where
//! they stood before journald was last seen well (`marks`), journald from where it was left, and what
//! both bring is taken once (`twins`). A gap is said only where the files were not there before.

use std::{convert::Infallible, time::Duration};

use jiff::Timestamp;
use secmon_protocol::facet::Unavailable;
use tokio::time::Instant;

use super::{
    Sources,
    file::{Files, LogPlace},
    journal::{Journal, Position},
    marks::Marks,
    no_inotify,
    report::{Closed, Report},
    starts,
};

/// A journalctl that ends at once is tried again ever more rarely, up to this many looks apart.
const RAREST: u32 = 40;
/// How much further back than the last look journald is read where its own place is of no use any more: a
/// line is in the file a moment before it is in the journal, or after.
const OVERLAP: Duration = Duration::from_secs(5);

struct Auto<'a> {
    sources: &'a Sources,
    journal: Journal,
    marks: Marks,
    /// Whether journald was the last source that was read.
    was_journald: bool,
    /// Looks that are left out before journald is tried again.
    pause: u32,
}

/// Reads whatever works, for ever.
pub(super) async fn whatever_works(sources: &Sources, report: &mut Report) -> Result<Infallible, Closed> {
    let mut journal = sources.journal.clone();
    journal.resume(report);
    let mut auto = Auto {
        sources,
        journal,
        marks: Marks::new(&sources.files, starts(&sources.files, report)),
        was_journald: false,
        pause: 0,
    };
    // At first it is given time; whoever comes from a file that works goes back to that at once.
    let mut patience = Journal::PATIENCE;
    loop {
        let followed = auto.journal.follow(report, &mut auto.marks, sources.recheck, patience).await?;
        auto.was_journald |= followed.was_ready;
        auto.pause = if followed.failed { (auto.pause * 2 + 1).min(RAREST) } else { 0 };
        auto.files(&followed.why, report).await?;
        patience = 1;
    }
}

impl Auto<'_> {
    /// Reads the files until journald seems to be back.
    async fn files(&mut self, no_journal: &Unavailable, report: &mut Report) -> Result<(), Closed> {
        let recheck = self.sources.recheck;
        let starts = self.marks.positions();
        let mut files = match Files::new(&self.sources.files, starts) {
            Ok(files) => files,
            Err(error) => {
                report.unavailable(both(no_journal, &no_inotify(&error))).await?;
                tokio::time::sleep(recheck).await;
                return Ok(());
            }
        };
        let unmarked = !starts.iter().any(LogPlace::is_there);
        let forgotten = report.forgotten();
        let mut looked = Looked::now();
        let mut look = Instant::now() + recheck;
        let mut pause = self.pause;
        loop {
            files.read(report).await?;
            match files.followed() {
                Some(source) => {
                    if std::mem::take(&mut self.was_journald) && unmarked {
                        let reason = format!(
                            "the auth log is read from {source} from now on, which was not there before; what was \
                             logged since journald went away may be missing"
                        );
                        report.missed(reason);
                    }
                    report.ready(&source).await?;
                }
                None => report.unavailable(both(no_journal, &files.problem())).await?,
            }
            files.changed(report.patience(recheck)).await;
            if Instant::now() < look {
                continue;
            }
            look = Instant::now() + recheck;
            if pause > 0 {
                pause -= 1;
            } else if self.journal.looks_readable() {
                break;
            }
            looked = Looked::now();
            if report.forgotten() > forgotten {
                self.journal.begin(looked.position());
                self.journal.keep(report);
            }
        }
        // What is written into a file from now on is in journald as well.
        files.read(report).await?;
        self.marks.set(files.positions());
        if report.forgotten() > forgotten {
            // Too much has been read from the files to be known again.
            self.journal.begin(looked.position());
        }
        Ok(())
    }
}

/// When journald was last seen to be away.
struct Looked {
    time: Timestamp,
    at: Instant,
}

impl Looked {
    fn now() -> Self {
        Self { time: Timestamp::now(), at: Instant::now() }
    }

    /// Where journald is read from then on. Of a clock that was set back meanwhile the earlier time counts: what was
    /// logged since has that.
    fn position(&self) -> Position {
        let ago = |time: Timestamp, span: Duration| time.checked_sub(span).unwrap_or(time);
        let since = self.time.min(ago(Timestamp::now(), self.at.elapsed()));
        Position::Since(ago(since, OVERLAP).into())
    }
}

fn both(journal: &Unavailable, files: &Unavailable) -> Unavailable {
    // Who may read the journal by its groups may read the files as well.
    let remedy = if [journal, files].iter().all(|why| why.remedy.contains("as root")) {
        journal.remedy.clone()
    } else {
        format!("{}; or {}", journal.remedy, files.remedy)
    };
    Unavailable { reason: format!("{}; {}", journal.reason, files.reason), remedy }
}
