//! Who is logged in: systemd-logind, utmp, wtmp and wtmpdb, made into one truth.
//!
//! `logind`, `wtmp`, `btmp` and `wtmpdb` are edges that tell what they hear; `utmp` (records) and `merge` (what they mean
//! together, with `search` for terminals) are pure, and `view` is what the ones tell the other. This module looks at utmp
//! and at processes, waits, and reports the sessions whole when they differ from what was reported last.
//!
//! There is no polling: D-Bus signals, inotify and pidfds wake this watcher, and a new session over the network has
//! its processes looked at some times within its first seconds.

mod btmp;
mod logind;
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
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{fcntl::OFlag, unistd::geteuid};
use secmon_protocol::facet::{Facet, Unavailable};
use serde::Deserialize;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::{
    merge::{Merge, Told},
    process::{Host, Owner, Processes, Terminal},
    utmp::{Entry, Layout, MAX_UTMP, entries},
    view::{LogindNews, Past, UtmpLogin},
};
use super::{
    Observation, Observations,
    path_watch::{Expect, PathWatch},
};

/// How long to wait before inotify is tried again when the system refused it.
const WATCH_RETRY: Duration = Duration::from_secs(30);
/// News of one source that wait; the source waits when there are more.
const NEWS: usize = 64;
/// Leaders whose end is waited for, each by a file descriptor. Of more sessions the end is heard from the sources.
const LEADERS: usize = 512;
/// Where terminals are made, devpts(5).
const TERMINALS: &str = "/dev/pts";

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
pub async fn watch(config: SessionsConfig, out: Observations, cancel: CancellationToken) {
    let work = Box::pin(run(config, out));
    tokio::select! {
        () = cancel.cancelled() => {}
        () = work => {}
    }
}

/// Ends only when nobody takes observations any more.
async fn run(config: SessionsConfig, out: Observations) {
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
    let owner =
        Owned { merge: Merge::new(), utmp: config.utmp, out: out.clone(), leaders: Leaders::default() };
    tokio::select! {
        () = logind_edge => {}
        () = btmp::watch(config.btmp, out.clone()) => {}
        () = wtmp::watch(config.wtmp, past_news.clone()) => {}
        () = wtmpdb::watch(config.wtmpdb, past_news) => {}
        () = Box::pin(owner.run(logind, past)) => {}
    }
}

/// The one owner of the truth about sessions.
struct Owned {
    merge: Merge,
    utmp: PathBuf,
    out: Observations,
    leaders: Leaders,
}

