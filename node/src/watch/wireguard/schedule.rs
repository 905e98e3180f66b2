//! When interfaces are looked at again, and what of the sight is worth a report. Pure: times come in as
//! arguments.
//!
//! Neither the kernel nor a socket tells of a change, so looks are close together after one, and ever farther
//! apart while nothing happens. What can be computed needs no closer looks: a peer is online until 180 s after
//! its latest handshake, and the look that finds it offline comes at that very moment.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use secmon_protocol::{
    facet::Facet,
    time::UnixNanos,
    wireguard::{ONLINE_FOR, WgPeer, WgPeerKey},
};

/// How fast the wait grows: it is this part of the time since the latest change. With waits of 1 s to 5 s, a change is
/// followed by some eight looks a second apart, and after forty seconds the pace is the slow one again.
const PART: u32 = 8;

/// Looks take at most this part of one processor, whatever the number of peers, as long as that does not make
/// them rarer than [`MOST_SLOW`] allows.
const COST_PART: u32 = 500;

/// The longest wait because of the cost of a look, in slowest waits.
const MOST_SLOW: u32 = 3;

/// Added to the moment at which a peer goes offline, so that the look finds it gone.
const JUST_AFTER: Duration = Duration::from_millis(5);

/// All peers, by interface and key.
pub(super) type Peers = BTreeMap<WgPeerKey, WgPeer>;

/// How far apart looks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// While something happens.
    pub(super) fastest: Duration,
    /// While nothing happens: how late a handshake after a long silence may be seen.
    pub(super) slowest: Duration,
}

/// Keeps what was reported, and lets through what is news.
#[derive(Debug)]
pub(super) struct Reporter {
    pace: Pace,
    counters_every: Duration,
    reported: Option<Facet<WgPeerKey, WgPeer>>,
    counters_at: Option<Instant>,
    changed_at: Option<Instant>,
    /// Processor time that the latest look took.
    cost: Duration,
}

impl Reporter {
    /// Counters alone are news once in `counters_every`.
    pub(super) fn new(pace: Pace, counters_every: Duration) -> Self {
        let cost = Duration::ZERO;
        Self { pace, counters_every, reported: None, counters_at: None, changed_at: None, cost }
    }

    /// What to report of `seen`, if anything. Until counters are due, a peer of which nothing else changed
    /// keeps the counters that were reported last, so that one peer's handshake does not make changes of
    /// all the others.
    #[must_use]
    pub(super) fn handle_seen(
        &mut self,
        mut seen: Facet<WgPeerKey, WgPeer>,
        now: Instant,
    ) -> Option<Facet<WgPeerKey, WgPeer>> {
        let counters_due =
            self.counters_at.is_none_or(|at| now.saturating_duration_since(at) >= self.counters_every);
        let (mut news, mut change) = (true, true);
        if let (Facet::Ready(peers), Some(Facet::Ready(old))) = (&mut seen, &self.reported) {
            news = peers.len() != old.len();
            change = news;
            for (key, peer) in peers.iter_mut() {
                let counters = (peer.rx_bytes, peer.tx_bytes);
                let same = old.get(key).is_some_and(|before| {
                    (peer.rx_bytes, peer.tx_bytes) = (before.rx_bytes, before.tx_bytes);
                    peer == before
                });
                if !same || counters_due {
                    (peer.rx_bytes, peer.tx_bytes) = counters;
                }
                news |= !same;
                change |= !same && old.get(key).is_none_or(|before| is_change(before, peer));
            }
        }
        if !news && !counters_due || self.reported.as_ref() == Some(&seen) {
            return None;
        }
        if change && self.reported.is_some() {
            self.changed_at = Some(now);
        }
        if counters_due {
            self.counters_at = Some(now);
        }
        self.reported = Some(seen.clone());
        Some(seen)
    }

    /// Something happened to the interfaces that may soon show in their peers: it counts as a change.
    pub(super) fn handle_stir(&mut self, now: Instant) {
        self.changed_at = Some(now);
    }

    /// The latest look took this much processor time.
    pub(super) fn handle_cost(&mut self, cost: Duration) {
        self.cost = cost;
    }

    /// How long until the next look, counted from both `wall` and `now`, which are the same moment. Not later than
    /// the moment at which the next peer goes offline, unless looks cost too much for that.
    ///
    /// Call it after [`handle_seen`](Self::handle_seen): what that took in decides.
    pub(super) fn until_next_look(&self, wall: UnixNanos, now: Instant) -> Duration {
        let Pace { fastest, slowest } = self.pace;
        let wait = match self.changed_at {
            Some(at) => (now.saturating_duration_since(at) / PART).clamp(fastest, slowest),
            None => slowest,
        };
        let edge = self.next_edge(wall).unwrap_or(Duration::MAX);
        wait.min(edge).max(self.cost.saturating_mul(COST_PART).min(slowest * MOST_SLOW))
    }

    /// How long until the first of those that are online would not be, if nothing changed.
    fn next_edge(&self, wall: UnixNanos) -> Option<Duration> {
        let Some(Facet::Ready(peers)) = &self.reported else { return None };
        let handshakes = peers.values().filter_map(|peer| peer.latest_handshake.filter(|_| peer.online));
        let left = |at: UnixNanos| ONLINE_FOR.saturating_sub(wall.0.saturating_sub(at.0));
        let least = handshakes.map(left).min()?;
        Some(Duration::from_nanos(u64::try_from(least).unwrap_or(0)).saturating_add(JUST_AFTER))
    }
}

/// Whether a difference between two sights of a peer, counters apart, says that more may follow soon. A handshake
/// that a peer repeats while it is online, every two minutes, does not: the next is as far away.
fn is_change(before: &WgPeer, after: &WgPeer) -> bool {
    (before.online, before.endpoint, before.keepalive) != (after.online, after.endpoint, after.keepalive)
        || before.latest_handshake.is_some() != after.latest_handshake.is_some()
        || before.allowed_ips != after.allowed_ips
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
