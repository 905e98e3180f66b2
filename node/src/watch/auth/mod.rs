//! The auth log watcher: picks where the auth log is read from, reads it, and says where.
//!
//! [`parse`] is the pure reader of lines; `journal` and `file` are the two sources. This module only
//! chooses between them and moves from one to the other.

mod file;
pub mod join;
mod journal;
mod lines;
pub mod parse;
mod tail;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use secmon_protocol::{
    auth::{AuthEvent, AuthLogSource},
    facet::{Facet, Unavailable},
};
use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::{
    file::Files,
    join::{HOLD, Joiner},
    journal::Journal,
    parse::Heard,
};
use super::{Observation, Observations};

/// How often a source that may have come, gone or become readable is looked at, beside what inotify says:
/// rare enough to cost nothing, often enough that nobody waits for it.
const RECHECK: Duration = Duration::from_secs(15);

/// Where the auth log is read from: the section `[auth]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Which source.
    pub source: AuthSourceChoice,
    /// The files that are followed when the source is a file; those that exist.
    pub files: Vec<PathBuf>,
}

impl Default for AuthConfig {
    /// Whatever works, and the files of Debian's and of Red Hat's families.
    fn default() -> Self {
        Self {
            source: AuthSourceChoice::Auto,
            files: vec!["/var/log/auth.log".into(), "/var/log/secure".into()],
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
/// Sends one [`Observation::Auth`] for each event logged from now on, and [`Observation::AuthLog`] whenever
/// the source changes, goes or comes back.
pub async fn watch(config: AuthConfig, out: Observations, cancel: CancellationToken) {
    let sources = Sources { journal: Journal::system(), files: config.files, recheck: RECHECK };
    watch_sources(config.source, sources, out, cancel).await;
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
    out: Observations,
    cancel: CancellationToken,
) {
    let mut report = Report::new(out);
    let run = async {
        match choice {
            AuthSourceChoice::Off => {
                report.facet(Facet::NotMonitored).await?;
                std::future::pending().await
            }
            AuthSourceChoice::Journald => only_journal(sources, &mut report).await,
            AuthSourceChoice::File => only_files(&sources, &mut report).await,
            AuthSourceChoice::Auto => whatever_works(&sources, &mut report).await,
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        Err(Closed) = Box::pin(run) => tracing::debug!("auth log watcher ends: nobody reads what it sees"),
    }
}

/// What journald is called as a source.
const JOURNALD: &str = "journald";

/// Nobody reads what the watcher sees any more.
#[derive(Debug)]
struct Closed;

/// What the watcher tells: events, and the facet whenever it has changed.
struct Report {
    out: Observations,
    /// Whether the last source that was read was journald.
    journald: Option<bool>,
    last: Option<Facet<String, AuthLogSource>>,
    /// Makes one event of the lines of one attempt.
    join: Joiner<()>,
    /// When the last line came.
    heard: Instant,
}

impl Report {
    fn new(out: Observations) -> Self {
        Self { out, journald: None, last: None, join: Joiner::default(), heard: Instant::now() }
    }

    /// Takes a line that says something, and reports the events that are known with it.
    async fn line(&mut self, heard: Heard) -> Result<(), Closed> {
        let mut events = Vec::new();
        self.join.take(heard, (), |event, ()| events.push(event));
        self.heard = Instant::now();
        self.events(events).await
    }

    /// There is no further line at the moment: reports what would hardly go on in one, and what has waited
    /// for one for long enough.
    async fn pause(&mut self) -> Result<(), Closed> {
        let mut events = Vec::new();
        match self.heard.elapsed() < HOLD {
            true => self.join.pause(|event, ()| events.push(event)),
            false => self.join.settle(|event, ()| events.push(event)),
        }
        self.events(events).await
    }

    /// How long to wait for the next line at most before [`Self::pause`] is called again.
    fn patience(&self, usual: Duration) -> Duration {
        if self.join.holds() { usual.min(HOLD) } else { usual }
    }

    async fn events(&mut self, events: impl IntoIterator<Item = Box<AuthEvent>>) -> Result<(), Closed> {
        for event in events {
            self.out.send(Observation::Auth(event)).await.map_err(|_| Closed)?;
        }
        Ok(())
    }

    async fn facet(&mut self, facet: Facet<String, AuthLogSource>) -> Result<(), Closed> {
        if self.last.as_ref() == Some(&facet) {
            return Ok(());
        }
        if let Facet::Unavailable(why) = &facet {
            tracing::warn!(reason = %why.reason.escape_debug(), "auth log unavailable");
        }
        let mut events = Vec::new();
        self.join.settle(|event, ()| events.push(event));
        self.events(events).await?;
        self.last = Some(facet.clone());
        self.out.send(Observation::AuthLog(facet)).await.map_err(|_| Closed)
    }

    async fn ready(&mut self, source: &str) -> Result<(), Closed> {
        let journald = source == JOURNALD;
        if self.journald.replace(journald).is_some_and(|before| before != journald) {
            // Neither source is read from before the moment of the change, and that the other has gone was
            // noticed late.
            let reason = format!(
                "the auth log is read from {source} from now on; what was logged just before the change may be missing"
            );
            self.out.send(Observation::AuthMissed(reason)).await.map_err(|_| Closed)?;
        }
        let value = AuthLogSource { source: source.to_owned() };
        self.facet(Facet::Ready(BTreeMap::from([(source.to_owned(), value)]))).await
    }
}

/// Never ends well: the errors of a `Result<Never, _>` are all there is.
type Never = std::convert::Infallible;

async fn only_journal(sources: Sources, report: &mut Report) -> Result<Never, Closed> {
    let mut journal = sources.journal;
    loop {
        let why = journal.follow(report, sources.recheck).await?;
        report.facet(Facet::Unavailable(why)).await?;
        tokio::time::sleep(sources.recheck).await;
    }
}

async fn only_files(sources: &Sources, report: &mut Report) -> Result<Never, Closed> {
    loop {
        match Files::new(&sources.files) {
            Ok(mut files) => loop {
                files.read(report).await?;
                match files.followed() {
                    Some(source) => report.ready(&source).await?,
                    None => report.facet(Facet::Unavailable(files.problem())).await?,
                }
                files.changed(report.patience(sources.recheck)).await;
            },
            Err(error) => {
                report.facet(Facet::Unavailable(no_inotify(&error))).await?;
                tokio::time::sleep(sources.recheck).await;
            }
        }
    }
}

/// journald as long as it works, then the files as long as they do, and so on. While neither works both
/// are looked for; the files are remembered meanwhile, so that what is written into one that appears is
/// read from its start.
async fn whatever_works(sources: &Sources, report: &mut Report) -> Result<Never, Closed> {
    let mut files: Option<Files> = None;
    let mut journal = sources.journal.clone();
    loop {
        // It goes on where it was: what is logged while journald is not watched is read once it is again.
        let no_journal = journal.follow(report, sources.recheck).await?;
        let following = match &mut files {
            Some(files) => files,
            None => match Files::new(&sources.files) {
                Ok(new) => files.insert(new),
                Err(error) => {
                    report.facet(Facet::Unavailable(both(&no_journal, &no_inotify(&error)))).await?;
                    tokio::time::sleep(sources.recheck).await;
                    continue;
                }
            },
        };
        following.read(report).await?;
        if following.followed().is_none() {
            report.facet(Facet::Unavailable(both(&no_journal, &following.problem()))).await?;
            following.changed(report.patience(sources.recheck)).await;
            continue;
        }
        while let Some(source) = following.followed() {
            report.ready(&source).await?;
            following.changed(report.patience(sources.recheck)).await;
            following.read(report).await?;
        }
        files = None;
        // What was logged meanwhile has been reported from the file.
        journal = journal.restarted();
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

fn no_inotify(error: &std::io::Error) -> Unavailable {
    Unavailable {
        reason: format!("cannot watch files: {error}"),
        remedy: "raise fs.inotify.max_user_instances".to_owned(),
    }
}
