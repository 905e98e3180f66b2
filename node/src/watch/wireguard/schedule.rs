//! When interfaces are looked at again, and what of the sight is worth a report. Pure: times come in as
//! arguments.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use secmon_protocol::{
    facet::Facet,
    time::UnixNanos,
    wireguard::{ONLINE_FOR, WgPeer, WgPeerKey},
};

/// Between two looks while something happens: a peer that comes or moves is seen within a second.
pub(super) const BUSY: Duration = Duration::from_secs(1);

/// Between two looks while nothing happens: how late a handshake after a long silence may be seen. One look
/// at one interface takes up to half a millisecond of CPU.
pub(super) const QUIET: Duration = Duration::from_secs(5);

/// How long after a handshake or another change an interface counts as busy. Peers that talk shake hands
/// every two minutes (REKEY_AFTER_TIME, whitepaper §6.1).
pub(super) const BUSY_FOR: Duration = Duration::from_secs(300);

/// Added to the moment at which a peer goes offline, so that the look finds it gone.
const JUST_AFTER: Duration = Duration::from_millis(5);

/// All peers, by interface and key.
pub(super) type Peers = BTreeMap<WgPeerKey, WgPeer>;

/// Keeps what was reported, and lets through what is news.
#[derive(Debug)]
pub(super) struct Reporter {
    counters_every: Duration,
    reported: Option<Facet<WgPeerKey, WgPeer>>,
    counters_at: Option<Instant>,
    changed_at: Option<Instant>,
}

impl Reporter {
    /// Counters alone are news once in `counters_every`.
    pub(super) fn new(counters_every: Duration) -> Self {
        Self { counters_every, reported: None, counters_at: None, changed_at: None }
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
        let mut news = true;
        if let (Facet::Ready(peers), Some(Facet::Ready(old))) = (&mut seen, &self.reported) {
            news = peers.len() != old.len();
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
            }
        }
        if self.reported.as_ref() == Some(&seen) {
            return None;
        }
        if news && self.reported.is_some() {
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

    /// How long until the next look, counted from both `wall` and `now`, which are the same moment. Never
    /// later than the moment at which the next peer goes offline.
    ///
    /// Call it after [`handle_seen`](Self::handle_seen): what that took in decides.
    pub(super) fn until_next_look(&self, wall: UnixNanos, now: Instant) -> Duration {
        let handshakes = match &self.reported {
            Some(Facet::Ready(peers)) => Some(peers.values().filter_map(|peer| peer.latest_handshake)),
            _ => None,
        };
        let since_change = self.changed_at.map(|at| now.saturating_duration_since(at));
        let mut pace = if since_change.is_some_and(|since| since < BUSY_FOR) { BUSY } else { QUIET };
        for handshake in handshakes.into_iter().flatten() {
            let age = wall.0.saturating_sub(handshake.0);
            if i128::from(age) < BUSY_FOR.as_nanos().cast_signed() {
                pace = pace.min(BUSY);
            }
            if let Ok(left) = u64::try_from(ONLINE_FOR.saturating_sub(age)) {
                pace = pace.min(Duration::from_nanos(left).saturating_add(JUST_AFTER));
            }
        }
        pace
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
