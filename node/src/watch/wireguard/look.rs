//! One look: which interfaces there are, and what each of those that have a socket says of its peers.
//!
//! What must not live here: when to look, and what of it to report.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    io::{self, ErrorKind},
    path::PathBuf,
};

use futures::future::join_all;
use nix::unistd::geteuid;
use secmon_protocol::{facet::Facet, limits::MAX_ENTRIES, wireguard::WgPeerKey};
use tracing::debug;

use super::{
    WgFacet,
    schedule::Peers,
    socket::{self, Failure},
};

/// Most sockets in the directory; each is asked at the same time with a buffer of its own.
const MAX_INTERFACES: usize = 256;

/// Most entries of the directory that are looked at, whatever they are.
const MAX_FILES: usize = 4 * MAX_INTERFACES;

/// Longest name of an interface, in bytes: `IFNAMSIZ` of `linux/if.h` less its final zero.
const MAX_INTERFACE_NAME: usize = 15;

/// What one look found.
pub(super) struct Sight {
    /// What there is to report.
    pub facet: WgFacet,
    /// Whether there is something that can change without a word from inotify or rtnetlink.
    pub alive: bool,
    /// Whether a socket refused the connection.
    pub refused: bool,
    /// Whether a socket that is there gave no peers.
    pub failed: bool,
}

impl Sight {
    fn blind(reason: String, remedy: &str) -> Self {
        let facet = Facet::unavailable(reason, remedy);
        Self { facet, alive: false, refused: false, failed: false }
    }
}

/// How much one look covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Which interfaces there are, and their peers.
    Everything,
    /// The peers of the interfaces that are known already; for when nothing told that others came. It
    /// spares reading a file for every network interface of any kind, of which there may be thousands.
    Peers,
}

/// Which interfaces there are.
struct Interfaces {
    /// Those that have a socket.
    with_socket: BTreeSet<String>,
    /// The first of the kernel's own.
    of_kernel: io::Result<Option<String>>,
}

/// Looks, and remembers which interfaces there are and what it told the log.
pub(super) struct Looker {
    /// Where the sockets are.
    uapi_dir: PathBuf,
    /// `/sys/class/net`.
    class_net: PathBuf,
    /// As of the latest look at everything; none when that must be looked at again.
    known: Option<Interfaces>,
    /// Names that cannot be an interface's, as of the latest look at everything.
    odd: BTreeSet<OsString>,
    /// Interfaces at whose socket nobody answered, as of the latest look.
    dead: BTreeSet<String>,
}

impl Looker {
    pub(super) fn new(uapi_dir: PathBuf, class_net: PathBuf) -> Self {
        Self { uapi_dir, class_net, known: None, odd: BTreeSet::new(), dead: BTreeSet::new() }
    }

    /// Looks once, at all interfaces at the same time; it takes as long as the slowest of them.
    pub(super) async fn look(&mut self, scope: Scope) -> Sight {
        let known = match self.known.take() {
            Some(known) if scope == Scope::Peers => known,
            _ => match self.with_socket() {
                Ok(Some(with_socket)) => Interfaces { with_socket, of_kernel: self.of_kernel() },
                Ok(None) => {
                    let dir = self.uapi_dir.display();
                    let reason =
                        format!("{dir} holds more than {MAX_INTERFACES} sockets, or {MAX_FILES} files");
                    return Sight::blind(reason, "remove what interfaces that are gone have left there");
                }
                Err(e) => {
                    let reason = format!("cannot read {} as uid {}: {e}", self.uapi_dir.display(), geteuid());
                    return Sight::blind(reason, "run the node as root");
                }
            },
        };
        let sight = self.ask_all(&known).await;
        // Nothing tells when an interface can be listed that could not be before.
        self.known = Some(known).filter(|known| known.of_kernel.is_ok());
        sight
    }

