//! One look: which interfaces there are, by sockets and by the kernel, and what each says of its peers.
//!
//! What must not live here: when to look, and what of it to report.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt, fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use futures::future::join_all;
use nix::unistd::geteuid;
use secmon_protocol::{
    facet::Facet,
    limits::MAX_ENTRIES,
    wireguard::{WgPeer, WgPeerKey, WgPublicKey},
};
use tracing::debug;

use super::{
    WgFacet,
    ages::{self, Handshakes},
    netlink::{self, Kernel},
    schedule::Peers,
    socket,
    uapi::Answer,
};

/// Most interfaces that have a socket; each is asked at the same time with a buffer of its own.
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
    /// Whether an interface that is there gave no peers, and may give them in a moment.
    pub failed: bool,
    /// Whether there are other interfaces than at the look before, so that peers may come soon.
    pub moved: bool,
}

impl Sight {
    fn blind(reason: String, remedy: &str) -> Box<Self> {
        let facet = Facet::unavailable(reason, remedy);
        Box::new(Self { facet, alive: false, refused: false, failed: false, moved: false })
    }
}

/// How much one look covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Which interfaces there are, and their peers.
    Everything,
    /// The peers of the interfaces that are known already; for when nothing told that others came. It
    /// spares listing all network interfaces, of which there may be thousands.
    Peers,
}

/// Which interfaces there are.
struct Interfaces {
    /// The sockets of each that has any, in the order of the folders.
    sockets: BTreeMap<String, Vec<PathBuf>>,
    /// The kernel's own, with their indices.
    of_kernel: Result<BTreeMap<String, u32>, netlink::Failure>,
}

impl Interfaces {
    fn differ_from(&self, other: &Self) -> bool {
        self.sockets != other.sockets || self.of_kernel.as_ref().ok() != other.of_kernel.as_ref().ok()
    }
}

/// Looks, and remembers which interfaces there are and what it told the log.
pub(super) struct Looker<K> {
    /// Where the sockets are.
    uapi_dirs: Vec<PathBuf>,
    kernel: K,
    /// As of the latest look at everything; none when that must be looked at again.
    known: Option<Interfaces>,
    /// Names that cannot be an interface's, as of the latest look at everything.
    odd: BTreeSet<OsString>,
    /// Interfaces at whose socket nobody answered, as of the latest look.
    dead: BTreeSet<String>,
    /// The handshakes of interfaces that tell ages, as of the latest look.
    handshakes: BTreeMap<String, Handshakes>,
}

impl<K: Kernel> Looker<K> {
    pub(super) fn new(uapi_dirs: Vec<PathBuf>, kernel: K) -> Self {
        Self {
            uapi_dirs,
            kernel,
            known: None,
            odd: BTreeSet::new(),
            dead: BTreeSet::new(),
            handshakes: BTreeMap::new(),
        }
    }

    /// Looks once, at all sockets at the same time; it takes as long as the slowest of them.
    pub(super) async fn look(&mut self, scope: Scope) -> Sight {
        let mut found = Found::default();
        let known = match self.known.take() {
            Some(known) if scope == Scope::Peers => known,
            before => match self.sockets() {
                Ok(sockets) => {
                    let known = Interfaces { sockets, of_kernel: self.kernel.interfaces().await };
                    found.moved = before.is_some_and(|before| before.differ_from(&known));
                    known
                }
                Err(sight) => return *sight,
            },
        };
        // The kernel is asked last: who answers at a socket may be on the way out, and takes its time.
        self.ask_sockets(&known, &mut found).await;
        self.ask_kernel(&known, &mut found).await;
        // Nothing tells when interfaces can be listed that could not be before.
        self.known = Some(known).filter(|known| known.of_kernel.is_ok());
        found.into_sight()
    }

    async fn ask_sockets(&mut self, known: &Interfaces, found: &mut Found) {
        // In this namespace the kernel's interface has the name: a socket of that name was left behind, or belongs
        // to an interface of another namespace.
        let foreign = |name: &String| known.of_kernel.as_ref().is_ok_and(|names| names.contains_key(name));
        let sockets: Vec<_> = known.sockets.iter().filter(|(name, _)| !foreign(name)).collect();
        let answers = join_all(sockets.iter().map(|(_, paths)| ask_first(paths))).await;
        let mut dead = BTreeSet::new();
        let mut handshakes = BTreeMap::new();
        for ((interface, _), answer) in sockets.into_iter().zip(answers) {
            match answer {
                Ok(mut answer) => {
                    if answer.from_ages {
                        let before = self.handshakes.remove(interface).unwrap_or_default();
                        let after = ages::steady(&mut answer.peers, &before, crate::now());
                        handshakes.insert(interface.clone(), after);
                    }
                    found.add(interface, answer.peers);
                }
                Err(socket::Failure::Dead(error)) => {
                    if !self.dead.contains(interface) {
                        debug!(interface, %error, "nobody answers at this socket");
                    }
                    found.refused |= error.kind() == ErrorKind::ConnectionRefused;
                    dead.insert(interface.clone());
                }
                Err(error) => found.miss(interface, &error, error.remedy()),
            }
        }
        self.dead = dead;
        self.handshakes = handshakes;
    }

