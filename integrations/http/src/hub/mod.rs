//! The bridge's side of the hub: one subscription for all who listen, one connection for all who ask, and one for each
//! who runs something. What must not live here: HTTP.
//!
//! - [`pump`]: the task that follows the hub and renders what comes, once, into the [`ring`].
//! - [`entry`], [`selection`]: a record as listeners get it, and which of its events a listener wants and may see.
//! - [`listener`]: one who listens; [`catch_up`] are the turns of those who are behind.
//! - [`asking`]: requests and their connections. [`nodes`]: the list of nodes, asked for once for many.
//! - [`counts`]: for `/metrics`.

mod asking;
mod catch_up;
pub(crate) mod counts;
mod entry;
mod listener;
mod nodes;
mod pump;
mod ring;
mod selection;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use secmon_protocol::time::UnixNanos;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{asking::Asking, catch_up::CatchUps, counts::Counts, nodes::NodeList, ring::Ring};
pub(crate) use self::{
    asking::Person,
    entry::Line,
    listener::{Listener, Next, Over, Said},
    selection::{Picked, Selection},
};
use crate::Place;

/// What the bridge calls itself where it asks for itself.
pub(crate) const AGENT: &str = concat!("secmon-http ", env!("CARGO_PKG_VERSION"));
/// Memory for the newest events, in bytes: about 40,000 of them, so that a browser that was away for minutes goes on
/// without a question to the hub.
const RING_BYTES: usize = 32 << 20;

/// The hub, as the bridge sees it.
pub(crate) struct Hub {
    socket: PathBuf,
    cancel: CancellationToken,
    ring: Ring,
    catch_ups: CatchUps,
    asking: Asking,
    nodes: NodeList,
    /// Counters.
    pub(crate) counts: Arc<Counts>,
    connected: AtomicBool,
    began: Instant,
    /// The hub is there again.
    back: Notify,
}

impl Hub {
    /// Follows the hub from now on until `cancel` is.
    pub(crate) fn start(place: &Place, cancel: &CancellationToken) -> Arc<Self> {
        Self::start_with(place, cancel, RING_BYTES)
    }

    fn start_with(place: &Place, cancel: &CancellationToken, ring: usize) -> Arc<Self> {
        let hub = Arc::new(Self {
            socket: place.socket.clone(),
            cancel: cancel.clone(),
            ring: Ring::new(ring),
            catch_ups: CatchUps::new(),
            asking: Asking::new(place.socket.clone()),
            nodes: NodeList::default(),
            counts: Arc::default(),
            connected: AtomicBool::new(false),
            began: Instant::now(),
            back: Notify::new(),
        });
        // It ends with `cancel`, and has nothing to say then.
        drop(tokio::spawn(pump::run(hub.clone())));
        hub
    }

    /// Whether the hub is there.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// The hub's version, of the latest connection to it; none before there was one.
    pub(crate) fn version(&self) -> Option<String> {
        self.asking.version()
    }

    /// The last full second, counted from the start, that is not after `at`: those who listen are given their signs of life
    /// together, so that a thousand of them wake an idle bridge no oftener than a few.
    fn on_the_second(&self, at: Instant) -> Instant {
        self.began + Duration::from_secs(at.saturating_duration_since(self.began).as_secs())
    }

    /// Ends when the bridge does.
    pub(crate) fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Bytes and entries of the ring.
    pub(crate) fn ring_size(&self) -> (usize, usize) {
        self.ring.size()
    }

    /// Turns that were begun, those that go on, and who waits for one.
    pub(crate) fn catch_up_counts(&self) -> (u64, usize, usize) {
        self.catch_ups.counts()
    }
}

/// The wall clock.
fn now() -> UnixNanos {
    UnixNanos::from(Timestamp::now())
}
