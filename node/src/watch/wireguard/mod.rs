//! WireGuard peers, over the Unix sockets that userspace implementations (wireguard-go) make. Directory and
//! sockets are here; [`uapi`] reads an answer and [`schedule`] decides when and what, both pure.
//!
//! While no interface answers, only inotify wakes this watcher. Interfaces of the kernel cannot be read
//! here: one that has no socket makes the facet unavailable.

mod schedule;
mod socket;
mod uapi;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures::future::join_all;
use nix::unistd::geteuid;
use secmon_protocol::{
    facet::Facet,
    time::UnixNanos,
    wireguard::{WgPeer, WgPeerKey},
};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::{
    schedule::{Peers, Reporter, until_next_look},
    socket::Failure,
};
use super::{
    Observation, Observations,
    path_watch::{Expect, PathWatch},
};

/// How long to wait before inotify is tried again when the system refused it.
const WATCH_RETRY: Duration = Duration::from_secs(30);

/// Looks at a socket that refuses, after the directory changed: its file appears a moment before it
/// listens. Later it counts as left behind by a killed daemon.
const REFUSED_TRIES: u32 = 6;

/// Before the first of these looks; doubled for each next one.
const REFUSED_DELAY: Duration = Duration::from_millis(100);

/// Most sockets in the directory; each is asked at the same time with a buffer of its own.
const MAX_INTERFACES: usize = 256;

/// `[wireguard]` of the node's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WireguardConfig {
    /// Whether peers are watched.
    pub enabled: bool,
    /// Where userspace implementations put `INTERFACE.sock`.
    pub uapi_dir: PathBuf,
    /// Counters alone are reported at most once in so many seconds.
    pub counters_every: u64,
}

impl Default for WireguardConfig {
    fn default() -> Self {
        Self { enabled: true, uapi_dir: PathBuf::from("/var/run/wireguard"), counters_every: 60 }
    }
}

type WgFacet = Facet<WgPeerKey, WgPeer>;

/// Watches peers until `cancel`; reports [`Observation::WgPeers`] at once and then on every change.
pub async fn watch(config: WireguardConfig, out: Observations, cancel: CancellationToken) {
    let work = async {
        if config.enabled {
            run(&config, &out).await;
        } else {
            let _ = out.send(Observation::WgPeers(Facet::NotMonitored)).await;
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = work => {}
    }
}

/// Ends only when nobody takes observations any more.
async fn run(config: &WireguardConfig, out: &Observations) {
    let mut reporter = Reporter::new(Duration::from_secs(config.counters_every));
    let mut refused_tries = 0;
    loop {
        let mut watching =
            PathWatch::new(&config.uapi_dir, Expect::Directory).and_then(|mut w| w.arm().map(|()| w));
        loop {
            let sight = look(&config.uapi_dir).await;
            let seen = match &watching {
                Ok(_) => sight.facet,
                Err(error) => unwatchable(&config.uapi_dir, error),
            };
            let refused = sight.refused && refused_tries < REFUSED_TRIES;
            let mut next = sight.alive.then(|| {
                let none = Peers::new();
                let peers = if let Facet::Ready(peers) = &seen { peers } else { &none };
                until_next_look(peers, wall_clock(), reporter.since_change(Instant::now()))
            });
            if refused {
                let delay = REFUSED_DELAY * 2_u32.pow(refused_tries);
                next = Some(next.map_or(delay, |n| n.min(delay)));
                refused_tries += 1;
            }
            if let Some(news) = reporter.handle_seen(seen, Instant::now())
                && out.send(Observation::WgPeers(news)).await.is_err()
            {
                return;
            }
            let Ok(watch) = &mut watching else { break };
            let timer = async {
                match next {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => std::future::pending().await,
                }
            };
            let woken = tokio::select! {
                changed = watch.changed() => Some(changed),
                () = timer => None,
            };
            if let Some(changed) = woken {
                refused_tries = 0;
                if let Err(error) = changed.and_then(|()| watch.arm()) {
                    watching = Err(error);
                }
            }
        }
        tokio::time::sleep(WATCH_RETRY).await;
    }
}

fn wall_clock() -> UnixNanos {
    jiff::Timestamp::now().into()
}

fn unwatchable(path: &Path, error: &io::Error) -> WgFacet {
    warn!(path = %path.display(), %error, "cannot watch the WireGuard sockets");
    Facet::unavailable(
        format!("cannot watch {} by inotify: {error}", path.display()),
        "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches with sysctl",
    )
}

/// What one look found.
struct Sight {
    facet: WgFacet,
    /// Whether something is there to be asked again.
    alive: bool,
    /// Whether a socket refused the connection.
    refused: bool,
}

impl Sight {
    fn blind(reason: String, remedy: &str) -> Self {
        Self { facet: Facet::unavailable(reason, remedy), alive: false, refused: false }
    }
}

async fn look(dir: &Path) -> Sight {
    let names = match interfaces(dir) {
        Ok(names) if names.len() > MAX_INTERFACES => {
            let reason = format!("{} holds more than {MAX_INTERFACES} sockets", dir.display());
            return Sight::blind(reason, "remove the sockets of interfaces that are gone");
        }
        Ok(names) => names,
        Err(e) => {
            let reason = format!("cannot read {} as uid {}: {e}", dir.display(), geteuid());
            return Sight::blind(reason, "run the node as root");
        }
    };
    let answers =
        join_all(names.iter().map(async |name| (name, socket::ask(&dir.join(format!("{name}.sock"))).await)))
            .await;
    let mut sight = Sight { facet: Facet::Pending, alive: false, refused: false };
    let mut peers = Peers::new();
    let mut failed = None;
    for (name, answer) in answers {
        match answer {
            Ok(found) => {
                sight.alive = true;
                peers.extend(
                    found
                        .into_iter()
                        .map(|(public_key, peer)| (WgPeerKey { interface: name.clone(), public_key }, peer)),
                );
            }
            Err(Failure::Dead(e)) => {
                debug!(interface = %name, error = %e, "nobody answers at this socket");
                sight.refused |= e.kind() == io::ErrorKind::ConnectionRefused;
            }
            Err(e) => {
                sight.alive = true;
                failed = Some((format!("cannot read WireGuard interface {name}: {e}"), e.remedy()));
            }
        }
    }
    if let Some(kernel) = kernel_interfaces(Path::new("/sys/class/net")).difference(&names).next() {
        failed.get_or_insert((
            format!("{kernel} is a WireGuard interface of the kernel, which this version cannot read"),
            "use wireguard-go for it, or set wireguard.enabled to false",
        ));
    }
    sight.facet = match failed {
        Some((reason, remedy)) => Facet::unavailable(reason, remedy),
        None => Facet::Ready(peers),
    };
    sight
}

/// Names of the interfaces that have a socket; a missing directory has none.
fn interfaces(dir: &Path) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        other => other?,
    };
    let mut names = BTreeSet::new();
    for entry in entries.take(4 * MAX_INTERFACES) {
        if let Some(name) = entry?.file_name().to_str().and_then(|n| n.strip_suffix(".sock")) {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

/// Interfaces of the kernel's own WireGuard: `DEVTYPE=wireguard` in their uevent file (sysfs).
fn kernel_interfaces(class_net: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(class_net) else { return BTreeSet::new() };
    entries
        .flatten()
        .filter(|entry| {
            fs::read_to_string(entry.path().join("uevent"))
                .is_ok_and(|uevent| uevent.lines().any(|line| line == "DEVTYPE=wireguard"))
        })
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