    async fn ask_all(&mut self, known: &Interfaces) -> Sight {
        let ask = async |name: &String| socket::ask(&self.uapi_dir.join(format!("{name}.sock"))).await;
        let answers = join_all(known.with_socket.iter().map(ask)).await;
        let mut sight = Sight { facet: Facet::Pending, alive: false, refused: false, failed: false };
        let mut peers = Peers::new();
        let mut missed = None;
        let mut dead = BTreeSet::new();
        for (interface, answer) in known.with_socket.iter().zip(answers) {
            match answer {
                Ok(found) => {
                    sight.alive = true;
                    let key = |public_key| WgPeerKey { interface: interface.clone(), public_key };
                    peers.extend(found.into_iter().map(|(public_key, peer)| (key(public_key), peer)));
                }
                Err(Failure::Dead(error)) => {
                    if !self.dead.contains(interface) {
                        debug!(interface, %error, "nobody answers at this socket");
                    }
                    sight.refused |= error.kind() == ErrorKind::ConnectionRefused;
                    dead.insert(interface.clone());
                }
                Err(error) => {
                    sight.alive = true;
                    sight.failed = true;
                    missed.get_or_insert_with(|| {
                        (format!("cannot read WireGuard interface {interface}: {error}"), error.remedy())
                    });
                }
            }
        }
        self.dead = dead;
        match &known.of_kernel {
            Ok(None) => {}
            Ok(Some(name)) => {
                missed.get_or_insert((
                    format!("{name} is a WireGuard interface of the kernel, which this version cannot read"),
                    "use wireguard-go for it, or set wireguard.enabled to false",
                ));
            }
            Err(e) => {
                // Nothing tells when it is mounted.
                sight.alive = true;
                missed.get_or_insert((
                    format!(
                        "cannot list network interfaces in {}, some of which may be WireGuard: {e}",
                        self.class_net.display()
                    ),
                    "mount sysfs at /sys",
                ));
            }
        }
        if peers.len() > MAX_ENTRIES {
            missed.get_or_insert((
                format!("there are more than {MAX_ENTRIES} WireGuard peers, the most that a node reports"),
                "",
            ));
        }
        sight.facet = match missed {
            Some((reason, remedy)) => Facet::unavailable(reason, remedy),
            None => Facet::Ready(peers),
        };
        sight
    }

    /// Names of the interfaces that have a socket; a missing directory has none. `None`: too many.
    fn with_socket(&mut self) -> io::Result<Option<BTreeSet<String>>> {
        let entries = match fs::read_dir(&self.uapi_dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Some(BTreeSet::new())),
            other => other?,
        };
        let (mut names, mut odd) = (BTreeSet::new(), BTreeSet::new());
        for (index, entry) in entries.enumerate() {
            if index == MAX_FILES {
                return Ok(None);
            }
            let file = entry?.file_name();
            let Some(name) = file.as_encoded_bytes().strip_suffix(b".sock") else { continue };
            if let Some(name) = interface_name(name) {
                names.insert(name.to_owned());
            } else {
                if !self.odd.contains(&file) {
                    debug!(?file, "ignored: no interface can have this name");
                }
                odd.insert(file);
            }
        }
        self.odd = odd;
        Ok((names.len() <= MAX_INTERFACES).then_some(names))
    }

    /// The first interface of the kernel's own WireGuard: `DEVTYPE=wireguard` in its uevent file (sysfs).
    fn of_kernel(&self) -> io::Result<Option<String>> {
        let mut first = None;
        for entry in fs::read_dir(&self.class_net)? {
            let entry = entry?;
            // What is not a folder, or goes just now, is none.
            let is_wireguard = fs::read_to_string(entry.path().join("uevent"))
                .is_ok_and(|uevent| uevent.lines().any(|line| line == "DEVTYPE=wireguard"));
            if is_wireguard {
                let name = entry.file_name().to_string_lossy().into_owned();
                if first.as_ref().is_none_or(|f| name < *f) {
                    first = Some(name);
                }
            }
        }
        Ok(first)
    }
}

/// What the kernel takes as a name (`dev_valid_name` in `net/core/dev.c`), of text without control
/// characters.
fn interface_name(bytes: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(bytes).ok()?;
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    let valid = !matches!(name, "" | "." | "..") && name.len() <= MAX_INTERFACE_NAME;
    (valid && !name.contains(odd)).then_some(name)
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
