//! What a node that is not root must be given to see everything: a list, looked at, with what is not seen without
//! each and how to grant it. What a watcher cannot see it says itself as well, when it tries.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{AT_FDCWD, AtFlags},
    unistd::{AccessFlags, User, faccessat, geteuid},
};
use secmon_protocol::text::printable;

/// `CAP_NET_ADMIN` of capabilities(7), by its number in `<linux/capability.h>`.
const NET_ADMIN: u32 = 12;
/// Most files of one kind that are looked at: one that is denied is enough.
const FILES: usize = 64;

/// Where this system has what a node reads.
#[derive(Debug, Clone)]
struct Places {
    /// Capabilities, proc_pid_status(5).
    status: PathBuf,
    /// Folders of folders of journals.
    journals: Vec<PathBuf>,
    /// The auth log, Debian's and Red Hat's.
    auth: Vec<PathBuf>,
    /// Failed logins, btmp of utmp(5).
    btmp: PathBuf,
    /// The sockets of WireGuard in user space.
    wireguard: PathBuf,
    /// A process of another user.
    other: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            status: "/proc/self/status".into(),
            journals: vec!["/run/log/journal".into(), "/var/log/journal".into()],
            auth: vec!["/var/log/auth.log".into(), "/var/log/secure".into()],
            btmp: "/var/log/btmp".into(),
            wireguard: "/var/run/wireguard".into(),
            other: "/proc/1/stat".into(),
        }
    }
}

/// Whether something is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// It is.
    Given,
    /// It is not; in words, how that shows.
    Missing(String),
    /// This system has nothing to which it would open the way.
    NotHere,
}

/// One thing that a node must be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What it is for.
    pub what: &'static str,
    /// Whether it is granted.
    pub grant: Grant,
    /// What is not seen without it.
    pub unseen: &'static str,
    /// How to grant it: a line of a systemd unit, or what else there is.
    pub how: &'static str,
}

/// What this process has been given of all that a node needs.
#[must_use]
pub fn needs() -> Vec<Need> {
    look(&Places::default())
}

/// Says in the log, once, what is lacking.
pub(crate) fn tell() {
    for Need { what, grant, unseen, how } in needs() {
        if let Grant::Missing(why) = grant {
            // Not a warning: the watchers give that of what is really there to be seen.
            tracing::info!(%what, %why, %unseen, %how, "this node does not see everything");
        }
    }
}

fn look(places: &Places) -> Vec<Need> {
    vec![
        Need {
            what: "WireGuard of the kernel",
            grant: capability(&places.status),
            unseen: "the peers of the kernel's WireGuard interfaces",
            how: "AmbientCapabilities=CAP_NET_ADMIN",
        },
        Need {
            what: "WireGuard in user space",
            grant: all(sockets(&places.wireguard), AccessFlags::W_OK),
            unseen: "the peers of wireguard-go, boringtun and others like them",
            how: "their sockets are root's, and no group opens them: only a node that is root sees these",
        },
        Need {
            what: "auth log from journald",
            grant: all(journals(&places.journals), AccessFlags::R_OK),
            unseen: "logins, failures, sudo and su, and who wrote each line, where journald has the log",
            how: "SupplementaryGroups=systemd-journal",
        },
        Need {
            what: "auth log from files",
            grant: all(Ok(places.auth.clone()), AccessFlags::R_OK),
            unseen: "logins, failures, sudo and su, where the log is a file",
            how: "SupplementaryGroups=adm; where the file is root's alone, as on Red Hat's systems, use journald",
        },
        Need {
            what: "failed logins (btmp)",
            grant: all(Ok(vec![places.btmp.clone()]), AccessFlags::R_OK),
            unseen: "failed logins at terminals that the auth log does not tell of",
            how: "SupplementaryGroups=utmp",
        },
        Need {
            what: "processes of others",
            grant: match all(Ok(vec![places.other.clone()]), AccessFlags::R_OK) {
                // Every system has a first process: hidepid=2 hides even that, where 1 denies.
                Grant::NotHere => Grant::Missing(format!("{}: hidden", places.other.display())),
                grant => grant,
            },
            unseen: "which session a terminal belongs to, and when its leader ends",
            how: "/proc is mounted with hidepid: SupplementaryGroups= with the group of its gid= option",
        },
    ]
}

fn capability(status: &Path) -> Grant {
    let text = fs::read_to_string(status).unwrap_or_default();
    let effective = text
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    match effective {
        Some(bits) if bits & (1 << NET_ADMIN) != 0 => Grant::Given,
        _ => Grant::Missing("CAP_NET_ADMIN is not among its capabilities".to_owned()),
    }
}