    async fn ask_kernel(&mut self, known: &Interfaces, found: &mut Found) {
        let interfaces = match &known.of_kernel {
            Ok(interfaces) => interfaces,
            Err(error) => {
                // Nothing tells when they can be listed.
                found.alive = true;
                let reason = format!("cannot list the WireGuard interfaces of the kernel: {error}");
                found
                    .missed
                    .get_or_insert((reason, "see whether `ip link show type wireguard` can list them"));
                return;
            }
        };
        for (interface, index) in interfaces {
            match self.kernel.peers(*index).await {
                Ok(peers) => found.add(interface, peers),
                // It is announced, and another look follows.
                Err(netlink::Failure::Gone) => debug!(interface, "it went before it was asked"),
                Err(error @ netlink::Failure::Forbidden) => {
                    // It is not tried once more in a moment: that would be refused as well.
                    found.alive = true;
                    let reason = format!("cannot read WireGuard interface {interface}: {error}");
                    found.missed.get_or_insert((reason, error.remedy()));
                }
                Err(error) => found.miss(interface, &error, error.remedy()),
            }
        }
    }

    /// The sockets of each interface that has any; a missing folder has none.
    fn sockets(&mut self) -> Result<BTreeMap<String, Vec<PathBuf>>, Box<Sight>> {
        let (mut sockets, mut odd) = (BTreeMap::new(), BTreeSet::new());
        for dir in &self.uapi_dirs {
            match self.sockets_in(dir, &mut sockets, &mut odd) {
                Ok(true) => {}
                Ok(false) => {
                    let dir = dir.display();
                    let reason =
                        format!("{dir} holds more than {MAX_INTERFACES} sockets, or {MAX_FILES} files");
                    return Err(Sight::blind(reason, "remove what interfaces that are gone have left there"));
                }
                Err(e) => {
                    let reason = format!("cannot read {} as uid {}: {e}", dir.display(), geteuid());
                    return Err(Sight::blind(reason, "run the node as root"));
                }
            }
        }
        self.odd = odd;
        Ok(sockets)
    }

    /// Adds the sockets of one folder. False: there are too many.
    fn sockets_in(
        &self,
        dir: &Path,
        sockets: &mut BTreeMap<String, Vec<PathBuf>>,
        odd: &mut BTreeSet<OsString>,
    ) -> io::Result<bool> {
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
            other => other?,
        };
        for (index, entry) in entries.enumerate() {
            if index == MAX_FILES {
                return Ok(false);
            }
            let entry = entry?;
            let file = entry.file_name();
            let Some(name) = file.as_encoded_bytes().strip_suffix(b".sock") else { continue };
            if let Some(name) = interface_name(name) {
                sockets.entry(name.to_owned()).or_default().push(entry.path());
            } else {
                if !self.odd.contains(&file) {
                    debug!(?file, "ignored: no interface can have this name");
                }
                odd.insert(file);
            }
        }
        Ok(sockets.len() <= MAX_INTERFACES)
    }
}

/// Asks the first of the sockets at which somebody listens.
async fn ask_first(paths: &[PathBuf]) -> Result<Answer, socket::Failure> {
    let mut answer = Err(socket::Failure::Dead(ErrorKind::NotFound.into()));
    for path in paths {
        answer = socket::ask(path).await;
        if !matches!(answer, Err(socket::Failure::Dead(_))) {
            break;
        }
    }
    answer
}

/// What was found so far.
#[derive(Default)]
struct Found {
    peers: Peers,
    /// Why there are others, and what would mend it: of the first interface that was missed.
    missed: Option<(String, &'static str)>,
    alive: bool,
    refused: bool,
    failed: bool,
    moved: bool,
}

impl Found {
    fn add(&mut self, interface: &str, peers: BTreeMap<WgPublicKey, WgPeer>) {
        self.alive = true;
        let key = |public_key| WgPeerKey { interface: interface.to_owned(), public_key };
        self.peers.extend(peers.into_iter().map(|(public_key, peer)| (key(public_key), peer)));
    }

    fn miss(&mut self, interface: &str, error: &dyn fmt::Display, remedy: &'static str) {
        self.alive = true;
        self.failed = true;
        self.missed
            .get_or_insert_with(|| (format!("cannot read WireGuard interface {interface}: {error}"), remedy));
    }

    fn into_sight(mut self) -> Sight {
        if self.peers.len() > MAX_ENTRIES {
            self.missed.get_or_insert((
                format!("there are more than {MAX_ENTRIES} WireGuard peers, the most that a node reports"),
                "",
            ));
        }
        let facet = match self.missed {
            Some((reason, remedy)) => Facet::unavailable(reason, remedy),
            None => Facet::Ready(self.peers),
        };
        let Self { alive, refused, failed, moved, .. } = self;
        Sight { facet, alive, refused, failed, moved }
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
