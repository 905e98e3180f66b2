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

/// Between two looks while nothing happens.
pub(super) const QUIET: Duration = Duration::from_secs(10);

/// How long after a handshake or another change an interface counts as busy. Peers that talk shake hands
/// every two minutes (REKEY_AFTER_TIME, whitepaper §6.1).
pub(super) const BUSY_FOR: Duration = Duration::from_secs(300);

/// Added to the moment at which a peer goes offline, so that the look finds it gone.
const JUST_AFTER: Duration = Duration::from_millis(5);

/// All peers, by interface and key.
pub(super) type Peers = BTreeMap<WgPeerKey, WgPeer>;

/// How long until the next look. `changed` is when something but counters changed last, if it ever did.
/// Never later than the moment at which the next peer goes offline.
pub(super) fn until_next_look(peers: &Peers, now: UnixNanos, since_change: Option<Duration>) -> Duration {
    let busy_for = i64::try_from(BUSY_FOR.as_nanos()).unwrap_or(i64::MAX);
    let ages = || peers.values().filter_map(|p| Some(now.0.saturating_sub(p.latest_handshake?.0)));
    let busy = since_change.is_some_and(|since| since < BUSY_FOR) || ages().any(|age| age < busy_for);
    let pace = if busy { BUSY } else { QUIET };
    ages()
        .filter(|age| *age <= ONLINE_FOR)
        .filter_map(|age| u64::try_from(ONLINE_FOR.saturating_sub(age)).ok())
        .map(|nanos| Duration::from_nanos(nanos).saturating_add(JUST_AFTER))
        .min()
        .map_or(pace, |edge| pace.min(edge))
}

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
                match old.get(key) {
                    Some(before) if before.without_counters() == peer.without_counters() => {
                        if !counters_due {
                            *peer = before.clone();
                        }
                    }
                    _ => news = true,
                }
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

    /// How long ago something but counters changed.
    pub(super) fn since_change(&self, now: Instant) -> Option<Duration> {
        self.changed_at.map(|at| now.saturating_duration_since(at))
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
