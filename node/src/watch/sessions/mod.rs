//! Who is logged in, by utmp(5): the file is read whole when inotify says that it changed, and the sessions
//! are reported whole when they differ from what was reported last.
//!
//! `utmp` makes sessions of bytes and is pure; the file, the processes and the waiting are here.
//!
//! There is no polling, so a session whose leader dies without a logout record (a killed sshd) goes when
//! the file is next written.

mod utmp;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{errno::Errno, fcntl::OFlag, sys::signal::kill, unistd::Pid, unistd::geteuid};
use secmon_protocol::{facet::Facet, session::Session};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::utmp::{MAX_UTMP, Processes};
use super::{
    Observation, Observations,
    path_watch::{Expect, PathWatch},
};

/// How long to wait before inotify is tried again when the system refused it.
const WATCH_RETRY: Duration = Duration::from_secs(30);

/// `[sessions]` of the node's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsConfig {
    /// The utmp file.
    pub utmp: PathBuf,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self { utmp: PathBuf::from("/run/utmp") }
    }
}

/// Watches sessions until `cancel`; reports [`Observation::Sessions`] at once and then on every change.
pub async fn watch(config: SessionsConfig, out: Observations, cancel: CancellationToken) {
    let work = run(&config.utmp, &out);
    tokio::select! {
        () = cancel.cancelled() => {}
        () = work => {}
    }
}

/// Ends only when nobody takes observations any more.
async fn run(path: &Path, out: &Observations) {
    let mut last = None;
    loop {
        // Watching before reading: what happens between the two is seen by the next wake-up.
        let mut watching = PathWatch::new(path, Expect::File).and_then(|mut w| w.arm().map(|()| w));
        loop {
            let seen = match &watching {
                Ok(_) => look(path, &Host),
                Err(e) => unwatchable(path, e),
            };
            if last.as_ref() != Some(&seen) {
                if out.send(Observation::Sessions(seen.clone())).await.is_err() {
                    return;
                }
                last = Some(seen);
            }
            let Ok(watch) = &mut watching else { break };
            if let Err(error) = wait(watch).await {
                watching = Err(error);
            }
        }
        tokio::time::sleep(WATCH_RETRY).await;
    }
}

async fn wait(watch: &mut PathWatch) -> io::Result<()> {
    watch.changed().await?;
    watch.arm()
}

fn unwatchable(path: &Path, error: &io::Error) -> Facet<String, Session> {
    warn!(path = %path.display(), %error, "cannot watch utmp");
    Facet::unavailable(
        format!("cannot watch {} by inotify: {error}", path.display()),
        "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches with sysctl",
    )
}

/// The sessions that the file at `path` records. Reads in place: utmp is small and lives in memory.
fn look(path: &Path, processes: &impl Processes) -> Facet<String, Session> {
    let shown = path.display();
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(Unreadable::Io(e)) if e.kind() == io::ErrorKind::NotFound => {
            return Facet::unavailable(
                format!("no utmp file at {shown}: this system does not record logins there"),
                "set sessions.utmp to where this system keeps its utmp file; where it keeps none, logins are seen \
                 by the auth log alone, because this version does not read systemd-logind",
            );
        }
        Err(Unreadable::Io(e)) if e.kind() == io::ErrorKind::PermissionDenied => {
            return Facet::unavailable(
                format!("cannot read {shown} as uid {}: {e}", geteuid()),
                format!(
                    "run the node as root, or let uid {} read {shown} (its usual mode is 0664)",
                    geteuid()
                ),
            );
        }
        Err(Unreadable::Io(e)) => return Facet::unavailable(format!("cannot read {shown}: {e}"), ""),
        Err(Unreadable::NotAFile) => {
            return Facet::unavailable(
                format!("{shown} is not a regular file"),
                "set sessions.utmp to the utmp file of this system",
            );
        }
        Err(Unreadable::TooLarge) => {
            return Facet::unavailable(
                format!("{shown} is larger than {} MiB, which no utmp file is", MAX_UTMP >> 20),
                "set sessions.utmp to utmp, not to wtmp or btmp; else clear the file",
            );
        }
    };
    let parsed = utmp::sessions(&bytes, processes);
    debug!(
        sessions = parsed.sessions.len(),
        stale = parsed.stale,
        bad = parsed.bad,
        partial_bytes = parsed.partial,
        "read utmp"
    );
    Facet::Ready(BTreeMap::from_iter(parsed.sessions))
}

enum Unreadable {
    Io(io::Error),
    NotAFile,
    TooLarge,
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

/// The processes of this machine, as far as this pid namespace reaches.
struct Host;

impl Processes for Host {
    /// kill(2) with signal 0, as who(1) does it: it works where /proc is hidden (`hidepid`) or absent.
    fn exists(&self, pid: i32) -> bool {
        kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
    }
}

#[cfg(test)]
mod tests;
