//! Who is logged in: systemd-logind, utmp, wtmp and wtmpdb, made into one truth.
//!
//! `logind`, `wtmp`, `btmp` and `wtmpdb` are edges that tell what they hear; `utmp` (records) and `merge` (what they mean
//! together, with `search` for terminals) are pure, and `view` is what the ones tell the other. This module looks at utmp
//! and at processes, waits, and reports the sessions whole when they differ from what was reported last.
//!
//! There is no polling: D-Bus signals, inotify and pidfds wake this watcher, and a new session over the network has
//! its processes looked at some times within its first seconds.

mod btmp;
mod leaders;
mod logind;
mod look;
mod merge;
pub mod parse;
mod process;
mod records;
mod search;
mod utmp;
mod view;
mod wtmp;
mod wtmpdb;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use secmon_protocol::{
    codec::decode_value,
    facet::{Facet, FacetId, Unavailable},
    session::Session,
    state::NodeState,
};
use serde::Deserialize;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::{
    leaders::Leaders,
    look::Records,
    merge::{Merge, Told},
    process::{Host, Processes, Terminal},
    view::{Logged, LogindNews},
};
use super::{
    Known, Observation, Observations,
    path_watch::{Expect, PathWatch},
};

/// How long to wait before inotify is tried again when the system refused it.
const WATCH_RETRY: Duration = Duration::from_secs(30);
/// News of one source that wait; the source waits when there are more.
const NEWS: usize = 64;

/// `[sessions]` of the node's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsConfig {
    /// Whether systemd-logind is asked.
    pub logind: bool,
    /// The utmp file.
    pub utmp: PathBuf,
    /// The wtmp file.
    pub wtmp: PathBuf,
    /// The btmp file.
    pub btmp: PathBuf,
    /// wtmpdb's database.
    pub wtmpdb: PathBuf,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self {
            logind: true,
            utmp: "/run/utmp".into(),
            wtmp: "/var/log/wtmp".into(),
            btmp: "/var/log/btmp".into(),
            wtmpdb: "/var/lib/wtmpdb/wtmp.db".into(),
        }
    }
}

/// Watches sessions until `cancel`; reports [`Observation::Sessions`] at once and then on every change.
///
/// `known` is what the node knew when it last stopped: sessions that live on keep their keys, and what came and went since
/// is found in the logs of logins.
pub async fn watch(config: SessionsConfig, known: Known, out: Observations, cancel: CancellationToken) {
    let work = Box::pin(run(config, known, out));
    tokio::select! {
        () = cancel.cancelled() => {}
        () = work => {}
    }
}

/// Ends only when nobody takes observations any more.
async fn run(config: SessionsConfig, known: Known, out: Observations) {
    let (logind_news, logind) = mpsc::channel(NEWS);
    let (past_news, past) = mpsc::channel(NEWS);
    let logind_edge = async {
        if config.logind {
            Box::pin(logind::watch(logind_news)).await;
        } else {
            let off = Unavailable {
                reason: "systemd-logind is not asked".to_owned(),
                remedy: "set sessions.logind to true".to_owned(),
            };
            let _ = logind_news.send(LogindNews::Lost(off)).await;
            // The channel stays open; nothing more comes.
            std::future::pending::<()>().await;
        }
    };
    let owner = Owned {
        merge: Merge::resume(&told(&known.state), &known.places, &boot()),
        utmp: config.utmp,
        out: out.clone(),
        leaders: Leaders::default(),
        records: Records::default(),
    };
    tokio::select! {
        () = logind_edge => {}
        () = btmp::watch(config.btmp, &known.places, out.clone()) => {}
        () = wtmp::watch(config.wtmp, &known.places, past_news.clone()) => {}
        () = wtmpdb::watch(config.wtmpdb, &known.places, past_news) => {}
        () = Box::pin(owner.run(logind, past)) => {}
    }
}

/// The one owner of the truth about sessions.
struct Owned {
    merge: Merge,
    utmp: PathBuf,
    out: Observations,
    leaders: Leaders,
    records: Records,
}

