//! WireGuard peers: of the kernel's own WireGuard, over generic netlink, and of userspace implementations
//! (wireguard-go, boringtun), over the Unix sockets that they make. When to look is decided here and in
//! `schedule`; `look` finds the interfaces; `netlink` asks the kernel, and `socket` one socket, whose answer
//! `uapi` reads; `links` hears of interfaces that come and go. `schedule`, `uapi`, `ages` and what reads netlink's
//! messages are pure.
//!
//! Neither tells of a change on its own, so an interface that answers is asked again and again. While there is
//! none, only inotify and rtnetlink wake this watcher.
//!
//! One interface that cannot be read makes the whole facet unavailable, the peers of the others with it: a
//! monitor that cannot see everything must not look as if it did. So that the facet does not flap, an interface
//! has to fail twice in a row, and the reason given is that of the first by name, sockets before the kernel's.
//! A machine without any interface has no peers to see, and the facet is ready and empty.

mod ages;
mod config;
mod links;
mod look;
mod netlink;
mod schedule;
mod socket;
mod uapi;

pub use self::config::WireguardConfig;

use std::{io, path::PathBuf, time::Duration};

use futures::future::select_all;
use nix::time::{ClockId, clock_gettime};
use secmon_protocol::{
    facet::Facet,
    wireguard::{WgPeer, WgPeerKey},
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::{
    links::Links,
    look::{Looker, Scope},
    netlink::{Kernel, Netlink},
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

/// After the first word about a change of interfaces: more mostly follow, and one that comes is given its peers a
/// moment later. It keeps a machine on which they come and go all the time from looking all
/// the time.
const LINKS_DELAY: Duration = Duration::from_millis(250);

type WgFacet = Facet<WgPeerKey, WgPeer>;

/// Watches peers until `cancel`; reports [`Observation::WgPeers`] at once and then on every change.
pub async fn watch(config: WireguardConfig, out: Observations, cancel: CancellationToken) {
    let work = async {
        if config.enabled {
            // Listening before looking: what happens between the two is seen by the next look.
            run(&config, Netlink, Links::subscribe(), &out).await;
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
async fn run(config: &WireguardConfig, kernel: impl Kernel, mut links: Links, out: &Observations) {
    let folders = config.folders();
    let mut looker = Looker::new(folders.clone(), kernel);
    let mut reporter = Reporter::new(config.pace(), config.counters_every());
    let mut refused_tries = 0;
    let mut failed_before = false;
    let mut scope = Scope::Everything;
    loop {
        let mut watching = Folders::watch(&folders);
        loop {
            let before = processor_time();
            let sight = looker.look(scope).await;
            let seen = match &watching {
                Ok(_) => sight.facet,
                Err(error) => error.facet(),
            };
            let doubt = sight.failed && !failed_before && watching.is_ok();
            failed_before = sight.failed;
            let next = if doubt {
                Some(DOUBT_DELAY)
            } else {
                if sight.moved {
                    reporter.handle_stir(now());
                }
                let news = reporter.handle_seen(seen, now());
                reporter.handle_cost(processor_time().saturating_sub(before));
                if let Some(news) = news
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
                Woken::Folders(changed) => {
                    refused_tries = 0;
                    reporter.handle_stir(now());
                    if let Err(error) = changed {
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
    /// A folder changed, or is no longer watched.
    Folders(Result<(), Unwatchable>),
    /// Interfaces changed, a moment ago.
    Links,
    /// It was time.
    Timer,
}

/// Waits until something happens or `next` has passed.
async fn wait(folders: &mut Folders, links: &mut Links, next: Option<Duration>) -> Woken {
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
            changed = folders.changed() => return Woken::Folders(changed),
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

/// Processor time of this thread so far. A look mostly does not yield, so that nearly all that passes during one
/// is its own.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The folders of sockets, watched.
struct Folders(Vec<(PathBuf, PathWatch)>);

impl Folders {
    fn watch(folders: &[PathBuf]) -> Result<Self, Unwatchable> {
        let watch = |folder: &PathBuf| {
            let armed =
                PathWatch::new(folder, Expect::Directory).and_then(|mut watch| watch.arm().map(|()| watch));
            match armed {
                Ok(watch) => Ok((folder.clone(), watch)),
                Err(error) => Err(Unwatchable { folder: folder.clone(), error }),
            }
        };
        folders.iter().map(watch).collect::<Result<_, _>>().map(Self)
    }

    /// Waits until one changes, and watches on. Dropping the future loses nothing.
    async fn changed(&mut self) -> Result<(), Unwatchable> {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let changes = self.0.iter_mut().map(|(_, watch)| Box::pin(watch.changed()));
        let (changed, index, _) = select_all(changes).await;
        let Some((folder, watch)) = self.0.get_mut(index) else { return Ok(()) };
        changed.and_then(|()| watch.arm()).map_err(|error| Unwatchable { folder: folder.clone(), error })
    }
}

/// A folder that inotify does not watch.
struct Unwatchable {
    folder: PathBuf,
    error: io::Error,
}

impl Unwatchable {
    fn facet(&self) -> WgFacet {
        let Self { folder, error } = self;
        warn!(path = %folder.display(), %error, "cannot watch the WireGuard sockets");
        Facet::unavailable(
            format!("cannot watch {} by inotify: {error}", folder.display()),
            "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches with sysctl",
        )
    }
}

#[cfg(test)]
mod tests;