impl Owned {
    async fn run(mut self, mut logind: mpsc::Receiver<LogindNews>, mut past: mpsc::Receiver<Past>) {
        let mut utmp = Watched::new(self.utmp.clone(), Expect::File);
        let mut terminals = Watched::new(TERMINALS.into(), Expect::Directory);
        // Watching before reading: what happens between the two is seen by the next wake-up.
        utmp.arm();
        self.look(&utmp);
        loop {
            self.search(&utmp);
            for told in self.merge.poll(now()) {
                if let Told::Sessions(Facet::Unavailable(why)) = &told {
                    warn!(reason = %why.reason.escape_debug(), "sessions unavailable");
                }
                let observation = match told {
                    Told::Sessions(facet) => Observation::Sessions(facet),
                    Told::Missed(why) => Observation::Missed(why),
                };
                if self.out.send(observation).await.is_err() {
                    return;
                }
            }
            self.leaders.follow(self.merge.leaders());
            if self.merge.lacks_terminals() {
                terminals.arm();
            } else {
                terminals.disarm();
            }
            let next = self.merge.next();
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
                Some(login) = past.recv() => {
                    self.merge.handle_past(login, now());
                    // Whoever logged it wrote it to utmp as well.
                    self.look(&utmp);
                }
                Some(pid) = self.leaders.ended() => self.merge.handle_end(pid),
                () = terminals.changed() => self.merge.handle_terminal_made(now()),
                () = timer => {}
            }
        }
    }

    fn look(&mut self, watched: &Watched) {
        let seen = match &watched.failed {
            None => logins(&self.utmp, &Host),
            Some(error) => Err(unwatchable(&self.utmp, error)),
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
    /// Why it is not watched.
    failed: Option<io::Error>,
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

    fn disarm(&mut self) {
        (self.watch, self.failed) = (None, None);
    }

    fn fail(&mut self, error: io::Error) {
        if self.failed.is_none() {
            warn!(path = %self.path.display(), %error, "cannot watch by inotify");
        }
        (self.watch, self.failed) = (None, Some(error));
    }

    /// Waits until something happened to the path, or until watching is to be tried again; for ever when it is
    /// not armed.
    async fn changed(&mut self) {
        match &mut self.watch {
            Some(watch) => {
                if let Err(error) = watch.changed().await {
                    self.fail(error);
                }
            }
            None if self.failed.is_some() => tokio::time::sleep(WATCH_RETRY).await,
            None => std::future::pending().await,
        }
    }
}

/// The processes whose end is waited for.
#[derive(Default)]
struct Leaders {
    waits: JoinSet<(u32, io::Result<()>)>,
    by_pid: BTreeMap<u32, AbortHandle>,
}

impl Leaders {
    /// Waits for the end of these, and of no others.
    fn follow(&mut self, pids: BTreeSet<u32>) {
        self.by_pid.retain(|pid, wait| {
            let stays = pids.contains(pid);
            if !stays {
                wait.abort();
            }
            stays
        });
        for pid in pids {
            if self.by_pid.len() >= LEADERS {
                break;
            }
            self.by_pid
                .entry(pid)
                .or_insert_with(|| self.waits.spawn(async move { (pid, process::ended(pid).await) }));
        }
    }

    /// The next process that has ended; none while none is waited for.
    async fn ended(&mut self) -> Option<u32> {
        loop {
            match self.waits.join_next().await? {
                Ok((pid, Ok(()))) => return Some(pid),
                // Its place stays taken, so that it is not tried again and again.
                Ok((pid, Err(error))) => debug!(pid, %error, "cannot wait for the end of a session's leader"),
                Err(_) => {}
            }
        }
    }
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

/// The logins that the file at `path` records and whose processes live. Reads in place: utmp is small and lives
/// in memory.
fn logins(path: &Path, processes: &impl Processes) -> Result<Vec<UtmpLogin>, Unavailable> {
    let bytes = read(path).map_err(|error| error.explained(path))?;
    let (entries, partial) = entries(&bytes, Layout::of(&bytes));
    let (mut logins, mut stale, mut bad) = (Vec::new(), 0, 0);
    for entry in entries {
        match entry {
            // A pid of another pid namespace does not exist here.
            Entry::Login(login) if login.pid > 0 && !processes.exists(login.pid) => stale += 1,
            Entry::Login(login) => {
                let owner = if login.pid > 0 { processes.owner(login.pid) } else { Owner::Unknown };
                // sudo records the terminal that it makes for a command (sudoers(5), use_pty).
                if owner == Owner::Nobody && processes.program(login.pid).as_deref() == Some("sudo") {
                    continue;
                }
                logins.push(UtmpLogin { login, owner });
            }
            Entry::Bad => bad += 1,
            Entry::Logout { .. } | Entry::Prompt(_) | Entry::Boot | Entry::Other => {}
        }
    }
    debug!(logins = logins.len(), stale, bad, partial_bytes = partial, "read utmp");
    Ok(logins)
}

enum Unreadable {
    Io(io::Error),
    NotAFile,
    TooLarge,
}

impl Unreadable {
    fn explained(self, path: &Path) -> Unavailable {
        let (shown, uid) = (path.display(), geteuid());
        let (reason, remedy) = match self {
            Self::Io(e) if e.kind() == io::ErrorKind::NotFound => (
                format!("no utmp file at {shown}"),
                "start dbus and systemd-logind, or set sessions.utmp to where this system keeps its utmp file".to_owned(),
            ),
            Self::Io(e) if e.kind() == io::ErrorKind::PermissionDenied => (
                format!("cannot read {shown} as uid {uid}: {e}"),
                format!("run the node as root, or let uid {uid} read {shown} (its usual mode is 0664)"),
            ),
            Self::Io(e) => (format!("cannot read {shown}: {e}"), String::new()),
            Self::NotAFile => (
                format!("{shown} is not a regular file"),
                "set sessions.utmp to the utmp file of this system".to_owned(),
            ),
            Self::TooLarge => (
                format!("{shown} is larger than {} MiB, which no utmp file is", MAX_UTMP >> 20),
                "set sessions.utmp to utmp, not to wtmp or btmp; else clear the file".to_owned(),
            ),
        };
        Unavailable { reason, remedy }
    }
}

/// Takes no lock: a lock on utmp holds up everybody who logs in. A record caught in the middle of its
/// writing is followed by another wake-up, when its writer closes the file.
fn read(path: &Path) -> Result<Vec<u8>, Unreadable> {
    // O_NONBLOCK, so that a fifo in place of the file cannot hold the node.
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(Unreadable::Io)?;
    if !file.metadata().map_err(Unreadable::Io)?.is_file() {
        return Err(Unreadable::NotAFile);
    }
    let mut bytes = Vec::new();
    file.take(MAX_UTMP as u64 + 1).read_to_end(&mut bytes).map_err(Unreadable::Io)?;
    if bytes.len() > MAX_UTMP { Err(Unreadable::TooLarge) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests;
