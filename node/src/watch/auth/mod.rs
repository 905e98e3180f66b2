//! The auth log watcher: picks where the auth log is read from, reads it, and says where.
//!
//! [`parse`] is the pure reader of lines; `journal` and `file` are the two sources; `auto` chooses between
//! them and moves from one to the other. Every line that means something passes through `report`.

mod auto;
mod file;
pub mod join;
mod journal;
mod kept;
mod key;
mod lines;
mod marks;
pub mod parse;
mod report;
#[cfg(test)]
mod tests;
mod twins;

use std::{convert::Infallible, path::PathBuf, time::Duration};

use secmon_protocol::facet::{Facet, Unavailable};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::{
    file::{Files, LogPlace, Positions, place_name},
    journal::Journal,
    kept::Kept,
    marks::Marks,
    report::{Closed, Report},
};
use super::{Known, Observations};

/// How often a source that may have come, gone or become readable is looked at, beside what inotify says:
/// rare enough to cost nothing, often enough that nobody waits for it.
const RECHECK: Duration = Duration::from_secs(15);

/// Where the auth log is read from: the section `[auth]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Which source.
    pub source: AuthSourceChoice,
    /// The files that are followed when the source is a file; those that exist. A line that stands in two of
    /// them is reported once.
    pub files: Vec<PathBuf>,
}

impl Default for AuthConfig {
    /// Whatever works, and the files of Debian's and of Red Hat's families; and the one that holds everything
    /// on Alpine and openSUSE, and what `su` writes on Red Hat's.
    fn default() -> Self {
        Self {
            source: AuthSourceChoice::Auto,
            files: vec!["/var/log/auth.log".into(), "/var/log/secure".into(), "/var/log/messages".into()],
        }
    }
}

/// Which source of the auth log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthSourceChoice {
    /// journald where it can be read, else the files that can.
    #[default]
    Auto,
    /// journald.
    Journald,
    /// The files.
    File,
    /// None: the auth log is not monitored.
    Off,
}

/// Watches the auth log until `cancel`, or until nobody reads `out`.
///
/// Sends one [`Observation::Auth`](super::Observation::Auth) for each event logged from now on, and
/// [`Observation::AuthLog`](super::Observation::AuthLog) whenever
/// the source changes, goes or comes back. Begins where the places of `known` are, and without any with what is logged
/// from now on.
pub async fn watch(config: AuthConfig, known: Known, out: Observations, cancel: CancellationToken) {
    let sources = Sources { journal: Journal::system(), files: config.files, recheck: RECHECK };
    watch_sources(config.source, sources, Kept::new(known.places), out, cancel).await;
}

/// What there is to read, so that tests can bring their own.
struct Sources {
    journal: Journal,
    files: Vec<PathBuf>,
    recheck: Duration,
}

async fn watch_sources(
    choice: AuthSourceChoice,
    sources: Sources,
    kept: Kept,
    out: Observations,
    cancel: CancellationToken,
) {
    let is_one_source = match choice {
        AuthSourceChoice::Auto => sources.files.is_empty(),
        AuthSourceChoice::File => sources.files.len() < 2,
        AuthSourceChoice::Journald | AuthSourceChoice::Off => true,
    };
    let mut report = Report::new(out, !is_one_source, kept);
    let run = async {
        match choice {
            AuthSourceChoice::Off => {
                report.facet(Facet::NotMonitored).await?;
                std::future::pending().await
            }
            AuthSourceChoice::Journald => only_journal(sources, &mut report).await,
            AuthSourceChoice::File => only_files(&sources, &mut report).await,
            AuthSourceChoice::Auto => auto::whatever_works(&sources, &mut report).await,
        }
    };
    let ended: Option<Result<Infallible, Closed>> = tokio::select! {
        () = cancel.cancelled() => None,
        ended = Box::pin(run) => Some(ended),
    };
    if ended.is_some() {
        tracing::debug!("auth log watcher ends: nobody reads what it sees");
    }
    report.end();
}

async fn only_journal(sources: Sources, report: &mut Report) -> Result<Infallible, Closed> {
    let mut journal = sources.journal;
    journal.resume(report);
    let mut marks = Marks::new(&[], Vec::new());
    loop {
        let followed = journal.follow(report, &mut marks, sources.recheck, Journal::PATIENCE).await?;
        report.unavailable(followed.why).await?;
        tokio::time::sleep(sources.recheck).await;
    }
}

async fn only_files(sources: &Sources, report: &mut Report) -> Result<Infallible, Closed> {
    let starts = starts(&sources.files, report);
    loop {
        match Files::new(&sources.files, &starts) {
            Ok(mut files) => loop {
                files.read(report).await?;
                match files.followed() {
                    Some(source) => report.ready(&source).await?,
                    None => report.unavailable(files.problem()).await?,
                }
                files.changed(report.patience(sources.recheck)).await;
            },
            Err(error) => {
                report.unavailable(no_inotify(&error)).await?;
                tokio::time::sleep(sources.recheck).await;
            }
        }
    }
}

/// Where the files are read from: where the last process was, and the end of those that it did not read.
fn starts(files: &[PathBuf], report: &mut Report) -> Positions {
    files
        .iter()
        .map(|path| report.kept(&place_name(path)).unwrap_or_else(|| LogPlace::end_of(path)))
        .collect()
}

fn no_inotify(error: &std::io::Error) -> Unavailable {
    Unavailable {
        reason: format!("cannot watch files: {error}"),
        remedy: "raise fs.inotify.max_user_instances".to_owned(),
    }
}