impl Owned {
    async fn run(mut self, mut logind: mpsc::Receiver<LogindNews>, mut past: mpsc::Receiver<Logged>) {
        let mut utmp = Watched::new(self.utmp.clone(), Expect::File);
        // Watching before reading: what happens between the two is seen by the next wake-up.
        utmp.arm();
        self.look(&utmp);
        loop {
            self.search(&utmp);
            let mut all = Vec::new();
            for told in self.merge.poll(now()) {
                if let Told::Sessions(Facet::Unavailable(why)) = &told {
                    warn!(reason = %why.reason.escape_debug(), "sessions unavailable");
                }
                all.push(match told {
                    Told::Sessions(facet) => Observation::Sessions(facet),
                    Told::Missed(why) => Observation::Missed(why),
                });
            }
            // What was told, and how far the logs were read for it, are kept as one.
            all.extend(self.merge.poll_places().into_iter().map(Observation::Place));
            if !all.is_empty() && self.out.send(Observation::Together(all)).await.is_err() {
                return;
            }
            self.leaders.follow(self.merge.leaders());
            let next = self.merge.next().into_iter().chain(self.leaders.next_look).min();
            let timer = async {
                match next {
                    Some(at) => sleep_until(Instant::from_std(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = utmp.changed() => {
                    utmp.arm();
                    self.look(&utmp);
                }
                Some(news) = logind.recv() => {
                    self.merge.handle_logind(news, now());
                    // A burst is one report.
                    while let Ok(news) = logind.try_recv() {
                        self.merge.handle_logind(news, now());
                    }
                }
                Some(logged) = past.recv() => {
                    self.merge.handle_logged(logged, now());
                    // Whoever logged it wrote it to utmp as well.
                    self.look(&utmp);
                }
                Some(pid) = self.leaders.ended() => {
                    self.records.end(pid);
                    self.merge.handle_end(pid);
                }
                () = timer => for pid in self.leaders.look(now(), &Host) {
                    self.records.end(pid);
                    self.merge.handle_end(pid);
                },
            }
        }
    }

    fn look(&mut self, watched: &Watched) {
        let seen = match &watched.failed {
            None => self.records.look(&self.utmp, &Host),
            Some((error, _)) => Err(unwatchable(&self.utmp, error)),
        };
        self.merge.handle_utmp(seen);
    }

    /// Looks for terminals that are due.
    fn search(&mut self, utmp: &Watched) {
        let mut found = false;
        for (id, leader) in self.merge.poll_searches(now()) {
            let terminal = Host.terminal(leader);
            found |= matches!(terminal, Terminal::Is(_));
            self.merge.handle_terminal(&id, terminal);
        }
        if found {
            // Its record was written before the terminal was taken, and inotify may not have told of it yet.
            self.look(utmp);
        }
    }
}

/// A path whose changes wake the owner.
struct Watched {
    path: PathBuf,
    expect: Expect,
    watch: Option<PathWatch>,
    /// Why it is not watched, and when that is tried again.
    failed: Option<(io::Error, Instant)>,
}

impl Watched {
    fn new(path: PathBuf, expect: Expect) -> Self {
        Self { path, expect, watch: None, failed: None }
    }

    fn arm(&mut self) {
        let watch = match self.watch.take() {
            Some(watch) => Ok(watch),
            None => PathWatch::new(&self.path, self.expect),
        };
        match watch.and_then(|mut watch| watch.arm().map(|()| watch)) {
            Ok(watch) => (self.watch, self.failed) = (Some(watch), None),
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: io::Error) {
        if self.failed.is_none() {
            warn!(path = %self.path.display(), %error, "cannot watch by inotify");
        }
        (self.watch, self.failed) = (None, Some((error, Instant::now() + WATCH_RETRY)));
    }

    /// Waits until something happened to the path, or until watching is to be tried again; for ever when it is
    /// not armed.
    async fn changed(&mut self) {
        match (&mut self.watch, &self.failed) {
            (Some(watch), _) => {
                if let Err(error) = watch.changed().await {
                    self.fail(error);
                }
            }
            (None, Some((_, again))) => sleep_until(*again).await,
            (None, None) => std::future::pending().await,
        }
    }
}

/// The sessions as they were told last; one that cannot be read is not known.
fn told(state: &NodeState) -> Facet<String, Session> {
    match state.facet(FacetId::SESSIONS) {
        Facet::Pending => Facet::Pending,
        Facet::NotMonitored => Facet::NotMonitored,
        Facet::Unavailable(why) => Facet::Unavailable(why.clone()),
        Facet::Ready(entries) => {
            let decode =
                |(key, value): (&Bytes, &Bytes)| Some((decode_value(key).ok()?, decode_value(value).ok()?));
            Facet::Ready(entries.iter().filter_map(decode).collect())
        }
    }
}

/// What tells this boot of the machine from others; random(4).
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn unwatchable(path: &Path, error: &io::Error) -> Unavailable {
    Unavailable {
        reason: format!("cannot watch {} by inotify: {error}", path.display()),
        remedy: "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches with sysctl".to_owned(),
    }
}

#[cfg(test)]
mod tests;
