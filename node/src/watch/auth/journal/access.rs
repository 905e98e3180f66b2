//! Whether journald runs, and whether its system journal can be read: looked at, not tried, so that it
//! costs next to nothing and tells what to do.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::{fs::MetadataExt, net::UnixDatagram},
    path::{Path, PathBuf},
};

use secmon_protocol::facet::Unavailable;

/// The folders that hold a system journal, by device and inode. journalctl looks for them when it starts, and
/// does not see one that comes later, as `/var/log/journal` does after `journalctl --flush`.
pub(super) type Places = BTreeSet<(u64, u64)>;

/// Where journald listens, and where it keeps journals.
#[derive(Debug, Clone)]
pub(super) struct Access {
    /// journald's native socket: who listens there keeps a journal.
    pub(super) socket: PathBuf,
    /// Where journals are kept, volatile and persistent.
    pub(super) folders: Vec<PathBuf>,
}

impl Access {
    /// The places of the journal that can be read; why there is none, and what to do.
    pub(super) fn check(&self) -> Result<Places, Unavailable> {
        let socket = UnixDatagram::unbound().and_then(|probe| probe.connect(&self.socket));
        if let Err(error) = socket {
            let why = match error.kind() {
                io::ErrorKind::NotFound => "not running".to_owned(),
                io::ErrorKind::ConnectionRefused => "its socket is there, but nobody listens".to_owned(),
                _ => format!("cannot connect to {}: {error}", self.socket.display()),
            };
            return Err(Unavailable {
                reason: format!("cannot read journald: {why}"),
                remedy: "start systemd-journald".to_owned(),
            });
        }
        let (mut places, mut denied) = (Places::new(), None);
        for folder in &self.folders {
            if let Err(error) = readable_journals(folder, &mut places) {
                denied = Some((folder, error));
            }
        }
        if !places.is_empty() {
            return Ok(places);
        }
        Err(match denied {
            Some((folder, error)) => Unavailable {
                reason: format!("cannot read the system journal in {}: {}", folder.display(), kind(&error)),
                remedy: "run the node as root, or add its user to group systemd-journal or adm".to_owned(),
            },
            None => Unavailable {
                reason: "journald runs, but keeps no system journal".to_owned(),
                remedy: "set Storage=auto in journald.conf".to_owned(),
            },
        })
    }
}

/// Finds the readable system journals of any machine id in `folder`; an error when there is, or may be, one
/// that is not readable.
fn readable_journals(folder: &Path, places: &mut Places) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut denied = None;
    for entry in entries {
        let entry = entry?;
        match fs::File::open(entry.path().join("system.journal")) {
            Ok(_) => {
                let meta = entry.metadata()?;
                places.insert((meta.dev(), meta.ino()));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(error),
            Err(_) => {}
        }
    }
    denied.map_or(Ok(()), Err)
}

/// An error in plain words, without its number.
pub(super) fn kind(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "not found".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
