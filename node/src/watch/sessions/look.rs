//! Looking at utmp: the file as it stands, and which of its records are logins whose processes live.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::{fcntl::OFlag, unistd::geteuid};
use secmon_protocol::facet::Unavailable;
use tracing::debug;

use super::{
    process::{Owner, Processes},
    utmp::{Entry, Layout, Login, MAX_UTMP, Sort, entries},
    view::UtmpLogin,
};

/// What is known of the records in utmp, by key.
#[derive(Default)]
pub(super) struct Records(BTreeMap<String, Known>);

#[derive(Clone, Default)]
struct Known {
    pid: i32,
    /// The session that owns its process, once that is known: it stays the same.
    owner: Option<Owner>,
    /// Its process was seen to be gone. A pid is used again, by somebody else.
    stale: bool,
}

impl Records {
    /// Process `pid` has ended.
    pub(super) fn end(&mut self, pid: u32) {
        for known in self.0.values_mut().filter(|known| u32::try_from(known.pid) == Ok(pid)) {
            known.stale = true;
        }
    }

    /// The logins that the file at `path` records and whose processes live. Reads in place: utmp is small and
    /// lives in memory.
    pub(super) fn look(
        &mut self,
        path: &Path,
        processes: &impl Processes,
    ) -> Result<Vec<UtmpLogin>, Unavailable> {
        let bytes = read(path).map_err(|error| error.explained(path))?;
        let (entries, partial) = entries(&bytes, Layout::of(&bytes));
        let (mut logins, mut bad) = (Vec::new(), 0);
        let mut before = std::mem::take(&mut self.0);
        for entry in entries {
            match entry {
                Entry::Login(login) => {
                    let mut known = before.remove(&login.key()).unwrap_or_default();
                    known.pid = login.pid;
                    let key = login.key();
                    logins.extend(known.check(login, processes));
                    self.0.insert(key, known);
                }
                Entry::Bad => bad += 1,
                Entry::Logout { .. } | Entry::Prompt(_) | Entry::Boot | Entry::Other => {}
            }
        }
        let stale = self.0.values().filter(|known| known.stale).count();
        debug!(logins = logins.len(), stale, bad, partial_bytes = partial, "read utmp");
        Ok(logins)
    }
}

impl Known {
    /// What a record is, if its process lives and it is a login.
    fn check(&mut self, mut login: Login, processes: &impl Processes) -> Option<UtmpLogin> {
        if login.pid <= 0 {
            return Some(UtmpLogin { login, owner: Owner::Unknown });
        }
        // A pid of another pid namespace does not exist here.
        self.stale |= !processes.exists(login.pid);
        if self.stale {
            return None;
        }
        if let Some(owner) = &self.owner {
            return Some(UtmpLogin { login, owner: owner.clone() });
        }
        let owner = processes.owner(login.pid);
        if matches!(owner, Owner::Session(_)) {
            self.owner = Some(owner.clone());
        }
        if owner == Owner::Nobody || login.sort == Sort::Roaming {
            match processes.program(login.pid) {
                // sudo records the terminal that it makes for a command (sudoers(5), use_pty).
                Some((program, true)) if program == "sudo" && owner == Owner::Nobody => return None,
                // Anybody may have a record written that looks like mosh's.
                Some((program, _)) if login.sort == Sort::Roaming && program != "mosh-server" => {
                    login.sort = Sort::Window;
                }
                _ => {}
            }
        }
        Some(UtmpLogin { login, owner })
    }
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
