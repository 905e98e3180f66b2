//! WireGuard peers, over the Unix sockets that userspace implementations (wireguard-go) make. When to look
//! is decided here and in `schedule`; `look` finds the interfaces, `socket` asks one of them, `uapi`
//! reads its answer, and `links` hears of interfaces of the kernel. `schedule` and `uapi` are pure.
//!
//! The sockets tell nothing on their own, so an interface that answers is asked again and again. While none
//! does, only inotify and rtnetlink wake this watcher.
//!
//! One interface that cannot be read makes the whole facet unavailable, the peers of the others with it: a
//! monitor that cannot see everything must not look as if it did. That holds for interfaces of the kernel,
//! which cannot be read here. So that the facet does not flap, a socket has to fail twice in a row, and
//! the reason given is that of the first interface by name. A machine that has neither a socket nor such an
//! interface has no peers to see, and the facet is ready and empty.

mod links;
mod look;
mod schedule;
mod socket;
mod uapi;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use secmon_protocol::{
    facet::Facet,
    wireguard::{WgPeer, WgPeerKey},
};
use serde::Deserialize;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::{
    links::Links,
    look::{Looker, Scope},
    schedule::Reporter,
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

/// After a look at which a socket failed for the first time: a daemon that ends while it answers fails,
/// and is gone, or new, a moment later.
const DOUBT_DELAY: Duration = Duration::from_millis(200);

/// After the first word about a change of interfaces: more mostly follow, and one that goes is announced a
/// moment before sysfs loses it. It keeps a machine on which they come and go all the time from looking all
/// the time.
const LINKS_DELAY: Duration = Duration::from_millis(250);

/// Where the kernel lists network interfaces (sysfs(5)).
const CLASS_NET: &str = "/sys/class/net";

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
            // Listening before looking: what happens between the two is seen by the next look.
            run(&config, Path::new(CLASS_NET), Links::subscribe(), &out).await;
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
async fn run(config: &WireguardConfig, class_net: &Path, mut links: Links, out: &Observations) {
    let dir = &config.uapi_dir;
    let mut looker = Looker::new(dir.clone(), class_net.to_owned());
    let mut reporter = Reporter::new(Duration::from_secs(config.counters_every));
    let mut refused_tries = 0;
    let mut failed_before = false;
    let mut scope = Scope::Everything;
    loop {
        let mut watching =
            PathWatch::new(dir, Expect::Directory).and_then(|mut watch| watch.arm().map(|()| watch));
        loop {
            let sight = looker.look(scope).await;
            let seen = match &watching {
                Ok(_) => sight.facet,
                Err(error) => unwatchable(dir, error),
            };
            let doubt = sight.failed && !failed_before && watching.is_ok();
            failed_before = sight.failed;
            let next = if doubt {
                Some(DOUBT_DELAY)
            } else {
                if let Some(news) = reporter.handle_seen(seen, now())
                    && out.send(Observation::WgPeers(news)).await.is_err()
                {
                    return;
                }
                sight.alive.then(|| reporter.until_next_look(crate::now(), now()))
            };
            let next = if sight.refused && refused_tries < REFUSED_TRIES {
                let delay = REFUSED_DELAY * 2_u32.pow(refused_tries);
                refused_tries += 1;
                Some(next.map_or(delay, |n| n.min(delay)))
            } else {
                next
            };
            let Ok(watch) = &mut watching else { break };
            scope = Scope::Everything;
            match wait(watch, &mut links, next).await {
                Woken::Directory(changed) => {
                    refused_tries = 0;
                    reporter.handle_stir(now());
                    if let Err(error) = changed.and_then(|()| watch.arm()) {
                        watching = Err(error);
                    }
                }
                Woken::Timer if links.are_heard() => scope = Scope::Peers,
                Woken::Timer | Woken::Links => {}
            }
        }
        sleep(WATCH_RETRY).await;
    }
}

/// What ended a wait.
enum Woken {
    /// The directory changed, or is no longer watched.
    Directory(io::Result<()>),
    /// Interfaces changed, a moment ago.
    Links,
    /// It was time.
    Timer,
}

/// Waits until something happens or `next` has passed.
async fn wait(watch: &mut PathWatch, links: &mut Links, next: Option<Duration>) -> Woken {
    let mut at = next.map(|delay| Instant::now() + delay);
    let mut moved = false;
    loop {
        let timer = async {
            match at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = watch.changed() => return Woken::Directory(changed),
            () = timer => return if moved { Woken::Links } else { Woken::Timer },
            () = links.changed() => {
                if !moved {
                    moved = true;
                    let soon = Instant::now() + LINKS_DELAY;
                    at = Some(at.map_or(soon, |at| at.min(soon)));
                }
            }
        }
    }
}

/// The monotonic clock; tokio's, which a test can stop.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn unwatchable(path: &Path, error: &io::Error) -> WgFacet {
    warn!(path = %path.display(), %error, "cannot watch the WireGuard sockets");
    Facet::unavailable(
        format!("cannot watch {} by inotify: {error}", path.display()),
        "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches with sysctl",
    )
}

#[cfg(test)]
mod tests;