/// Whether all of these that there are may be used so.
fn all(paths: io::Result<Vec<PathBuf>>, mode: AccessFlags) -> Grant {
    let paths = match paths {
        Ok(paths) => paths,
        Err(error) => return Grant::Missing(error.to_string()),
    };
    let mut grant = Grant::NotHere;
    for path in paths {
        match faccessat(AT_FDCWD, &path, mode, AtFlags::AT_EACCESS) {
            Ok(()) => grant = Grant::Given,
            Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => {}
            Err(error) => {
                return Grant::Missing(format!("{}: {}", path.display(), io::Error::from(error)));
            }
        }
    }
    grant
}

/// The system's journals, of all machines whose folders lie there.
fn journals(folders: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let machines = folders.iter().map(|folder| entries(folder)).collect::<io::Result<Vec<_>>>()?;
    Ok(machines.into_iter().flatten().map(|machine| machine.join("system.journal")).collect())
}

fn sockets(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = entries(folder)?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "sock"));
    Ok(found)
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(found) => Ok(found.flatten().take(FILES).map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", folder.display()))),
    }
}

/// What a node was given, for people.
#[derive(Debug)]
pub struct Report {
    needs: Vec<Need>,
    user: String,
}

impl Report {
    /// Of this process.
    #[must_use]
    pub fn new() -> Self {
        let uid = geteuid();
        let name = User::from_uid(uid).ok().flatten().map_or_else(|| "no name".to_owned(), |user| user.name);
        Self { needs: needs(), user: format!("{name} (uid {uid})") }
    }

    /// Whether nothing is lacking.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.needs.iter().any(|need| matches!(need.grant, Grant::Missing(_)))
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "What a node sees as {}:\n", printable(&self.user))?;
        for Need { what, grant, unseen, how } in &self.needs {
            match grant {
                Grant::Given => writeln!(f, "✓ yes   {what}")?,
                Grant::NotHere => writeln!(f, "-       {what}: this server has none")?,
                Grant::Missing(why) => {
                    writeln!(f, "✗ NO    {what}: {}", printable(why))?;
                    writeln!(f, "          not seen: {unseen}")?;
                    writeln!(f, "          grant it: {how}")?;
                }
            }
        }
        match self.is_complete() {
            true => write!(f, "\nNothing is lacking."),
            false => write!(
                f,
                "\nLines with `=` belong into [Service] of the node's unit; see docs/operating.md, \"Running without root\"."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_no_lack_and_what_is_denied_says_what_is_not_seen() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let places = Places {
            status: at("status"),
            journals: vec![at("journal"), at("nothing")],
            auth: vec![at("auth.log"), at("secure")],
            btmp: at("btmp"),
            wireguard: at("wireguard"),
            other: at("other"),
        };
        let given = |needs: &[Need]| needs.iter().map(|need| need.grant.clone()).collect::<Vec<_>>();
        fs::write(&places.status, "Name:\tx\nCapEff:\t0000000000001000\n").unwrap();
        let needs = look(&places);
        let [capability, rest @ .., processes] = &given(&needs)[..] else { panic!("{needs:?}") };
        assert_eq!(*capability, Grant::Given);
        assert!(rest.iter().all(|grant| *grant == Grant::NotHere), "{needs:?}");
        // The first process is everywhere: one that is not there is hidden.
        assert!(matches!(processes, Grant::Missing(why) if why.ends_with("other: hidden")), "{needs:?}");

        fs::write(&places.status, "CapEff:\t0000000000000fff\n").unwrap();
        fs::create_dir_all(at("journal/0123")).unwrap();
        fs::write(at("journal/0123/system.journal"), "").unwrap();
        fs::write(at("secure"), "").unwrap();
        // A file in the place of a folder is an error other than that it is not there.
        fs::write(at("wireguard"), "").unwrap();
        let needs = look(&places);
        assert!(matches!(given(&needs)[0], Grant::Missing(_)));
        assert!(matches!(given(&needs)[1], Grant::Missing(_)));
        assert_eq!(given(&needs)[2..4], [Grant::Given, Grant::Given]);

        let report = Report { needs, user: "secmon (uid 998)".to_owned() };
        assert!(!report.is_complete());
        let text = report.to_string();
        for words in [
            "uid 998",
            "✗ NO    WireGuard of the kernel",
            "AmbientCapabilities=CAP_NET_ADMIN",
            "✓ yes   auth log",
        ] {
            assert!(text.contains(words), "{text}");
        }
    }
}
